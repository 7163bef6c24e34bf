//! Real daemons with a serial cable between them besides their network.

use std::sync::Mutex;

use lifesign::wire::{End, Faults, Side, Wire};
use lifesign_tests::trial::{self, Setup, Trial, WITNESS, pause};

const CABLE: &str = "\n[[link]]\nname = \"cable\"\nkind = \"serial\"\n\
    device = { alpha = \"DIRECTORY/alpha.tty\", beta = \"DIRECTORY/beta.tty\" }\n";

/// Tries a pair with a quorum server and a cable, which is not joined yet.
///
/// One after the other, for a line that nobody serves on a busy machine is as good as cut.
fn with(test: &str, body: impl FnOnce(&mut Trial)) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();
    let setup = Setup::pair().with_services(CABLE);
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, body);
}

/// Tries the same with the cable joined and alpha serving.
fn wired(test: &str, body: impl FnOnce(&mut Trial, &Wire)) {
    with(test, |trial| {
        let wire = join(trial);
        begin(trial, "");
        trial.await_that("the cable works", |trial| {
            ["alpha", "beta"].iter().all(|name| diagnosis(trial, name) == "good")
        });
        body(trial, &wire);
    });
}

/// Starts every daemon, with `top` at the top of the settings and with spans that a machine which
/// is busy keeps on a line too, and waits until alpha serves.
fn begin(trial: &mut Trial, top: &str) {
    let spans = "dead = \"1500ms\"\npromise = \"1s\"";
    let from = "dead = \"500ms\"\npromise = \"600ms\"";
    let patient = trial.write_changed("patient.toml", from, spans);
    let text = std::fs::read_to_string(patient).expect("the settings");
    trial.write("topped.toml", &format!("{top}{text}"));
    let settings = trial.cluster().directory().join("topped.toml");
    for name in ["alpha", "beta"] {
        trial.start_with(name, &settings);
    }
    trial.start(WITNESS);
    trial.await_ready();
    if trial.holder(0).as_deref() != Some("alpha") {
        trial.order("alpha", &["takeover", "www"]);
    }
    trial.await_holder("alpha");
}

fn join(trial: &Trial) -> Wire {
    let directory = trial.cluster().directory();
    let [alpha, beta] = ["alpha", "beta"].map(|name| directory.join(format!("{name}.tty")));
    let joined = Wire::join(End::Terminal(alpha), End::Terminal(beta), Some(115_200));
    joined.expect("a wire")
}

fn diagnosis(trial: &Trial, name: &str) -> String {
    let port = &trial.status(name)["links"][1]["ports"][0];
    port["diagnosis"].as_str().unwrap_or_default().to_owned()
}

/// Cuts everybody off from everybody else but the client.
fn cut_every_network(trial: &Trial) {
    trial.lab().cut("alpha", "beta");
    trial.lab().cut("alpha", WITNESS);
    trial.lab().cut("beta", WITNESS);
}

fn ip_side_works(trial: &Trial, name: &str) -> bool {
    trial.status(name)["ip_side"]["works"] == true
}

#[test]
fn nothing_moves_while_a_serial_line_lives() {
    wired("nothing_moves_while_a_serial_line_lives", |trial, _| {
        let since_us = trial.lab().now_us();
        cut_every_network(trial);
        for name in ["alpha", "beta"] {
            trial.await_that("lost redundancy is told", |trial| {
                trial.has_alert(name, "redundancy is lost")
            });
            trial.await_that("its own network is doubted", |trial| !ip_side_works(trial, name));
        }
        trial.expect_throughout(6_000, "the peers live and alpha serves", |trial| {
            trial.peer("beta", "alpha")["state"] == "alive"
                && trial.peer("alpha", "beta")["state"] == "alive"
        });
        assert_eq!(trial.seen_since(since_us), [0]);
        let why = trial.ask("beta", &["why", "www"]);
        assert!(why.contains("this node's IP side is down"), "{why}");
        trial.lab().heal();
        trial.await_ready();
        trial.await_that("all is clear", |trial| {
            ["alpha", "beta"].iter().all(|name| {
                ip_side_works(trial, name)
                    && !trial.has_alert(name, "redundancy")
                    && !trial.has_alert(name, "IP side")
            })
        });
        assert_eq!(trial.seen_since(since_us), [0]);
    });
}

#[test]
fn a_node_that_no_client_reaches_gives_its_group_away() {
    wired("a_node_that_no_client_reaches_gives_its_group_away", |trial, _| {
        trial.lab().set_cables("alpha", false);
        trial.await_holder("beta");
        trial.await_that("the reason is told", |trial| {
            trial.ask("alpha", &["why", "www"]).contains("IP side is down")
        });
        assert!(ip_side_works(trial, "beta"));
        assert_eq!(trial.peer("beta", "alpha")["state"], "alive");
        let refused = trial.ask("alpha", &["takeover", "www"]);
        assert!(refused.contains("IP side is down"), "{refused}");
        trial.lab().set_cables("alpha", true);
        trial.await_that("alpha is back", |trial| ip_side_works(trial, "alpha"));
        pause(500);
        trial.await_holder("beta");
    });
}

#[test]
fn the_farewell_of_a_killed_daemon_goes_over_the_cable_too() {
    wired("the_farewell_of_a_killed_daemon_goes_over_the_cable_too", |trial, _| {
        trial.lab().cut("alpha", "beta");
        trial.await_that("lost redundancy is told", |trial| {
            trial.has_alert("beta", "redundancy is lost: alpha is heard without IP alone")
        });
        trial.kill("alpha");
        trial.await_holder("beta");
        assert_eq!(trial.peer("beta", "alpha")["state"], "left");
    });
}

#[test]
fn a_ping_that_is_answered_is_a_sign_of_life() {
    with("a_ping_that_is_answered_is_a_sign_of_life", |trial| {
        let _wire = join(trial);
        begin(trial, "ping = [\"10.77.0.50\"]\n");
        for name in ["alpha", "beta"] {
            trial.await_that("the client answers", |trial| {
                trial.status(name)["ip_side"]["pings"][0]["answered_ms"].is_number()
            });
        }
        cut_every_network(trial);
        trial.await_that("lost redundancy is told", |trial| {
            trial.has_alert("alpha", "redundancy is lost")
        });
        trial.expect_throughout(6_000, "clients are reached", |trial| {
            ip_side_works(trial, "alpha") && ip_side_works(trial, "beta")
        });
        trial.lab().set_cables("alpha", false);
        trial.await_holder("beta");
    });
}

#[test]
fn a_device_that_is_missing_is_one_line_and_comes_back() {
    with("a_device_that_is_missing_is_one_line_and_comes_back", |trial| {
        begin(trial, "");
        for name in ["alpha", "beta"] {
            trial.await_that("it is missed", |trial| trial.has_alert(name, "no such"));
        }
        let count = |trial: &Trial| trial.cluster().journal("alpha").matches("alpha.tty").count();
        pause(2_500);
        assert_eq!(count(trial), 1, "{}", trial.cluster().journal("alpha"));
        let wire = join(trial);
        for name in ["alpha", "beta"] {
            trial.await_that("the cable works", |trial| diagnosis(trial, name) == "good");
            trial.await_that("all is clear", |trial| !trial.has_alert(name, "alpha.tty"));
        }
        wire.set_faults(Side::Left, Faults { is_drowned: true, ..Faults::default() });
        trial.await_that("noise is told", |trial| trial.has_alert("beta", "noise alone"));
        trial.await_holder("alpha");
    });
}
