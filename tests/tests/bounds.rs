//! What `lifesign check` promises, held against engines in virtual time.
#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use lifesign::address::lease::Enforcer;
use lifesign::check::{Bounds, Check, GroupCheck};
use lifesign::settings::Settings;
use lifesign_core::group::GroupId;
use lifesign_tests::random::Random;
use lifesign_tests::world::{Micros, Setup, World};

/// Settings of a profile for so many nodes, with a witness if the nodes can tie.
fn settings(profile: &str, nodes: u8) -> Settings {
    let mut text =
        format!("version = 1\ncluster = \"web\"\nkey_file = \"/k\"\nprofile = {profile:?}\n");
    let witnesses = u8::from(nodes.is_multiple_of(2));
    if witnesses > 0 {
        text.push_str("quorum = [\"majority\", \"witness\"]\n[[witness]]\nname = \"w\"\n");
    }
    let mut members = String::new();
    for node in 0..nodes {
        text.push_str(&format!("[[node]]\nname = \"n{node}\"\n"));
        members.push_str(&format!("n{node} = \"10.0.0.{}\", ", node + 1));
    }
    if witnesses > 0 {
        members.push_str("w = \"10.0.0.99\"");
    }
    text.push_str(&format!(
        "[[link]]\nname = \"lan\"\nadapter = \"eth0\"\nmembers = {{ {} }}\n\
         [[group]]\nname = \"www\"\naddresses = [\"10.0.0.100/24\"]\n",
        members.trim_end_matches(", ")
    ));
    Settings::parse("bounds.toml", &text).unwrap()
}

/// Returns a world of these settings in which starting and stopping take `start_us`, and what
/// `check` says of its group.
fn world(profile: &str, nodes: u8, start_us: Micros) -> (Setup, GroupCheck) {
    let settings = settings(profile, nodes);
    let check = Check::new(&settings, Enforcer::Bpf);
    assert!(check.accepted, "{check}");
    let setup = Setup {
        heartbeat_ms: settings.timing.heartbeat.as_millis(),
        dead_ms: settings.timing.dead.as_millis(),
        promise_ms: settings.groups[0].promise.as_millis(),
        clock_error: settings.clock_error,
        start_us,
        ..Setup::fast(nodes, u8::from(nodes.is_multiple_of(2)))
    };
    (setup, check.groups[0].clone())
}

fn bounds(group: &GroupCheck) -> &Bounds {
    group.bounds.as_ref().unwrap()
}

fn millis(micros: Micros) -> f64 {
    micros as f64 / 1000.0
}

const CLUSTERS: [(&str, u8, u64); 5] =
    [("fast", 2, 60), ("fast", 3, 60), ("fast", 5, 20), ("standard", 2, 40), ("slow", 3, 20)];

#[test]
fn no_crash_costs_more_than_the_bound() {
    for (profile, nodes, runs) in CLUSTERS {
        // In this world an address answers as soon as it may be started.
        let (setup, group) = world(profile, nodes, 1000);
        let bounds = bounds(&group);
        let term = |name| bounds.crash_terms.iter().find(|(term, _)| *term == name).unwrap().1;
        let mut longest: f64 = 0.0;
        for seed in 0..runs {
            let mut world = World::running(setup.clone(), seed);
            world.run_for(Random::new(seed).below(setup.heartbeat_ms * 1000));
            let holder = world.holder(0).unwrap();
            world.crash(holder);
            world.run_for(setup.promise_ms * 5000);
            assert_eq!(world.wrong(), None, "{}", world.told());
            assert!(world.holder(0).is_some_and(|now| now != holder), "{}", world.told());
            let outage = millis(world.outage[0]);
            assert!(
                outage + term("start") <= bounds.crash_ms,
                "{profile}, {nodes} nodes: {outage} of {bounds:?}{}",
                world.told()
            );
            longest = longest.max(outage);
        }
        // What is said of the silence is not far above what happens.
        assert!(longest >= 0.9 * term("silence"), "{profile}, {nodes} nodes: {longest} at most");
    }
}

#[test]
fn no_switchover_costs_more_than_the_bound() {
    for (profile, nodes, runs) in CLUSTERS {
        let (setup, group) = world(profile, nodes, 2000);
        for seed in 0..runs {
            let mut world = World::running(setup.clone(), seed);
            world.run_for(Random::new(seed).below(setup.heartbeat_ms * 1000));
            let holder = world.holder(0).unwrap();
            let taker = (holder + 1) % nodes;
            world.clear_outage();
            world.order(taker, |engine, now| engine.handle_takeover(GroupId::new(0), now));
            world.run_for(setup.heartbeat_ms * 20_000);
            assert_eq!(world.holder(0), Some(taker), "{}", world.told());
            let (outage, bound) = (millis(world.outage[0]), bounds(&group).switchover_ms);
            assert!(
                outage <= bound,
                "{profile}, {nodes} nodes: {outage} > {bound}{}",
                world.told()
            );
        }
    }
}

#[test]
fn where_nothing_is_lost_nothing_moves_at_any_phase() {
    for (profile, nodes, runs) in CLUSTERS {
        let (setup, _) = world(profile, nodes, 1000);
        for seed in 0..runs {
            let mut world = World::running(setup.clone(), seed);
            // Clocks that drift apart bring every pair of phases up.
            let mut random = Random::new(seed);
            for _ in 0..20 {
                let numbers = world.numbers();
                let at = usize::try_from(random.below(numbers.len() as u64)).unwrap();
                world.set_clock_error(
                    numbers[at],
                    9000 - i64::try_from(random.below(18_000)).unwrap(),
                );
                world.run_for(setup.heartbeat_ms * 10_000);
            }
            assert_eq!(world.outage[0], 0, "{profile}, {nodes} nodes, seed {seed}{}", world.told());
            assert_eq!(world.wrong(), None, "{}", world.told());
        }
    }
}

#[test]
fn as_many_lost_heartbeats_as_promised_move_nothing() {
    for (profile, nodes, runs) in CLUSTERS {
        let (setup, group) = world(profile, nodes, 1000);
        let lost = group.survives.dead.min(group.survives.authority);
        for seed in 0..runs {
            let mut world = World::running(setup.clone(), seed);
            let mut random = Random::new(seed);
            for _ in 0..10 {
                world.run_for(random.below(setup.heartbeat_ms * 1000));
                for one in world.numbers() {
                    for other in world.numbers().into_iter().filter(|other| *other > one) {
                        world.cut(one, other);
                    }
                }
                // No more than `lost` beats of anybody's clock fall into this span.
                world.run_for(lost * setup.heartbeat_ms * 990);
                world.heal();
                world.run_for(setup.dead_ms * 3000);
            }
            assert_eq!(world.outage[0], 0, "{profile}, {nodes} nodes, seed {seed}{}", world.told());
        }
    }
}
