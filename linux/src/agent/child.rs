//! A program that is asked something before the daemon begins, bounded in time and output.

use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};

use lifesign_core::time::Duration;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::clock;
use crate::executor::{bare, has_exited, stdin};
use crate::settings::said;

/// What a program said before it ended.
#[derive(Debug)]
pub(super) struct Answer {
    /// How it ended.
    pub(super) status: ExitStatus,
    /// What it wrote to standard output.
    pub(super) text: String,
}

impl Answer {
    /// Returns what was said, if it ended well; `name` gives the name of another exit status.
    ///
    /// # Errors
    /// How it ended.
    pub(super) fn good(self, name: impl Fn(i32) -> String) -> Result<String, String> {
        match self.status.code() {
            Some(0) => Ok(self.text),
            Some(code) => Err(name(code)),
            None => Err("it was killed".to_owned()),
        }
    }
}

/// Runs a program with `environment` and nothing else of ours, gives it `input` to read, and
/// returns what it said.
///
/// At `limit`, or after more than `most` bytes, it is killed with all of its process group; so are
/// children that it leaves there.
///
/// # Errors
/// Why there is no answer, in a few words.
pub(super) fn ask(
    arguments: &[&str],
    environment: &[(String, String)],
    input: &[u8],
    limit: Duration,
    most: usize,
) -> Result<Answer, String> {
    let failed = |error: io::Error| said(&error);
    let (program, arguments) = arguments.split_first().ok_or("no program is named")?;
    let (mut output, writer) = io::pipe().map_err(failed)?;
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|error| failed(error.into()))?;
    let mut command = bare(program, arguments, environment);
    command.stdin(stdin(input).map_err(failed)?).stdout(writer).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    // It holds our copy of the writing end, which would keep the pipe open.
    drop(command);
    let group = Pid::from_raw(child.id().cast_signed());
    let heard = listen(&mut output, group, limit, most);
    // The number is the group's own until its first process is reaped.
    let _gone = killpg(group, Signal::SIGKILL);
    let status = child.wait().map_err(failed)?;
    let text = String::from_utf8_lossy(&heard?).into_owned();
    Ok(Answer { status, text })
}

/// Reads until the first process of `group` has ended.
fn listen(
    output: &mut PipeReader,
    group: Pid,
    limit: Duration,
    most: usize,
) -> Result<Vec<u8>, String> {
    let deadline = clock::now() + limit;
    let mut text = Vec::new();
    loop {
        // Asked first: what was written before the end is read after it.
        let has_ended = has_exited(group);
        let is_open = read(output, &mut text, most);
        if text.len() > most {
            return Err(format!("it says more than {most} bytes"));
        }
        if has_ended {
            return Ok(text);
        }
        if clock::now().has_reached(deadline) {
            return Err(format!("it does not answer within {limit}"));
        }
        if is_open {
            let mut waiting = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
            let _events = poll(&mut waiting, PollTimeout::from(PERIOD_MS));
        } else {
            std::thread::sleep(std::time::Duration::from_millis(PERIOD_MS.into()));
        }
    }
}

/// How often to look whether a silent program has ended, in milliseconds.
const PERIOD_MS: u8 = 5;

/// Reads what is there, up to one byte more than `most`, and returns whether more may come.
fn read(output: &mut PipeReader, text: &mut Vec<u8>, most: usize) -> bool {
    let mut buffer = [0; 4096];
    while text.len() <= most {
        match output.read(&mut buffer) {
            Ok(0) => return false,
            Ok(len) => text.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit_ms: u64, most: usize) -> Result<Answer, String> {
        ask(&["/bin/sh", "-c", script], &[], b"", Duration::from_millis(limit_ms), most)
    }

    #[test]
    fn an_answer_is_what_was_said_and_how_it_ended() {
        let answer = shell("echo $LC_ALL $HOME; echo no >&2; exit 3", 60_000, 100).unwrap();
        assert_eq!((answer.text.as_str(), answer.status.code()), ("C\n", Some(3)));
    }

    #[test]
    fn hangs_floods_and_children_left_behind_are_bounded() {
        let hangs = shell("trap '' TERM; sleep 600", 100, 100).unwrap_err();
        assert_eq!(hangs, "it does not answer within 100 ms");
        let floods = shell("while :; do echo flood; done", 60_000, 5000).unwrap_err();
        assert_eq!(floods, "it says more than 5000 bytes");
        // A child that keeps the output open is no reason to wait for it.
        let answer = shell("echo done; sleep 600 & exit 0", 60_000, 100).unwrap();
        assert_eq!(answer.text, "done\n");
        let silent = shell("exec >&-; sleep 600", 100, 100).unwrap_err();
        assert_eq!(silent, "it does not answer within 100 ms");
    }

    #[test]
    fn what_cannot_be_run_says_why() {
        let error = ask(&["/no/such"], &[], b"", Duration::from_millis(100), 10).unwrap_err();
        assert_eq!(error, "no such file or directory");
    }
}
