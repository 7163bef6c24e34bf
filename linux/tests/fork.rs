//! Processes that part from one with a single thread: a plain program, because the test harness has
//! several.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::exit;

use lifesign::executor::message::{Command, Reply, Request};
use lifesign::executor::{Executor, Started, start};
use lifesign::link::failure::Failure;
use lifesign::link::serial::terminal::Terminal;
use lifesign::log::Level;
use lifesign::supervisor::{Parted, Supervisor};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{dup, dup2_stderr};

fn main() {
    // A listing of tests has nothing to run.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    it_serves_until_its_last_client_is_gone();
    it_ends_though_nobody_reads_its_lines();
    a_copy_of_a_serial_device_that_is_closed_leaves_it_locked();
}

fn it_serves_until_its_last_client_is_gone() {
    let (Started { mut daemon, mut supervisor, logger, process }, mut lines) =
        start_with_pipe(false);
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

fn it_ends_though_nobody_reads_its_lines() {
    let (Started { daemon, supervisor, logger, process }, _unread) = start_with_pipe(true);
    logger.write(Level::Info, format_args!("held up"));
    drop((daemon, supervisor, logger));
    assert_eq!(waitpid(process, None).unwrap(), WaitStatus::Exited(process, 1));
}

fn a_copy_of_a_serial_device_that_is_closed_leaves_it_locked() {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let device = ptsname_r(&master).unwrap();
    let open = || Terminal::open(Path::new(&device), 115_200, true);
    let ours = open().unwrap();
    match Supervisor::part().unwrap() {
        Parted::Supervisor(_) => {
            drop(ours);
            exit(0);
        }
        Parted::Daemon(supervisor) => {
            waitpid(supervisor.process(), None).unwrap();
            assert_eq!(open().unwrap_err().failure, Failure::Busy);
            drop(ours);
            assert!(open().is_ok());
        }
    }
}

/// Starts an executor whose standard error is the pipe that is returned beside it.
fn start_with_pipe(is_full: bool) -> (Started, PipeReader) {
    let (lines, mut writer) = pipe().unwrap();
    if is_full {
        let len = fcntl(&writer, FcntlArg::F_GETPIPE_SZ).unwrap();
        writer.write_all(&vec![0; len.try_into().unwrap()]).unwrap();
    }
    let terminal = dup(std::io::stderr()).unwrap();
    dup2_stderr(&writer).unwrap();
    drop(writer);
    let started = start("alpha", None).unwrap();
    dup2_stderr(&terminal).unwrap();
    (started, lines)
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
            Some(
                other @ (Reply::Persisted { .. } | Reply::Listed { .. } | Reply::Destroyed { .. }),
            ) => panic!("{other:?}"),
            None => assert!(!executor.is_gone()),
        }
        let mut descriptors = [PollFd::new(executor.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut descriptors, 30_000_u16).unwrap(), 1, "no reply");
    }
}
