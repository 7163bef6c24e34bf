//! Real daemons whose groups follow each other, or are kept apart.

use lifesign_tests::trial::{self, Setup, Trial};

const WWW: usize = 0;
const OTHER: usize = 1;

/// Returns a pair with a second group, in whose table `line` stands.
fn pair(name: &'static str, nodes: &[&'static str], line: &str) -> Setup {
    Setup::pair().with_timing("offer = \"1s\"").with_group(name, nodes).with_services(line)
}

fn tried(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        trial.begin();
        body(trial);
        trial.expect_one_holder_at_most();
    });
}

fn await_both(trial: &Trial, www: &str, other: Option<&str>) {
    trial.await_that(&format!("www on {www}, the other on {other:?}"), |trial| {
        trial.holder(WWW).as_deref() == Some(www) && trial.holder(OTHER).as_deref() == other
    });
}

#[test]
fn a_group_goes_where_the_one_goes_that_it_follows() {
    let setup = pair("web", &[], "with = \"www\"\n");
    tried("a_group_goes_where_the_one_goes_that_it_follows", setup, |trial| {
        await_both(trial, "alpha", Some("alpha"));
        let text = trial.ask("beta", &["takeover", "web"]);
        assert!(text.contains("it follows www, which is not up here"), "{text}");
        let text = trial.ask("alpha", &["standby", "web"]);
        assert!(text.contains("`lifesign standby www` sends both away"), "{text}");
        let text = trial.ask("beta", &["why", "web"]);
        assert!(text.contains("runs with: www"), "{text}");
        assert!(text.contains("`lifesign takeover www` here brings both"), "{text}");
        assert!(trial.ask("alpha", &["why", "www"]).contains("followed by: web"));
        trial.order("beta", &["takeover", "www"]);
        await_both(trial, "beta", Some("beta"));
        trial.await_that("alpha sees it", |trial| trial.is_complete("alpha"));
        trial.crash("beta");
        await_both(trial, "alpha", Some("alpha"));
        assert_eq!(trial.status("alpha")["groups"][OTHER]["with"], "www");
    });
}

#[test]
fn on_the_last_server_one_makes_way() {
    let setup = pair("test", &["beta", "alpha"], "apart = [\"www\"]\n");
    tried("on_the_last_server_one_makes_way", setup, |trial| {
        await_both(trial, "alpha", Some("beta"));
        let text = trial.ask("alpha", &["takeover", "test"]);
        assert!(text.contains("www is here or comes here, and comes first"), "{text}");
        trial.crash("alpha");
        trial.await_holder_of(WWW, "beta");
        let rests = |trial: &Trial| trial.lab().holders(OTHER).is_empty();
        trial.await_that("the other makes way", rests);
        trial.expect_throughout(1_500, "nobody answers for the other", rests);
        let text = trial.ask("beta", &["status"]);
        assert!(text.contains("DEGRADED") && text.contains("test makes way for www"), "{text}");
        let text = trial.ask("beta", &["why", "test"]);
        assert!(text.contains("www is here or comes here, and comes first"), "{text}");
        trial.repair("alpha");
        await_both(trial, "beta", Some("alpha"));
        trial.order("alpha", &["takeover", "www"]);
        await_both(trial, "alpha", Some("beta"));
    });
}
