//! What the kernel really gave, beside what the daemon believes that it got.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::process::Command;

use lifesign::namespace::{self, Users};
use lifesign::realtime::{PRIORITY, Scheduling, enter};

#[test]
fn what_is_reported_is_what_the_kernel_says() {
    let name = "what_is_reported_is_what_the_kernel_says";
    if std::env::var("LIFESIGN_TEST_ROLE").is_err() {
        // With whatever rights the caller has, and with none that count.
        let output = namespace::player(name, namespace::MAIN).unwrap().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        namespace::enter(name, Users::New).unwrap();
        return;
    }
    let (_, _, inherited) = scheduling("/proc/thread-self/stat");
    let obtained = enter(PRIORITY);
    println!("OBTAINED {obtained}");
    let (policy, priority, nice) = scheduling("/proc/thread-self/stat");
    match &obtained.scheduling {
        Scheduling::Fifo { .. } => assert_eq!((policy, priority), (1, 50)),
        Scheduling::Nice { .. } => assert_eq!((policy, nice), (0, -20)),
        Scheduling::Ordinary { .. } => assert_eq!((policy, nice), (0, inherited)),
    }
    let output = Command::new("cat").arg("/proc/self/stat").output().unwrap();
    let child = String::from_utf8(output.stdout).unwrap();
    let (policy, priority, nice) = fields(&child);
    assert!((policy, priority) == (0, 0) && nice >= 0, "what it starts is ordinary: {child}");
    assert_eq!(obtained.memory.is_ok(), locked_kib() > 1000, "{obtained}");
    let slack = fs::read_to_string(format!("/proc/{}/timerslack_ns", nix::unistd::gettid()));
    let slack: u64 = slack.unwrap().trim().parse().unwrap();
    assert!(obtained.timers.is_ok() && slack <= 1, "{slack} ns");
    let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(obtained.survival.is_ok(), score.trim() == "-1000", "{obtained}");
}

fn scheduling(path: &str) -> (u32, u32, i32) {
    fields(&fs::read_to_string(path).unwrap())
}

/// Returns policy, real-time priority and nice value: fields 41, 40 and 19 of proc(5)'s stat.
fn fields(line: &str) -> (u32, u32, i32) {
    let after_name: Vec<_> = line.rsplit(')').next().unwrap().split_whitespace().collect();
    let field = |number: usize| after_name[number - 3];
    (field(41).parse().unwrap(), field(40).parse().unwrap(), field(19).parse().unwrap())
}

fn locked_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
