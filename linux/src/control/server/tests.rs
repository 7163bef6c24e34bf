//! Clients that are slow, many, confused or gone.

use super::*;

mod watchers;

use crate::control::client::ask;
use crate::control::{Command, LONGEST_REQUEST, LONGEST_RESPONSE};
use crate::report::tests::good;
use crate::settings::tests::Folder;
use proptest::prelude::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const START: Instant = Instant::from_micros(1_000_000);

struct Bench {
    folder: Folder,
    control: Control,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let folder = Folder::new("control");
        let control = Control::bind(&folder.path.join("control")).unwrap();
        Self { folder, control, now: START }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path.join("control")).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }

    /// Turns the loop once and answers everything that is asked.
    fn turn(&mut self, response: &Response) -> usize {
        self.control.handle_ready(self.now);
        let mut count = 0;
        while let Some((id, _)) = self.control.poll_request() {
            self.control.answer(id, response, self.now);
            count += 1;
        }
        count
    }
}

/// Returns what has arrived at `stream`, and whether the other side has hung up.
fn arrived(mut stream: &UnixStream) -> (String, bool) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    (String::from_utf8(bytes).unwrap(), end.is_ok())
}

fn accepted() -> Response {
    Response::Accepted { wait_ms: 7 }
}

const ASK: &[u8] = b"{\"version\":1,\"command\":\"status\"}\n";
const ACCEPTED: &str = "{\"version\":1,\"answer\":\"accepted\",\"wait_ms\":7}\n";

#[test]
fn a_request_may_come_byte_by_byte() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    for byte in &ASK[..ASK.len() - 1] {
        client.write_all(&[*byte]).unwrap();
        assert_eq!(bench.turn(&accepted()), 0);
    }
    client.write_all(b"\n").unwrap();
    assert_eq!(bench.turn(&accepted()), 1);
    assert_eq!(arrived(&client), (ACCEPTED.to_owned(), false));
}

#[test]
fn requests_that_come_together_are_answered_one_after_the_other() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(&[ASK, ASK, ASK].concat()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(bench.turn(&accepted()), 3);
    bench.turn(&accepted());
    assert_eq!(arrived(&client), (ACCEPTED.repeat(3), true), "an end of input ends it");
    assert_eq!(bench.control.connections(), 0);
}

#[test]
fn what_is_no_request_is_refused_and_ends_the_connection() {
    let too_long = [b'x'; LONGEST_REQUEST];
    for (sent, reason) in [
        (&b"hello\n"[..], "the request is not understood"),
        (b"{\"version\":1,\"command\":\"reboot\"}\n", "the request is not understood"),
        (
            b"{\"version\":1,\"command\":\"status\",\"force\":true}\n",
            "the request is not understood",
        ),
        (b"{\"version\":2,\"command\":\"status\"}\n", "this daemon speaks version 1"),
        (b"\xff\n", "the request is not understood"),
        (&too_long, "the request is too long"),
    ] {
        let mut bench = Bench::new();
        let mut client = bench.connect();
        client.write_all(sent).unwrap();
        assert_eq!(bench.turn(&accepted()), 0);
        bench.turn(&accepted());
        let expected =
            format!("{{\"version\":1,\"answer\":\"refused\",\"reason\":\"{reason}\"}}\n");
        assert_eq!(arrived(&client), (expected, true));
        assert_eq!(bench.control.connections(), 0);
    }
}

#[test]
fn a_client_that_does_not_read_is_dropped() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(ASK).unwrap();
    let huge = Response::refused("x".repeat(LONGEST_RESPONSE - 100));
    assert_eq!(bench.turn(&huge), 1);
    assert_eq!(bench.control.poll_timeout(), Some(START + PATIENCE));
    bench.now = START + PATIENCE - Duration::from_micros(1);
    bench.turn(&huge);
    assert_eq!((bench.control.connections(), bench.control.dropped()), (1, 0));
    bench.now = START + PATIENCE;
    bench.turn(&huge);
    assert_eq!((bench.control.connections(), bench.control.dropped()), (0, 1));
    let (some, is_over) = arrived(&client);
    assert!(is_over && some.len() < LONGEST_RESPONSE - 100, "{}", some.len());
}

#[test]
fn a_client_that_reads_slowly_gets_it_all() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(ASK).unwrap();
    let huge = Response::refused("x".repeat(LONGEST_RESPONSE - 100));
    bench.turn(&huge);
    let mut text = String::new();
    while !text.ends_with('\n') {
        let (part, _) = arrived(&client);
        assert!(!part.is_empty(), "stuck after {} bytes", text.len());
        text.push_str(&part);
        bench.turn(&huge);
    }
    assert!(text.len() > LONGEST_RESPONSE - 100);
}

#[test]
fn an_answer_that_is_too_long_ends_the_connection() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(ASK).unwrap();
    bench.turn(&Response::refused("x".repeat(LONGEST_RESPONSE)));
    assert_eq!(arrived(&client), (String::new(), true));
}

#[test]
fn silent_clients_make_room_for_others_in_time() {
    let mut bench = Bench::new();
    let silent: Vec<UnixStream> = (0..MOST_CONNECTIONS).map(|_| bench.connect()).collect();
    let mut last = bench.connect();
    last.write_all(ASK).unwrap();
    assert_eq!(bench.turn(&accepted()), 0);
    assert_eq!(bench.control.connections(), MOST_CONNECTIONS);
    bench.turn(&accepted());
    assert_eq!(bench.control.connections(), MOST_CONNECTIONS);
    assert_eq!(bench.control.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO), Ok(0));
    bench.now = START + PATIENCE;
    bench.turn(&accepted());
    assert_eq!(bench.turn(&accepted()), 1);
    assert_eq!(arrived(&last).0, ACCEPTED);
    assert_eq!(bench.control.dropped(), silent.len() as u64);
}

#[test]
fn a_hundred_clients_at_once_are_all_answered() {
    let mut bench = Bench::new();
    let path = bench.folder.path.join("control");
    let is_done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                let request = Request::new(Command::Status, None);
                ask(&path, &request, Duration::from_millis(60_000)).unwrap()
            })
        })
        .collect();
    let waiter = std::thread::spawn({
        let is_done = Arc::clone(&is_done);
        move || {
            let answers: Vec<_> =
                clients.into_iter().map(|client| client.join().unwrap()).collect();
            is_done.store(true, Ordering::Release);
            answers
        }
    });
    let report = Response::Report { report: Box::new(good()) };
    while !is_done.load(Ordering::Acquire) {
        bench.turn(&report);
        assert!(bench.control.connections() <= MOST_CONNECTIONS);
        std::thread::yield_now();
    }
    let answers = waiter.join().unwrap();
    assert_eq!(answers.len(), 100);
    assert!(answers.iter().all(|answer| *answer == report));
}

#[test]
fn what_a_dead_daemon_left_is_replaced_and_nothing_else() {
    let folder = Folder::new("control");
    let path = folder.path.join("run").join("control");
    let control = Control::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    drop(control);
    assert!(!path.exists());
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a socket nobody listens to");
    drop(Control::bind(&path).unwrap());
    fs::write(&path, "precious").unwrap();
    let error = Control::bind(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{} is in the way and not a socket", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let error = Control::bind(Path::new("/nonexistent/folder/control")).unwrap_err().to_string();
    assert_eq!(
        error,
        "create the folder of /nonexistent/folder/control: no such file or directory"
    );
}

/// Runs the test `name` in a process of its own, which sees `value` in [`ALONE`], and returns what
/// it wrote.
fn alone(name: &str, value: &Path) -> String {
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&format!("control::server::tests::{name}"), "--exact", "--nocapture"])
        .env(ALONE, value)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{said}");
    said
}

const ALONE: &str = "LIFESIGN_TEST_ALONE";

#[test]
fn running_out_of_descriptors_is_waited_for_quietly() {
    use nix::sys::resource::{Resource, setrlimit};

    if std::env::var_os(ALONE).is_none() {
        alone("running_out_of_descriptors_is_waited_for_quietly", Path::new("now"));
        return;
    }
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(ASK).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 1, 1024).unwrap();
    assert_eq!(bench.turn(&accepted()), 0);
    assert_eq!(bench.control.poll_timeout(), Some(START + MUTE));
    assert_eq!(bench.control.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO), Ok(0));
    setrlimit(Resource::RLIMIT_NOFILE, 1024, 1024).unwrap();
    bench.now = START + MUTE;
    bench.turn(&accepted());
    assert_eq!(bench.turn(&accepted()), 1);
    assert_eq!(arrived(&client).0, ACCEPTED);
}

#[test]
fn a_second_daemon_is_told_so_and_the_first_goes_on() {
    if let Some(path) = std::env::var_os(ALONE) {
        let error = Control::bind(Path::new(&path)).unwrap_err();
        assert!(error.is_running());
        eprintln!("<{error}>");
        return;
    }
    let mut bench = Bench::new();
    let path = bench.folder.path.join("control");
    let said = alone("a_second_daemon_is_told_so_and_the_first_goes_on", &path);
    let me = std::process::id();
    let expected = format!("<another lifesign is running at {}, process {me}>", path.display());
    assert!(said.contains(&expected), "{said}");
    let mut client = bench.connect();
    client.write_all(ASK).unwrap();
    assert_eq!(bench.turn(&accepted()), 1);
    let mut line = String::new();
    BufReader::new(&client).read_line(&mut line).unwrap();
    assert_eq!(line, ACCEPTED);
}

#[test]
fn what_a_child_drops_stays() {
    let folder = Folder::new("control");
    let path = folder.path.join("control");
    let mut control = Control::bind(&path).unwrap();
    control.process += 1; // as a child would see it
    drop(control);
    assert!(path.exists());
}

#[test]
fn only_root_and_the_daemons_own_user_may_ask() {
    for (uid, own, may) in
        [(0, 1000, true), (1000, 1000, true), (1001, 1000, false), (1000, 0, false)]
    {
        assert_eq!(may_ask(uid, own), may, "{uid} asks {own}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever bytes come in whatever pieces, the server stays within its bounds and serves the
    /// next client.
    #[test]
    fn any_bytes_are_survived(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..6),
    ) {
        let mut bench = Bench::new();
        let mut client = bench.connect();
        for piece in pieces {
            if client.write_all(&piece).is_err() {
                break;
            }
            bench.turn(&accepted());
            for connection in bench.control.connections.values() {
                prop_assert!(connection.input.len() <= LONGEST_REQUEST);
            }
        }
        let mut next = bench.connect();
        next.write_all(ASK).unwrap();
        bench.turn(&accepted());
        prop_assert_eq!(arrived(&next).0, ACCEPTED);
    }
}
