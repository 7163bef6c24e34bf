//! The executor as a process of its own, forked from one with a single thread: a plain program,
//! because the test harness has several.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::io::{Read, pipe};
use std::os::fd::AsFd;

use lifesign::executor::message::{Command, Reply, Request};
use lifesign::executor::{Executor, Started, start};
use lifesign::log::Level;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{dup, dup2_stderr};

fn main() {
    // A listing of tests has nothing to run.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let (mut lines, writer) = pipe().unwrap();
    let terminal = dup(std::io::stderr()).unwrap();
    dup2_stderr(&writer).unwrap();
    drop(writer);
    let Started { mut daemon, mut supervisor, logger, process } = start("alpha").unwrap();
    dup2_stderr(&terminal).unwrap();

    logger.write(Level::Info, format_args!("before"));
    assert_eq!(output(&mut daemon), "served\n");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        kill(process, signal).unwrap();
    }
    assert_eq!(output(&mut daemon), "served\n", "signals do not end it");
    drop(daemon);
    assert_eq!(output(&mut supervisor), "served\n", "the daemon's end does not end it");
    logger.write(Level::Error, format_args!("after"));
    drop((supervisor, logger));
    assert_eq!(waitpid(process, None).unwrap(), WaitStatus::Exited(process, 0));

    let mut text = String::new();
    lines.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("alpha info    before\n"), "{text}");
    assert!(text.ends_with("alpha error   after\n"), "{text}");
}

fn output(executor: &mut Executor) -> String {
    let command = Command {
        arguments: vec!["echo".into(), "served".into()],
        limit_us: 60_000_000,
        output_len_max: 100,
        ..Command::default()
    };
    executor.submit(&Request::Run { id: 1, command }).unwrap();
    loop {
        match executor.poll_reply() {
            Some(Reply::Done { outcome, output, .. }) => {
                assert!(outcome.is_success(), "{outcome}");
                return output;
            }
            Some(other @ Reply::Persisted { .. }) => panic!("{other:?}"),
            None => assert!(!executor.is_gone()),
        }
        let mut descriptors = [PollFd::new(executor.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut descriptors, 30_000_u16).unwrap(), 1, "no reply");
    }
}
