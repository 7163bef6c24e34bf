//! The laboratory's Ethernet switch, and the witness of who answers for an address.
//!
//! One thread has a packet socket on its end of each cable. It passes frames on as the
//! [`Fabric`] judges, and once a millisecond it asks every server for every service
//! address (see [`question`](super::question)). Whatever speaks for a service address goes to an
//! [`Observer`] with the kernel's time of arrival.
//!
//! The questions of one round go out as a palindrome: first to last server and back. So the servers
//! of one round are seen in an order that proves an overlap even when it lasts a single round.
//! Questions pass pulled cables and cuts: a server that nobody reaches and that would answer is
//! seen as well. [`Record::on_wire`] has what others could see.

mod runner;

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use self::runner::Runner;
use super::fabric::{ALL_PPM, EthernetAddress, Fabric};
use super::observer::Observer;

/// One end of a cable at the switch.
#[derive(Clone, Debug)]
pub struct PortPlan {
    /// The index of the switch's adapter.
    pub adapter: u32,
    /// The network to which the port belongs.
    pub network: usize,
    /// The server behind the cable, if it may hold service addresses.
    pub server: Option<Server>,
}

/// A machine which may hold service addresses.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its index in the laboratory.
    pub machine: usize,
    /// Its Ethernet address on this cable.
    pub hardware: EthernetAddress,
}

/// A service address to watch.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// The address.
    pub address: IpAddr,
    /// The network in which it is asked for.
    pub network: usize,
}

/// What was seen of one service address.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Every answer, also of servers whose cable is pulled.
    pub all: Observer,
    /// The answers that others could receive.
    pub on_wire: Observer,
    /// Every answer by the port of the switch at which it came in, in place of the machine.
    pub at_port: Observer,
}

/// What the switch has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Frames that came in.
    pub received: u64,
    /// Frames that went out, one for each port.
    pub sent: u64,
    /// Frames that an adapter refused.
    pub refused: u64,
    /// Rounds of questions.
    pub rounds: u64,
    /// The longest time from one round to the next since it was last taken, in microseconds.
    ///
    /// Two holders within such a gap go unseen unless they speak on their own.
    pub blind_us: u64,
}

/// A running switch; dropping it stops it.
#[derive(Debug)]
pub struct Switch {
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    fabric: Fabric,
    repetitions: Vec<Repetition>,
    asking: bool,
    records: Vec<Record>,
    counters: Counters,
    /// Hardware addresses, and at which ports frames came in that have one as their source.
    sources: Vec<(EthernetAddress, Observer)>,
}

impl Switch {
    /// Starts a switch with `ports`, in the calling thread's network namespace.
    ///
    /// `seed` decides which frames are lost where loss is asked for.
    ///
    /// # Errors
    /// What the kernel refused for the sockets, the timer or the thread.
    pub fn start(ports: &[PortPlan], watched: &[Watched], seed: u64) -> io::Result<Self> {
        let networks = ports.iter().map(|port| port.network).collect();
        let shared = Arc::new(Mutex::new(Shared {
            fabric: Fabric::new(networks, seed),
            repetitions: Vec::new(),
            asking: true,
            records: vec![Record::default(); watched.len()],
            counters: Counters::default(),
            sources: Vec::new(),
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let runner = Runner::new(ports, watched, Arc::clone(&shared), Arc::clone(&stop))?;
        let thread =
            std::thread::Builder::new().name("switch".into()).spawn(move || runner.run())?;
        Ok(Self { shared, stop, thread: Some(thread) })
    }

    /// Pulls the cable of `port`, or plugs it in again.
    pub fn set_down(&self, port: usize, down: bool) {
        self.lock().fabric.set_down(port, down);
    }

    /// Loses `loss_ppm` of a million frames from `from` to `to`, in this direction only.
    pub fn set_loss(&self, from: usize, to: usize, loss_ppm: u32) {
        self.lock().fabric.set_loss(from, to, loss_ppm);
    }

    /// Loses every frame between two ports, in both directions.
    pub fn cut(&self, one: usize, other: usize) {
        let mut shared = self.lock();
        shared.fabric.set_loss(one, other, ALL_PPM);
        shared.fabric.set_loss(other, one, ALL_PPM);
    }

    /// Stops the questions to the servers, or begins them anew.
    ///
    /// They cost the servers' kernels time, which a measurement of cost is better without. While
    /// they rest, only what the servers say by themselves is seen.
    pub fn set_asking(&self, asking: bool) {
        self.lock().asking = asking;
    }

    /// Takes every cut, loss and repetition away and plugs every cable in.
    pub fn heal(&self) {
        let mut shared = self.lock();
        shared.fabric.heal();
        shared.repetitions.clear();
    }

    /// Sends every frame from the port `from` once more after `delay_us`, to the port `to` alone.
    ///
    /// The repetition passes cuts and losses, so a held-back frame is one that is lost and
    /// repeated. With the same port twice the frame comes back to its sender.
    pub fn repeat(&self, from: usize, to: usize, delay_us: u64) {
        self.lock().repetitions.push(Repetition { from, to, delay_us });
    }

    /// Returns whether nothing passes from the port `from` to the port `to`.
    #[must_use]
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.lock().fabric.is_cut(from, to)
    }

    /// Returns whether the cable of `port` is pulled.
    #[must_use]
    pub fn is_down(&self, port: usize) -> bool {
        self.lock().fabric.is_down(port)
    }

    /// Returns what was seen of the service address with the index `watched`.
    ///
    /// # Panics
    /// For an index that was not given to [`start`](Self::start).
    #[must_use]
    pub fn record(&self, watched: usize) -> Record {
        self.lock().records[watched].clone()
    }

    /// Notes from here on at which ports frames come in whose source is `mac`.
    pub fn watch_source(&self, mac: EthernetAddress) {
        self.lock().sources.push((mac, Observer::new()));
    }

    /// Returns at which ports the source `mac` was seen, also where the cable is pulled.
    #[must_use]
    pub fn source(&self, mac: EthernetAddress) -> Observer {
        let shared = self.lock();
        let found = shared.sources.iter().find(|(known, _)| *known == mac);
        found.map(|(_, seen)| seen.clone()).unwrap_or_default()
    }

    /// Returns the servers seen to answer for the address with the index `watched` at `now_us`.
    ///
    /// # Panics
    /// For an index that was not given to [`start`](Self::start).
    #[must_use]
    pub fn holders(&self, watched: usize, now_us: u64) -> Vec<usize> {
        self.lock().records[watched].all.holders(now_us)
    }

    /// Returns what the switch has done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// Returns the longest time between two rounds since the last call, in microseconds.
    #[must_use]
    pub fn take_blind_us(&self) -> u64 {
        std::mem::take(&mut self.lock().counters.blind_us)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by itself; there is nothing left to stop.
            drop(thread.join());
        }
    }
}

/// Frames to send once more.
#[derive(Clone, Copy, Debug)]
struct Repetition {
    from: usize,
    to: usize,
    delay_us: u64,
}
