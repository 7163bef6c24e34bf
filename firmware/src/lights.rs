//! What the dongle's lights tell somebody who stands before it.
//!
//! | light | dark | blinks | lit |
//! |---|---|---|---|
//! | life | no power, or not running | slowly: well; fast: without settings | not running |
//! | witness | promises nothing | may promise, and hears nobody | may promise, and hears a node |
//! | alarm | all is well | forged frames or a loop, or cannot store | a reset line is active |

use lifesign_core::time::{Duration, Instant};

/// Which lights are lit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leds {
    /// The program runs.
    pub life: bool,
    /// The dongle is a witness.
    pub witness: bool,
    /// Somebody should look.
    pub alarm: bool,
}

impl Leds {
    /// Returns the lights as bits: life, witness, alarm.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.life as u8 | (self.witness as u8) << 1 | (self.alarm as u8) << 2
    }
}

/// How a light is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Light {
    /// It is dark.
    Dark,
    /// It is half the time lit, twice a second or so.
    Slow,
    /// The same, eight times a second or so.
    Fast,
    /// It is lit.
    Lit,
}

/// Half the time between two flashes, a power of two of microseconds, so that no division is needed
/// to know the phase: about half a second.
const SLOW_BIT: u32 = 19;
/// About 65 ms.
const FAST_BIT: u32 = 16;

impl Light {
    /// Returns whether a light is lit at this moment.
    #[must_use]
    pub const fn is_lit(self, now: Instant) -> bool {
        let phase = now.as_micros();
        match self {
            Self::Dark => false,
            Self::Slow => phase >> SLOW_BIT & 1 == 0,
            Self::Fast => phase >> FAST_BIT & 1 == 0,
            Self::Lit => true,
        }
    }
}

/// Returns when a light next changes, at the latest.
#[must_use]
pub fn next_change(now: Instant) -> Instant {
    let period = 1 << FAST_BIT;
    let left = (now.as_micros() & (period - 1)).abs_diff(period);
    now + Duration::from_micros(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lights_blink_and_change_no_later_than_told() {
        let mut now = Instant::ZERO;
        let mut changes = [0; 4];
        let all = [Light::Dark, Light::Slow, Light::Fast, Light::Lit];
        while now < Instant::ZERO + Duration::from_millis(10_000) {
            let next = next_change(now);
            assert!(next > now && next.since(now) <= Duration::from_millis(66));
            let just_before = next - Duration::from_micros(1);
            for (light, changes) in all.into_iter().zip(&mut changes) {
                assert_eq!(light.is_lit(now), light.is_lit(just_before));
                *changes += u32::from(light.is_lit(now) != light.is_lit(next));
            }
            now = next;
        }
        assert_eq!((changes[0], changes[3]), (0, 0));
        assert!((15..25).contains(&changes[1]) && changes[2] > 100, "{changes:?}");
    }
}
