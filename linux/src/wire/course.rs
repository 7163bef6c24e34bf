//! One direction of a wire: bytes that take their time, and what happens to them on the way.

use lifesign_core::time::{Duration, Instant};

use super::end::Joined;
use super::{FLOOD_SPEED, Faults, Traffic};
use crate::link::serial::line_time;

/// What one side sends, and how much of it is on the way.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) faults: Faults,
    pub(super) traffic: Traffic,
    /// What is on the way arrives together, when its last byte does.
    flight: [u8; LONGEST_FLIGHT],
    flight_len: usize,
    /// When what is on the way arrives, or when the last that was there arrived.
    due: Instant,
    random: u64,
}

impl Course {
    pub(super) fn new(seed: u64) -> Self {
        let mut course = Self {
            faults: Faults::default(),
            traffic: Traffic::default(),
            flight: [0; LONGEST_FLIGHT],
            flight_len: 0,
            due: Instant::ZERO,
            random: 0,
        };
        course.set_seed(seed);
        course
    }

    pub(super) fn set_seed(&mut self, seed: u64) {
        // A generator whose state is zero would stay there.
        self.random = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }

    /// Returns whether it waits for bytes to be sent.
    pub(super) const fn is_taking(&self) -> bool {
        self.flight_len == 0 && !self.faults.is_stalled && !self.faults.is_drowned
    }

    /// Returns when what is on the way arrives.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        (self.flight_len > 0).then_some(self.due)
    }

    /// Lets arrive at `to` what has had its time, and takes from `from` what has room on the line.
    pub(super) fn carry(
        &mut self,
        from: &mut Joined,
        to: &mut Joined,
        speed: Option<u32>,
        now: Instant,
    ) {
        for _ in 0..MOST_FLIGHTS {
            let mut begin = now;
            if self.flight_len > 0 {
                if !now.has_reached(self.due) {
                    return;
                }
                self.arrive(to, now);
                // A line that is kept busy stays in step with its speed though this thread is late.
                if now.since(self.due) < LATENESS {
                    begin = self.due;
                }
            }
            self.take(from, speed, begin, now);
            if self.flight_len == 0 {
                return;
            }
        }
    }

    fn arrive(&mut self, to: &mut Joined, now: Instant) {
        let bytes = &self.flight[..self.flight_len];
        self.flight_len = 0;
        let len = bytes.len() as u64;
        // Even what is lost takes its time: what waits behind it must not come earlier for that.
        if self.faults.is_cut || !to.is_open() {
            self.traffic.lost += len;
            return;
        }
        let written = to.write(bytes, now) as u64;
        self.traffic.arrived += written;
        self.traffic.overrun += len - written;
    }

    fn take(&mut self, from: &mut Joined, speed: Option<u32>, begin: Instant, now: Instant) {
        if self.faults.is_stalled {
            return;
        }
        let speed = speed.or_else(|| self.faults.is_drowned.then_some(FLOOD_SPEED));
        let most = speed.map_or(LONGEST_FLIGHT, |speed| most_at(speed).min(LONGEST_FLIGHT));
        let taken = from.read(&mut self.flight[..most], now);
        self.traffic.taken += taken as u64;
        let len = if self.faults.is_drowned {
            self.traffic.lost += taken as u64;
            self.fill(most);
            most
        } else {
            self.turn_bits(taken);
            taken
        };
        if len == 0 {
            return;
        }
        let time = speed.map_or(Duration::ZERO, |speed| line_time(len, speed));
        self.due = begin + time;
        self.flight_len = len;
    }

    fn fill(&mut self, len: usize) {
        for at in 0..len {
            self.flight[at] = self.next_random().to_le_bytes()[0];
        }
    }

    fn turn_bits(&mut self, len: usize) {
        if self.faults.bit_errors == 0 {
            return;
        }
        for at in 0..len * 8 {
            if self.next_random() % 1_000_000 < u64::from(self.faults.bit_errors) {
                self.flight[at / 8] ^= 1 << (at % 8);
                self.traffic.bits_turned += 1;
            }
        }
    }

    /// Steps the generator (xorshift64*, Vigna 2016) and returns its upper bits.
    fn next_random(&mut self) -> u64 {
        let mut state = self.random;
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.random = state;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }
}

/// Returns how many bytes go together at `speed`: those of a millisecond, so that a thread that
/// sleeps and wakes keeps up with any speed.
const fn most_at(speed: u32) -> usize {
    let bytes = speed as usize / 10_000;
    if bytes == 0 { 1 } else { bytes }
}

/// The most bytes on the way at once.
const LONGEST_FLIGHT: usize = 4096;

/// How often bytes are taken before the other direction has its turn.
const MOST_FLIGHTS: usize = 16;

/// How late the thread may be for a line to stay in step, on a machine that has too much to do.
/// What waits then is taken to have waited since the line was free: over the whole, the line
/// carries no more than its speed allows.
const LATENESS: Duration = Duration::from_micros(250_000);
