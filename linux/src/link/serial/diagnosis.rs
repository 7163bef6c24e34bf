//! What is probably wrong at a port, from what came in lately.

use std::fmt;

use lifesign_core::time::{Duration, Instant};

/// What a port hears, in the words of whoever has to find the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagnosis {
    /// Frames of others come in.
    Good,
    /// Frames of others come in, and as much again is damaged as one message in ten.
    Noisy,
    /// Nothing comes in: no cable, or nobody at its other end.
    Silent,
    /// Something comes in, and no message in it is whole: the wrong speed, or a bad line.
    Noise,
    /// This node's own frames come back: a loopback plug, or the cable leads back here.
    Loopback,
    /// Frames of another link come in: cables are swapped.
    Swapped,
    /// Frames of another cluster, or with another key, come in.
    Foreign,
    /// Frames of another version of the protocol come in.
    OtherVersion,
    /// A dongle answers, and no frame comes in: it has nobody behind it, or is not provisioned.
    DongleAlone,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Good => "good",
            Self::Noisy => "noisy: some messages arrive damaged",
            Self::Silent => "silent: no cable, or nobody at its other end",
            Self::Noise => "noise alone: the speeds differ, or the line is bad",
            Self::Loopback => "own frames come back: a loopback plug, or both ends are here",
            Self::Swapped => "frames of another link come in: are cables swapped?",
            Self::Foreign => "frames of another cluster, or with another key, come in",
            Self::OtherVersion => "frames of another version of lifesign come in",
            Self::DongleAlone => "a dongle answers, and no frame comes in",
        })
    }
}

/// What can come in at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A frame with a right tag, of another member.
    Good,
    /// A frame that had come in at another port before.
    Copy,
    /// A frame of this node.
    Own,
    /// A frame of another link.
    OtherLink,
    /// A frame of another cluster or with another key.
    Foreign,
    /// A frame of another version.
    OtherVersion,
    /// A message of a dongle.
    Dongle,
    /// What is not whole: no message, or bytes that the driver complains of.
    Damage,
}

/// Counts of each [`Sign`], and of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    signs: [u32; 8],
    bytes: u32,
}

impl Counts {
    fn of(&self, sign: Sign) -> u32 {
        self.signs[index(sign)]
    }

    fn plus(self, other: &Self) -> Self {
        let mut sum = self;
        for (sum, other) in sum.signs.iter_mut().zip(other.signs) {
            *sum = sum.saturating_add(other);
        }
        sum.bytes = sum.bytes.saturating_add(other.bytes);
        sum
    }
}

const fn index(sign: Sign) -> usize {
    match sign {
        Sign::Good => 0,
        Sign::Copy => 1,
        Sign::Own => 2,
        Sign::OtherLink => 3,
        Sign::Foreign => 4,
        Sign::OtherVersion => 5,
        Sign::Dongle => 6,
        Sign::Damage => 7,
    }
}

/// What came in during the last [`WINDOW`] or somewhat longer.
///
/// It remembers two spans, the present one and the one before, and forgets a whole span at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recent {
    begun: Instant,
    present: Counts,
    before: Counts,
}

impl Recent {
    pub(super) fn sign(&mut self, sign: Sign, now: Instant) {
        self.pass(now);
        let count = &mut self.present.signs[index(sign)];
        *count = count.saturating_add(1);
    }

    pub(super) fn bytes(&mut self, len: usize, now: Instant) {
        self.pass(now);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.present.bytes = self.present.bytes.saturating_add(len);
    }

    fn pass(&mut self, now: Instant) {
        let passed = now.since(self.begun);
        if passed < WINDOW {
            return;
        }
        // A span in which nothing came in was never begun.
        self.before = if passed < WINDOW.times(2) { self.present } else { Counts::default() };
        self.present = Counts::default();
        self.begun = now;
    }

    pub(super) fn diagnosis(&self, now: Instant) -> Diagnosis {
        let passed = now.since(self.begun);
        let recent = if passed < WINDOW {
            self.present.plus(&self.before)
        } else if passed < WINDOW.times(2) {
            self.present
        } else {
            Counts::default()
        };
        let is_there = |sign| recent.of(sign) > if sign == Sign::Damage { STRAY } else { 0 };
        if is_there(Sign::Good) {
            let is_noisy = recent.of(Sign::Damage).saturating_mul(10) > recent.of(Sign::Good);
            return if is_noisy { Diagnosis::Noisy } else { Diagnosis::Good };
        }
        let others = [
            // Copies prove nothing: through a loopback plug they come back as own frames do.
            (Sign::Own, Diagnosis::Loopback),
            (Sign::Copy, Diagnosis::Good),
            (Sign::OtherLink, Diagnosis::Swapped),
            (Sign::Foreign, Diagnosis::Foreign),
            (Sign::OtherVersion, Diagnosis::OtherVersion),
            (Sign::Dongle, Diagnosis::DongleAlone),
            (Sign::Damage, Diagnosis::Noise),
        ];
        let found = others.into_iter().find(|(sign, _)| is_there(*sign));
        let is_babble = recent.bytes > STRAY_BYTES;
        found.map_or(if is_babble { Diagnosis::Noise } else { Diagnosis::Silent }, |(_, what)| what)
    }
}

/// How far back a diagnosis looks: longer than any sensible heartbeat interval.
const WINDOW: Duration = Duration::from_millis(3000);

/// So many bytes, and so much damage, may come from a plug that is being pushed in.
const STRAY_BYTES: u32 = 16;
const STRAY: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sign_alone_leads_to_its_diagnosis() {
        let cases = [
            (Sign::Good, Diagnosis::Good),
            (Sign::Copy, Diagnosis::Good),
            (Sign::Own, Diagnosis::Loopback),
            (Sign::OtherLink, Diagnosis::Swapped),
            (Sign::Foreign, Diagnosis::Foreign),
            (Sign::OtherVersion, Diagnosis::OtherVersion),
            (Sign::Dongle, Diagnosis::DongleAlone),
            (Sign::Damage, Diagnosis::Noise),
        ];
        for (sign, diagnosis) in cases {
            let mut recent = Recent::default();
            (0..3).for_each(|_| recent.sign(sign, at(10_000)));
            assert_eq!(recent.diagnosis(at(10_001)), diagnosis);
            // A frame of another member shows that the cable leads where it should.
            recent.sign(Sign::Good, at(10_002));
            let expected = if sign == Sign::Damage { Diagnosis::Noisy } else { Diagnosis::Good };
            assert_eq!(recent.diagnosis(at(10_003)), expected);
        }
    }

    #[test]
    fn what_is_long_past_is_forgotten() {
        let mut recent = Recent::default();
        assert_eq!(recent.diagnosis(at(0)), Diagnosis::Silent);
        for ms in (0..20_000).step_by(100) {
            recent.sign(Sign::Good, at(ms));
            assert_eq!(recent.diagnosis(at(ms)), Diagnosis::Good);
        }
        assert_eq!(recent.diagnosis(at(22_000)), Diagnosis::Good);
        assert_eq!(recent.diagnosis(at(26_000)), Diagnosis::Silent);
        recent.sign(Sign::Own, at(26_000));
        assert_eq!(recent.diagnosis(at(26_000)), Diagnosis::Loopback);
    }

    #[test]
    fn a_cable_that_is_moved_is_found_out_within_two_spans() {
        let mut recent = Recent::default();
        for ms in (0..10_000).step_by(100) {
            recent.sign(Sign::Good, at(ms));
        }
        for ms in (10_000..16_100).step_by(100) {
            recent.sign(Sign::OtherLink, at(ms));
        }
        assert_eq!(recent.diagnosis(at(16_100)), Diagnosis::Swapped);
    }

    #[test]
    fn bytes_without_an_end_are_noise_and_a_few_are_nothing() {
        let mut recent = Recent::default();
        recent.bytes(16, at(5));
        (0..2).for_each(|_| recent.sign(Sign::Damage, at(5)));
        assert_eq!(recent.diagnosis(at(5)), Diagnosis::Silent);
        recent.bytes(1, at(6));
        assert_eq!(recent.diagnosis(at(6)), Diagnosis::Noise);
    }

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }
}
