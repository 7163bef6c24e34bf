//! What readings of a far clock say about its rate, and times in order.

use lifesign_core::time::{Duration, Instant};

/// One reading of a far clock: asked at one moment of this machine's clock, answered by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When the question began to go out.
    pub asked: Instant,
    /// When the answer was in.
    pub answered: Instant,
    /// What the far clock showed in between.
    pub far: Instant,
}

/// How much faster than this machine's clock the far one runs, in millionths; slower is negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The least that all readings allow.
    pub least: f64,
    /// The most that all readings allow.
    pub most: f64,
}

impl Rate {
    /// Returns what the rate error of a far clock is, from its readings in order, or `None` if they
    /// say nothing about it, or contradict each other: the clock was set, or ran unevenly.
    ///
    /// No reading says when exactly the far clock was read, only between which two moments. So each
    /// pair of readings bounds the rate from both sides, and the truth is inside all bounds: for
    /// this no delay needs to be the same in both directions. A far clock that counts in steps of
    /// `step` shows up to that much too little.
    #[must_use]
    pub fn of(readings: &[Reading], step: Duration) -> Option<Self> {
        let step = step.as_micros() as f64;
        let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
        for (at, one) in readings.iter().enumerate() {
            for other in &readings[at + 1..] {
                let far = other.far.since(one.far).as_micros() as f64;
                let longest = other.answered.since(one.asked).as_micros() as f64;
                let shortest = other.asked.since(one.answered).as_micros() as f64;
                if shortest > 0.0 {
                    least = least.max((far - step) / longest);
                    most = most.min((far + step) / shortest);
                }
            }
        }
        let millionths = |rate: f64| (rate - 1.0) * 1e6;
        let is_known = least.is_finite() && most.is_finite() && least <= most;
        is_known.then(|| Self { least: millionths(least), most: millionths(most) })
    }

    /// Returns what the rate error of a far clock was at most and at least, where it changes with
    /// warmth, from the readings of each `window`; `None` as [`of`](Self::of), in any window.
    #[must_use]
    pub fn over(readings: &[Reading], step: Duration, window: Duration) -> Option<Self> {
        let mut whole: Option<Self> = None;
        let mut rest = readings;
        while let Some(first) = rest.first() {
            let end = first.asked + window;
            let count = rest.iter().take_while(|reading| !reading.asked.has_reached(end)).count();
            let (some, others) = rest.split_at(count.max(1));
            rest = others;
            // What is left at the end may be too short to say anything.
            if rest.is_empty() && whole.is_some() && some.len() < 3 {
                break;
            }
            let rate = Self::of(some, step)?;
            whole = Some(whole.map_or(rate, |whole| Self {
                least: whole.least.min(rate.least),
                most: whole.most.max(rate.most),
            }));
        }
        whole
    }

    /// Returns the middle of what is possible.
    #[must_use]
    pub fn middle(self) -> f64 {
        f64::midpoint(self.least, self.most)
    }

    /// Returns how far the truth can be from the middle.
    #[must_use]
    pub fn uncertainty(self) -> f64 {
        (self.most - self.least) / 2.0
    }

    /// Returns whether the error is within `bound` millionths, or `None` where the readings do not
    /// say.
    #[must_use]
    pub fn is_within(self, bound: u32) -> Option<bool> {
        let bound = f64::from(bound);
        if self.least >= -bound && self.most <= bound {
            Some(true)
        } else if self.most < -bound || self.least > bound {
            Some(false)
        } else {
            None
        }
    }
}

/// Returns the step in which the far clock counts, as far as its readings show: the largest of 1
/// microsecond, 1 millisecond and the powers of ten between of which all are multiples.
#[must_use]
pub fn step(readings: &[Reading]) -> Duration {
    let is_step =
        |step: &u64| readings.iter().all(|reading| reading.far.as_micros().is_multiple_of(*step));
    let step = [1000, 100, 10].into_iter().find(is_step).unwrap_or(1);
    Duration::from_micros(step)
}

/// Spans in order of length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans(Vec<Duration>);

impl Spans {
    /// Puts spans in order.
    #[must_use]
    pub fn new(mut spans: Vec<Duration>) -> Self {
        spans.sort_unstable();
        Self(spans)
    }

    /// Returns the shortest span that at least `percent` of all do not exceed; zero of none.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent.min(100)).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Returns how many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let spans = Spans::new((1..=200).rev().map(Duration::from_micros).collect());
        assert_eq!(spans.percentile(50), Duration::from_micros(100));
        assert_eq!(spans.percentile(99), Duration::from_micros(198));
        assert_eq!(spans.percentile(100), Duration::from_micros(200));
        let one = Spans::new(vec![Duration::from_micros(7)]);
        assert_eq!((one.percentile(50), one.percentile(99)), (one.percentile(1), one.0[0]));
        assert_eq!(Spans::new(Vec::new()).percentile(50), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_was_set_has_no_rate() {
        let read =
            |asked, far| Reading { asked: at(asked), answered: at(asked + 10), far: at(far) };
        assert_eq!(Rate::of(&[read(0, 5)], Duration::ZERO), None);
        let jumped = [read(0, 5), read(10_000, 10_005), read(20_000, 90_000)];
        assert_eq!(Rate::of(&jumped, Duration::ZERO), None);
        let steady = [read(0, 5), read(10_000, 10_005), read(20_000, 20_005)];
        assert!(Rate::of(&steady, Duration::ZERO).unwrap().is_within(1000).unwrap());
    }

    #[test]
    fn a_clock_that_changes_is_between_its_extremes() {
        let mut far = 0.0;
        let readings: Vec<Reading> = (0..400)
            .map(|number| {
                let asked = number * 100_000;
                // 1000 ppm fast at first, and 1000 ppm slow at last.
                far += 100_000.0 * (1.0 + 1e-3 - number as f64 / 200.0 * 1e-3);
                let far = format!("{far:.0}").parse().unwrap();
                Reading { asked: at(asked), answered: at(asked + 500), far: at(far) }
            })
            .collect();
        let step = Duration::from_micros(1);
        assert_eq!(Rate::of(&readings, step), None);
        let rate = Rate::over(&readings, step, Duration::from_millis(2000)).unwrap();
        assert_eq!((rate.is_within(1500), rate.is_within(900)), (Some(true), None), "{rate:?}");
        let mut restarted = readings;
        restarted.truncate(10);
        restarted.push(Reading { asked: at(1_000_000), answered: at(1_000_010), far: at(5) });
        assert_eq!(Rate::over(&restarted, step, Duration::from_millis(2000)), None);
    }

    #[test]
    fn a_step_is_seen_in_the_readings() {
        let read = |far| Reading { asked: at(0), answered: at(0), far: at(far) };
        assert_eq!(step(&[read(1000), read(7000)]), Duration::from_millis(1));
        assert_eq!(step(&[read(1000), read(7010)]), Duration::from_micros(10));
        assert_eq!(step(&[read(1001), read(7000)]), Duration::from_micros(1));
    }

    proptest! {
        /// Whatever the delays are, and however uneven: the true rate is inside the bounds.
        #[test]
        fn the_truth_is_inside(
            error in -40_000..40_000_i32,
            start in 0..1_000_000_u64,
            delays in proptest::collection::vec((0..9000_u64, 0..9000_u64), 2..40),
            step in proptest::sample::select(vec![1_u64, 1000]),
        ) {
            let mut readings = Vec::new();
            for (number, (out, back)) in (0..).zip(delays) {
                let asked = 1_000_000 + number * 50_000;
                let true_time = asked + out;
                let ahead = i64::from(error) * true_time.cast_signed() / 1_000_000;
                let far = start + true_time.saturating_add_signed(ahead);
                let answered = at(asked + out + back);
                readings.push(Reading { asked: at(asked), answered, far: at(far / step * step) });
            }
            // One microsecond more than the step: this test's own rounding.
            let measured = Rate::of(&readings, Duration::from_micros(step + 1)).unwrap();
            let error = f64::from(error);
            prop_assert!(measured.least <= error && error <= measured.most, "{measured:?}");
            prop_assert!(measured.is_within(100_000).is_none_or(|is_within| is_within));
        }
    }
}
