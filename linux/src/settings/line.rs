//! What serial lines have to carry.
//!
//! A line carries 8 bits a byte between a start and a stop bit, in either direction at its own
//! pace. In a ring and at a dongle the busiest direction carries the frames of everybody but the
//! node it leads to, the dongle's among them; between two servers it carries one's own.

use core::fmt;

use heapless::Vec as Fixed;
use lifesign_core::config::MAX_PROMISE_MILLIS;
use lifesign_core::frame::{Body, Echo, MAX_FRAME_LEN, MIN_FRAME_LEN, Phase, Want, Word};
use lifesign_core::group::{MAX_GROUPS, Token};
use lifesign_core::node::{BootId, LinkSet, NodeId};
use lifesign_core::stream;
use lifesign_core::time::Duration;

use super::safety::ROUND_TRIP;
use super::{Link, SerialLinkSettings, Settings};
use crate::link::serial::line_time;

/// Beats may be brought forward to half an interval, so they may fill at most half of the line.
pub const MOST_PERCENT: u64 = 50;
/// The speeds that serial adapters have.
pub const SPEEDS: [u32; 9] =
    [9600, 19_200, 38_400, 57_600, 115_200, 230_400, 460_800, 921_600, 3_000_000];
/// How long a start is expected to last at most; it bounds the length of sequence numbers.
const LONGEST_START: Duration = Duration::from_millis(10 * 366 * 24 * 3_600_000);

/// What a line carries at each heartbeat in its busiest direction, at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineLoad {
    /// The bits a second.
    pub speed: u32,
    /// The longest frame of a node, in bytes.
    pub frame: usize,
    /// What that frame takes on the line, in bytes.
    pub frame_on_line: usize,
    /// All frames of one heartbeat, in bytes on the line.
    pub bytes: usize,
    /// What they take of the line's time.
    pub time: Duration,
    /// How often that is.
    pub heartbeat: Duration,
}

impl LineLoad {
    /// Returns the thousandths of the line's time that are filled.
    #[must_use]
    pub fn per_mille(&self) -> u64 {
        self.time.as_micros().saturating_mul(1000) / self.heartbeat.as_micros().max(1)
    }

    /// Returns whether the line has room for beats that are brought forward.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.time.times(100) <= self.heartbeat.times(MOST_PERCENT)
    }

    /// Returns the shortest heartbeat, in whole milliseconds, that leaves the line enough room.
    #[must_use]
    pub fn shortest_heartbeat(&self) -> Duration {
        Duration::from_millis(self.time.times(100).as_micros().div_ceil(MOST_PERCENT * 1000))
    }

    /// Returns the slowest usual speed that would do, if any does.
    #[must_use]
    pub fn slowest_speed(&self) -> Option<u32> {
        let fits =
            |speed: &u32| Self { time: line_time(self.bytes, *speed), ..self.clone() }.fits();
        SPEEDS.into_iter().find(fits)
    }
}

/// A line that is too slow for the heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overload {
    /// The link.
    pub link: String,
    /// What its lines would have to carry.
    pub load: LineLoad,
}

impl fmt::Display for Overload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = &self.load;
        write!(
            formatter,
            "link {}: {} bits/s are too slow for a heartbeat every {}: {} bytes take {} of it, and \
             at most {MOST_PERCENT} % may be filled: raise heartbeat to at least {}",
            self.link,
            load.speed,
            load.heartbeat,
            load.bytes,
            load.time,
            load.shortest_heartbeat(),
        )?;
        match load.slowest_speed() {
            Some(speed) => write!(formatter, ", or speed to at least {speed}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Overload {}

impl Settings {
    /// Returns what the lines of `link` carry, or `None` if it is not serial.
    #[must_use]
    pub fn line_load(&self, link: &Link) -> Option<LineLoad> {
        let serial = link.serial()?;
        let frame = self.longest_frame();
        let frame_on_line = stream::line_len(frame);
        let senders = self.nodes.len().saturating_sub(1).max(1);
        let witness = serial.witness.map_or(0, |_| stream::line_len(self.longest_witness_frame()));
        let bytes = senders * frame_on_line + witness;
        Some(LineLoad {
            speed: serial.speed,
            frame,
            frame_on_line,
            bytes,
            time: line_time(bytes, serial.speed),
            heartbeat: self.timing.heartbeat,
        })
    }

    /// Looks whether every serial line can carry the heartbeats.
    ///
    /// # Errors
    /// Says which is too slow, and what would do.
    pub fn check_lines(&self) -> Result<(), Overload> {
        for link in &self.links {
            if let Some(load) = self.line_load(link).filter(|load| !load.fits()) {
                return Err(Overload { link: link.name.clone(), load });
            }
        }
        Ok(())
    }

    /// Returns what a round trip between members is allowed to take over the best link there is,
    /// the peers' own delays included.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        if self.links.iter().any(|link| link.serial().is_none()) {
            return ROUND_TRIP;
        }
        let serial = self.links.iter().filter_map(|link| {
            let load = self.line_load(link)?;
            let one_way = self.one_way(link.serial()?, &load);
            Some(one_way.times(2) + ROUND_TRIP)
        });
        serial.min().unwrap_or(ROUND_TRIP)
    }

    /// Returns how long a frame is on its way over a serial link when it waits for all others, and
    /// where frames are passed on, for each of them.
    fn one_way(&self, serial: &SerialLinkSettings, load: &LineLoad) -> Duration {
        if serial.witness.is_some() {
            return line_time(load.frame_on_line, load.speed) + load.time;
        }
        // A ring that is cut is a chain.
        let hops = u64::try_from(self.nodes.len()).unwrap_or(u64::MAX).saturating_sub(1);
        load.time.times(hops.max(1))
    }

    /// Returns the length of the longest frame that a node of this cluster sends, in bytes: it
    /// offers every group, has promised every group, and hears everybody.
    #[must_use]
    pub fn longest_frame(&self) -> usize {
        let millis = |span: Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        let wants = self.groups().map(|(group, settings)| Want {
            group,
            phase: Phase::Offering,
            token: Token(u32::MAX),
            promise_ms: millis(settings.promise),
        });
        let body: Body = Body {
            longest_promise_ms: millis(self.timing.longest_promise),
            suspicious: u16::MAX,
            echoes: self.members().skip(1).map(|(other, _)| self.longest_echo(other)).collect(),
            wants: wants.collect(),
            words: self.longest_words(),
            ..Body::default()
        };
        frame_len(&body)
    }

    /// Returns the length of the longest frame that a witness of this cluster sends, in bytes.
    #[must_use]
    pub fn longest_witness_frame(&self) -> usize {
        let body: Body = Body {
            longest_promise_ms: u32::try_from(MAX_PROMISE_MILLIS).unwrap_or(u32::MAX),
            suspicious: u16::MAX,
            favours: self.quorum.nodes(),
            echoes: self.quorum.nodes().iter().map(|node| self.longest_echo(node)).collect(),
            words: self.longest_words(),
            ..Body::default()
        };
        frame_len(&body)
    }

    fn longest_echo(&self, node: NodeId) -> Echo {
        // A node speaks at most twice in a heartbeat for long.
        let beats = LONGEST_START.as_micros() / self.timing.heartbeat.as_micros().max(1);
        let links = LinkSet::first(self.links.len());
        Echo { node, boot: BootId::new(u64::MAX), sequence: beats.saturating_mul(2), links }
    }

    fn longest_words(&self) -> Fixed<Word, MAX_GROUPS> {
        let to = NodeId::new(0);
        self.groups().map(|(group, _)| Word { group, to, token: Token(u32::MAX) }).collect()
    }
}

/// Returns the length of a frame with this body.
fn frame_len(body: &Body) -> usize {
    let mut buffer = [0; MAX_FRAME_LEN];
    let body_len = postcard::to_slice(body, &mut buffer).map(|bytes| bytes.len());
    body_len.map_or(MAX_FRAME_LEN, |len| MIN_FRAME_LEN + len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{SERIAL, example};

    fn serial() -> Settings {
        Settings::parse("test.toml", SERIAL).unwrap()
    }

    /// Counted by hand from the table of the wire format, with numbers of full length.
    #[test]
    fn the_longest_frame_is_the_sum_of_its_fields() {
        let settings = example();
        // Flags, digest, longest promise, suspicious, favours.
        let scalars = 1 + 4 + 1 + 3 + 1;
        // Of each other member a node, a boot id, a number as of ten years at 5 ms, and links.
        let echoes = 1 + 2 * (1 + 8 + 6 + 1);
        // A group, a phase, a token, 25 ms; and a group, a node, a token.
        let (wants, words) = (1 + (1 + 1 + 5 + 1), 1 + (1 + 2 + 5));
        assert_eq!(settings.longest_frame(), 24 + scalars + echoes + wants + words + 16);
        let scalars = 1 + 4 + 3 + 3 + 1;
        assert_eq!(settings.longest_witness_frame(), 24 + scalars + echoes + 1 + words + 16);
    }

    #[test]
    fn a_cable_carries_one_node_and_a_dongle_everybody_else() {
        let settings = serial();
        let [cable, wire] = [0, 1].map(|at| settings.line_load(&settings.links[at]).unwrap());
        assert_eq!(cable.bytes, cable.frame_on_line);
        assert_eq!(cable.frame_on_line, cable.frame + 5, "two zeros, a count and the check");
        let witness = stream::line_len(settings.longest_witness_frame());
        assert_eq!(wire.bytes, wire.frame_on_line + witness);
        // 10 bits a byte.
        let bits = u64::try_from(wire.bytes).unwrap() * 10;
        assert_eq!(wire.time.as_micros(), (bits * 1_000_000).div_ceil(115_200));
        assert!(wire.fits() && settings.line_load(&example().links[0]).is_none());
    }

    #[test]
    fn what_is_named_would_do_and_less_would_not() {
        let at =
            |speed: &str| Settings::parse("test.toml", &SERIAL.replace("38400", speed)).unwrap();
        let settings = at("9600");
        let load = settings.line_load(&settings.links[0]).unwrap();
        assert!(!load.fits(), "9600 bits/s at a heartbeat of 100 ms");
        let shortest = load.shortest_heartbeat();
        let with = |heartbeat| LineLoad { heartbeat, ..load.clone() };
        assert!(with(shortest).fits());
        assert!(!with(Duration::from_millis(shortest.as_millis() - 1)).fits());
        let speed = load.slowest_speed().unwrap();
        assert_eq!(speed, 38_400);
        let said = settings.check_lines().unwrap_err().to_string();
        let expected =
            format!("raise heartbeat to at least {shortest}, or speed to at least 38400");
        assert!(said.ends_with(&expected), "{said}");
        assert_eq!(at("38400").check_lines(), Ok(()));
        assert!(at("19200").check_lines().is_err());
    }

    #[test]
    fn no_speed_carries_what_is_too_much_for_all() {
        let source = SERIAL.replace(
            "[[link]]\nname = \"cable\"",
            "[timing]\nheartbeat = \"1ms\"\n[[link]]\nname = \"cable\"",
        );
        let groups: String = (0..31)
            .map(|at| {
                format!("[[group]]\nname = \"g{at}\"\naddresses = [\"10.78.0.{}/24\"]\n", at + 1)
            })
            .collect();
        let settings = Settings::parse("test.toml", &format!("{source}{groups}")).unwrap();
        let load = settings.line_load(&settings.links[1]).unwrap();
        assert_eq!(load.slowest_speed(), None);
        assert!(!settings.check_lines().unwrap_err().to_string().contains("speed"));
    }

    #[test]
    fn a_round_trip_is_that_of_the_best_link() {
        assert_eq!(example().round_trip(), ROUND_TRIP);
        let settings = serial();
        let load = settings.line_load(&settings.links[1]).unwrap();
        let one_way = load.time + line_time(load.frame_on_line, load.speed);
        assert_eq!(settings.round_trip(), one_way.times(2) + ROUND_TRIP);
    }
}
