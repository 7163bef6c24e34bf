//! Those who watch: in order, without gaps that are not named, and never waited for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::control::Picture;
use crate::control::feed::MOST_EVENTS;
use crate::notice::{Kind, Notice};
use crate::report::tests::held;
use crate::report::{GroupRole, Report};

/// A daemon of which all is known, and what happens to its groups.
struct Stage {
    bench: Bench,
    roles: BTreeMap<String, &'static str>,
    random: u64,
}

impl Stage {
    fn new(groups: usize) -> Self {
        let roles = (0..groups).map(|at| (format!("g{at}"), "idle")).collect();
        Self { bench: Bench::new(), roles, random: 1 }
    }

    /// Lets a group play another part.
    fn happen(&mut self) {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = usize::try_from(self.random >> 33).unwrap() % self.roles.len();
        let (name, role) = self.roles.iter_mut().nth(at).unwrap();
        *role = if *role == "idle" { "holding" } else { "idle" };
        let (subject, state) = (name.clone(), (*role).to_owned());
        let text = "it is so".repeat(10);
        let notice = Notice { kind: Kind::Group, subject, state, text, ..Notice::default() };
        let _numbered = self.bench.control.announce(notice);
    }

    fn picture(&self) -> Picture {
        let role = |word: &str| {
            if word == "idle" { GroupRole::Idle } else { GroupRole::Holding }
        };
        let groups = self.roles.iter().map(|(name, word)| held(name, "alpha", role(word)));
        Picture::Report(Box::new(Report { groups: groups.collect(), ..good() }))
    }

    /// Turns the loop once, as a daemon does.
    fn turn(&mut self) {
        let now = self.bench.now;
        self.bench.control.handle_ready(now);
        while let Some((id, request)) = self.bench.control.poll_request() {
            assert_eq!(request.command, Command::Watch);
            self.bench.control.watch(id, &request, now);
        }
        let picture = self.bench.control.needs_picture().then(|| self.picture());
        self.bench.control.tell_watchers(picture, now);
    }

    /// Turns the loop until nobody who reads waits for more.
    fn settle(&mut self, clients: &mut [Client]) {
        loop {
            self.turn();
            let heard: usize = clients.iter_mut().map(Client::read).sum();
            if heard == 0 {
                return;
            }
        }
    }

    fn watch(&self, request: &Request) -> Client {
        let mut stream = self.bench.connect();
        stream.write_all((serde_json::to_string(request).unwrap() + "\n").as_bytes()).unwrap();
        Client {
            stream,
            rest: Vec::new(),
            roles: BTreeMap::new(),
            last: None,
            gaps: Vec::new(),
            gap: None,
        }
    }
}

/// Somebody who watches, and what it takes the daemon to be.
struct Client {
    stream: UnixStream,
    rest: Vec<u8>,
    roles: BTreeMap<String, String>,
    /// The last event's number, once it is known.
    last: Option<u64>,
    gaps: Vec<Option<u64>>,
    /// How much the next snapshot makes up for.
    gap: Option<u64>,
}

impl Client {
    /// Reads what has arrived, checks that nothing is missing that was not named, and returns how
    /// many lines there were.
    fn read(&mut self) -> usize {
        let mut bytes = Vec::new();
        let _blocks = self.stream.read_to_end(&mut bytes);
        self.rest.extend(bytes);
        let mut count = 0;
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.take_in(&serde_json::from_slice(&line).unwrap());
            count += 1;
        }
        count
    }

    fn take_in(&mut self, line: &Value) {
        assert_eq!(line["version"], 1);
        match line["answer"].as_str().unwrap() {
            "snapshot" => {
                let sequence = line["sequence"].as_u64();
                if let (Some(missed), Some(last)) = (self.gap.take(), self.last) {
                    assert_eq!(Some(last + missed), sequence, "{line}");
                }
                self.last = sequence;
                for group in line["report"]["groups"].as_array().unwrap() {
                    let [name, role] =
                        ["name", "role"].map(|field| group[field].as_str().unwrap().to_owned());
                    self.roles.insert(name, role);
                }
            }
            "event" => {
                let sequence = line["sequence"].as_u64();
                assert!(self.last.is_none_or(|last| sequence == Some(last + 1)), "{line}");
                self.last = sequence;
                let [name, role] =
                    ["group", "state"].map(|field| line[field].as_str().unwrap().to_owned());
                self.roles.insert(name, role);
            }
            "gap" => {
                self.gap = line["missed"].as_u64();
                self.gaps.push(self.gap);
            }
            other => panic!("{other}: {line}"),
        }
    }

    fn knows(&self, stage: &Stage) -> bool {
        self.roles.iter().map(|(name, role)| (name.as_str(), role.as_str())).collect::<Vec<_>>()
            == stage.roles.iter().map(|(name, role)| (name.as_str(), *role)).collect::<Vec<_>>()
    }
}

fn from_now() -> Request {
    Request::watch(None, None)
}

#[test]
fn a_snapshot_is_followed_by_every_event_in_order() {
    let mut stage = Stage::new(4);
    (0..7).for_each(|_| stage.happen());
    let mut clients = [stage.watch(&from_now())];
    stage.settle(&mut clients);
    assert_eq!(clients[0].last, Some(7));
    assert!(clients[0].knows(&stage));
    for count in 8..700 {
        stage.happen();
        stage.settle(&mut clients);
        assert_eq!(clients[0].last, Some(count));
        assert!(clients[0].knows(&stage));
    }
    assert!(clients[0].gaps.is_empty());
    assert_eq!(
        stage.bench.control.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO),
        Ok(0)
    );
}

#[test]
fn who_does_not_read_costs_little_and_is_told_how_much_it_has_missed() {
    let mut stage = Stage::new(8);
    let mut clients = [stage.watch(&from_now())];
    stage.settle(&mut clients);
    for _ in 0..4_000 {
        stage.happen();
        stage.turn();
        let held: usize = stage.bench.control.connections.values().map(|it| it.output.len()).sum();
        assert!(held <= 64 * 1024, "{held}");
    }
    stage.settle(&mut clients);
    let client = &clients[0];
    assert!(client.knows(&stage));
    assert!(client.gaps.len() == 1 && client.gaps[0] > Some(1_000), "{:?}", client.gaps);
    assert_eq!(client.last, Some(4_000));
    stage.happen();
    stage.settle(&mut clients);
    assert_eq!((clients[0].last, clients[0].gaps.len()), (Some(4_001), 1));
}

#[test]
fn who_comes_back_is_told_what_it_has_missed_or_how_much_that_is() {
    let mut stage = Stage::new(3);
    (0..1000).for_each(|_| stage.happen());
    let kept = 1000 - MOST_EVENTS as u64;
    let mut clients = [1000, 999, kept, kept - 1, 0, 1001]
        .map(|since| stage.watch(&Request::watch(Some(since), None)));
    stage.settle(&mut clients);
    let gaps = clients.iter().map(|client| client.gaps.clone()).collect::<Vec<_>>();
    let missed = [kept - 1, 0].map(|since| vec![Some(1000 - since)]);
    let [early, earliest] = missed;
    assert_eq!(gaps, [vec![], vec![], vec![], early, earliest, vec![None]]);
    let last = clients.iter().map(|client| client.last).collect::<Vec<_>>();
    assert_eq!(last, [None, Some(1000), Some(1000), Some(1000), Some(1000), Some(1000)]);
    assert!(clients[3..].iter().all(|client| client.knows(&stage)));
}

#[test]
fn a_number_of_another_start_is_worth_nothing() {
    let mut stage = Stage::new(1);
    (0..5).for_each(|_| stage.happen());
    let (start, _) = stage.bench.control.feed.place();
    let mut clients = [start, "another".to_owned()]
        .map(|start| stage.watch(&Request::watch(Some(3), Some(start))));
    stage.settle(&mut clients);
    let [same, other] = clients;
    assert_eq!((same.last, same.gaps), (Some(5), vec![]));
    assert_eq!((other.last, other.gaps), (Some(5), vec![None]));
}

#[test]
fn who_does_not_read_for_long_is_dropped_and_who_has_read_all_is_not() {
    let mut stage = Stage::new(8);
    let mut clients = [stage.watch(&from_now()), stage.watch(&from_now())];
    for _ in 0..3000 {
        stage.happen();
        stage.turn();
        clients[0].read();
    }
    stage.settle(&mut clients[..1]);
    stage.bench.now = START + WATCHER_PATIENCE - Duration::from_micros(1);
    stage.turn();
    assert_eq!(stage.bench.control.connections(), 2);
    stage.bench.now = START + WATCHER_PATIENCE;
    stage.turn();
    assert_eq!((stage.bench.control.connections(), stage.bench.control.dropped()), (1, 1));
    let [reads, _] = clients;
    drop(reads);
    stage.turn();
    assert_eq!(stage.bench.control.connections(), 0);
}

#[test]
fn those_who_watch_leave_room_for_those_who_ask() {
    let mut stage = Stage::new(1);
    let mut clients: Vec<Client> = (0..MOST_WATCHERS).map(|_| stage.watch(&from_now())).collect();
    stage.settle(&mut clients);
    let late = stage.watch(&from_now());
    stage.turn();
    let expected =
        "{\"version\":1,\"answer\":\"refused\",\"reason\":\"16 others watch already\"}\n";
    assert_eq!(arrived(&late.stream), (expected.to_owned(), false));
    let mut asks = stage.bench.connect();
    asks.write_all(ASK).unwrap();
    assert_eq!(stage.bench.turn(&accepted()), 1);
    assert_eq!(arrived(&asks).0, ACCEPTED);
}

#[test]
fn the_last_line_says_that_it_is_the_last() {
    let mut stage = Stage::new(2);
    let mut clients = [stage.watch(&from_now())];
    stage.settle(&mut clients);
    (0..300).for_each(|_| stage.happen());
    stage.bench.control.end("all is over", START);
    let (text, is_over) = arrived(&clients[0].stream);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 301);
    assert_eq!(
        lines[300],
        serde_json::json!({"version": 1, "answer": "end", "text": "all is over"})
    );
    assert!(!is_over, "the daemon's end closes it");
}

/// Thirty-two groups move while eight watch, each as slowly as it likes: all of them know in the
/// end how it is, and nobody was told a thing twice or out of order.
#[test]
fn many_groups_and_many_readers_of_any_speed() {
    let mut stage = Stage::new(32);
    let mut clients: Vec<Client> = (0..8).map(|_| stage.watch(&from_now())).collect();
    stage.settle(&mut clients);
    for round in 0..9_000_usize {
        stage.happen();
        if round % 3 == 0 {
            stage.turn();
        }
        for (at, client) in clients.iter_mut().enumerate().skip(1) {
            // The first does not read at all, the last at each turn.
            if round % (1 << (2 * (7 - at))) == 0 {
                client.read();
            }
        }
    }
    stage.settle(&mut clients);
    assert!(clients.iter().all(|client| client.knows(&stage) && client.last == Some(9_000)));
    let gaps: Vec<usize> = clients.iter().map(|client| client.gaps.len()).collect();
    assert!(gaps[0] > 0 && gaps[7] == 0, "{gaps:?}");
}
