//! Lets a test end its process at a request to the kernel, and look at what that leaves.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};

use nix::sys::signal::{Signal, raise};

use super::Netlink;
use crate::namespace::player;

static LEFT: AtomicI64 = AtomicI64::new(i64::MAX);

/// Kills the calling process instead of the request after the next `count`.
pub(in crate::address) fn allow(count: i64) {
    LEFT.store(count, Ordering::Relaxed);
}

/// Counts a request.
pub(super) fn take() {
    if LEFT.fetch_sub(1, Ordering::Relaxed) <= 0 {
        raise(Signal::SIGKILL).unwrap();
    }
}

/// Runs the test `name` in the role `step`, and returns whether it was killed there rather than
/// having come to its end.
pub(in crate::address) fn is_killed_at(name: &str, step: i64) -> bool {
    let mut child = player(name, &step.to_string()).unwrap();
    let output = child.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    if output.status.success() {
        return false;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(Signal::SIGKILL as i32), "step {step}: {said}");
    true
}

/// Returns what the machine is like as far as groups go: the adapters that are there and not of the
/// cable's far end, each with its hardware address, further names and whether it is switched on;
/// addresses; rules; and the routes of all tables but the kernel's own.
pub(in crate::address) fn machine() -> String {
    let run = |program: &str, words: &str| {
        let output = Command::new(program).args(words.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let layers = Netlink::open().unwrap().layers().unwrap();
    let adapters = Netlink::open().unwrap().adapters().unwrap();
    let up: Vec<(String, bool)> = adapters.into_iter().map(|it| (it.name, it.up)).collect();
    let mut addresses: Vec<String> = Netlink::open()
        .unwrap()
        .addresses()
        .unwrap()
        .into_iter()
        .map(|address| address.ip.to_string())
        .collect();
    addresses.sort_unstable();
    let layers: Vec<_> = layers.into_iter().map(|it| (it.name, it.names, it.mac)).collect();
    let rules = ["-4", "-6"].map(|family| run("ip", &format!("{family} rule show")));
    let routes = ["-4", "-6"].map(|family| run("ip", &format!("{family} route show table all")));
    format!("{layers:?}\n{up:?}\n{addresses:?}\n{rules:?}\n{routes:?}")
}
