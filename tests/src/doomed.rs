//! Tests that are ended at their limit, and what must not be left of them then.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use lifesign::namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scratch::Scratch;

/// Says which processes a test has started, the first of which stays, and where it writes, and
/// waits to be ended.
#[expect(clippy::print_stdout, reason = "who ends it reads this")]
pub fn wait(processes: &[i32], folder: &Path) -> ! {
    let numbers: Vec<String> = processes.iter().map(i32::to_string).collect();
    println!("{BEGIN}{} {}", folder.display(), numbers.join(" "));
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}

/// Runs `test` in `role`, in which it [`wait`]s, ends it as its limit does, and expects that
/// nothing of it is left.
///
/// # Panics
/// If something is, or if nothing was said.
pub fn expect_nothing_left(test: &str, role: &str) {
    let mut command = namespace::player(test, role).expect("a role");
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
    let mut lines = BufReader::new(child.stdout.take().expect("its words")).lines();
    let said = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, said) = line.split_once(BEGIN)?;
        Some(said.to_owned())
    });
    let said = said.expect("what it has started");
    let mut words = said.split(' ');
    let folder = PathBuf::from(words.next().unwrap_or_default());
    let processes: Vec<i32> = words.map(|word| word.parse().expect("a number")).collect();
    // What the first one has started may have ended by itself.
    assert!(folder.is_dir() && is_running(processes[0]), "{said}");
    let number = i32::try_from(child.id()).expect("a number");
    kill(Pid::from_raw(number), Signal::SIGALRM).expect("an end");
    child.wait().expect("an end");
    let is_over = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(50));
        !processes.iter().any(|process| is_running(*process))
    });
    assert!(is_over, "some of these run on: {processes:?}");
    let _next = Scratch::new("next");
    assert!(!folder.exists(), "{} is left", folder.display());
}

/// Says whether a process has not ended; one that nobody has asked about has.
fn is_running(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

/// How the line begins that says what was started.
const BEGIN: &str = "started: ";
