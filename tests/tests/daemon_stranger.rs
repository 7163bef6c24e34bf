//! Real daemons, and a machine that is none of theirs with the service address.

use lifesign_tests::trial::{self, Setup, Trial};

const SAID: &str = "10.77.0.100 is used by another machine";

fn with_pair(test: &str, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), Setup::pair(), body);
}

#[test]
fn an_address_that_a_stranger_has_is_taken_by_nobody() {
    with_pair("an_address_that_a_stranger_has_is_taken_by_nobody", |trial| {
        trial.run_on("client", "ip address add 10.77.0.100/24 dev eth0");
        trial.start_all();
        for name in ["alpha", "beta"] {
            trial.await_that("it is told", |trial| trial.has_alert(name, SAID));
        }
        trial.expect_throughout(3_000, "nobody takes it", |trial| trial.holder(0).is_none());
        trial.run_on("client", "ip address delete 10.77.0.100/24 dev eth0");
        trial.await_that("somebody takes it", |trial| trial.holder(0).is_some());
    });
}

#[test]
fn an_address_that_is_stolen_stays_where_it_is_and_that_is_told() {
    with_pair("an_address_that_is_stolen_stays_where_it_is_and_that_is_told", |trial| {
        trial.begin();
        trial.run_on("client", "ip address add 10.77.0.100/24 dev eth0");
        // The kernel announces what an adapter has when it is switched on.
        trial.run_on("client", "sysctl -qw net.ipv4.conf.eth0.arp_notify=1");
        trial.run_on("client", "ip link set eth0 down");
        trial.run_on("client", "ip link set eth0 up");
        trial.await_that("it is told", |trial| trial.has_alert("alpha", SAID));
        trial.expect_to_stay("alpha", 1_000);
    });
}
