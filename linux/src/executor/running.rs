//! One command from its start to the last signal it may need.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{self, Child, ExitStatus, Stdio};

use lifesign_core::time::{Duration, Instant};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::message::{Command, Outcome};
use super::secret::{self, Veil};
use super::{INPUT_LEN_MAX, OUTPUT_LEN_MAX, PATH};
use crate::sys;

/// A command that has been started and has not been reported yet.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    group: Pid,
    exit: OwnedFd,
    output: PipeReader,
    is_output_open: bool,
    tail: VecDeque<u8>,
    tail_len_max: usize,
    veil: Veil,
    stays: bool,
    grace: Duration,
    started: Instant,
    stage: Stage,
}

/// Returns the standard input that has these bytes. A pipe takes them all before anybody reads.
///
/// # Errors
/// Out of descriptors, or more than [`INPUT_LEN_MAX`] bytes.
pub(crate) fn stdin(bytes: &[u8]) -> io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    if bytes.len() > INPUT_LEN_MAX {
        let why = format!("more than {INPUT_LEN_MAX} bytes of input");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let (reader, mut writer) = io::pipe()?;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    writer.write_all(bytes)?;
    Ok(reader.into())
}

/// How far the ending of a command has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// It may run until then.
    Free { until: Instant },
    /// Its process group was sent SIGTERM, and gets SIGKILL then.
    Asked { until: Instant, verdict: Outcome },
    /// Its process group was sent SIGKILL; it is given up then.
    Killed { until: Instant, verdict: Outcome },
}

impl Running {
    /// Starts a command in a process group of its own.
    ///
    /// # Errors
    ///
    /// Why it was not started.
    pub(super) fn start(command: &Command, now: Instant) -> io::Result<Self> {
        let (program, arguments) = command
            .arguments
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program named"))?;
        let told = secret::read(command)?;
        let (output, writer) = io::pipe()?;
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut process = bare(program, arguments, &command.environment);
        process.envs(told.environment).stdin(stdin(&told.input)?);
        process.stdout(writer.try_clone()?).stderr(writer);
        if let Some(identity) = &command.identity {
            sys::start_as(&mut process, identity.ids(), identity.all_groups());
        }
        let mut child = process.spawn()?;
        // It holds our copies of the writing end, which would keep the pipe open.
        drop(process);
        let group = Pid::from_raw(child.id().cast_signed());
        let exit = match sys::open_process(group) {
            Ok(exit) => exit,
            Err(error) => {
                // Without a descriptor its end would go unnoticed.
                let _gone = killpg(group, Signal::SIGKILL);
                let _reaped = child.wait();
                return Err(error);
            }
        };
        let limit = if command.stays { u64::MAX } else { command.limit_us };
        let limit = Duration::from_micros(limit);
        let tail_len_max = usize::try_from(command.output_len_max).unwrap_or(usize::MAX);
        Ok(Self {
            child,
            group,
            exit,
            output,
            is_output_open: true,
            tail: VecDeque::new(),
            tail_len_max: tail_len_max.min(OUTPUT_LEN_MAX),
            veil: told.veil,
            stays: command.stays,
            grace: Duration::from_micros(command.grace_us),
            started: now,
            stage: Stage::Free { until: now + limit },
        })
    }

    /// Asks the command's process group to end, unless that has been done already.
    pub(super) fn cancel(&mut self, now: Instant) {
        if matches!(self.stage, Stage::Free { .. }) {
            self.ask(Outcome::Cancelled, now);
        }
    }

    /// Does what is due, and returns how the command ended if it has.
    pub(super) fn step(&mut self, now: Instant) -> Option<Outcome> {
        self.read_output();
        if has_exited(self.group) {
            return Some(self.reap());
        }
        match self.stage.clone() {
            Stage::Free { until } if now.has_reached(until) => {
                self.ask(Outcome::TimedOut, now);
                None
            }
            Stage::Asked { until, verdict } if now.has_reached(until) => {
                self.signal(Signal::SIGKILL);
                self.stage = Stage::Killed { until: now + PATIENCE, verdict };
                None
            }
            Stage::Killed { until, .. } if now.has_reached(until) => Some(Outcome::Unkillable),
            Stage::Free { .. } | Stage::Asked { .. } | Stage::Killed { .. } => None,
        }
    }

    /// Returns the end of what the command has written, and forgets it.
    pub(super) fn take_output(&mut self) -> String {
        let bytes: Vec<u8> = std::mem::take(&mut self.tail).into();
        let text = String::from_utf8_lossy(&bytes);
        // A character cut in two at the front says nothing.
        let text = text.trim_start_matches(char::REPLACEMENT_CHARACTER).to_owned();
        self.veil.over(text, self.tail_len_max)
    }

    /// Returns when [`step`](Self::step) next has work, if neither output nor exit comes first.
    pub(super) fn poll_timeout(&self) -> Instant {
        match self.stage {
            Stage::Free { until } | Stage::Asked { until, .. } | Stage::Killed { until, .. } => {
                until
            }
        }
    }

    /// Returns the descriptors whose readability [`step`](Self::step) wants to hear of.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let output = self.is_output_open.then(|| self.output.as_fd());
        [Some(self.exit.as_fd()), output].into_iter().flatten()
    }

    /// Returns how long ago the command was started.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.since(self.started)
    }

    /// Gives up the process, to be reaped some day, and its output, if somebody still may write
    /// there.
    pub(super) fn into_remains(self) -> (Child, Option<PipeReader>) {
        (self.child, self.is_output_open.then_some(self.output))
    }

    fn ask(&mut self, verdict: Outcome, now: Instant) {
        self.signal(Signal::SIGTERM);
        // A process that was stopped does not see the signal before it goes on.
        self.signal(Signal::SIGCONT);
        self.stage = Stage::Asked { until: now + self.grace, verdict };
    }

    /// Signals the group. Its number stays ours until the first process of it is reaped.
    fn signal(&self, signal: Signal) {
        let _gone = killpg(self.group, signal);
    }

    fn read_output(&mut self) {
        let mut buffer = [0; 4096];
        // Bounded, for a command may write faster than this reads.
        for _ in 0..READS_MAX {
            if !self.is_output_open {
                return;
            }
            match self.output.read(&mut buffer) {
                Ok(0) => self.is_output_open = false,
                Ok(len) => {
                    self.tail.extend(&buffer[..len]);
                    let surplus =
                        self.tail.len().saturating_sub(self.tail_len_max + self.veil.margin());
                    self.tail.drain(..surplus);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.is_output_open = false,
            }
        }
    }

    fn reap(&mut self) -> Outcome {
        if self.stays || !matches!(self.stage, Stage::Free { .. }) {
            // What is left of the group goes with its first process, while the number is ours.
            self.signal(Signal::SIGKILL);
        }
        let status = self.child.wait();
        self.read_output();
        match (&self.stage, status) {
            (Stage::Asked { verdict, .. } | Stage::Killed { verdict, .. }, _) => verdict.clone(),
            (Stage::Free { .. }, Ok(status)) => outcome(status),
            (Stage::Free { .. }, Err(error)) => {
                Outcome::NotStarted(format!("its exit status is lost: {error}"))
            }
        }
    }
}

/// Returns a program with `environment` and nothing else of ours, in a process group of its own.
pub(crate) fn bare<S: AsRef<OsStr>>(
    program: &str,
    arguments: &[S],
    environment: &[(String, String)],
) -> process::Command {
    let mut command = process::Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command.current_dir("/").process_group(0);
    command
}

/// Returns whether a child has ended, and leaves it to be reaped.
pub(crate) fn has_exited(child: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    // Whoever else has reaped it, it is gone.
    !matches!(waitid(Id::Pid(child), flags), Ok(WaitStatus::StillAlive))
}

fn outcome(status: ExitStatus) -> Outcome {
    match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, signal) => Outcome::Signalled(signal.unwrap_or_default()),
    }
}

/// How long a killed process may take to disappear before it is reported as unkillable.
const PATIENCE: Duration = Duration::from_millis(5000);
/// The most reads of a command's output at one wake-up.
const READS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::executor::identity::Identity;

    fn shell(script: &str) -> Command {
        Command {
            arguments: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            limit_us: 60_000_000,
            output_len_max: 100,
            ..Command::default()
        }
    }

    /// Runs it to its end, and returns what it said.
    fn ended(command: &Command) -> (Outcome, String) {
        let mut running = Running::start(command, clock::now()).unwrap();
        loop {
            if let Some(outcome) = running.step(clock::now()) {
                return (outcome, running.take_output());
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn is_gone(process: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.trim()));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    }

    #[test]
    fn what_stays_takes_along_what_it_has_started_and_a_service_does_not() {
        let script = "sleep 600 >&- 2>&- & echo $!";
        let (outcome, child) = ended(&Command { stays: true, ..shell(script) });
        assert_eq!(outcome, Outcome::Exited(0));
        let is_gone_in_time = (0..10_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            is_gone(&child)
        });
        assert!(is_gone_in_time, "its child has ended with it");
        let (_, child) = ended(&shell(script));
        assert!(!is_gone(&child), "a service outlives the command that starts it");
        let child = Pid::from_raw(child.trim().parse().unwrap());
        nix::sys::signal::kill(child, Signal::SIGKILL).unwrap();
    }

    #[test]
    fn what_stays_has_no_limit() {
        let command = Command { stays: true, limit_us: 1, ..shell("sleep 0.1; echo well") };
        assert_eq!(ended(&command), (Outcome::Exited(0), "well\n".to_owned()));
    }

    #[test]
    fn a_command_runs_as_another_where_that_is_allowed() {
        let identity = Identity { user: 65_533, group: 65_532, groups: vec![65_532, 65_531] };
        let command = Command { identity: Some(identity), ..shell("id -u; id -g; id -G") };
        if nix::unistd::geteuid().is_root() {
            let (_, said) = ended(&command);
            assert_eq!(said, "65533\n65532\n65532 65531\n");
        } else {
            let error = Running::start(&command, clock::now()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        }
    }
}
