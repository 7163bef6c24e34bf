//! Real daemons with a service and a standby adapter on one network: adapters, ports and peers that
//! fail, and what that moves.

use std::process::Command;

use lifesign_tests::trial::{self, Setup, Trial};

const SERVICE: usize = 0;
const STANDBY: usize = 1;

fn twofold(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    begun(test, setup, |trial| {
        body(trial);
        expect_one_port(trial);
    });
}

/// Does the same, and leaves it to `body` at how many ports one server may answer.
fn begun(test: &str, setup: Setup, body: impl FnOnce(&mut Trial)) {
    trial::run(test, env!("CARGO_BIN_EXE_subject"), setup, |trial| {
        trial.start_all();
        trial.await_holder("alpha");
        trial.await_ready();
        for name in ["alpha", "beta"] {
            trial.await_that("all is well", |trial| verdicts(trial, name) == ["well", "well"]);
        }
        body(trial);
    });
}

fn pair() -> Setup {
    Setup::pair().with_standby("ether", "")
}

/// Returns what a server says of its adapters.
fn verdicts(trial: &Trial, name: &str) -> Vec<String> {
    let status = trial.status(name);
    let adapters = status["networks"][0]["adapters"].as_array().cloned().unwrap_or_default();
    adapters.iter().map(|it| it["verdict"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Returns which adapter of a server has the service addresses while they are held.
fn serving(trial: &Trial, name: &str) -> Option<usize> {
    let status = trial.status(name);
    status["networks"][0]["adapters"].as_array()?.iter().position(|it| it["serves"] == true)
}

/// Waits until a server answers by one of its adapters, and by no other port of the switch.
fn await_answers(trial: &Trial, name: &str, adapter: usize) {
    let port = trial.lab().port(name, adapter);
    trial.await_that(&format!("{name} answers by adapter {adapter}"), |trial| {
        trial.lab().switch().record(0).at_port.holders(trial.lab().now_us()) == [port]
    });
}

/// Demands that the address was never answered for at two ports at once.
fn expect_one_port(trial: &Trial) {
    let record = trial.lab().switch().record(0).at_port;
    assert_eq!(record.two_holders_us(0, u64::MAX), 0, "two ports answered: {record:?}");
}

fn token(trial: &Trial) -> u64 {
    trial.status("alpha")["groups"][0]["token"].as_u64().expect("a token")
}

#[test]
fn an_address_leaves_an_adapter_without_carrier_for_the_other_and_returns() {
    let test = "an_address_leaves_an_adapter_without_carrier_for_the_other_and_returns";
    twofold(test, pair(), |trial| {
        let token_before = token(trial);
        await_answers(trial, "alpha", SERVICE);
        trial.lab().set_carrier("alpha", SERVICE, false).expect("no carrier");
        await_answers(trial, "alpha", STANDBY);
        assert_eq!(verdicts(trial, "alpha"), ["no-carrier", "well"]);
        trial.expect_to_stay("alpha", 1_000);
        trial.lab().set_carrier("alpha", SERVICE, true).expect("a carrier");
        await_answers(trial, "alpha", SERVICE);
        trial.await_holder("alpha");
        assert_eq!(token(trial), token_before, "no other node took it meanwhile");
        assert_eq!(serving(trial, "alpha"), Some(SERVICE));
    });
}

/// What fails, by a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The adapter of this server loses its carrier.
    Carrier(&'static str, usize),
    /// The port of the switch at which it ends passes nothing, and the carrier stays.
    Port(&'static str, usize),
}

impl Fault {
    fn set(self, trial: &Trial, is_broken: bool) {
        match self {
            Self::Carrier(name, adapter) => {
                trial.lab().set_carrier(name, adapter, !is_broken).expect("a carrier");
            }
            Self::Port(name, adapter) => {
                trial.lab().switch().set_down(trial.lab().port(name, adapter), is_broken);
            }
        }
    }

    /// Returns whether an adapter of a server is of use with this fault.
    fn spares(self, other: (&str, usize)) -> bool {
        let (Self::Carrier(name, adapter) | Self::Port(name, adapter)) = self;
        (name, adapter) != other
    }
}

/// Waits until clients can reach the address: at one port, whose cable works.
fn await_service(trial: &Trial, faults: &[Fault]) {
    trial.await_that(&format!("somebody is reached in spite of {faults:?}"), |trial| {
        let works = |name: &str, adapter| faults.iter().all(|fault| fault.spares((name, adapter)));
        let at = trial.lab().switch().record(0).at_port.holders(trial.lab().now_us());
        ["alpha", "beta"].into_iter().any(|name| {
            [SERVICE, STANDBY]
                .into_iter()
                .any(|adapter| at == [trial.lab().port(name, adapter)] && works(name, adapter))
        })
    });
}

/// Breaks two things one after the other, and repairs them in the same order.
fn every_order(trial: &Trial, kind: fn(&'static str, usize) -> Fault) {
    let places = [("alpha", SERVICE), ("alpha", STANDBY), ("beta", SERVICE), ("beta", STANDBY)];
    let faults = places.map(|(name, adapter)| kind(name, adapter));
    for first in faults {
        for second in faults.into_iter().filter(|other| *other != first) {
            first.set(trial, true);
            await_service(trial, &[first]);
            second.set(trial, true);
            await_service(trial, &[first, second]);
            first.set(trial, false);
            await_service(trial, &[second]);
            second.set(trial, false);
            for name in ["alpha", "beta"] {
                trial.await_that(&format!("{first:?} and {second:?} are repaired"), |trial| {
                    verdicts(trial, name) == ["well", "well"]
                });
            }
            expect_one_port(trial);
        }
    }
}

#[test]
fn the_address_is_reached_whichever_two_adapters_lose_their_carriers() {
    let test = "the_address_is_reached_whichever_two_adapters_lose_their_carriers";
    twofold(test, pair(), |trial| every_order(trial, Fault::Carrier));
}

#[test]
fn the_address_is_reached_whichever_two_ports_fall_silent() {
    let test = "the_address_is_reached_whichever_two_ports_fall_silent";
    twofold(test, pair(), |trial| every_order(trial, Fault::Port));
}

#[test]
fn a_port_that_falls_silent_moves_the_address_and_nothing_else() {
    let test = "a_port_that_falls_silent_moves_the_address_and_nothing_else";
    twofold(test, pair(), |trial| {
        let token_before = token(trial);
        let port = Fault::Port("alpha", SERVICE);
        port.set(trial, true);
        await_answers(trial, "alpha", STANDBY);
        // The quorum server is heard by beta alone, on this link.
        trial.await_that("it is told whose side it is", |trial| {
            verdicts(trial, "alpha") == ["port", "well"]
                && verdicts(trial, "beta") == ["peer", "well"]
        });
        let said = "network front: eth0 hears nobody, while others are there";
        trial.await_that("there is an alert", |trial| trial.has_alert("alpha", said));
        trial.expect_to_stay("alpha", 1_000);
        assert_eq!(serving(trial, "beta"), Some(SERVICE), "nothing moves at the peer");
        port.set(trial, false);
        await_answers(trial, "alpha", SERVICE);
        trial.await_that("it is over", |trial| !trial.has_alert("alpha", said));
        assert_eq!(token(trial), token_before);
    });
}

#[test]
fn two_servers_alone_ask_a_third_station_whose_adapter_it_is() {
    let test = "two_servers_alone_ask_a_third_station_whose_adapter_it_is";
    // The client is no member, and answers like a router would.
    let setup = Setup::pair().with_standby("udp", "ask = [\"10.77.0.50\"]\n");
    twofold(test, setup, |trial| {
        trial.stop(trial::WITNESS);
        trial.await_that("the quorum server is gone", |trial| {
            trial.peer("alpha", trial::WITNESS)["state"] != "alive"
        });
        let port = Fault::Port("alpha", STANDBY);
        port.set(trial, true);
        trial.await_that("each knows whose it is", |trial| {
            verdicts(trial, "alpha") == ["well", "port"]
                && verdicts(trial, "beta") == ["well", "peer"]
        });
        port.set(trial, false);
        trial.await_that("it is well", |trial| verdicts(trial, "alpha") == ["well", "well"]);
        assert_eq!(serving(trial, "alpha"), Some(SERVICE));
    });
}

#[test]
fn a_network_without_a_word_is_down_and_moves_nothing() {
    let test = "a_network_without_a_word_is_down_and_moves_nothing";
    let hook = "\n[[notify]]\ncommand = [\"/bin/sh\", \"-c\", \
                \"echo $LIFESIGN_NODE $LIFESIGN_HOOK $LIFESIGN_NETWORK$LIFESIGN_GROUP \
                >> DIRECTORY/told\"]\n";
    twofold(test, pair().with_services(hook), |trial| {
        let told = |trial: &Trial| {
            let path = trial.settings().with_file_name("told");
            std::fs::read_to_string(path).unwrap_or_default()
        };
        trial.await_that("what was acquired is told", |trial| {
            told(trial).contains("alpha acquire_service www")
        });
        trial.lab().set_carrier("alpha", STANDBY, false).expect("no carrier");
        trial.await_that("it is told", |trial| told(trial).contains("alpha fail_standby front"));
        trial.lab().set_carrier("alpha", STANDBY, true).expect("a carrier");
        trial.await_that("it is told", |trial| told(trial).contains("alpha join_standby front"));
        trial.lab().set_carrier("alpha", SERVICE, false).expect("no carrier");
        trial.await_that("it is told", |trial| told(trial).contains("alpha swap_adapter front"));
        trial.lab().set_carrier("alpha", STANDBY, false).expect("no carrier");
        trial.await_that("it is told", |trial| {
            told(trial).contains("alpha network_down front")
                && told(trial).contains("beta acquire_takeover www")
                && told(trial).contains("alpha release_service www")
        });
        trial.await_holder("beta");
        for adapter in [SERVICE, STANDBY] {
            trial.lab().set_carrier("alpha", adapter, true).expect("a carrier");
        }
        trial.await_that("it is told", |trial| told(trial).contains("alpha network_up front"));
        trial.crash("alpha");
        trial.await_that("it is told", |trial| told(trial).contains("beta node_down"));
    });
}

#[test]
fn a_flapping_adapter_is_left_alone() {
    let test = "a_flapping_adapter_is_left_alone";
    twofold(test, pair(), |trial| {
        let token_before = token(trial);
        let moves = |trial: &Trial| {
            let port = trial.lab().port("alpha", STANDBY);
            let record = trial.lab().switch().record(0).at_port;
            record.spans().iter().filter(|span| span.server == port).count()
        };
        for millis in [50, 100, 200, 1_500, 1_500, 2_500, 2_500] {
            for up in [false, true] {
                trial.lab().set_carrier("alpha", SERVICE, up).expect("a carrier");
                trial::pause(millis);
            }
        }
        let moved = moves(trial);
        assert!(moved <= 3, "it was moved there {moved} times");
        assert_eq!(serving(trial, "alpha"), Some(STANDBY), "it is not trusted any more");
        await_answers(trial, "alpha", STANDBY);
        assert_eq!(token(trial), token_before);
    });
}

#[test]
fn an_adapter_that_is_renamed_pulled_out_and_put_back_is_used_again() {
    let test = "an_adapter_that_is_renamed_pulled_out_and_put_back_is_used_again";
    // An adapter that comes answers for the whole machine, as the kernel has it, until the daemon
    // has seen it; so one server may be seen at two ports for a moment.
    begun(test, pair(), |trial| {
        let token_before = token(trial);
        trial.cluster_mut().lab_mut().take_adapter("alpha", SERVICE).expect("an adapter");
        await_answers(trial, "alpha", STANDBY);
        assert_eq!(verdicts(trial, "alpha"), ["no-carrier", "well"]);
        let said = "network front: eth0 is gone";
        trial.await_that("it is told", |trial| trial.has_alert("alpha", said));
        let returned =
            trial.cluster_mut().lab_mut().return_adapter("alpha", SERVICE, "10.77.0.1/24");
        returned.expect("an adapter");
        await_answers(trial, "alpha", SERVICE);
        rename(trial, "alpha", "eth1", "card");
        trial.expect_to_stay("alpha", 500);
        rename(trial, "alpha", "eth0", "first");
        trial.lab().set_carrier("alpha", SERVICE, false).expect("no carrier");
        await_answers(trial, "alpha", STANDBY);
        trial.lab().set_carrier("alpha", SERVICE, true).expect("a carrier");
        await_answers(trial, "alpha", SERVICE);
        assert_eq!(token(trial), token_before);
    });
}

/// Gives an adapter of a server another name, which the kernel of late allows while it is up.
fn rename(trial: &mut Trial, name: &str, from: &str, to: &str) {
    run_on(trial, name, &format!("ip link set {from} down"));
    run_on(trial, name, &format!("ip link set {from} name {to}"));
    run_on(trial, name, &format!("ip link set {to} up"));
}

/// Runs a command on a server.
fn run_on(trial: &mut Trial, name: &str, words: &str) {
    let mut parts = words.split(' ');
    let program = parts.next().unwrap_or_default();
    let machine = trial.cluster_mut().lab_mut().machine(name);
    let status = machine.within(|| Command::new(program).args(parts).status());
    assert!(status.is_ok_and(|status| status.success()), "{words}");
}

/// Returns what a command on a server says.
fn said_on(trial: &mut Trial, name: &str, words: &str) -> String {
    let mut parts = words.split(' ');
    let program = parts.next().unwrap_or_default();
    let machine = trial.cluster_mut().lab_mut().machine(name);
    let output = machine.within(|| Command::new(program).args(parts).output());
    String::from_utf8_lossy(&output.expect("a command").stdout).into_owned()
}

#[test]
fn rules_and_routes_are_undone_on_release_and_after_a_crash() {
    let test = "rules_and_routes_are_undone_on_release_and_after_a_crash";
    twofold(test, pair(), |trial| {
        run_on(trial, "alpha", "ip route add default via 10.77.0.50");
        let rules = |trial: &mut Trial| said_on(trial, "alpha", "ip rule list");
        let routes = |trial: &mut Trial| said_on(trial, "alpha", "ip route list table 7600");
        let ignoring = |trial: &mut Trial| {
            said_on(trial, "alpha", "cat /proc/sys/net/ipv4/conf/eth1/arp_ignore")
        };
        assert!(rules(trial).contains("from 10.77.0.100 lookup 7600"), "{}", rules(trial));
        assert!(routes(trial).contains("10.77.0.0/24 dev eth0"), "{}", routes(trial));
        assert_eq!(ignoring(trial).trim(), "1");
        trial.order("alpha", &["standby", "www"]);
        trial.await_holder("beta");
        assert!(!rules(trial).contains("7600") && routes(trial).is_empty(), "released");
        trial.order("alpha", &["takeover", "www"]);
        trial.await_holder("alpha");
        assert!(rules(trial).contains("7600"));
        trial.kill("alpha");
        trial.await_holder("beta");
        assert!(!rules(trial).contains("7600") && routes(trial).is_empty(), "after a crash");
        assert_eq!(ignoring(trial).trim(), "0");
        trial.start_again("alpha");
        trial.await_ready();
    });
}
