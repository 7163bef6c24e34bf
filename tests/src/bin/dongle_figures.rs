//! What the dongle's real firmware does in QEMU, in figures.
//!
//! `cargo run --release -p lifesign-tests --bin dongle_figures [ROUNDS]`, after `firmware/build`:
//! with lines at 115200 baud, how many frames a second one port sustains, how long a frame takes
//! from one server through the dongle to another, and how long after the last frame of a dead
//! server its reset line pulses. ROUNDS is how often the last is tried, 10 unless said.
//!
//! Needs no privileges: everything happens in namespaces. QEMU has no model of how long
//! instructions take, so what it adds is its own. A busy machine makes the figures worse.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use lifesign::clock;
use lifesign::demo::emulator::Board;
use lifesign::demo::machine;
use lifesign::namespace::{self, Users};
use lifesign::wire::Side;
use lifesign_core::stream::line_len;
use lifesign_core::time::Instant;
use lifesign_tests::rig::{self, Rig, SPEED};
use lifesign_tests::trial::{Setup, Trial};

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "LIFESIGN_DONGLE_FIGURES";

/// How many frames are timed.
const SAMPLES: usize = 400;

fn main() -> ExitCode {
    if let Some(outcome) = machine::play_role() {
        return outcome.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    if std::env::var_os(INSIDE).is_none() {
        return enter();
    }
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    namespace::raise_loopback().expect("a namespace of its own");
    let program = std::env::current_exe().expect("this program");
    let image = rig::image(Board::Mps2An385);
    {
        let mut rig = Rig::build(&program, Board::Mps2An385, &image, 2);
        rig.provision();
        throughput(&mut rig);
        latency(&mut rig);
    }
    fencing(rounds);
    ExitCode::SUCCESS
}

/// Starts this program once more, in namespaces of its own.
fn enter() -> ExitCode {
    let mut command = Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(INSIDE, "1");
    namespace::isolate(&mut command, Users::New);
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("dongle_figures: enter namespaces: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One speaker says as much as its line takes, and the other counts.
fn throughput(rig: &mut Rig) {
    const SECONDS: f64 = 5.0;
    let frame = rig.speakers[0].next_frame(0, &rig::keyring());
    let speaker = rig.speakers[0].node();
    let lost = rig.overrun();
    let begun = clock::now();
    let mut heard = Vec::new();
    while seconds(begun, clock::now()) < SECONDS {
        rig.speakers[0].say();
        heard.extend(rig.speakers[1].take_heard());
    }
    // What is still on its way does not count.
    heard.retain(|frame| frame.node == speaker);
    let span = match heard[..] {
        [first, .., last] => seconds(first.at, last.at),
        _ => f64::NAN,
    };
    let capacity = f64::from(SPEED) / 10.0 / to_f64(line_len(frame.len()));
    println!("one port at {SPEED} baud, frames of {} bytes:", frame.len());
    println!("  the line carries {capacity:.0} frames/s");
    println!("  the other port passes on {:.0} frames/s", (to_f64(heard.len()) - 1.0) / span);
    println!("  bytes that QEMU did not take in time: {}", rig.overrun() - lost);
}

/// One speaker says a frame at a time, and the other notes when it is whole.
fn latency(rig: &mut Rig) {
    let mut taken_us = Vec::new();
    let mut len = 0;
    for _ in 0..SAMPLES {
        let frame = rig.speakers[0].next_frame(0, &rig::keyring());
        len = frame.len();
        rig.speakers[1].take_heard();
        let said = clock::now();
        rig.speakers[0].say_message(&frame);
        taken_us.extend(await_frame(rig, said));
        thread::sleep(Duration::from_millis(20));
    }
    // The frame is on one line, and then on the other.
    let line_us = 2.0 * to_f64(line_len(len)) * 10.0 * 1e6 / f64::from(SPEED);
    taken_us.sort_by(f64::total_cmp);
    let (median, late) = (percentile(&taken_us, 50), percentile(&taken_us, 99));
    println!("from one server through the dongle to the other, frames of {len} bytes:");
    println!("  {} of {SAMPLES} came; on the two lines {:.2} ms", taken_us.len(), line_us / 1e3);
    println!("  median {:.2} ms, p99 {:.2} ms", median / 1e3, late / 1e3);
    println!(
        "  besides the lines: median {:.2} ms, p99 {:.2} ms",
        (median - line_us) / 1e3,
        (late - line_us) / 1e3
    );
}

fn await_frame(rig: &mut Rig, said: Instant) -> Option<f64> {
    let speaker = rig.speakers[0].node();
    while seconds(said, clock::now()) < 1.0 {
        let heard = rig.speakers[1].take_heard();
        if let Some(frame) = heard.iter().find(|frame| frame.node == speaker) {
            return Some(seconds(said, frame.at) * 1e6);
        }
        thread::sleep(Duration::from_micros(50));
    }
    None
}

/// Kills the holder of a group that needs fencing, again and again.
fn fencing(rounds: usize) {
    let spans = "heartbeat = \"50ms\"\ndead = \"300ms\"\npromise = \"400ms\"\nsettle = \"1s\"\n";
    let setup = Setup::with_dongle(&["alpha", "beta"]).with_spans(spans).with_guard("fence");
    let program = std::env::current_exe().expect("this program");
    // The daemon is the program beside this one.
    let program = program.with_file_name("subject");
    let program = program.to_str().expect("a path in UTF-8");
    let mut trial = Trial::build(program, setup);
    let dongle = trial.start_dongle();
    trial.begin();
    let (mut pulses_us, mut answers_us) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (server, name) = (round % 2, ["alpha", "beta"][round % 2]);
        let other = ["beta", "alpha"][round % 2];
        trial.await_holder(name);
        // The dongle leaves two seconds between pulses.
        thread::sleep(Duration::from_millis(2_500));
        let count = dongle.pulses().len();
        let mut last_us = trial.lab().now_us();
        trial.crash(name);
        let mut taken = 0;
        while dongle.pulses().len() == count {
            let now_taken = dongle.line(server).traffic(Side::Left).taken;
            if now_taken != taken {
                (taken, last_us) = (now_taken, trial.lab().now_us());
            }
            thread::sleep(Duration::from_millis(1));
        }
        let begun_us = dongle.pulses()[count].begun_us;
        trial.await_holder(other);
        let index = trial.lab().index_of(other);
        let record = trial.lab().switch().record(0);
        let spans = record.all.spans().iter().filter(|span| span.server == index);
        let first_us = spans.map(|span| span.first_us).filter(|first_us| *first_us > begun_us);
        pulses_us.push(to_f64_us(begun_us.saturating_sub(last_us)));
        answers_us.extend(first_us.min().map(|at_us| to_f64_us(at_us - begun_us)));
        trial.repair(name);
        trial.await_ready();
    }
    pulses_us.sort_by(f64::total_cmp);
    answers_us.sort_by(f64::total_cmp);
    println!("heartbeat 50 ms, dead 300 ms, promise 400 ms, guard fence, {rounds} crashes:");
    for (what, us) in [
        ("the dead server's last byte to its reset pulse", &pulses_us),
        ("that to the other's first answer, a pulse of 200 ms included", &answers_us),
    ] {
        let [least, median, most] = [0, 50, 100].map(|percent| percentile(us, percent) / 1e3);
        println!("  {what}: median {median:.0} ms, {least:.0} to {most:.0} ms");
    }
    trial.expect_one_holder_at_most();
}

fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(f64::NAN)
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to_f64_us(to.since(from).as_micros()) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "spans are far below 2^53 microseconds")]
fn to_f64_us(us: u64) -> f64 {
    us as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn to_f64(count: usize) -> f64 {
    count as f64
}
