//! Settings out of any text.

use lifesign::address::lease::Enforcer;
use lifesign::check::Check;
use lifesign::check::witness::WitnessCheck;
use lifesign::settings::Settings;
use lifesign::settings::mistake::Mistakes;
use lifesign::settings::witness::WitnessSettings;
use lifesign_core::engine::Engine;
use lifesign_core::frame::{self, Body, MAX_FRAME_LEN};
use lifesign_core::group::Token;
use lifesign_core::node::{BootId, NodeId};
use lifesign_core::time::{Duration, Instant};

use super::frame::KEYRINGS;

/// Reads any text as the settings of a node, and as those of a quorum server.
///
/// # Panics
/// If one of these is not so:
///
/// - Mistakes are shown in the named file, at a line that it has, with what is expected there; and
///   nothing that the file holds reaches the terminal as a command to it.
/// - What is accepted can be judged by `check` with every enforcer, in words and as JSON; `check`
///   accepts it exactly if an engine can be made of it, on every node alike; then the inequality
///   holds, and the engine speaks frames that can be read.
/// - No file is both.
pub fn settings(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    let (node, witness) = (Settings::parse(PATH, text), WitnessSettings::parse(PATH, text));
    assert!(node.is_err() || witness.is_err(), "one file for both");
    match &node {
        Ok(settings) => Enforcer::ALL.iter().for_each(|enforcer| judge(settings, *enforcer)),
        Err(mistakes) => demand_clear(mistakes, text),
    }
    match &witness {
        Ok(settings) => demand_plain(&WitnessCheck::new(settings).to_string()),
        Err(mistakes) => demand_clear(mistakes, text),
    }
}

const PATH: &str = "/etc/lifesign.toml";

fn demand_clear(mistakes: &Mistakes, text: &str) {
    let shown = mistakes.render(false);
    let count = shown.lines().filter(|line| line.starts_with("error: ")).count();
    let list = mistakes.list();
    assert!(!list.is_empty() && count == list.len().min(21), "{count} of {}: {shown}", list.len());
    demand_plain(&shown);
    let lines = text.split('\n').count();
    for place in shown.lines().filter_map(|line| line.trim_start().strip_prefix("--> ")) {
        let place = place.strip_prefix(PATH).and_then(|place| place.strip_prefix(':'));
        let place = place.unwrap_or_else(|| panic!("another file: {shown}"));
        let line = place.split(':').next().and_then(|line| line.parse::<usize>().ok());
        assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{place} of {lines}");
    }
    let places = shown.lines().filter(|line| line.trim_start().starts_with("--> ")).count();
    assert_eq!(places, list.len().min(20), "a mistake without a place: {shown}");
    assert!(!mistakes.render(true).is_empty());
}

/// What goes to a terminal is text and line ends.
pub(super) fn demand_plain(shown: &str) {
    let bad = shown.chars().find(|letter| letter.is_control() && *letter != '\n');
    assert_eq!(bad, None, "{shown:?}");
}

fn judge(settings: &Settings, enforcer: Enforcer) {
    let check = Check::new(settings, enforcer);
    demand_plain(&check.to_string());
    let json = serde_json::to_string(&check).expect("a check can be written as JSON");
    demand_plain(&json);
    assert_eq!(check.accepted, check.errors.is_empty());
    let overshoot = Duration::from_micros(enforcer.overshoot_us());
    for (me, _) in settings.members().filter(|(member, _)| !member.is_witness()) {
        let config = settings.engine_config(me, overshoot);
        assert_eq!(config.is_ok(), check.accepted, "{:?} and {:?}", config.err(), check.errors);
        let Ok(config) = config else { continue };
        for (group, of) in config.groups.iter().zip(&settings.groups) {
            assert!(settings.lease(of, overshoot).holds(group.authority), "{group:?}");
        }
        let mut engine: Engine =
            Engine::new(config, KEYRINGS[0].clone(), BootId::new(1), Token(0), Instant::ZERO);
        speak(&mut engine, me);
    }
}

/// Lets an engine run a little, alone.
fn speak(engine: &mut Engine, me: NodeId) {
    let mut buffer = [0; MAX_FRAME_LEN];
    for _ in 0..4 {
        let now = engine.poll_timeout();
        engine.handle_timeout(now);
        while engine.poll_event().is_some() {}
        while let Some(sent) = engine.poll_transmit(now, &mut buffer) {
            let cluster = engine.config().cluster;
            let read: Result<(frame::Header, Body), _> =
                frame::decode(&buffer[..sent.len], cluster, &KEYRINGS[0]);
            assert_eq!(read.map(|(header, _)| header.sender), Ok(me));
        }
    }
}
