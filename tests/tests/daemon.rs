//! Real daemons and a real quorum server: what happens when sites, links and servers fail.

use lifesign_tests::trial::{self, Setup, Trial, WITNESS, pause};
use nix::sys::signal::Signal;

/// Tries a pair with a quorum server that is up and served by alpha.
fn pair(test: &str, body: impl FnOnce(&mut Trial)) {
    with(test, Setup::pair(), |trial| {
        trial.begin();
        body(trial);
    });
}

fn with(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, body);
}

#[test]
fn everything_up() {
    pair("everything_up", |trial| {
        let since_us = trial.lab().now_us();
        trial.expect_throughout(2_000, "alpha serves and all are alive", |trial| {
            trial.is_complete("alpha") && trial.is_complete("beta")
        });
        assert_eq!(trial.seen_since(since_us), [0]);
        for name in ["alpha", "beta"] {
            let status = trial.status(name);
            assert_eq!(status["groups"][0]["holder"], "alpha", "{status}");
            assert_eq!(status["quorum"]["have"], true, "{status}");
            assert_eq!(trial.peer(name, WITNESS)["state"], "alive");
        }
    });
}

#[test]
fn one_site_down() {
    pair("one_site_down", |trial| {
        let client = trial.client();
        trial.crash("alpha");
        trial.await_holder("beta");
        let moved_us = trial.lab().now_us();
        trial.await_that("the client is answered", |_| {
            client.last_arrival_us().is_some_and(|at_us| at_us > moved_us)
        });
        trial.await_that("alpha is lost", |trial| trial.peer("beta", "alpha")["state"] == "lost");
        trial.repair("alpha");
        trial.await_ready();
        let since_us = trial.lab().now_us();
        pause(1_000);
        assert_eq!(trial.seen_since(since_us), [1], "without failback it stays");
    });
}

#[test]
fn link_lost_with_both_up() {
    pair("link_lost_with_both_up", |trial| {
        let since_us = trial.lab().now_us();
        trial.lab().cut("alpha", "beta");
        trial.await_that("both notice", |trial| {
            trial.peer("alpha", "beta")["state"] == "lost"
                && trial.peer("beta", "alpha")["state"] == "lost"
        });
        pause(1_500);
        trial.await_holder("alpha");
        assert_eq!(trial.seen_since(since_us), [0], "the witness stays with who serves");
        trial.lab().heal();
        trial.await_ready();
        assert_eq!(trial.seen_since(since_us), [0]);
    });
}

#[test]
fn quorum_server_down_with_both_up() {
    pair("quorum_server_down_with_both_up", |trial| {
        let since_us = trial.lab().now_us();
        trial.kill(WITNESS);
        trial.await_that("the loss is noticed", |trial| {
            trial.peer("alpha", WITNESS)["state"] == "lost"
        });
        pause(1_000);
        trial.await_holder("alpha");
        assert_eq!(trial.seen_since(since_us), [0], "service goes on");
        trial.order("beta", &["takeover", "www"]);
        trial.await_holder("beta");
        trial.start(WITNESS);
        trial.await_ready();
    });
}

#[test]
fn one_site_and_the_quorum_server_down() {
    pair("one_site_and_the_quorum_server_down", |trial| {
        trial.kill(WITNESS);
        trial.await_that("the loss is noticed", |trial| {
            trial.peer("beta", WITNESS)["state"] == "lost"
        });
        trial.crash("alpha");
        trial.await_nobody();
        trial.await_that("the reason is told", |trial| {
            let why = trial.ask("beta", &["why", "www"]);
            why.contains("it has no quorum") && why.contains(WITNESS)
        });
        trial.expect_throughout(1_500, "nobody serves", |trial| trial.lab().holders(0).is_empty());
        trial.start(WITNESS);
        trial.await_holder("beta");
    });
}

#[test]
fn a_minority_of_three_that_is_cut_off_stops() {
    with("a_minority_of_three_that_is_cut_off_stops", Setup::three(), |trial| {
        trial.begin();
        trial.lab().cut("alpha", "beta");
        trial.lab().cut("alpha", "gamma");
        trial.await_that("the majority serves", |trial| {
            trial.holder(0).is_some_and(|holder| holder != "alpha")
        });
        let holder = trial.holder(0);
        trial.await_that("the reason is told", |trial| {
            trial.ask("alpha", &["why", "www"]).contains("it has no quorum")
        });
        trial.lab().heal();
        trial.await_ready();
        assert_eq!(trial.holder(0), holder);
    });
}

#[test]
fn each_of_two_groups_has_its_own_server_until_one_dies() {
    let setup = Setup::pair().with_group("mail", &["beta", "alpha"]);
    with("each_of_two_groups_has_its_own_server_until_one_dies", setup, |trial| {
        trial.begin();
        trial.crash("alpha");
        trial.await_holder_of(0, "beta");
        trial.await_holder_of(1, "beta");
        trial.repair("alpha");
        trial.await_ready();
        trial.order("alpha", &["takeover", "mail"]);
        trial.await_holder_of(1, "alpha");
        trial.await_holder_of(0, "beta");
    });
}

#[test]
fn the_quorum_server_restarts_while_the_link_is_lost() {
    pair("the_quorum_server_restarts_while_the_link_is_lost", |trial| {
        trial.lab().cut("alpha", "beta");
        trial.await_that("both notice", |trial| {
            trial.peer("alpha", "beta")["state"] == "lost"
                && trial.peer("beta", "alpha")["state"] == "lost"
        });
        for _ in 0..3 {
            trial.await_that("one serves", |trial| trial.holder(0).is_some());
            trial.kill(WITNESS);
            trial.start(WITNESS);
            // It promises nothing for as long as its longest promise could still be out.
            pause(400);
        }
        trial.await_that("one serves", |trial| trial.holder(0).is_some());
        trial.lab().heal();
        trial.await_ready();
    });
}

#[test]
fn a_daemon_leaves_in_good_order() {
    pair("a_daemon_leaves_in_good_order", |trial| {
        trial.stop("alpha");
        trial.await_holder("beta");
        trial.await_that("it is known", |trial| trial.peer("beta", "alpha")["state"] == "left");
        let journal = trial.cluster().journal("beta");
        assert!(journal.contains("alpha gave it up in good order"), "{journal}");
        assert!(!trial.cluster().control("alpha").exists(), "the socket is taken away");
        trial.start("alpha");
        trial.await_ready();
        trial.await_holder("beta");
    });
}

#[test]
fn what_an_earlier_life_left_is_taken_down_first() {
    pair("what_an_earlier_life_left_is_taken_down_first", |trial| {
        for name in ["alpha", "beta", WITNESS] {
            trial.cluster_mut().lab_mut().machine(name).crash();
        }
        // Nobody is left to take the address away; the kernel silences it by itself.
        trial.await_nobody();
        trial.start("beta");
        trial.start(WITNESS);
        trial.await_holder("beta");
        trial.start("alpha");
        trial.await_ready();
        let journal = trial.cluster().journal("alpha");
        assert!(journal.contains("took down 10.77.0.100"), "{journal}");
    });
}

#[test]
fn a_frozen_holder_falls_silent() {
    pair("a_frozen_holder_falls_silent", |trial| {
        trial.signal("alpha", Signal::SIGSTOP);
        trial.await_holder("beta");
        pause(500);
        trial.signal("alpha", Signal::SIGCONT);
        trial.await_ready();
        trial.await_holder("beta");
    });
}

#[test]
fn orders_move_the_service_to_and_fro() {
    pair("orders_move_the_service_to_and_fro", |trial| {
        trial.order("beta", &["takeover"]);
        trial.await_holder("beta");
        trial.order("beta", &["standby"]);
        trial.await_holder("alpha");
        trial.order("beta", &["takeover"]);
        trial.await_holder("beta");
    });
}
