//! Dongles for tests: what they answer is written beside the test.

mod emulate;
mod provision;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;

use lifesign_core::dongle::{
    self, Cause, Event, Info, Lock, Log, MAX_MESSAGE_LEN, PortInfo, Reply, Request, VERSION, What,
};
use lifesign_core::frame;
use lifesign_core::node::{BootId, NodeId, NodeSet};
use lifesign_core::stream::{Deframer, MAX_LINE_LEN, enframe};
use lifesign_core::time::{Duration, Instant};

use super::client::Client;
use super::history::History;
use super::line::Line;
use super::picture::Picture;
use super::{Absence, DongleError, trial};
use crate::clock;
use crate::page::Page;
use crate::settings::tests::Folder;
use crate::wire::{End, Wire};

/// Something behind a pseudo-terminal that turns each message into others.
struct Other {
    folder: Folder,
    wire: Option<Wire>,
    thread: Option<JoinHandle<()>>,
}

impl Other {
    /// Starts it; the line goes as fast as the machine, or at `speed`.
    fn new(speed: Option<u32>, answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::within(Folder::new("dongle"), speed, answer)
    }

    fn within(
        folder: Folder,
        speed: Option<u32>,
        mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Self {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let end = End::Terminal(folder.path.join("device"));
        let wire = Wire::join(End::Descriptor(theirs.into()), end, speed).unwrap();
        let thread = std::thread::spawn(move || {
            let mut deframer = Deframer::<{ MAX_LINE_LEN - 2 }>::new();
            let mut byte = [0];
            while ours.read(&mut byte).is_ok_and(|count| count > 0) {
                let Some(Ok(message)) = deframer.push(byte[0]) else { continue };
                for message in answer(message) {
                    let mut line = [0; MAX_LINE_LEN];
                    let len = enframe(&message, &mut line).unwrap();
                    ours.write_all(&line[..len]).unwrap();
                }
            }
        });
        Self { folder, wire: Some(wire), thread: Some(thread) }
    }

    /// Starts a dongle that answers requests.
    fn dongle(mut answer: impl FnMut(Request) -> Option<Reply> + Send + 'static) -> Self {
        Self::new(None, move |message| {
            let (request, _) = dongle::decode::<Request>(message, None).unwrap();
            answer(request).iter().map(encoded).collect()
        })
    }

    fn device(&self) -> PathBuf {
        self.folder.path.join("device")
    }

    fn client(&self) -> Client {
        Client::new(Line::open(&self.device(), 115_200).unwrap())
    }

    fn refusal(&self) -> DongleError {
        self.client().info().unwrap_err()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.wire = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn encoded(reply: &Reply) -> Vec<u8> {
    let mut buffer = [0; MAX_MESSAGE_LEN];
    let len = dongle::encode(reply, &mut buffer).unwrap();
    buffer[..len].to_vec()
}

/// A dongle that has run for ten seconds, with no settings.
fn fresh() -> Info {
    let port = PortInfo { received: 7, ..PortInfo::default() };
    Info {
        version: VERSION,
        firmware: [0, 1, 0],
        board: "test".try_into().unwrap(),
        port: 1,
        lock: Lock::Unprovisioned,
        challenge: 17,
        member: None,
        longest_promise_ms: 0,
        promises: false,
        uptime: Instant::from_micros(10_000_000),
        cause: Cause::Watchdog,
        starts: 3,
        boot: BootId::new(0xabc),
        limits: (4, 8, 320),
        hears: NodeSet::EMPTY,
        ports: [port.clone(), port].into_iter().collect(),
    }
}

#[test]
fn frames_and_noise_that_pass_by_are_not_taken_for_answers() {
    let mut asked = 0;
    let other = Other::new(None, move |_| {
        asked += 1;
        let frame = [&[frame::VERSION][..], &[0; 40]].concat();
        let garbage = vec![0x99; 5];
        // The first answer is lost.
        if asked == 1 {
            vec![frame, garbage]
        } else {
            vec![frame, encoded(&Reply::Log(Log::default())), encoded(&Reply::Info(fresh()))]
        }
    });
    let mut client = other.client();
    assert_eq!(client.info().unwrap(), fresh());
    let heard = client.heard();
    assert_eq!((heard.frames, heard.garbage, heard.answers), (2, 1, 2));
}

#[test]
fn who_does_not_answer_is_named_by_what_came() {
    let silent = Other::new(None, |_| Vec::new());
    let said = silent.refusal();
    assert_eq!(said.status(), 4);
    let expected = format!(
        "no dongle answers on {} at 115200 baud: nothing comes back; is it powered, are the \
         conductors crossed, and is this its speed?",
        silent.device().display()
    );
    assert_eq!(said.to_string(), expected);
    let absence = |other: Other| match other.refusal() {
        DongleError::NoAnswer { heard, .. } => Absence::of(heard),
        error => panic!("{error}"),
    };
    assert_eq!(absence(Other::new(None, |message| vec![message.to_vec()])), Absence::Loopback);
    let frame = [frame::VERSION; 40].to_vec();
    assert_eq!(absence(Other::new(None, move |_| vec![frame.clone()])), Absence::Server);
    let noise = Absence::of(super::client::Heard { bytes: 9, ..Default::default() });
    assert!(
        noise.to_string().contains("9 bytes came and no message; perhaps it has another speed")
    );
}

#[test]
fn a_dongle_of_another_version_says_so() {
    let newer = Other::dongle(|_| Some(Reply::Info(Info { version: 9, ..fresh() })));
    let said = newer.refusal();
    assert_eq!(said.status(), 5);
    assert!(said.to_string().contains("speaks version 9 of its messages and this is version 1"));
    for answer in [encoded(&Reply::NotUnderstood), vec![dongle::OPEN, 77, 1, 2, 3]] {
        let strange = Other::new(None, move |_| vec![answer.clone()]);
        let said = strange.refusal();
        assert!(said.to_string().contains("another version of its messages"), "{said}");
    }
}

#[test]
fn the_log_is_read_in_pieces_and_told_in_words() {
    let other = Other::dongle(|request| match request {
        Request::Log { from } => {
            let all = (0..20).map(|number| {
                let at_ms = number * 100;
                let what = match number {
                    0 => What::Started(Cause::Power, 2),
                    8 => What::Started(Cause::Watchdog, 3),
                    _ => What::Fired(NodeId::new(1).unwrap()),
                };
                (number, Event { at_ms, what })
            });
            let events = all.filter(|(number, _)| *number >= from).take(8).collect();
            Some(Reply::Log(Log { next: 20, events }))
        }
        _ => Some(Reply::Info(fresh())),
    });
    let mut client = other.client();
    let events = client.log().unwrap();
    assert!(events.iter().map(|(number, _)| *number).eq(0..20));
    let wall = 1_800_000_000_000_000;
    let history = History::new(&events, &fresh(), wall, None);
    assert_eq!(history.events[0].wall_us, None, "of an earlier start nobody knows when");
    assert_eq!(history.events[19].wall_us, Some(wall - 10_000_000 + 1_900_000));
    let late = Event { at_ms: 10_500, what: What::Provisioned };
    let last = (99, Event { at_ms: u32::MAX, what: What::Provisioned });
    let both = History::new(&[(98, late), last], &fresh(), wall, None).events;
    assert_eq!(both[0].wall_us, Some(wall), "noted while the log was read");
    assert_eq!((both[1].wall_us, both[1].when().as_str()), (None, "after seven weeks"));
    let page = history.render();
    assert!(page.contains("in an earlier start"), "{page}");
    assert!(page.contains("+0.800 s  start number 3, after its watchdog bit"), "{page}");
    assert!(page.contains("+1.900 s  the reset line of node 1 is active"), "{page}");
    let picture = Picture::of(&fresh(), &other.device(), None).with_pulses(&history);
    assert_eq!(picture.resets.len(), 18);
    let page = picture.render(Page::PLAIN);
    assert_eq!(page.matches("  resets    the reset line of node 1 is active (2027-").count(), 3);
}

#[test]
fn a_line_is_tried_and_a_fast_clock_found_out() {
    let start = clock::now();
    let other = Other::new(Some(115_200), move |message| {
        let reply = match dongle::decode::<Request>(message, None).unwrap().0 {
            Request::Echo { number, filler } => Reply::Echo { number, filler },
            // Three percent fast.
            _ => Reply::Info(Info {
                uptime: Instant::ZERO + clock::now().since(start).scaled(103, 100),
                ..fresh()
            }),
        };
        vec![encoded(&reply)]
    });
    let span = Duration::from_millis(1500);
    let trial = trial::run(&other.device(), 115_200, span, Some(10_000)).unwrap();
    let clock = trial.clock.unwrap();
    let off = (clock.error_ppm - 30_000.0).abs();
    assert!(off <= clock.uncertainty_ppm, "{clock:?}");
    assert_eq!(clock.is_within, Some(false), "{clock:?}");
    assert!(trial.faults.iter().any(|fault| fault.ends_with("raise clock_error")));
    assert!(trial.sizes.iter().all(|size| size.sent > 2 && size.wrong == 0), "{trial:?}");
    let page = trial.render(Page::PLAIN);
    assert!(page.contains("outside the 10000 of the settings"), "{page}");
}
