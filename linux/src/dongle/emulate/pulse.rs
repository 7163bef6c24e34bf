//! What a reset line of an emulated dongle leads to: a command.

use std::process::{Child, Command, Stdio};

use lifesign_core::relay::PortId;
use lifesign_core::time::Duration;

use crate::settings::said;

/// How often running commands are looked at.
const EACH: Duration = Duration::from_millis(20);

/// The command that runs when a reset line fires, and those that still run.
#[derive(Debug)]
pub(super) struct Pulses {
    command: Option<String>,
    running: Vec<(PortId, Child)>,
}

impl Pulses {
    pub(super) const fn new(command: Option<String>) -> Self {
        Self { command, running: Vec::new() }
    }

    /// Runs the command, if there is one, for the reset line of `port`, which leads to `name`.
    ///
    /// # Errors
    /// Why it does not run.
    pub(super) fn begin(&mut self, port: PortId, name: &str) -> Result<(), String> {
        let Some(command) = &self.command else { return Ok(()) };
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .env("LIFESIGN_PORT", (port.number() + 1).to_string())
            .env("LIFESIGN_NAME", name)
            .stdin(Stdio::null())
            // What is printed here may be read by a machine.
            .stdout(std::io::stderr())
            .spawn();
        let child = child.map_err(|error| format!("run /bin/sh: {}", said(&error)))?;
        self.running.push((port, child));
        Ok(())
    }

    /// Returns a command that has ended, and how, in words.
    pub(super) fn poll_ended(&mut self) -> Option<(PortId, String)> {
        for at in 0..self.running.len() {
            let (port, child) = &mut self.running[at];
            let how = match child.try_wait() {
                Ok(None) => continue,
                Ok(Some(status)) if status.success() => "the command of the reset is done".into(),
                Ok(Some(status)) => format!("the command of the reset failed: {status}"),
                Err(error) => format!("the command of the reset is lost: {}", said(&error)),
            };
            let port = *port;
            self.running.remove(at);
            return Some((port, how));
        }
        None
    }

    /// Returns how soon to look again whether one has ended.
    pub(super) fn patience(&self) -> Option<Duration> {
        (!self.running.is_empty()).then_some(EACH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::Folder;

    fn ended(pulses: &mut Pulses) -> (PortId, String) {
        loop {
            if let Some(ended) = pulses.poll_ended() {
                return ended;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_command_is_told_whom_it_resets() {
        let folder = Folder::new("pulse");
        let file = folder.path.join("reset");
        let command = format!("echo $LIFESIGN_PORT $LIFESIGN_NAME > {}", file.display());
        let mut pulses = Pulses::new(Some(command));
        let port = PortId::new(1).unwrap();
        pulses.begin(port, "beta").unwrap();
        assert!(pulses.patience().is_some());
        assert_eq!(ended(&mut pulses), (port, "the command of the reset is done".to_owned()));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "2 beta\n");
        assert_eq!((pulses.patience(), pulses.poll_ended()), (None, None));
    }

    #[test]
    fn a_command_that_fails_is_told() {
        let mut pulses = Pulses::new(Some("exit 3".to_owned()));
        pulses.begin(PortId::new(0).unwrap(), "alpha").unwrap();
        assert!(ended(&mut pulses).1.ends_with("failed: exit status: 3"));
        let mut none = Pulses::new(None);
        none.begin(PortId::new(0).unwrap(), "alpha").unwrap();
        assert_eq!(none.patience(), None);
    }
}
