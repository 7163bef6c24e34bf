//! A line put to the test: times there and back, throughput, garbage, and the dongle's clock.

use std::fmt::Write;
use std::path::Path;

use lifesign_core::dongle::{self, Info, MAX_ECHO_LEN, MAX_MESSAGE_LEN, Reply};
use lifesign_core::stream::line_len;
use lifesign_core::time::Duration;
use serde::Serialize;

use super::client::{Client, Heard, Timed};
use super::line::{COMMON_SPEEDS, Line};
use super::measure::{Rate, Reading, Spans, step};
use super::{Absence, DongleError};
use crate::clock;
use crate::page::{Page, Paint};

/// The lengths of what is sent there and back, in bytes.
const SIZES: [usize; 4] = [1, 32, 100, MAX_ECHO_LEN];
/// How often the dongle's clock is read.
const EACH: Duration = Duration::from_millis(100);

/// For so long a clock is taken to run evenly, the longest first that does not contradict it.
const WINDOWS_MS: [u64; 2] = [10_000, 2000];

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The device.
    pub device: String,
    /// Its speed in baud, unless it is a socket.
    pub speed: Option<u32>,
    /// Messages of each size.
    pub sizes: Vec<Size>,
    /// How many payload bytes went there and back in a second, one message at a time.
    pub bytes_per_second: f64,
    /// Runs of bytes that are no message.
    pub garbage: u64,
    /// Frames of servers that passed by.
    pub frames: u64,
    /// The dongle's clock, if enough was heard of it.
    pub clock: Option<ClockTrial>,
    /// What is wrong, in words.
    pub faults: Vec<String>,
}

/// What became of the messages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// The size in bytes, without what surrounds it on the line.
    pub bytes: usize,
    /// How many were sent.
    pub sent: usize,
    /// How many did not come back.
    pub lost: usize,
    /// How many came back changed.
    pub wrong: usize,
    /// The median time there and back.
    pub median_ms: f64,
    /// What one in a hundred exceeds.
    pub p99_ms: f64,
}

/// How a dongle's clock runs, held against this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClockTrial {
    /// How much faster than this machine's it runs, in millionths.
    pub error_ppm: f64,
    /// How far the truth can be from that.
    pub uncertainty_ppm: f64,
    /// What the settings credit each clock with.
    pub allowed_ppm: Option<u32>,
    /// Whether it is within that; `None` if this test cannot tell.
    pub is_within: Option<bool>,
}

/// Tries the line to the dongle at `device` for `span`. `allowed` is the rate error that clocks are
/// credited with, in millionths.
///
/// # Errors
/// The device cannot be used, or no dongle answers; then it says what else is at the other end.
pub fn run(
    device: &Path,
    speed: u32,
    span: Duration,
    allowed: Option<u32>,
) -> Result<Trial, DongleError> {
    let mut client = Client::new(Line::open(device, speed)?);
    match client.info() {
        Ok(_) => {}
        Err(DongleError::NoAnswer { heard, .. }) => return Err(search(client, heard)),
        Err(error) => return Err(error),
    }
    let before = client.heard();
    let course = Course::run(&mut client, span)?;
    Ok(course.judge(&client, before, allowed))
}

/// Looks for the speed at which the silent dongle speaks, and returns why it is not at this one.
fn search(client: Client, heard: Heard) -> DongleError {
    let absence = Absence::of(heard);
    let error = client.no_answer();
    let line = client.line();
    let (path, Some(speed)) = (line.path().to_owned(), line.speed()) else { return error };
    if matches!(absence, Absence::Loopback | Absence::Server) {
        return error;
    }
    drop(client);
    for other in COMMON_SPEEDS.into_iter().filter(|other| *other != speed) {
        let Ok(line) = Line::open(&path, other) else { continue };
        let mut client = Client::new(line);
        // Twice: the first question may have to clear away what the other speed has left.
        if (0..2).any(|_| matches!(client.reading(), Ok(Some(_)))) {
            return DongleError::Failed(format!(
                "a dongle answers on {} at {other} baud and not at {speed}: say --speed {other}, \
                 and `speed = {other}` in the settings",
                path.display()
            ));
        }
        if Absence::of(client.heard()) == Absence::Server {
            return DongleError::Failed(format!(
                "heartbeats come on {} at {other} baud and not at {speed}: another speed, and a \
                 server at the other end",
                path.display()
            ));
        }
    }
    error
}

/// What is noted on the way.
#[derive(Debug, Default)]
struct Course {
    times: [Vec<Duration>; SIZES.len()],
    sent: [usize; SIZES.len()],
    wrong: [usize; SIZES.len()],
    readings: Vec<Sighting>,
    /// How long echoes took in all.
    spent: Duration,
}

impl Course {
    fn run(client: &mut Client, span: Duration) -> Result<Self, DongleError> {
        let mut course = Self::default();
        let end = clock::now() + span;
        let mut due = clock::now();
        let mut number = 0_u16;
        loop {
            let now = clock::now();
            if now.has_reached(due) || now.has_reached(end) {
                due = now + EACH;
                if let Some(read) = client.reading()? {
                    course.readings.push(Sighting::new(client.line(), &read));
                }
                // Read last of all: what lies between the first and the last reading counts.
                if now.has_reached(end) {
                    return Ok(course);
                }
            }
            course.echo(client, number)?;
            number = number.wrapping_add(1);
        }
    }

    fn echo(&mut self, client: &mut Client, number: u16) -> Result<(), DongleError> {
        let at = usize::from(number) % SIZES.len();
        let filler = filler(number, SIZES[at]);
        self.sent[at] += 1;
        let begun = clock::now();
        match client.echo(number, &filler)? {
            Some(Timed { asked, answered, answer: true }) => {
                self.times[at].push(answered.since(asked));
            }
            Some(_) => self.wrong[at] += 1,
            None => {}
        }
        self.spent = self.spent + clock::now().since(begun);
        Ok(())
    }

    fn judge(self, client: &Client, before: Heard, allowed: Option<u32>) -> Trial {
        let mut sizes = Vec::new();
        let mut carried = 0;
        for (at, times) in self.times.into_iter().enumerate() {
            let returned = times.len();
            carried += 2 * SIZES[at] * returned;
            let spans = Spans::new(times);
            sizes.push(Size {
                bytes: SIZES[at],
                sent: self.sent[at],
                lost: self.sent[at] - returned - self.wrong[at],
                wrong: self.wrong[at],
                median_ms: millis(spans.percentile(50)),
                p99_ms: millis(spans.percentile(99)),
            });
        }
        let readings = Sighting::readings(&self.readings);
        let step = step(&readings);
        // A clock without a crystal changes while it warms up.
        let windows = WINDOWS_MS.into_iter().map(Duration::from_millis);
        let rate = Rate::of(&readings, step)
            .or_else(|| windows.into_iter().find_map(|it| Rate::over(&readings, step, it)));
        let pairs = readings.windows(2);
        let has_restarted = pairs.into_iter().any(|pair| pair[1].far < pair[0].far);
        let clock = rate.map(|rate| ClockTrial {
            error_ppm: rate.middle(),
            uncertainty_ppm: rate.uncertainty(),
            allowed_ppm: allowed,
            is_within: allowed.and_then(|allowed| rate.is_within(allowed)),
        });
        let heard = client.heard();
        let mut trial = Trial {
            device: client.line().path().display().to_string(),
            speed: client.line().speed(),
            sizes,
            bytes_per_second: carried as f64 * 1e6 / self.spent.as_micros().max(1) as f64,
            garbage: heard.garbage - before.garbage,
            frames: heard.frames - before.frames,
            clock,
            faults: Vec::new(),
        };
        trial.faults = trial.find_faults(has_restarted);
        trial
    }
}

/// Returns bytes that differ from message to message, zeros and all ones among them.
fn filler(number: u16, len: usize) -> Vec<u8> {
    let [low, high] = number.to_le_bytes();
    let bytes = [0x00, 0xff, 0x55, 0xaa, low, high, 0x0d, 0x11, 0x13, 0x1a];
    bytes.into_iter().cycle().skip(usize::from(low)).take(len).collect()
}

/// A reading of the far clock, and how long question and answer are on the line at least.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    reading: Reading,
    out: Duration,
    back: Duration,
}

impl Sighting {
    fn new(line: &Line, read: &Timed<Info>) -> Self {
        let Timed { asked, answered, answer } = read;
        let mut buffer = [0; MAX_MESSAGE_LEN];
        let len = dongle::encode(&Reply::Info(answer.clone()), &mut buffer).unwrap_or(0);
        // Adapters are a few percent off their speed, and pass bytes on before their stop bit.
        let least = |len: usize| line.line_time(len.saturating_sub(3)).scaled(95, 100);
        let reading = Reading { asked: *asked, answered: *answered, far: answer.uptime };
        Self { reading, out: least(line_len(QUESTION_LEN)), back: least(line_len(len)) }
    }

    /// Returns between which moments the far clock was read.
    ///
    /// A line takes its time for the question, before which nothing is read, and for the answer,
    /// which is begun after. That narrows it down, unless a single answer came sooner: then this is
    /// no line that is as slow as its speed says, but a pseudo-terminal.
    fn readings(all: &[Self]) -> Vec<Reading> {
        let is_line =
            all.iter().all(|it| it.reading.answered.since(it.reading.asked) >= it.out + it.back);
        let narrowed = |it: &Self| Reading {
            asked: it.reading.asked + it.out,
            answered: it.reading.answered - it.back,
            far: it.reading.far,
        };
        all.iter().map(|it| if is_line { narrowed(it) } else { it.reading }).collect()
    }
}

/// The length of the shortest question.
const QUESTION_LEN: usize = 2;

fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}

impl Trial {
    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    fn find_faults(&self, has_restarted: bool) -> Vec<String> {
        let mut faults = Vec::new();
        let sum = |of: fn(&Size) -> usize| self.sizes.iter().map(of).sum::<usize>();
        let (sent, lost, wrong) = (sum(|it| it.sent), sum(|it| it.lost), sum(|it| it.wrong));
        if lost + wrong > 0 {
            faults
                .push(format!("{lost} of {sent} messages were lost and {wrong} came back changed"));
        }
        if self.garbage > 0 {
            let garbage = self.garbage;
            faults.push(format!("bytes came {garbage} times that are no message: noise, or loss"));
        }
        let Some(clock) = self.clock else {
            let why = if has_restarted {
                "the dongle has restarted meanwhile: see `lifesign dongle log`"
            } else {
                "nothing is known of the dongle's clock: too few answers, or it runs unevenly"
            };
            faults.push(why.to_owned());
            return faults;
        };
        if let (Some(false), Some(allowed)) = (clock.is_within, clock.allowed_ppm) {
            faults.push(format!(
                "the dongle's clock is {:+.0} ppm off, and the settings credit it with {allowed}: \
                 raise clock_error",
                clock.error_ppm
            ));
        }
        faults
    }

    /// Returns it as a page for people.
    #[must_use]
    pub fn render(&self, page: Page) -> String {
        let speed = self.speed.map(|speed| format!(" at {speed} baud")).unwrap_or_default();
        let mut text = format!("{}{speed}, there and back:\n", self.device);
        let head = "     bytes      sent      lost     wrong   median ms      p99 ms";
        let _ = writeln!(text, "{}", page.paint(Paint::Heading, head));
        for size in &self.sizes {
            let Size { bytes, sent, lost, wrong, median_ms, p99_ms } = size;
            let _ = writeln!(
                text,
                "  {bytes:>8}  {sent:>8}  {lost:>8}  {wrong:>8}  {median_ms:>10.3}  {p99_ms:>10.3}"
            );
        }
        let _ = writeln!(
            text,
            "  {:.0} bytes/s of content; garbage {}; frames of servers {}",
            self.bytes_per_second, self.garbage, self.frames
        );
        if let Some(clock) = self.clock {
            let ClockTrial { error_ppm, uncertainty_ppm, .. } = clock;
            let _ = write!(text, "  clock {error_ppm:+.0} ppm, to within {uncertainty_ppm:.0}");
            text.push_str(&match (clock.allowed_ppm, clock.is_within) {
                (Some(allowed), Some(true)) => format!("; inside the {allowed} of the settings"),
                (Some(allowed), Some(false)) => format!("; outside the {allowed} of the settings"),
                (Some(allowed), None) => {
                    format!("; whether inside the {allowed} of the settings takes longer to tell")
                }
                (None, _) => String::new(),
            });
            text.push('\n');
        }
        for fault in &self.faults {
            let _ = writeln!(text, "{} {fault}", page.paint(Paint::Bad, "error:"));
        }
        if self.is_good() {
            let _ = writeln!(text, "{}", page.paint(Paint::Good, "GOOD: the line carries it all"));
        }
        text
    }
}
