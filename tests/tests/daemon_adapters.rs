//! Real daemons with a service and a standby adapter on one network: adapters, ports and peers that
//! fail, and what that moves.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

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
        trial.begin();
        ["alpha", "beta"].into_iter().for_each(|name| await_well(trial, name));
        body(trial);
    });
}

/// Waits until nothing is wrong with any adapter of a server.
fn await_well(trial: &Trial, name: &str) {
    trial.await_that("all is well", |trial| {
        let said = trial.verdicts(name);
        !said.is_empty() && said.iter().all(|verdict| verdict == "well")
    });
}

fn pair() -> Setup {
    Setup::pair().with_standby("ether", "")
}

/// Returns which adapter of a server has the first service address while it is held.
fn serving(trial: &Trial, name: &str) -> Option<usize> {
    let status = trial.status(name);
    let adapters = status["networks"][0]["adapters"].as_array()?;
    adapters.iter().position(|it| it["serves"].to_string().contains("10.77.0.100"))
}

/// Waits until a server answers by one of its adapters, and by no other port of the switch.
fn await_answers(trial: &Trial, name: &str, adapter: usize) {
    await_answers_for(trial, 0, name, adapter);
}

/// Waits until a server answers for the group with this index by one of its adapters alone.
fn await_answers_for(trial: &Trial, group: usize, name: &str, adapter: usize) {
    let port = trial.lab().port(name, adapter);
    trial.await_that(&format!("{name} answers for {group} by adapter {adapter}"), |trial| {
        trial.lab().switch().record(group).at_port.holders(trial.lab().now_us()) == [port]
    });
}

/// Demands that no address was ever answered for at two ports at once.
fn expect_one_port(trial: &Trial) {
    for group in 0..trial.groups() {
        let record = trial.lab().switch().record(group).at_port;
        assert_eq!(record.two_holders_us(0, u64::MAX), 0, "two ports answered: {record:?}");
    }
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
        assert_eq!(trial.verdicts("alpha"), ["no-carrier", "well"]);
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
                    trial.verdicts(name) == ["well", "well"]
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
            trial.verdicts("alpha") == ["port", "well"]
                && trial.verdicts("beta") == ["peer", "well"]
        });
        let said = "network front: eth0 hears nobody, while others are there";
        trial.await_that("there is an alert", |trial| trial.has_alert("alpha", said));
        trial.expect_to_stay("alpha", 1_000);
        assert_eq!(serving(trial, "beta"), Some(STANDBY), "nothing moves at the peer");
        port.set(trial, false);
        await_answers(trial, "alpha", SERVICE);
        trial.await_that("it is over", |trial| !trial.has_alert("alpha", said));
        assert_eq!(token(trial), token_before);
    });
}

/// Asks the client, which is no member, and answers like a router would.
fn ask_a_third_station(test: &str, station: &str) {
    let setup = Setup::pair().with_standby("udp", &format!("ask = [\"{station}\"]\n"));
    twofold(test, setup, |trial| {
        trial.add_ipv6(&["client"]);
        trial.stop(trial::WITNESS);
        trial.await_that("the quorum server is gone", |trial| {
            trial.peer("alpha", trial::WITNESS)["state"] != "alive"
        });
        let port = Fault::Port("alpha", STANDBY);
        port.set(trial, true);
        trial.await_that("each knows whose it is", |trial| {
            trial.verdicts("alpha") == ["well", "port"]
                && trial.verdicts("beta") == ["well", "peer"]
        });
        port.set(trial, false);
        trial.await_that("it is well", |trial| trial.verdicts("alpha") == ["well", "well"]);
        assert_eq!(serving(trial, "alpha"), Some(SERVICE));
    });
}

#[test]
fn two_servers_alone_ask_a_third_station_whose_adapter_it_is() {
    let test = "two_servers_alone_ask_a_third_station_whose_adapter_it_is";
    ask_a_third_station(test, "10.77.0.50");
}

#[test]
fn two_servers_alone_ask_a_third_station_by_neighbour_discovery() {
    let test = "two_servers_alone_ask_a_third_station_by_neighbour_discovery";
    ask_a_third_station(test, "fd00:77::50");
}

/// Waits until the client is connected with the group's service by IPv6 on `alpha`, and knows it at
/// one of its adapters.
fn await_six(trial: &mut Trial, adapter: usize) {
    let service: SocketAddr = "[fd00:77::100]:7000".parse().expect("an address");
    let machine = trial.cluster_mut().lab_mut().machine("alpha");
    let _listener = machine.within(|| TcpListener::bind(("::", 7000))).expect("a listener");
    let patience = Duration::from_millis(500);
    for _ in 0..40 {
        let machine = trial.cluster_mut().lab_mut().machine("client");
        if machine.within(|| TcpStream::connect_timeout(&service, patience)).is_ok() {
            let mac = trial.mac_of("alpha", &format!("eth{adapter}"));
            let known = trial.run_on("client", "ip neighbour show to fd00:77::100");
            assert!(known.contains(&mac), "alpha has {mac} there, and the client knows {known}");
            return;
        }
    }
    panic!("the client is not served by adapter {adapter}");
}

#[test]
fn addresses_of_both_families_move_and_answers_follow() {
    let test = "addresses_of_both_families_move_and_answers_follow";
    let six = "\n[[group]]\nname = \"six\"\nnetwork = \"front\"\n\
               addresses = [\"fd00:77::100/64\"]\nprefer = [\"alpha\", \"beta\"]\n";
    twofold(test, pair().with_services(six), |trial| {
        trial.add_ipv6(&["client"]);
        trial.await_that("the other group is held", |trial| {
            trial.status("alpha")["groups"][1]["role"] == "holding"
        });
        await_six(trial, SERVICE);
        for fault in [Fault::Carrier("alpha", SERVICE), Fault::Port("alpha", SERVICE)] {
            fault.set(trial, true);
            await_answers(trial, "alpha", STANDBY);
            await_six(trial, STANDBY);
            fault.set(trial, false);
            await_answers(trial, "alpha", SERVICE);
            await_six(trial, SERVICE);
        }
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
fn two_servers_that_take_each_other_over_keep_what_is_their_own_apart() {
    let test = "two_servers_that_take_each_other_over_keep_what_is_their_own_apart";
    let ask = "ask = [\"10.77.0.50\"]\n";
    let setup = Setup::pair().with_standby("ether", ask).with_group("db", &["beta", "alpha"]);
    begun(test, setup, |trial| {
        let own = [(0, "alpha", "beta"), (1, "beta", "alpha")];
        for (group, home, _) in own {
            trial.order(home, &["takeover", ["www", "db"][group]]);
            await_answers_for(trial, group, home, SERVICE);
        }
        for (taken, home, survivor) in own {
            let kept = 1 - taken;
            trial.crash(home);
            await_answers_for(trial, taken, survivor, STANDBY);
            await_answers_for(trial, kept, survivor, SERVICE);
            for failed in [STANDBY, SERVICE] {
                trial.lab().set_carrier(survivor, failed, false).expect("no carrier");
                [taken, kept]
                    .into_iter()
                    .for_each(|group| await_answers_for(trial, group, survivor, 1 - failed));
                trial.lab().set_carrier(survivor, failed, true).expect("a carrier");
            }
            await_answers_for(trial, taken, survivor, STANDBY);
            await_answers_for(trial, kept, survivor, SERVICE);
            trial.repair(home);
            trial.await_ready();
            trial.order(home, &["takeover", ["www", "db"][taken]]);
            await_answers_for(trial, taken, home, SERVICE);
        }
        expect_one_port(trial);
    });
}

#[test]
fn addresses_go_from_one_adapter_to_the_next_of_three() {
    let test = "addresses_go_from_one_adapter_to_the_next_of_three";
    twofold(test, Setup::pair().with_standbys(&["ether", "udp"], ""), |trial| {
        // Those that are at home begin with the first, those that are taken over with the second.
        for (name, order) in [("alpha", [0, 1, 2]), ("beta", [1, 2, 0])] {
            trial.order(name, &["takeover", "www"]);
            let [first, second, third] = order;
            await_answers(trial, name, first);
            let faults = [Fault::Carrier(name, first), Fault::Port(name, second)];
            faults[0].set(trial, true);
            await_answers(trial, name, second);
            faults[1].set(trial, true);
            await_answers(trial, name, third);
            let verdicts = trial.verdicts(name);
            // Where the quorum server is not, two servers cannot tell whose side it is.
            assert_eq!([&verdicts[first], &verdicts[second]], ["no-carrier", "unknown"]);
            faults[1].set(trial, false);
            await_answers(trial, name, second);
            faults[0].set(trial, false);
            await_answers(trial, name, first);
            await_well(trial, name);
        }
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
            let mut seen: Vec<usize> = record.spans().iter().map(|span| span.server).collect();
            // A busy machine stutters where it is.
            seen.dedup();
            seen.into_iter().filter(|seen| *seen == port).count()
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
    twofold(test, pair(), |trial| {
        let token_before = token(trial);
        trial.cluster_mut().lab_mut().take_adapter("alpha", SERVICE).expect("an adapter");
        await_answers(trial, "alpha", STANDBY);
        assert_eq!(trial.verdicts("alpha"), ["no-carrier", "well"]);
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

#[test]
fn adapters_that_come_and_go_during_a_takeover_keep_it_from_nothing() {
    let test = "adapters_that_come_and_go_during_a_takeover_keep_it_from_nothing";
    begun(test, pair(), |trial| {
        // Before beta has noticed, while it waits for promises to end, and while it takes over.
        for (adapter, pause_ms) in [(STANDBY, 0), (SERVICE, 550), (STANDBY, 650)] {
            trial.crash("alpha");
            trial::pause(pause_ms);
            trial.cluster_mut().lab_mut().take_adapter("beta", adapter).expect("an adapter");
            trial::pause(200);
            let address = ["10.77.0.2/24", "10.77.0.12/24"][adapter];
            let returned = trial.cluster_mut().lab_mut().return_adapter("beta", adapter, address);
            returned.expect("an adapter");
            rename(trial, "beta", &format!("eth{adapter}"), "card");
            rename(trial, "beta", "card", &format!("eth{adapter}"));
            trial.await_holder("beta");
            trial.repair("alpha");
            trial.await_ready();
            ["alpha", "beta"].into_iter().for_each(|name| await_well(trial, name));
            trial.order("alpha", &["takeover", "www"]);
            trial.await_holder("alpha");
            await_answers(trial, "alpha", SERVICE);
        }
        let now_us = trial.lab().now_us();
        assert_eq!(trial.lab().two_holders_us(0, 0, now_us), 0, "two servers answered");
    });
}

/// Gives an adapter of a server another name, which the kernel of late allows while it is up.
fn rename(trial: &mut Trial, name: &str, from: &str, to: &str) {
    trial.run_on(name, &format!("ip link set {from} down"));
    trial.run_on(name, &format!("ip link set {from} name {to}"));
    trial.run_on(name, &format!("ip link set {to} up"));
}

#[test]
fn rules_and_routes_are_undone_on_release_and_after_a_crash() {
    let test = "rules_and_routes_are_undone_on_release_and_after_a_crash";
    twofold(test, pair(), |trial| {
        trial.run_on("alpha", "ip route add default via 10.77.0.50");
        let rules = |trial: &mut Trial| trial.said_on("alpha", "ip rule list");
        let text = rules(trial);
        let led = text.split_once("from 10.77.0.100 lookup ").map(|(_, table)| table);
        let table = led.and_then(|table| table.split_whitespace().next()).unwrap_or_default();
        assert!(!table.is_empty(), "{text}");
        let list = format!("ip route list table {table}");
        let routes = |trial: &mut Trial| trial.said_on("alpha", &list);
        let ignoring = |trial: &mut Trial| {
            trial.said_on("alpha", "cat /proc/sys/net/ipv4/conf/eth1/arp_ignore")
        };
        assert!(routes(trial).contains("10.77.0.0/24 dev eth0"), "{}", routes(trial));
        // It has come while the address was held.
        let is_there = |text: String| text.contains("default via 10.77.0.50 dev eth0");
        assert!((0..500).any(|_| is_there(routes(trial)) || {
            trial::pause(10);
            false
        }));
        assert_eq!(ignoring(trial).trim(), "1");
        trial.order("alpha", &["standby", "www"]);
        trial.await_holder("beta");
        assert!(!rules(trial).contains(table) && routes(trial).is_empty(), "released");
        trial.order("alpha", &["takeover", "www"]);
        trial.await_holder("alpha");
        assert!(rules(trial).contains(table));
        trial.kill("alpha");
        trial.await_holder("beta");
        assert!(!rules(trial).contains(table) && routes(trial).is_empty(), "after a crash");
        assert_eq!(ignoring(trial).trim(), "0");
        trial.start_again("alpha");
        trial.await_ready();
    });
}
