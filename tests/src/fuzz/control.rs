//! Requests out of any bytes at the control socket.

use std::cell::RefCell;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use lifesign::control::server::Control;
use lifesign::control::{Command, LONGEST_REQUEST, Picture, Request, Response, VERSION};
use lifesign::report::witness::WitnessReport;
use lifesign_core::time::Instant;
use nix::sys::socket::{MsgFlags, send};

use crate::random::Random;

/// Writes any bytes to a daemon's control socket, whole and in pieces; the first byte says how they
/// are cut.
///
/// # Panics
/// If one of these is not so:
///
/// - The requests that are given out, the answers, and whether the server hangs up are what a
///   second reading of the documentation says, however the bytes are cut.
/// - Each answer is one line of JSON with the version.
/// - Nothing is left behind when the client has gone.
pub fn control(input: &[u8]) {
    let Some((cut, bytes)) = input.split_first() else { return };
    let (requests, end) = foretold(bytes);
    BENCH.with_borrow_mut(|bench| {
        let mut random = Random::new(u64::from(*cut));
        for widest in [usize::MAX, 1 + usize::from(*cut)] {
            let heard = bench.converse(bytes, widest, &mut random);
            assert_eq!(heard.requests, requests);
            assert_eq!(heard.has_hung_up, end == End::Refused);
            demand_answers(&heard.answers, requests.len(), end);
        }
    });
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
}

/// A server's socket, in a folder of its own.
struct Bench {
    folder: PathBuf,
    control: Control,
}

/// What came of a conversation.
struct Heard {
    requests: Vec<Request>,
    answers: Vec<u8>,
    has_hung_up: bool,
}

/// How a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The server waits for the rest of a request.
    Open,
    /// The server tells, and listens no more: which answers it begins with.
    Watching(&'static [&'static str]),
    /// The server has refused and hung up.
    Refused,
}

const NOW: Instant = Instant::from_micros(1_000_000);
const WAIT_MS: u64 = 7;

/// Returns which requests are given out, and how it ends.
fn foretold(bytes: &[u8]) -> (Vec<Request>, End) {
    let (mut requests, mut rest) = (Vec::new(), bytes);
    while let Some(end) = rest.iter().take(LONGEST_REQUEST).position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let version = serde_json::from_slice::<serde_json::Value>(line)
            .ok()
            .and_then(|value| value.get("version")?.as_u64());
        let request = serde_json::from_slice::<Request>(line).ok();
        let Some(request) = request.filter(|_| version == Some(u64::from(VERSION))) else {
            return (requests, End::Refused);
        };
        let told: Option<&[&str]> = match (request.command, request.since, &request.start) {
            (Command::Watch, None, _) => Some(&["snapshot"]),
            // Nothing has happened yet, so this is all that can be known of this start.
            (Command::Watch, Some(0), None) => Some(&[]),
            (Command::Watch, Some(_), _) => Some(&["gap", "snapshot"]),
            _ => None,
        };
        requests.push(request);
        if let Some(told) = told {
            return (requests, End::Watching(told));
        }
    }
    let end = if rest.len() >= LONGEST_REQUEST { End::Refused } else { End::Open };
    (requests, end)
}

fn demand_answers(answers: &[u8], requests: usize, end: End) {
    let text = core::str::from_utf8(answers).expect("answers are text");
    assert!(text.is_empty() || text.ends_with('\n'));
    let answers: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(answers.iter().all(|answer| answer["version"] == VERSION), "{text}");
    let words: Vec<_> = answers.iter().map(|answer| answer["answer"].as_str()).collect();
    let last: &[&str] = match end {
        End::Open => &[],
        End::Watching(told) => told,
        End::Refused => &["refused"],
    };
    let others = requests - usize::from(matches!(end, End::Watching(_)));
    let mut expected = vec![Some("accepted"); others];
    expected.extend(last.iter().copied().map(Some));
    assert_eq!(words, expected, "{text}");
}

impl Bench {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lifesign-fuzz-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let control = Control::bind(&folder.join("control")).expect("a socket of our own");
        Self { folder, control }
    }

    fn converse(&mut self, bytes: &[u8], widest: usize, random: &mut Random) -> Heard {
        let mut client = UnixStream::connect(self.folder.join("control")).expect("it listens");
        client.set_nonblocking(true).expect("a socket that does not wait");
        let mut heard = Heard { requests: Vec::new(), answers: Vec::new(), has_hung_up: false };
        let mut rest = bytes;
        while !rest.is_empty() && !heard.has_hung_up {
            let width = 1 + usize::try_from(random.below(widest as u64)).unwrap_or(0);
            let (piece, later) = rest.split_at(rest.len().min(width));
            rest = later;
            // Whoever is not read any more must not die of it.
            let sent = send(client.as_raw_fd(), piece, MsgFlags::MSG_NOSIGNAL);
            self.turn(&mut client, &mut heard);
            if sent != Ok(piece.len()) {
                break;
            }
        }
        self.turn(&mut client, &mut heard);
        drop(client);
        self.control.handle_ready(NOW);
        assert!(self.control.poll_request().is_none(), "a request of nobody");
        assert_eq!(self.control.connections(), 0, "it is still there");
        heard
    }

    /// Turns the loop until nothing happens any more, and answers everything that is asked.
    fn turn(&mut self, client: &mut UnixStream, heard: &mut Heard) {
        loop {
            let before = (heard.requests.len(), heard.answers.len(), heard.has_hung_up);
            self.control.handle_ready(NOW);
            while let Some((id, request)) = self.control.poll_request() {
                if request.command == Command::Watch {
                    self.control.watch(id, &request, NOW);
                } else {
                    self.control.answer(id, &Response::Accepted { wait_ms: WAIT_MS }, NOW);
                }
                heard.requests.push(request);
            }
            let picture = self.control.needs_picture().then(|| Picture::Witness(empty()));
            self.control.tell_watchers(picture, NOW);
            let ended = client.read_to_end(&mut heard.answers);
            let waits = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
            heard.has_hung_up = !ended.is_err_and(|error| waits(&error));
            if before == (heard.requests.len(), heard.answers.len(), heard.has_hung_up) {
                return;
            }
        }
    }
}

/// Returns a quorum server that serves nobody.
fn empty() -> Box<WitnessReport> {
    Box::new(WitnessReport {
        version: lifesign::report::VERSION,
        uptime_ms: 0,
        longest_promise_ms: 0,
        strangers: 0,
        scheduling: String::new(),
        clusters: Vec::new(),
    })
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
