//! The real daemons on real kernels: what happens to the address when something goes wrong.
//!
//! Every test ends with the same question to the switch: did two machines ever answer for one address?

#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::process::{Command, Stdio};
use std::time::Duration;

use lifesign::namespace::{self, Users};
use lifesign_tests::ground::{Ground, Setup, WITNESS, address, key_text};
use nix::sys::signal::Signal;

/// Runs `body` on a ground of its own, in namespaces as an ordinary user has them, and asks the
/// switch at the end.
fn prove(name: &str, setup: Setup, body: impl FnOnce(&mut Ground)) {
    if namespace::enter(name, Users::New).unwrap().is_none() {
        return;
    }
    let mut ground = Ground::build(env!("CARGO_BIN_EXE_subject"), setup);
    body(&mut ground);
    ground.assert_one_holder();
}

/// Starts everything and returns the holder of the first group and the other node of a pair.
fn start(ground: &mut Ground) -> (&'static str, &'static str) {
    ground.start_all();
    let holder = ground.await_holder(0);
    (holder, if holder == "alpha" { "beta" } else { "alpha" })
}

// The situations that a quorum server is for.

#[test]
fn everything_up_has_one_holder_who_stays() {
    prove("everything_up_has_one_holder_who_stays", Setup::pair(), |ground| {
        let (holder, _) = start(ground);
        ground.pause(2_000);
        assert_eq!(ground.holder(0), Some(holder));
    });
}

#[test]
fn one_site_down_moves_the_service_to_the_other() {
    prove("one_site_down_moves_the_service_to_the_other", Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        let client = ground.client(0);
        ground.crash(holder);
        ground.await_holding(0, other);
        let since_us = ground.lab().now_us();
        ground.await_that("the client is answered", || {
            client.last_arrival_us().is_some_and(|at_us| at_us > since_us)
        });
    });
}

#[test]
fn a_lost_link_with_both_up_leaves_one_holder() {
    prove("a_lost_link_with_both_up_leaves_one_holder", Setup::pair(), |ground| {
        start(ground);
        ground.lab().cut("alpha", "beta");
        ground.pause(3_000);
        let holder = ground.await_holder(0);
        ground.lab().heal();
        ground.pause(3_000);
        assert_eq!(ground.holder(0), Some(holder), "healing moves nothing");
    });
}

#[test]
fn the_service_goes_on_without_the_quorum_server_while_both_are_up() {
    let name = "the_service_goes_on_without_the_quorum_server_while_both_are_up";
    prove(name, Setup::pair(), |ground| {
        let (holder, _) = start(ground);
        ground.crash(WITNESS);
        ground.pause(3_000);
        assert_eq!(ground.holder(0), Some(holder));
    });
}

#[test]
fn one_site_and_the_quorum_server_down_leave_nobody_and_why_says_so() {
    let name = "one_site_and_the_quorum_server_down_leave_nobody_and_why_says_so";
    prove(name, Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        ground.crash(WITNESS);
        ground.pause(1_000);
        ground.lab().set_cables(holder, false);
        ground.cluster_mut().lab_mut().machine(holder).crash();
        ground.await_nobody(0);
        ground.pause(2_000);
        assert_eq!(ground.holder(0), None);
        let output = ground.ask(other, &["why"]);
        assert!(output.status.success(), "{}", ground.journals());
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        assert!(said.contains("quorum") || said.contains("witness"), "{said}");
    });
}

// Links that lie.

#[test]
fn a_holder_that_is_heard_by_nobody_lets_go_and_another_takes_over() {
    let name = "a_holder_that_is_heard_by_nobody_lets_go_and_another_takes_over";
    prove(name, Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        ground.lab().set_loss(holder, other, 1_000_000);
        ground.lab().set_loss(holder, WITNESS, 1_000_000);
        ground.await_holding(0, other);
    });
}

#[test]
fn a_holder_that_hears_nobody_lets_go_and_another_takes_over() {
    prove("a_holder_that_hears_nobody_lets_go_and_another_takes_over", Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        ground.lab().set_loss(other, holder, 1_000_000);
        ground.lab().set_loss(WITNESS, holder, 1_000_000);
        ground.await_holding(0, other);
    });
}

#[test]
fn one_way_between_the_servers_leaves_one_holder() {
    prove("one_way_between_the_servers_leaves_one_holder", Setup::pair(), |ground| {
        start(ground);
        for (from, to) in [("alpha", "beta"), ("beta", "alpha")] {
            ground.lab().set_loss(from, to, 1_000_000);
            ground.pause(2_500);
            let _ = ground.await_holder(0);
            ground.lab().heal();
            ground.pause(1_000);
        }
    });
}

#[test]
fn loss_of_three_frames_in_ten_leaves_the_service_where_it_is_reachable() {
    let name = "loss_of_three_frames_in_ten_leaves_the_service_where_it_is_reachable";
    prove(name, Setup::pair(), |ground| {
        start(ground);
        let machines = ["alpha", "beta", WITNESS];
        for from in machines {
            for to in machines {
                ground.lab().set_loss(from, to, 300_000);
            }
        }
        ground.pause(8_000);
        let _ = ground.await_holder(0);
    });
}

// Frames that are not what they seem.

#[test]
fn a_node_with_another_key_is_a_stranger() {
    prove("a_node_with_another_key_is_a_stranger", Setup::pair(), |ground| {
        let key = ground.write("other-key", &key_text(1, &[7]));
        let other = ground.write("other-settings", &Setup::pair().settings(&key));
        ground.start_witness();
        ground.start("alpha");
        ground.await_holding(0, "alpha");
        ground.start_with("beta", &other);
        ground.pause(4_000);
        assert_eq!(ground.holder(0), Some("alpha"));
        ground.crash("alpha");
        ground.pause(3_000);
        assert_ne!(ground.holder(0), Some("beta"), "nobody promises a stranger anything");
    });
}

#[test]
fn a_node_of_another_cluster_is_a_stranger() {
    prove("a_node_of_another_cluster_is_a_stranger", Setup::pair(), |ground| {
        let key = ground.cluster().directory().join("key");
        let setup = Setup::pair().with_cluster("foreign");
        let other = ground.write("other-settings", &setup.settings(&key));
        ground.start_witness();
        ground.start("alpha");
        ground.await_holding(0, "alpha");
        ground.start_with("beta", &other);
        ground.pause(4_000);
        assert_eq!(ground.holder(0), Some("alpha"));
    });
}

#[test]
fn frames_of_a_dead_node_that_are_sent_again_keep_nobody_from_taking_over() {
    let name = "frames_of_a_dead_node_that_are_sent_again_keep_nobody_from_taking_over";
    prove(name, Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        for delay_us in [100_000, 700_000, 2_000_000, 4_000_000] {
            ground.lab().repeat(holder, other, delay_us);
            ground.lab().repeat(holder, WITNESS, delay_us);
        }
        ground.pause(3_000);
        assert_eq!(ground.holder(0), Some(holder), "repetitions change nothing");
        ground.crash(holder);
        ground.await_holding(0, other);
        ground.pause(4_500);
        assert_eq!(ground.holder(0), Some(other), "the dead do not come back by their frames");
    });
}

#[test]
fn frames_that_come_back_to_their_sender_change_nothing() {
    prove("frames_that_come_back_to_their_sender_change_nothing", Setup::pair(), |ground| {
        let (holder, _) = start(ground);
        for name in ["alpha", "beta", WITNESS] {
            ground.lab().repeat(name, name, 0);
        }
        ground.pause(3_000);
        assert_eq!(ground.holder(0), Some(holder));
    });
}

// More nodes, more groups.

#[test]
fn a_minority_of_three_that_is_cut_off_lets_go() {
    prove("a_minority_of_three_that_is_cut_off_lets_go", Setup::trio(), |ground| {
        ground.start_all();
        let holder = ground.await_holder(0);
        ground.lab().set_cables(holder, false);
        ground.await_that("another holds", || ground.holder(0).is_some_and(|now| now != holder));
        let moved = ground.await_holder(0);
        ground.lab().heal();
        ground.pause(3_000);
        assert_eq!(ground.holder(0), Some(moved), "coming back moves nothing");
    });
}

#[test]
fn two_groups_live_on_two_nodes_and_one_takes_both_when_the_other_dies() {
    let name = "two_groups_live_on_two_nodes_and_one_takes_both_when_the_other_dies";
    prove(name, Setup::pair().with_groups(2), |ground| {
        ground.start_all();
        let _ = (ground.await_holder(0), ground.await_holder(1));
        // A node that comes later moves nothing, so each gets its own by order.
        ground.order("alpha", &["takeover", "www0"]);
        ground.order("beta", &["takeover", "www1"]);
        ground.await_holding(0, "alpha");
        ground.await_holding(1, "beta");
        ground.crash("alpha");
        ground.await_holding(0, "beta");
        assert_eq!(ground.holder(1), Some("beta"));
    });
}

// Processes that die, stop and come back.

#[test]
fn a_witness_that_restarts_during_a_split_leaves_one_holder() {
    prove("a_witness_that_restarts_during_a_split_leaves_one_holder", Setup::pair(), |ground| {
        start(ground);
        ground.lab().cut("alpha", "beta");
        ground.pause(1_500);
        for _ in 0..2 {
            ground.signal(WITNESS, Signal::SIGKILL);
            ground.pause(300);
            ground.start_witness();
            ground.pause(3_000);
        }
        let _ = ground.await_holder(0);
    });
}

#[test]
fn a_killed_daemon_gives_the_address_to_the_other() {
    prove("a_killed_daemon_gives_the_address_to_the_other", Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        ground.signal(holder, Signal::SIGKILL);
        ground.await_holding(0, other);
        ground.start(holder);
        ground.pause(3_000);
        assert_eq!(ground.holder(0), Some(other));
    });
}

#[test]
fn a_frozen_daemon_is_silenced_and_wakes_up_without_the_address() {
    let name = "a_frozen_daemon_is_silenced_and_wakes_up_without_the_address";
    prove(name, Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        ground.signal(holder, Signal::SIGSTOP);
        ground.await_holding(0, other);
        ground.pause(1_500);
        ground.signal(holder, Signal::SIGCONT);
        ground.pause(3_000);
        assert_eq!(ground.holder(0), Some(other));
    });
}

#[test]
fn an_address_left_behind_by_a_kill_of_everything_is_taken_down_at_the_next_start() {
    let name = "an_address_left_behind_by_a_kill_of_everything_is_taken_down_at_the_next_start";
    prove(name, Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        ground.cluster_mut().lab_mut().machine(holder).crash();
        ground.await_holding(0, other);
        ground.start(holder);
        ground.pause(3_000);
        assert_eq!(ground.holder(0), Some(other));
        let mut list = Command::new("cat");
        list.arg("/proc/net/fib_trie").stdin(Stdio::null());
        let left = ground.cluster_mut().lab_mut().machine(holder).within(|| list.output()).unwrap();
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        assert!(!left.contains(&address(0)), "{left}");
    });
}

#[test]
fn a_kill_at_any_step_of_a_takeover_leaves_at_most_one_holder() {
    let name = "a_kill_at_any_step_of_a_takeover_leaves_at_most_one_holder";
    prove(name, Setup::pair(), |ground| {
        let (mut holder, mut other) = start(ground);
        for step in 0..8 {
            let asked = ground.ask(other, &["takeover"]);
            assert!(asked.status.success(), "{}", ground.journals());
            // Steps of the takeover are milliseconds apart; which one it hits varies by itself.
            ground.pause(step * step);
            let victim = if step % 2 == 0 { holder } else { other };
            ground.signal(victim, Signal::SIGKILL);
            let survivor = if victim == "alpha" { "beta" } else { "alpha" };
            ground.await_holding(0, survivor);
            ground.start_again(victim);
            ground.pause(1_800);
            (holder, other) = (survivor, victim);
        }
    });
}

#[test]
fn a_daemon_that_is_told_to_end_hands_over() {
    prove("a_daemon_that_is_told_to_end_hands_over", Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        ground.cluster().stop(holder, Duration::from_secs(20)).unwrap();
        ground.await_holding(0, other);
    });
}

#[test]
fn orders_move_the_address_to_and_fro() {
    prove("orders_move_the_address_to_and_fro", Setup::pair(), |ground| {
        let (holder, other) = start(ground);
        ground.order(other, &["takeover"]);
        ground.await_holding(0, other);
        ground.order(other, &["standby"]);
        ground.await_holding(0, holder);
    });
}

// Settings that change or differ.

#[test]
fn keys_are_rotated_one_node_at_a_time_without_a_gap() {
    prove("keys_are_rotated_one_node_at_a_time_without_a_gap", Setup::pair(), |ground| {
        start(ground);
        // Accept the second, sign by the second, forget the first: each step everywhere in turn.
        for (sign, keys) in [(1, &[1, 2][..]), (2, &[1, 2][..]), (2, &[2][..])] {
            let _ = ground.write("key", &key_text(sign, keys));
            for name in ["beta", WITNESS, "alpha"] {
                ground.cluster().stop(name, Duration::from_secs(20)).unwrap();
                if name == WITNESS {
                    ground.start_witness();
                } else {
                    ground.start(name);
                }
                ground.pause(2_500);
                let _ = ground.await_holder(0);
            }
        }
    });
}

#[test]
fn different_settings_on_two_nodes_leave_at_most_one_holder() {
    prove("different_settings_on_two_nodes_leave_at_most_one_holder", Setup::pair(), |ground| {
        let key = ground.cluster().directory().join("key");
        let timing =
            "heartbeat = \"50ms\"\ndead = \"900ms\"\npromise = \"1500ms\"\nsettle = \"1s\"";
        let other = ground.write("other", &Setup::pair().with_timing(timing).settings(&key));
        ground.start_witness();
        ground.start("alpha");
        ground.start_with("beta", &other);
        ground.pause(5_000);
        ground.lab().cut("alpha", "beta");
        ground.pause(3_000);
        ground.lab().heal();
        ground.pause(2_000);
    });
}
