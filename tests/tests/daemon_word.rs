//! Real daemons that are told something for all of them: maintenance, disable, enable and move.

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lifesign_tests::trial::{self, Setup, Trial};

/// Two servers and a service that is up where a file says so.
fn pair() -> Setup {
    Setup::pair().with_services(
        "[[group.service]]\nname = \"db\"\nstart = [\"DIRECTORY/agent\"]\n\
         stop = [\"DIRECTORY/agent\"]\nmonitor = [\"DIRECTORY/agent\"]\n\
         start_limit = \"10s\"\nstop_limit = \"10s\"\nmonitor_limit = \"10s\"\n\
         monitor_interval = \"100ms\"\n",
    )
}

const AGENT: &str = "#!/bin/sh
cd PLACE
[ $LIFESIGN_ACTION = monitor ] || echo $LIFESIGN_NODE.$LIFESIGN_ACTION >>calls
case $LIFESIGN_ACTION in
start) : >up.$LIFESIGN_NODE ;;
stop) rm -f up.$LIFESIGN_NODE ;;
monitor) [ -e up.$LIFESIGN_NODE ] || { echo it is dead; exit 7; } ;;
esac
";

fn tried(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        let place = trial.cluster().directory().to_owned();
        let path = place.join("agent");
        fs::write(&path, AGENT.replace("PLACE", &place.display().to_string())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        trial.begin();
        body(trial);
    });
}

fn calls(trial: &Trial) -> usize {
    let path = trial.cluster().directory().join("calls");
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// Returns what a command says, in one line.
fn said(trial: &Trial, node: &str, words: &[&str]) -> String {
    trial.ask(node, words).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn expect_said(trial: &Trial, node: &str, words: &[&str], part: &str) {
    let said = said(trial, node, words);
    assert!(said.contains(part), "{words:?} on {node}: {said}");
}

#[test]
fn in_maintenance_what_fails_is_shown_and_nothing_is_done_about_it() {
    let test = "in_maintenance_what_fails_is_shown_and_nothing_is_done_about_it";
    tried(test, pair(), |trial| {
        // Said where it is not held.
        expect_said(
            trial,
            "beta",
            &["maintenance", "on", "--for", "1h", "www"],
            "maintenance of www for ",
        );
        let before = calls(trial);
        fs::remove_file(trial.cluster().directory().join("up.alpha")).unwrap();
        trial.await_that("an alert tells it", |trial| {
            trial.has_alert("alpha", "www/db: monitor exit status 7")
        });
        trial.expect_throughout(2_000, "nothing is done", |trial| {
            calls(trial) == before && trial.holder(0).as_deref() == Some("alpha")
        });
        expect_said(trial, "alpha", &["status"], "MAINTENANCE of www: nothing moves for another ");
        expect_said(trial, "beta", &["takeover", "www"], "it is in maintenance for another ");
        expect_said(trial, "alpha", &["standby"], "it is in maintenance for another ");
        expect_said(trial, "alpha", &["move", "www", "beta"], "it is in maintenance for another ");
        expect_said(trial, "beta", &["why", "www"], "it is in maintenance for another ");
        expect_said(trial, "alpha", &["maintenance", "off"], "nothing is in maintenance");
        trial.await_that("it is restarted", |trial| calls(trial) == before + 2);
        assert_eq!(trial.holder(0).as_deref(), Some("alpha"));
    });
}

#[test]
fn maintenance_outlives_its_node_and_a_restart_and_ends_by_itself() {
    let test = "maintenance_outlives_its_node_and_a_restart_and_ends_by_itself";
    tried(test, pair(), |trial| {
        trial.order("alpha", &["maintenance", "on", "--for", "20s"]);
        trial.crash("alpha");
        trial.await_nobody();
        // It is remembered on the disk, too.
        trial.stop("beta");
        trial.start_again("beta");
        trial.await_that("beta knows", |trial| {
            trial.status("beta")["word"]["maintenance_left_ms"].is_u64()
        });
        trial.expect_throughout(3_000, "nobody claims it", |trial| {
            trial.lab().holders(0).is_empty()
                || trial.status("beta")["word"]["maintenance_left_ms"].is_null()
        });
        trial.await_holder("beta");
        assert!(trial.status("beta")["word"]["maintenance_left_ms"].is_null());
    });
}

#[test]
fn a_disabled_group_stays_down_until_it_is_enabled() {
    tried("a_disabled_group_stays_down_until_it_is_enabled", pair(), |trial| {
        expect_said(trial, "beta", &["disable", "www"], "www is disabled: stopped everywhere");
        assert!(!trial.cluster().directory().join("up.alpha").exists());
        expect_said(trial, "alpha", &["status"], "DEGRADED: www is disabled");
        for node in ["alpha", "beta"] {
            trial.stop(node);
        }
        for node in ["alpha", "beta"] {
            trial.start_again(node);
        }
        trial.await_that("both have met", |trial| {
            trial.is_complete("alpha") && trial.is_complete("beta")
        });
        trial.expect_throughout(2_000, "nobody starts it", |trial| {
            trial.lab().holders(0).is_empty()
        });
        expect_said(trial, "alpha", &["why", "www"], "the operator has disabled it on every node");
        expect_said(trial, "alpha", &["takeover", "www"], "the operator has disabled it");
        expect_said(trial, "beta", &["enable", "www"], "www is enabled, and held by ");
        trial.await_that("it is held", |trial| trial.holder(0).is_some());
        let word = trial.status("alpha")["word"].clone();
        assert_eq!(
            (word["disabled"].to_string(), word["by"].as_str()),
            ("[]".into(), Some("beta"))
        );
    });
}

#[test]
fn a_group_moves_to_the_node_that_is_named_from_any_node() {
    let setup = Setup::three();
    tried("a_group_moves_to_the_node_that_is_named_from_any_node", setup, |trial| {
        expect_said(trial, "beta", &["move", "www", "gamma"], "www is held by gamma, after ");
        trial.await_holder("gamma");
        expect_said(trial, "gamma", &["move", "www", "alpha"], "www is held by alpha, after ");
        expect_said(trial, "alpha", &["move", "www", "delta"], "there is no node \"delta\"");
        trial.order("beta", &["standby"]);
        trial.await_that("alpha knows", |trial| {
            said(trial, "alpha", &["move", "www", "beta"]).contains("beta is on standby")
        });
        trial.crash("gamma");
        trial.await_that("alpha knows", |trial| trial.peer("alpha", "gamma")["state"] == "lost");
        expect_said(trial, "alpha", &["move", "www", "gamma"], "gamma is not alive here");
    });
}

#[test]
fn a_damaged_word_is_one_clear_line_and_nothing_starts() {
    tried("a_damaged_word_is_one_clear_line_and_nothing_starts", pair(), |trial| {
        trial.order("alpha", &["disable", "www"]);
        trial.stop("beta");
        let states = fs::read_dir(trial.cluster().directory()).unwrap();
        let words: Vec<_> =
            walk(states).into_iter().filter(|it| it.ends_with("beta.word")).collect();
        let [word] = words.as_slice() else { panic!("{words:?}") };
        fs::write(word, "lifesign word, version 1\nsaid 9 beta\ndisabled \n").unwrap();
        trial.start("beta");
        trial.await_that("it says why", |trial| {
            let journal = trial.cluster().journal("beta");
            journal.contains("beta.word: damaged; it says which groups are disabled")
        });
        fs::remove_file(word).unwrap();
        trial.start_again("beta");
        trial.await_that("beta learns it again", |trial| {
            trial.status("beta")["word"]["disabled"][0] == "www"
        });
    });
}

/// Returns every file below a directory.
fn walk(entries: fs::ReadDir) -> Vec<std::path::PathBuf> {
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = |path: std::path::PathBuf| match fs::read_dir(&path) {
        Ok(below) if !path.is_symlink() => walk(below),
        _ => vec![path],
    };
    paths.flat_map(files).collect()
}
