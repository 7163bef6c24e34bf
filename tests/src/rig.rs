//! The real firmware in QEMU, with the servers' ends of its lines in the hands of a test.
//!
//! [`run`] gives each test a dongle of its own. Between each port and the test lies a
//! [`Wire`], which takes the time that a line of 115200 baud takes and has the faults that the test
//! asks for. A [`Speaker`] is what a server is on its line: it says frames, and hears.
//!
//! Nothing here is about speed: QEMU runs as fast as the machine lets it.

#![expect(clippy::missing_panics_doc, reason = "a panic is how a test fails")]

mod debugger;
mod speaker;

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use lifesign::clock;
use lifesign::demo::emulator::{self, Board, Emulator};
use lifesign::demo::machine::Machine;
use lifesign::namespace::{self, Users};
use lifesign::wire::{End, Side, Wire};
use lifesign_core::dongle::{Info, PortSettings, Provision, Reply, Request, Settings, What};
use lifesign_core::node::{ClusterId, NodeId};
use lifesign_core::seal::{Key, KeyId, Keyring};

pub use lifesign::link::serial::SPEED;

pub use self::debugger::Debugger;
pub use self::speaker::{Heard, Speaker};
use crate::scratch::Scratch;

/// The cluster of the dongle and all speakers.
pub const CLUSTER: ClusterId = ClusterId(0x7269_6721);

/// How long anything may take that must come, in microseconds.
const PATIENCE_US: u64 = 30_000_000;

/// The key of the cluster.
const KEY: [u8; 32] = *b"a key that protects nothing real";

/// Returns the keyring of the cluster.
#[must_use]
pub fn keyring() -> Keyring {
    let keys = [(KeyId(1), Key::new(KEY))];
    Keyring::new(&keys, KeyId(1)).expect("one key that signs")
}

/// A dongle, its wires, and who speaks at their other ends.
#[derive(Debug)]
pub struct Rig {
    emulator: Emulator,
    wires: Vec<Wire>,
    /// Who is at port 0, 1 and so on: node 0, 1 and so on.
    pub speakers: Vec<Speaker>,
    scratch: Scratch,
    board: Board,
    // The last to go, and QEMU with it.
    _machine: Machine,
}

/// Runs `body` with a dongle of which `ports` ports are wired, and which is not provisioned.
///
/// `test` is the full name of the calling test and `program` the lifesign program.
pub fn run(test: &str, program: &str, board: Board, ports: usize, body: impl FnOnce(&mut Rig)) {
    let image = image(board);
    let entered = namespace::enter(test, Users::New);
    if entered.unwrap_or_else(|error| panic!("{error}")).is_none() {
        return;
    }
    let mut rig = Rig::build(Path::new(program), board, &image, ports);
    body(&mut rig);
}

/// Returns the firmware of `board`, or panics with what makes it.
#[must_use]
pub fn image(board: Board) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    emulator::image(board, &[sources.to_owned()]).unwrap_or_else(|missing| panic!("{missing}"))
}

impl Rig {
    /// Starts `image` on `board` with `ports` wired ports, in the caller's namespaces.
    ///
    /// `program` is a lifesign program, or one that begins with [`machine::play_role`].
    ///
    /// [`machine::play_role`]: lifesign::demo::machine::play_role
    #[must_use]
    pub fn build(program: &Path, board: Board, image: &Path, ports: usize) -> Self {
        let scratch = Scratch::new("rig");
        let directory = scratch.path();
        let mut machine = Machine::new(program.into()).expect("a machine");
        machine.boot().expect("a machine that runs");
        let journal = directory.join("journal");
        let written = fs::File::create(&journal).expect("a file");
        let mut command = emulator::command(board, image, directory);
        command.stdin(Stdio::null()).stdout(written.try_clone().expect("a file")).stderr(written);
        machine.start(command).expect("QEMU");
        let emulator = Emulator::attach(directory, &journal).expect("QEMU");
        let (mut wires, mut speakers) = (Vec::new(), Vec::new());
        for (port, node) in (0..ports).zip(NodeId::all()) {
            let (ours, theirs) = UnixStream::pair().expect("a socket");
            theirs.set_nonblocking(true).expect("a socket");
            let (near, far) = (End::Descriptor(theirs.into()), End::Socket(emulator.port(port)));
            wires.push(Wire::join(near, far, Some(SPEED)).expect("a wire"));
            speakers.push(Speaker::new(node, ours));
        }
        Self { emulator, wires, speakers, board, _machine: machine, scratch }
    }

    /// Gives the dongle its settings, with one port and one reset line for each speaker.
    pub fn provision(&mut self) {
        self.provision_with(|_| {});
    }

    /// Gives the dongle settings that were changed by `change`.
    pub fn provision_with(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings();
        change(&mut settings);
        let challenge = self.info().challenge;
        let request = Request::Provision(Provision { challenge, settings });
        let reply = self.ask(0, &request);
        assert_eq!(reply, Reply::Provisioned(Ok(())));
    }

    /// Returns settings for this dongle.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let port = |speaker: &Speaker| PortSettings {
            name: "line".try_into().expect("a short name"),
            resets: Some(speaker.node()),
        };
        Settings {
            cluster: CLUSTER,
            me: NodeId::witness(0).expect("the first witness"),
            heartbeat_ms: 500,
            dead_ms: 2_000,
            longest_promise_ms: speaker::LONGEST_PROMISE_MS,
            keys: [(KeyId(1), KEY)].into_iter().collect(),
            signer: KeyId(1),
            pulse_ms: 200,
            distance_ms: 3_000,
            ports: self.speakers.iter().map(port).collect(),
        }
    }

    /// Asks the dongle at a port something open, as often as its line needs.
    pub fn ask(&mut self, port: usize, request: &Request) -> Reply {
        let begun = clock::now();
        let speaker = &mut self.speakers[port];
        loop {
            speaker.ask(request);
            match speaker.await_reply(clock::now() + ASK_AGAIN) {
                // News of an earlier request.
                None | Some(Reply::Reset(_)) => {}
                Some(reply) => return reply,
            }
            let passed = clock::now().since(begun).as_micros();
            assert!(passed < PATIENCE_US, "the dongle does not answer at port {port}");
        }
    }

    /// Returns what the dongle says of itself at port 0.
    pub fn info(&mut self) -> Info {
        match self.ask(0, &Request::Info) {
            Reply::Info(info) => info,
            other => panic!("{other:?}"),
        }
    }

    /// Returns all that the dongle has noted, the oldest first.
    pub fn log(&mut self) -> Vec<What> {
        let mut noted = Vec::new();
        let mut from = 0;
        loop {
            let Reply::Log(log) = self.ask(0, &Request::Log { from }) else { panic!("no log") };
            noted.extend(log.events.iter().map(|(_, event)| event.what));
            match log.events.last() {
                Some((number, _)) if number + 1 < log.next => from = number + 1,
                _ => return noted,
            }
        }
    }

    /// Has the speakers in `who` live until `condition` holds.
    pub fn live_until(
        &mut self,
        who: &[usize],
        what: &str,
        mut condition: impl FnMut(&mut Self) -> bool,
    ) {
        self.await_that(what, |rig| {
            who.iter().for_each(|&at| rig.speakers[at].live());
            pause(90);
            condition(rig)
        });
    }

    /// Has the speakers in `who` live for a while.
    pub fn live_for(&mut self, who: &[usize], milliseconds: u64) {
        let end = clock::now() + lifesign_core::time::Duration::from_millis(milliseconds);
        self.live_until(who, "time passes", |_| clock::now().has_reached(end));
    }

    /// Waits until `condition` holds.
    pub fn await_that(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let begun = clock::now();
        while !condition(self) {
            let passed = clock::now().since(begun).as_micros();
            assert!(passed < PATIENCE_US, "waited for: {what}");
            pause(10);
        }
    }

    /// Returns what comes of `body` when no byte and no frame was lost at any port for want of
    /// time: where the machine is busy that may need another attempt.
    pub fn undisturbed<T>(&mut self, body: impl FnMut(&mut Self) -> T) -> T {
        let all: Vec<usize> = (0..self.wires.len()).collect();
        self.undisturbed_at(&all, body)
    }

    /// As [`undisturbed`](Self::undisturbed), for some ports; the last of them can be asked.
    pub fn undisturbed_at<T>(
        &mut self,
        ports: &[usize],
        mut body: impl FnMut(&mut Self) -> T,
    ) -> T {
        for _ in 0..ATTEMPTS {
            let before = self.lost_at(ports);
            let came = body(self);
            if self.lost_at(ports) == before {
                return came;
            }
        }
        panic!("QEMU is too slow for the lines, {ATTEMPTS} times");
    }

    /// Returns how much was lost at some ports so far: bytes that QEMU did not take when they
    /// arrived, bytes that the firmware did not, and frames that newer ones replaced.
    fn lost_at(&mut self, ports: &[usize]) -> u64 {
        let last = ports.last().copied().unwrap_or_default();
        let Reply::Info(info) = self.ask(last, &Request::Info) else { panic!("no info") };
        let at_dongle = |port: &usize| {
            let port = &info.ports[*port];
            u64::from(port.overruns) + u64::from(port.lost)
        };
        self.overrun_at(ports) + ports.iter().map(at_dongle).sum::<u64>()
    }

    /// Returns how many bytes QEMU did not take when they arrived, so far.
    #[must_use]
    pub fn overrun(&self) -> u64 {
        let all: Vec<usize> = (0..self.wires.len()).collect();
        self.overrun_at(&all)
    }

    fn overrun_at(&self, ports: &[usize]) -> u64 {
        ports.iter().map(|&port| self.wires[port].traffic(Side::Left).overrun).sum()
    }

    /// Returns the wire at a port; its left end is the speaker, its right end the dongle.
    #[must_use]
    pub fn wire(&self, port: usize) -> &Wire {
        &self.wires[port]
    }

    /// Returns QEMU.
    pub const fn emulator(&mut self) -> &mut Emulator {
        &mut self.emulator
    }

    /// Returns a debugger of the firmware, which stands still from here on.
    pub fn debug(&mut self) -> Debugger {
        Debugger::attach(self.emulator.monitor(), self.scratch.path()).expect("a debugger")
    }

    /// Returns the board.
    #[must_use]
    pub const fn board(&self) -> Board {
        self.board
    }
}

impl Drop for Rig {
    #[expect(clippy::print_stderr, reason = "whoever looks for the reason needs the journal")]
    fn drop(&mut self) {
        if thread::panicking() {
            let said = fs::read_to_string(self.scratch.path().join("journal")).unwrap_or_default();
            eprintln!("--- QEMU\n{said}");
            for (port, wire) in self.wires.iter().enumerate() {
                let both = Side::ALL.map(|side| wire.traffic(side));
                eprintln!("--- wire {port}: {both:?}");
            }
        }
    }
}

/// How often something is tried that needs QEMU to keep up.
const ATTEMPTS: u32 = 10;

/// How long an answer is waited for before it is asked again.
const ASK_AGAIN: lifesign_core::time::Duration = lifesign_core::time::Duration::from_millis(500);

/// Lets time pass in which something might go wrong.
pub fn pause(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

/// Reads what there is without waiting.
fn read_now(stream: &mut impl io::Read, bytes: &mut [u8]) -> usize {
    match stream.read(bytes) {
        Ok(count) => count,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => panic!("the wire: {error}"),
    }
}
