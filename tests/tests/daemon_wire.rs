//! Real daemons on a wire that loses, repeats, reflects and lies, and with the wrong papers.

use lifesign_tests::trial::{self, OTHER_KEY, Setup, Trial, WITNESS, pause};

fn with(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, body);
}

/// Tries a pair with a quorum server that is up and served by alpha.
fn pair(test: &str, body: impl FnOnce(&mut Trial)) {
    with(test, Setup::pair(), |trial| {
        trial.begin();
        body(trial);
    });
}

const ALL_PPM: u32 = 1_000_000;

/// Loses everything from `from` to `to` until all is well; whoever serves, one alone does.
fn lose_one_way(trial: &Trial, from: &str, to: &str) {
    trial.lab().set_loss(from, to, ALL_PPM);
    trial.await_that("the deaf one notices", |trial| trial.peer(to, from)["state"] == "lost");
    trial.await_that("the unheard one notices", |trial| {
        let state = trial.peer(from, to)["state"].clone();
        state == "one-way" || state == "lost"
    });
    pause(1_000);
    trial.await_that("one serves", |trial| trial.holder(0).is_some());
    trial.lab().heal();
    trial.await_ready();
}

#[test]
fn what_the_holder_says_is_lost() {
    pair("what_the_holder_says_is_lost", |trial| lose_one_way(trial, "alpha", "beta"));
}

#[test]
fn what_the_holder_should_hear_is_lost() {
    pair("what_the_holder_should_hear_is_lost", |trial| lose_one_way(trial, "beta", "alpha"));
}

#[test]
fn a_link_that_works_one_way_is_named() {
    let setup = Setup::pair().with_second_link();
    with("a_link_that_works_one_way_is_named", setup, |trial| {
        trial.begin();
        let since_us = trial.lab().now_us();
        let port = |name: &str| trial.lab().port(name, 1);
        trial.lab().switch().set_loss(port("alpha"), port("beta"), ALL_PPM);
        for name in ["alpha", "beta"] {
            trial.await_that("it is named", |trial| {
                trial.has_alert(name, "one way: alpha to beta is lost on link lan1")
            });
        }
        assert_eq!(trial.seen_since(since_us), [0], "the other link is enough");
        trial.lab().heal();
        trial.await_that("it is over", |trial| !trial.has_alert("alpha", "one way"));
    });
}

#[test]
fn three_of_ten_frames_are_lost() {
    pair("three_of_ten_frames_are_lost", |trial| {
        let names = ["alpha", "beta", WITNESS];
        for from in names {
            for to in names.into_iter().filter(|to| *to != from) {
                trial.lab().set_loss(from, to, 300_000);
            }
        }
        pause(6_000);
        trial.crash("alpha");
        trial.await_that("beta serves", |trial| trial.holder(0).as_deref() == Some("beta"));
        trial.lab().heal();
        trial.repair("alpha");
        trial.await_ready();
    });
}

#[test]
fn one_node_has_the_wrong_key() {
    with("one_node_has_the_wrong_key", Setup::pair(), |trial| {
        trial.write("other-key", OTHER_KEY);
        let settings = trial.write_changed("beta.toml", "/key\"", "/other-key\"");
        trial.start("alpha");
        trial.start(WITNESS);
        trial.await_holder("alpha");
        trial.start_with("beta", &settings);
        trial.await_that("it is counted", |trial| trial.rejected("alpha", "wrong tag") > 20);
        trial.await_that("it is told", |trial| trial.has_alert("alpha", "possible break-in"));
        assert_eq!(trial.peer("alpha", "beta")["state"], "unmet");
        assert_eq!(trial.peer("beta", "alpha")["state"], "unmet");
        trial.expect_to_stay("alpha", 1_000);
    });
}

#[test]
fn one_node_is_of_another_cluster() {
    with("one_node_is_of_another_cluster", Setup::pair(), |trial| {
        let settings = trial.write_changed("beta.toml", "\"trial\"", "\"error\"");
        trial.start("alpha");
        trial.start(WITNESS);
        trial.await_holder("alpha");
        trial.start_with("beta", &settings);
        trial.await_that("it is counted", |trial| trial.rejected("alpha", "other cluster") > 20);
        assert!(!trial.has_alert("alpha", "possible break-in"), "a stranger is no intruder");
        trial.expect_to_stay("alpha", 1_000);
    });
}

#[test]
fn frames_of_a_dead_node_are_sent_again() {
    pair("frames_of_a_dead_node_are_sent_again", |trial| {
        // What alpha says in its last seconds comes once more when it is dead, and to all.
        for to in ["beta", WITNESS] {
            for delay_us in [1_500_000, 3_000_000] {
                trial.lab().repeat("alpha", to, delay_us);
            }
        }
        pause(1_600);
        trial.await_that("it is counted", |trial| trial.rejected("beta", "replayed") > 5);
        trial.crash("alpha");
        trial.await_holder("beta");
        let since_us = trial.lab().now_us();
        pause(2_000);
        assert_eq!(trial.peer("beta", "alpha")["state"], "lost", "old frames are no life");
        assert_eq!(trial.seen_since(since_us), [1]);
        trial.repair("alpha");
        trial.await_ready();
        trial.await_holder("beta");
    });
}

#[test]
fn frames_come_back_to_their_sender() {
    pair("frames_come_back_to_their_sender", |trial| {
        let since_us = trial.lab().now_us();
        for name in ["alpha", "beta", WITNESS] {
            trial.lab().repeat(name, name, 0);
            trial.lab().repeat(name, name, 700_000);
        }
        trial.expect_throughout(2_000, "all is as it was", |trial| {
            trial.is_complete("alpha") && trial.is_complete("beta")
        });
        assert_eq!(trial.seen_since(since_us), [0]);
        trial.crash("alpha");
        trial.await_holder("beta");
    });
}

#[test]
fn keys_are_changed_without_a_gap() {
    pair("keys_are_changed_without_a_gap", |trial| {
        let since_us = trial.lab().now_us();
        let token = trial.status("alpha")["groups"][0]["token"].clone();
        let key = trial.cluster().directory().join("key").display().to_string();
        for step in [["--add", &key].as_slice(), &["--sign", "2", &key], &["--remove", "1", &key]] {
            let said = trial.run_program(&[&["keygen"], step].concat());
            assert!(said.status.success(), "{said:?}");
            for name in ["beta", WITNESS, "alpha"] {
                trial.reload(name);
                // Longer than silence is suffered: who is not understood here is lost.
                trial.expect_throughout(500, "all understand each other", |trial| {
                    trial.is_complete("alpha") && trial.is_complete("beta")
                });
            }
        }
        assert_eq!(trial.seen_since(since_us), [0]);
        assert_eq!(trial.status("alpha")["groups"][0]["token"], token, "it was held throughout");
        assert_eq!(trial.rejected("alpha", "wrong tag") + trial.rejected("beta", "wrong tag"), 0);
        // The old key is worth nothing any more.
        trial.write("old-key", trial::KEY);
        let settings = trial.write_changed("beta.toml", "/key\"", "/old-key\"");
        trial.stop("beta");
        trial.start_with("beta", &settings);
        trial.await_that("it is refused", |trial| trial.rejected("alpha", "unknown key") > 5);
    });
}

#[test]
fn two_nodes_have_different_settings() {
    with("two_nodes_have_different_settings", Setup::pair(), |trial| {
        let settings = trial.write_changed("beta.toml", "\"600ms\"", "\"601ms\"");
        trial.start("alpha");
        trial.start_with("beta", &settings);
        trial.start(WITNESS);
        for (name, peer) in [("alpha", "beta"), ("beta", "alpha")] {
            trial.await_that("it is noticed", |trial| {
                trial.peer(name, peer)["settings_agree"] == false
                    && trial.has_alert(name, "has other settings")
            });
        }
        trial.lab().cut("alpha", "beta");
        pause(1_500);
        trial.lab().heal();
        trial.stop("beta");
        trial.start("beta");
        trial.await_ready();
        assert_eq!(trial.peer("alpha", "beta")["settings_agree"], true);
    });
}

#[test]
fn nobody_claims_where_no_majority_has_the_same_settings() {
    let name = "nobody_claims_where_no_majority_has_the_same_settings";
    with(name, Setup::three(), |trial| {
        trial.start("alpha");
        for (name, promise) in [("beta", "\"601ms\""), ("gamma", "\"602ms\"")] {
            let settings = trial.write_changed(&format!("{name}.toml"), "\"600ms\"", promise);
            trial.start_with(name, &settings);
        }
        for name in ["alpha", "beta", "gamma"] {
            trial.await_that("all are alive", |trial| trial.is_complete(name));
        }
        trial.expect_throughout(2_500, "nobody claims", |trial| trial.lab().holders(0).is_empty());
        trial.stop("gamma");
        trial.start("gamma");
        trial.await_that("two agree", |trial| trial.holder(0).is_some());
        trial.stop("beta");
        trial.start("beta");
        trial.await_ready();
    });
}

/// Cuts the holder off in one direction alone, from everybody; the other takes over.
fn isolate_one_way(trial: &Trial, ways: [(&str, &str); 2]) {
    for (from, to) in ways {
        trial.lab().set_loss(from, to, ALL_PPM);
    }
    trial.await_holder("beta");
    trial.lab().heal();
    trial.await_ready();
}

#[test]
fn a_holder_that_nobody_hears_lets_go() {
    pair("a_holder_that_nobody_hears_lets_go", |trial| {
        isolate_one_way(trial, [("alpha", "beta"), ("alpha", WITNESS)]);
    });
}

#[test]
fn a_holder_that_hears_nobody_lets_go() {
    pair("a_holder_that_hears_nobody_lets_go", |trial| {
        isolate_one_way(trial, [("beta", "alpha"), (WITNESS, "alpha")]);
    });
}
