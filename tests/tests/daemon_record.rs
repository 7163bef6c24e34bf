//! What real daemons record comes out again, bit for bit, and explains itself in the same words.

use std::path::PathBuf;

use lifesign::page::Page;
use lifesign::report::Report;
use lifesign::{record, why};
use lifesign_tests::trial::{self, Setup, Trial, WITNESS};

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

/// What a daemon has answered, and the moment that a replay is asked for.
struct Answer {
    node: &'static str,
    at: String,
    why: String,
}

fn ask(trial: &Trial, node: &'static str) -> Answer {
    let report: Report = serde_json::from_value(trial.status(node)).expect("a report");
    let micros = report.at_us;
    Answer {
        node,
        at: format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000),
        why: why::render(&report, Some("www"), Page::PLAIN).expect("an explanation"),
    }
}

fn directory(trial: &Trial, node: &str) -> PathBuf {
    record::directory(&trial.cluster().directory().join(node), node)
}

/// Replays what `node` has recorded, and returns what is said of it if all is as recorded.
fn replay(trial: &Trial, node: &str, more: &[&str]) -> Result<String, String> {
    let directory = directory(trial, node);
    let words = [&["replay", directory.to_str().expect("a path")], more].concat();
    let output = trial.run_program(&words);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said + &wrong) }
}

fn expect_replayed(trial: &Trial, node: &str, decisions: &[&str]) {
    let said = replay(trial, node, &[]).unwrap_or_else(|wrong| panic!("{node}: {wrong}"));
    assert!(said.contains(": all as recorded"), "{node}: {said}");
    for decision in decisions {
        assert!(said.contains(decision), "{node}, {decision}:\n{said}");
    }
    let segments = record::writer::segments(&directory(trial, node)).expect("segments");
    for segment in &segments {
        let output = trial.run_program(&["replay", segment.to_str().expect("a path")]);
        assert!(output.status.success(), "{}: {output:?}", segment.display());
    }
}

#[test]
fn what_happened_comes_out_again() {
    let test = "what_happened_comes_out_again";
    trial::run(test, PROGRAM, Setup::pair(), |trial| {
        let from = "quorum = [";
        let to = "record = \"1MiB\"\nquorum = [";
        let settings = trial.write_changed("recorded.toml", from, to);
        trial.start(WITNESS);
        trial.start_with("alpha", &settings);
        trial.start_with("beta", &settings);
        trial.await_ready();
        let mut answers = vec![ask(trial, "alpha"), ask(trial, "beta")];
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        answers.extend([ask(trial, "alpha"), ask(trial, "beta")]);
        trial.reload("alpha");
        trial.kill("beta");
        trial.await_holder("alpha");
        answers.push(ask(trial, "alpha"));
        trial.lab().cut("alpha", WITNESS);
        trial.await_nobody();
        answers.push(ask(trial, "alpha"));
        trial.lab().heal();
        trial.await_holder("alpha");
        trial.await_that("beta's last moment is on disk", |trial| {
            replay(trial, "beta", &[]).is_ok_and(|said| said.contains("holds www"))
        });
        trial.stop("alpha");
        trial.await_that("alpha's end is on disk", |trial| {
            replay(trial, "alpha", &[]).is_ok_and(|said| said.contains("the daemon has left"))
        });
        let lost = "beta is lost: silent on every link";
        let left = "beta has left in good order";
        let said = replay(trial, "alpha", &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
        // A killed daemon's supervisor says farewell in its place, if it comes in time.
        assert!(said.contains(lost) || said.contains(left), "{said}");
        expect_replayed(
            trial,
            "alpha",
            &[
                "holds www (token",
                "stops www (token",
                "accepts the keys 1 and signs with 1",
                "leaving in good order, as asked by a signal",
                "the recording ends: the daemon has left",
            ],
        );
        expect_replayed(trial, "beta", &["takes over www, as the operator asks"]);
        for Answer { node, at, why } in answers {
            let again = replay(trial, node, &["--why", "www", "--at", &at]);
            assert_eq!(again.as_deref().map(str::trim_end), Ok(why.trim_end()), "{node} at {at}");
        }
    });
}
