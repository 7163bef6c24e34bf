//! What is recorded is reproduced, whatever becomes of the file in between.
#![expect(clippy::unwrap_used, reason = "what fails here is a test's failure")]

use std::fs;
use std::path::{Path, PathBuf};

use lifesign::page::Page;
use lifesign::record::block::{self, Blocks, Kind, Next, Origin, PREFIX_LEN, VERSION, prefix};
use lifesign::record::entry::Entry;
use lifesign::record::writer::{self, Writer};
use lifesign::record::{self, LEAST_BOUND, Plan, Recorded};
use lifesign::replay::{self, Outcome, Question, ReplayError};
use lifesign::settings::Settings;
use lifesign_core::engine::{Engine, Event};
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::group::{Role, Token};
use lifesign_core::node::{BootId, LinkId, NodeId};
use lifesign_core::seal::{Key, KeyId, Keyring};
use lifesign_core::time::{Duration, Instant};

const SETTINGS: &str = r#"version = 1
cluster = "web"
key_file = "/etc/lifesign/key"
profile = "fast"
quorum = ["majority"]
[[node]]
name = "alpha"
[[node]]
name = "beta"
[[node]]
name = "gamma"
[[link]]
name = "lan"
kind = "udp"
adapter = "lo"
members = { alpha = "10.77.0.1", beta = "10.77.0.2", gamma = "10.77.0.3" }
[[link]]
name = "other"
kind = "udp"
adapter = "lo"
members = { alpha = "10.78.0.1", beta = "10.78.0.2", gamma = "10.78.0.3" }
[[group]]
name = "www"
addresses = ["10.77.0.100/24"]
"#;

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lifesign-{name}-{}", std::process::id()));
        let _old = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn segments(&self) -> Vec<PathBuf> {
        writer::segments(&self.0).unwrap()
    }

    fn len(&self) -> u64 {
        self.segments().iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _removed = fs::remove_dir_all(&self.0);
    }
}

/// Three engines on a table, of which the first is recorded.
struct Table {
    alpha: Recorded,
    others: [Engine; 2],
    writer: Writer,
    now: Instant,
    /// Whether frames between alpha and the others are lost.
    is_cut: bool,
}

fn keyring(byte: u8) -> Keyring {
    Keyring::new(&[(KeyId(byte), Key::new([byte; 32]))], KeyId(byte)).unwrap()
}

impl Table {
    fn new(folder: &Path, bound: u64) -> Self {
        let settings = Settings::parse("lifesign.toml", SETTINGS).unwrap();
        let start = Instant::from_micros(5_000_000);
        let engine = |number: u8| {
            let me = NodeId::new(number).unwrap();
            let config = settings.engine_config(me, Duration::from_millis(4)).unwrap();
            let boot = BootId::new(0x1234_5678_9abc_def0 + u64::from(number));
            Engine::new(config, keyring(1), boot, Token(0), start)
        };
        let origin = Origin {
            program: "0".to_owned(),
            node: "alpha".to_owned(),
            path: "lifesign.toml".to_owned(),
            settings: SETTINGS.to_owned(),
        };
        let plan = Plan { directory: folder.to_owned(), bound, origin };
        let (recorder, writer) = record::open(plan).unwrap();
        let alpha = Recorded::new(engine(0), Some(recorder));
        Self { alpha, others: [engine(1), engine(2)], writer, now: start, is_cut: false }
    }

    /// Lets `millis` pass, with a wake-up of each engine in each.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now = self.now + Duration::from_millis(1);
            self.wake_others();
            self.wake_alpha();
        }
    }

    fn wake_others(&mut self) {
        let (now, mut buffer) = (self.now, [0; MAX_FRAME_LEN]);
        for at in 0..self.others.len() {
            let engine = &mut self.others[at];
            engine.handle_timeout(now);
            while let Some(event) = engine.poll_event() {
                match event {
                    Event::Reserve(token) => engine.handle_reserved(token, now),
                    Event::Group { group, role: Role::Starting(_), .. } => {
                        engine.handle_started(group, true, now);
                    }
                    Event::Group { group, role: Role::Stopping(_), .. } => {
                        engine.handle_stopped(group, true, now);
                    }
                    _ => {}
                }
            }
            while let Some(transmit) = self.others[at].poll_transmit(now, &mut buffer) {
                let frame = &buffer[..transmit.len];
                if !self.is_cut {
                    let _heard = self.alpha.handle_frame(transmit.link, frame, now);
                }
                let _heard = self.others[1 - at].handle_frame(transmit.link, frame, now);
            }
        }
    }

    fn wake_alpha(&mut self) {
        let (now, mut buffer) = (self.now, [0; MAX_FRAME_LEN]);
        self.alpha.check_authority(now);
        self.alpha.handle_timeout(now);
        while let Some(event) = self.alpha.poll_event() {
            match event {
                Event::Reserve(token) => self.alpha.handle_reserved(token, now),
                Event::Group { group, role: Role::Starting(_), .. } => {
                    self.alpha.handle_started(group, true, now);
                }
                Event::Group { group, role: Role::Stopping(_), .. } => {
                    self.alpha.handle_stopped(group, true, now);
                }
                _ => {}
            }
        }
        while let Some(transmit) = self.alpha.poll_transmit(now, &mut buffer) {
            for other in self.others.iter_mut().filter(|_| !self.is_cut) {
                let _heard = other.handle_frame(transmit.link, &buffer[..transmit.len], now);
            }
        }
    }

    /// What a cluster sees in its life, in short.
    fn live(&mut self) {
        self.pass(400);
        let forged = [7; 60];
        for len in [0, 1, 15, 16, 39, 40, 60] {
            let _refused = self.alpha.handle_frame(link(0), &forged[..len], self.now);
        }
        let mut long = [0; MAX_FRAME_LEN + 1];
        let _refused = self.alpha.handle_frame(link(1), &long, self.now);
        // A frame of beta's with a wrong tag, one under an unknown key, one of another link.
        let mut buffer = [0; MAX_FRAME_LEN];
        let len = self.others[0].farewell(link(0), &mut buffer);
        buffer[len - 1] ^= 1;
        let _refused = self.alpha.handle_frame(link(0), &buffer[..len], self.now);
        buffer[3] = 9;
        let _refused = self.alpha.handle_frame(link(0), &buffer[..len], self.now);
        long[..len].copy_from_slice(&buffer[..len]);
        let _refused = self.alpha.handle_frame(link(1), &long[..len], self.now);
        self.alpha.handle_standby(None, self.now);
        self.pass(100);
        self.alpha.handle_takeover(None, self.now);
        self.pass(200);
        self.is_cut = true;
        self.pass(150);
        self.is_cut = false;
        self.pass(200);
        self.alpha.handle_leave(self.now);
        self.pass(50);
        assert!(self.alpha.has_said_farewell());
    }
}

fn link(number: u8) -> LinkId {
    LinkId::new(number).unwrap()
}

fn play(path: &Path) -> (Result<Outcome, ReplayError>, Vec<String>) {
    ask(path, &Question::new(Page::PLAIN))
}

fn ask(path: &Path, question: &Question) -> (Result<Outcome, ReplayError>, Vec<String>) {
    let mut said = Vec::new();
    let outcome = replay::run(path, question, &mut |line| said.push(line.to_owned()));
    (outcome, said)
}

#[test]
fn what_is_recorded_is_reproduced() {
    let folder = Folder::new("reproduced");
    let mut table = Table::new(&folder.0, LEAST_BOUND);
    table.live();
    table.alpha.end_recording();
    table.writer.drain();
    let (outcome, said) = play(&folder.0);
    let outcome = outcome.unwrap();
    let said = said.join("\n");
    assert!(outcome.is_good(), "{outcome}\n{said}");
    assert!(outcome.inputs > 3000 && outcome.frames > 200 && outcome.decisions > 10, "{outcome}");
    for expected in [
        "alpha holds www (token",
        "alpha beta is lost: silent on every link",
        "alpha standby for everything, as the operator asks",
        "alpha leaving in good order",
        "the recording ends: the daemon has left",
    ] {
        assert!(said.contains(expected), "{expected}:\n{said}");
    }
}

#[test]
fn the_oldest_makes_room_and_what_is_left_goes_on() {
    let folder = Folder::new("bound");
    let mut table = Table::new(&folder.0, LEAST_BOUND);
    for _ in 0..160 {
        table.pass(250);
        table.writer.drain();
        assert!(folder.len() <= LEAST_BOUND, "{} bytes", folder.len());
    }
    let segments = folder.segments();
    assert!(!segments[0].ends_with("00000001.record"), "{segments:?}");
    assert!(segments.len() >= 6 && folder.len() > LEAST_BOUND * 3 / 4, "{segments:?}");
    let (outcome, said) = play(&folder.0);
    let outcome = outcome.unwrap();
    assert!(outcome.is_good() && outcome.inputs > 20_000, "{outcome}\n{said:?}");
    let (first, all) = (play(&segments[0]).0.unwrap(), outcome.inputs);
    assert!(first.is_good() && first.inputs < all, "each segment stands alone");
    // A segment that is missing is no seam: what follows does not go on from what is there.
    fs::rename(&segments[2], &segments[1]).unwrap();
    let outcome = play(&folder.0).0.unwrap();
    let difference = outcome.difference.unwrap();
    assert!(difference.contains("the state at the beginning of segment"), "{difference}");
}

#[test]
fn what_a_slow_disk_loses_is_counted_and_told() {
    let folder = Folder::new("slow");
    let mut table = Table::new(&folder.0, LEAST_BOUND);
    while table.alpha.recording().unwrap().lost < 100 {
        table.pass(50);
    }
    table.writer.drain();
    table.pass(300);
    table.alpha.end_recording();
    table.writer.drain();
    let lost = table.alpha.recording().unwrap().lost;
    let (outcome, said) = play(&folder.0);
    let outcome = outcome.unwrap();
    assert!(outcome.is_good(), "{outcome}");
    let told = said.iter().find(|line| line.contains("entries before this are lost")).unwrap();
    assert!(told.contains(&format!(" {lost} entries")), "{lost}: {told}");
}

#[test]
fn a_disk_that_refuses_is_told_and_tried_again() {
    let folder = Folder::new("refuses");
    let inner = folder.0.join("inner");
    fs::write(&inner, "in the way").unwrap();
    let mut table = Table::new(&inner, LEAST_BOUND);
    table.pass(100);
    table.writer.drain();
    let health = table.alpha.recording().unwrap();
    assert!(health.error.is_some(), "{health:?}");
    fs::remove_file(&inner).unwrap();
    table.pass(11_000);
    assert!(table.alpha.recording().unwrap().lost > 1000);
    table.writer.drain();
    table.pass(20);
    table.writer.drain();
    let (outcome, said) = play(&inner);
    assert!(outcome.unwrap().is_good(), "{said:?}");
}

#[test]
fn a_recording_has_no_keys_and_no_frame_that_could_be_sent() {
    let folder = Folder::new("secrets");
    let mut table = Table::new(&folder.0, LEAST_BOUND);
    table.pass(200);
    table.alpha.set_keyring(keyring(2));
    let mut frames = Vec::new();
    let mut buffer = [0; MAX_FRAME_LEN];
    for _ in 0..50 {
        table.now = table.now + Duration::from_millis(1);
        let now = table.now;
        table.others[0].handle_timeout(now);
        while let Some(transmit) = table.others[0].poll_transmit(now, &mut buffer) {
            frames.push(buffer[..transmit.len].to_vec());
            let _heard = table.alpha.handle_frame(transmit.link, &buffer[..transmit.len], now);
        }
        table.alpha.handle_timeout(now);
        while let Some(transmit) = table.alpha.poll_transmit(now, &mut buffer) {
            frames.push(buffer[..transmit.len].to_vec());
        }
    }
    table.writer.drain();
    let file = fs::read(&folder.segments()[0]).unwrap();
    assert!(frames.len() > 10);
    let has = |part: &[u8]| file.windows(part.len()).any(|window| window == part);
    for frame in &frames {
        assert!(!has(&frame[frame.len() - 8..]), "half of a tag");
    }
    assert!(!has(&[1; 16]) && !has(&[2; 16]), "half of a key");
    let (outcome, said) = play(&folder.0);
    assert!(outcome.unwrap().is_good());
    assert!(said.join("\n").contains("accepts the keys 2 and signs with 2"));
}

#[test]
fn every_damaged_byte_is_an_error_or_a_difference() {
    let folder = Folder::new("damaged");
    let mut table = Table::new(&folder.0, LEAST_BOUND);
    table.pass(8);
    table.alpha.end_recording();
    table.writer.drain();
    let path = folder.segments()[0].clone();
    let file = fs::read(&path).unwrap();
    assert!(play(&path).0.unwrap().is_good());
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= [1, 0x80, 0xff][at % 3];
        fs::write(&path, damaged).unwrap();
        let (outcome, said) = play(&path);
        if let Ok(outcome) = outcome {
            assert!(!outcome.is_good(), "byte {at}: {outcome}\n{said:?}");
        }
    }
}

#[test]
fn what_was_being_written_in_a_crash_is_left_out() {
    let folder = Folder::new("torn");
    let mut table = Table::new(&folder.0, LEAST_BOUND);
    for _ in 0..4 {
        table.pass(2);
        table.writer.drain();
    }
    let path = folder.segments()[0].clone();
    let file = fs::read(&path).unwrap();
    let whole = play(&path).0.unwrap();
    let mut most = 0;
    for len in (0..file.len()).step_by(3) {
        fs::write(&path, &file[..len]).unwrap();
        match play(&path) {
            (Ok(outcome), said) => {
                assert!(outcome.is_good() && outcome.inputs >= most, "{len}: {outcome}\n{said:?}");
                most = outcome.inputs;
            }
            (Err(error), _) => {
                let error = error.to_string();
                assert!(most == 0 && !error.contains('\n'), "{len}: {error}");
            }
        }
    }
    assert!(most > 0 && most <= whole.inputs);
    // The file has its length, and its end is not there yet.
    let mut zeros = file;
    zeros.extend([0; 5000]);
    fs::write(&path, zeros).unwrap();
    let (outcome, said) = play(&path);
    assert_eq!(outcome.unwrap().inputs, whole.inputs);
    assert!(said.last().unwrap().contains("the recording ends in what was being written"));
}

#[test]
fn what_is_no_recording_is_said_in_one_line() {
    let folder = Folder::new("foreign");
    let error = |path: &Path| play(path).0.unwrap_err().to_string();
    assert!(error(&folder.0).contains("there is no recording in"));
    let path = folder.0.join("00000001.record");
    assert!(error(&path).contains("no such file"));
    for foreign in [&b""[..], b"x", b"version = 1\ncluster = \"web\"\n", &[0; 4096]] {
        fs::write(&path, foreign).unwrap();
        assert!(error(&path).ends_with("this is no recording of lifesign"), "{}", error(&path));
    }
    let mut table = Table::new(&folder.0, LEAST_BOUND);
    table.pass(20);
    table.writer.drain();
    let path = folder.segments().pop().unwrap();
    let mut file = fs::read(&path).unwrap();
    file[PREFIX_LEN - 4..PREFIX_LEN].copy_from_slice(&(VERSION + 1).to_le_bytes());
    fs::write(&path, &file).unwrap();
    let expected = format!("a recording of version {}", VERSION + 1);
    assert!(error(&path).contains(&expected), "{}", error(&path));
}

#[test]
fn another_decision_is_named_with_its_time() {
    let folder = Folder::new("other");
    let mut table = Table::new(&folder.0, LEAST_BOUND);
    table.pass(400);
    table.writer.drain();
    let path = folder.segments()[0].clone();
    // Every block is right, but one entry is another one: a frame of a stranger's comes in between.
    let forged = forge(&fs::read(&path).unwrap());
    fs::write(&path, forged).unwrap();
    let outcome = play(&path).0.unwrap();
    let difference = outcome.difference.as_deref().unwrap();
    assert!(difference.contains("recorded was") && difference.contains(" [5."), "{difference}");
    assert!(outcome.to_string().contains("then a difference"), "{outcome}");
    assert!(difference.contains("it was recorded by lifesign 0, and this is"), "{difference}");
}

/// Returns `file` with the operator's wish for standby before the last block of entries.
fn forge(file: &[u8]) -> Vec<u8> {
    let mut blocks = Blocks::new(file).unwrap();
    let mut found = Vec::new();
    while let Next::Block(kind, said) = blocks.next_block().unwrap() {
        found.push((kind, said.to_vec()));
    }
    let last = found.iter().rposition(|(kind, _)| *kind == Kind::Entries).unwrap();
    let wish = postcard::to_extend(&Entry::Standby(0, None), Vec::new()).unwrap();
    found[last].1.splice(0..0, wish);
    let mut forged = prefix().to_vec();
    for ((kind, said), number) in found.iter().zip(0..) {
        block::write(&mut forged, number, *kind, said);
    }
    forged
}

#[test]
fn the_explanation_of_a_moment_is_that_of_the_engine_then() {
    let folder = Folder::new("why");
    let mut table = Table::new(&folder.0, LEAST_BOUND);
    table.pass(400);
    let held = table.now;
    table.alpha.told(held);
    table.is_cut = true;
    table.pass(300);
    table.alpha.told(table.now);
    table.writer.drain();
    let why = |at: Option<Instant>| {
        let mut question = Question::new(Page::PLAIN);
        question.why = Some("www".to_owned());
        question.at = at
            .map(|at| format!("{}", at.as_micros()))
            .map(|micros| format!("{}.{}", &micros[..1], &micros[1..]).parse().unwrap());
        let (outcome, said) = ask(&folder.0, &question);
        outcome.map(|_| said.join("\n")).map_err(|error| error.to_string())
    };
    assert!(why(Some(held)).unwrap().starts_with("www is held by alpha"));
    let lost = why(Some(table.now)).unwrap();
    assert!(lost.contains("it has no quorum"), "{lost}");
    assert_eq!(why(None).unwrap(), lost);
    let later = why(Some(table.now + Duration::from_millis(1))).unwrap_err();
    assert!(later.contains("that moment is not in the recording"), "{later}");
}
