//! A service that the servers run, and its clients: one that asks by UDP each millisecond, and one
//! that waits on a TCP connection.
//!
//! The service runs in threads of the laboratory, with sockets of the servers. When a server
//! crashes its cables are pulled as well, so nothing of it is heard.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::client::{Client, Log};
use super::lab::Lab;
use super::stopwatch::Stopwatch;
use crate::sys;

/// The service on all servers, and its clients; dropping it stops them.
#[derive(Debug)]
pub struct Traffic {
    datagrams: Client,
    calls: Arc<Mutex<Calls>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What has happened to the client that waits, in microseconds of boot time.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// When a server has greeted it.
    greeted_us: Vec<u64>,
    /// When it was told that its connection is gone.
    told_us: Vec<u64>,
}

impl Calls {
    /// Returns when it was first told after `from_us` that its connection is gone, and when a
    /// server greeted it after that.
    #[must_use]
    pub fn after(&self, from_us: u64) -> Option<(u64, u64)> {
        let told_us = self.told_us.iter().copied().find(|at_us| *at_us >= from_us)?;
        let greeted_us = self.greeted_us.iter().copied().find(|at_us| *at_us >= told_us)?;
        Some((told_us, greeted_us))
    }
}

impl Traffic {
    /// Starts the service for `address` on `servers`, and its clients on the machine `client`.
    ///
    /// # Errors
    /// What the kernel refused for a socket or a thread.
    pub fn start(lab: &mut Lab, servers: &[&str], address: IpAddr) -> io::Result<Self> {
        let service = SocketAddr::new(address, PORT);
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for name in servers {
            let machine = lab.machine(name);
            let socket = machine.within(|| open_early(service))?;
            let listener = machine.within(|| TcpListener::bind((any(address), PORT)))?;
            listener.set_nonblocking(true)?;
            let stopped = [Arc::clone(&stop), Arc::clone(&stop)];
            let [first, second] = stopped;
            threads.push(spawn("datagrams", move || answer_datagrams(&socket, &first))?);
            threads.push(spawn("calls", move || greet(&listener, &second))?);
        }
        let calls = Arc::new(Mutex::new(Calls::default()));
        let machine = lab.machine("client");
        let datagrams = Client::start_datagrams(machine, service)?;
        // Sockets belong to the machine on which they were made, so this thread enters it for good.
        let network = machine.network().try_clone_to_owned()?;
        let caller = Caller { service, calls: Arc::clone(&calls), stop: Arc::clone(&stop) };
        threads.push(spawn("caller", move || {
            if nix::sched::setns(&network, nix::sched::CloneFlags::CLONE_NEWNET).is_ok() {
                caller.run();
            }
        })?);
        Ok(Self { datagrams, calls, stop, threads })
    }

    /// Returns what the client that asks by UDP has seen so far.
    #[must_use]
    pub fn datagrams(&self) -> Log {
        self.datagrams.log()
    }

    /// Returns what has happened so far to the client that waits.
    #[must_use]
    pub fn calls(&self) -> Calls {
        lock(&self.calls).clone()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of a thread has been printed by itself; there is nothing left to stop.
            drop(thread.join());
        }
    }
}

/// The client that waits: connects, is greeted, and waits for more, which never comes.
struct Caller {
    service: SocketAddr,
    calls: Arc<Mutex<Calls>>,
    stop: Arc<AtomicBool>,
}

impl Caller {
    fn run(self) {
        // Without real-time priority it is told as it can be.
        drop(sys::set_fifo_priority(PRIORITY));
        let mut stopwatch = Stopwatch::new();
        while !self.stop.load(Ordering::Relaxed) {
            // Nobody may be there yet; the next attempt has better luck.
            let Ok(mut stream) = TcpStream::connect_timeout(&self.service, PATIENCE) else {
                continue;
            };
            stopwatch.calibrate();
            if stream.set_read_timeout(Some(PATIENCE)).is_err()
                || stream.read(&mut [0; 1]).ok() != Some(1)
            {
                continue;
            }
            lock(&self.calls).greeted_us.push(stopwatch.now_us());
            self.wait(&mut stream);
            stopwatch.calibrate();
            lock(&self.calls).told_us.push(stopwatch.now_us());
        }
    }

    /// Waits until the connection ends.
    fn wait(&self, stream: &mut TcpStream) {
        while !self.stop.load(Ordering::Relaxed) {
            match stream.read(&mut [0; 1]) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// Opens a socket at an address which the machine may not have yet, so that answers come from it.
fn open_early(service: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(service), Type::DGRAM, None)?;
    match service {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    socket.bind(&service.into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Returns what stands for every address of a machine, of the same family as `address`.
const fn any(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

fn answer_datagrams(socket: &UdpSocket, stop: &AtomicBool) {
    drop(sys::set_fifo_priority(PRIORITY));
    let mut buffer = [0; 64];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            // What is not answered is what the client measures.
            drop(socket.send_to(buffer.get(..len).unwrap_or_default(), from));
        }
    }
}

fn greet(listener: &TcpListener, stop: &AtomicBool) {
    // A service closes none of its connections: its server dies first.
    let mut streams = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((mut stream, _)) => {
                drop(stream.write_all(b"."));
                streams.push(stream);
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(run)
}

fn lock(calls: &Mutex<Calls>) -> MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the service listens.
const PORT: u16 = 7000;
/// How long anybody waits before looking whether all of it is over.
const PATIENCE: Duration = Duration::from_millis(50);
/// The real-time priority of the service and its clients: below the switch.
const PRIORITY: i32 = 55;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_before_it_is_greeted_anew() {
        let calls = Calls { greeted_us: vec![5, 90, 300], told_us: vec![60, 280] };
        assert_eq!(calls.after(0), Some((60, 90)));
        assert_eq!(calls.after(61), Some((280, 300)));
        assert_eq!(calls.after(281), None);
    }
}
