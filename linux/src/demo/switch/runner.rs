//! The switch's thread: frames in, frames out, and a round of questions each millisecond.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, send};
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};

use super::{PortPlan, Shared, Watched};
use crate::demo::observer::ROUND_US;
use crate::demo::question::{self, ASKER};
use crate::demo::stopwatch::Stopwatch;
use crate::sys;

/// What the switch's thread owns.
pub(super) struct Runner {
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    sockets: Vec<OwnedFd>,
    servers: Vec<Option<usize>>,
    watched: Vec<Watched>,
    /// The questions of a round in order: the port, and the frame behind its offload header.
    questions: Vec<(usize, Vec<u8>)>,
    /// The ports at which servers are asked, each with its network.
    asked: Vec<(usize, usize)>,
    later: Vec<Later>,
    epoll: Epoll,
    timer: TimerFd,
    stopwatch: Stopwatch,
}

impl Runner {
    pub(super) fn new(
        ports: &[PortPlan],
        watched: &[Watched],
        shared: Arc<Mutex<Shared>>,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut sockets = Vec::new();
        for port in ports {
            let socket = sys::packet_socket(port.adapter)?;
            epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, sockets.len() as u64))?;
            sockets.push(socket);
        }
        let timer = TimerFd::new(
            ClockId::CLOCK_BOOTTIME,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        timer.set(
            Expiration::Interval(TimeSpec::from(Duration::from_micros(ROUND_US))),
            TimerSetTimeFlags::empty(),
        )?;
        epoll.add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        Ok(Self {
            shared,
            stop,
            sockets,
            servers: ports.iter().map(|port| port.server.map(|server| server.machine)).collect(),
            watched: watched.to_vec(),
            questions: palindrome(ports, watched),
            asked: asked_ports(ports),
            later: Vec::new(),
            epoll,
            timer,
            stopwatch: Stopwatch::new(),
        })
    }

    pub(super) fn run(mut self) {
        // Without real-time priority the switch serves as it can; the blind time shows how well.
        drop(sys::set_fifo_priority(PRIORITY));
        let mut frame = vec![0; BUFFER_LEN];
        let mut events = [EpollEvent::empty(); 16];
        let mut last_round_us = self.stopwatch.now_us();
        while !self.stop.load(Ordering::Relaxed) {
            let ready = self.epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
            self.stopwatch.calibrate();
            for event in &events[..ready] {
                if event.data() == TIMER {
                    let now_us = self.stopwatch.now_us();
                    self.ask(now_us.saturating_sub(last_round_us));
                    self.send_due(now_us);
                    last_round_us = now_us;
                } else if let Ok(port) = usize::try_from(event.data()) {
                    self.serve(port, &mut frame);
                }
            }
        }
    }

    /// Asks every server for every address, `since_us` after the last round.
    fn ask(&self, since_us: u64) {
        // Reading makes the timer quiet again. It fails only where another read came first.
        let mut refused = u64::from(self.timer.wait().is_err());
        if !self.lock().asking {
            return;
        }
        let mut deaf = vec![false; self.sockets.len()];
        for (port, frame) in &self.questions {
            let outcome = send(self.sockets[*port].as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT);
            refused += u64::from(outcome.is_err());
            deaf[*port] |= outcome.is_err();
        }
        let answered_us = self.stopwatch.now_us();
        let mut shared = self.lock();
        for (port, network) in self.asked.iter().filter(|(port, _)| !deaf[*port]) {
            let records = self.watched.iter().zip(&mut shared.records);
            for (_, record) in records.filter(|(watched, _)| watched.network == *network) {
                record.at_port.handle_round(*port, answered_us);
            }
        }
        shared.counters.rounds += 1;
        shared.counters.refused += refused;
        shared.counters.blind_us = shared.counters.blind_us.max(since_us);
    }

    /// Sends the repetitions whose time has come.
    fn send_due(&mut self, now_us: u64) {
        let due = self.later.extract_if(.., |later| later.due_us <= now_us).collect::<Vec<Later>>();
        due.iter().for_each(|later| self.send(later.to, &later.bytes));
    }

    /// Takes a batch of frames from `port` and passes them on.
    fn serve(&mut self, port: usize, buffer: &mut [u8]) {
        let mut repeated = Vec::new();
        for _ in 0..BATCH {
            let Some((len, arrived_us)) = self.receive(port, buffer) else {
                break;
            };
            let (whole, frame) = (&buffer[..len], &buffer[sys::OFFLOAD_HEADER_LEN..len]);
            self.note(port, frame, arrived_us);
            if let Some(reply) = question::asker_reply(frame) {
                self.send(port, &with_offload_header(&reply));
            }
            if frame.get(..ASKER.len()) == Some(&ASKER) {
                continue;
            }
            let out = {
                let mut shared = self.lock();
                for repetition in shared.repetitions.iter().filter(|it| it.from == port) {
                    let due_us = self.stopwatch.now_us() + repetition.delay_us;
                    let bytes = whole.to_vec();
                    repeated.push(Later { due_us, to: repetition.to, bytes });
                }
                shared.fabric.forward(port, frame)
            };
            out.iter().for_each(|to| self.send(to, whole));
        }
        self.later.append(&mut repeated);
    }

    /// Returns the length of the next frame of `port` in `buffer` and when it arrived.
    fn receive(&self, port: usize, buffer: &mut [u8]) -> Option<(usize, u64)> {
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(buffer)];
        let socket = self.sockets[port].as_raw_fd();
        // An adapter that is down or has vanished reads as an error: there is nothing to pass on.
        let message =
            recvmsg::<()>(socket, &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT).ok()?;
        let mut arrived_us = self.stopwatch.now_us();
        for item in message.cmsgs().ok()? {
            if let ControlMessageOwned::ScmTimestampns(at) = item {
                arrived_us = self.stopwatch.from_wall_clock_us(at);
            }
        }
        let len = message.bytes;
        (len >= sys::OFFLOAD_HEADER_LEN).then_some((len, arrived_us))
    }

    /// Notes for which addresses a frame from `port` speaks.
    fn note(&self, port: usize, frame: &[u8], arrived_us: u64) {
        let mut shared = self.lock();
        shared.counters.received += 1;
        let Some(machine) = self.servers[port] else {
            return;
        };
        if let Some(source) = frame.get(6..12)
            && let Some((_, seen)) = shared.sources.iter_mut().find(|(mac, _)| mac == source)
        {
            seen.handle_sighting(port, arrived_us);
        }
        let wired = !shared.fabric.is_down(port);
        for spoken in question::speaks_for(frame).into_iter().flatten() {
            let Some(index) = self.watched.iter().position(|watched| watched.address == spoken)
            else {
                continue;
            };
            let record = &mut shared.records[index];
            record.all.handle_sighting(machine, arrived_us);
            record.at_port.handle_sighting(port, arrived_us);
            if wired {
                record.on_wire.handle_sighting(machine, arrived_us);
            }
        }
    }

    fn send(&self, port: usize, bytes: &[u8]) {
        let outcome = send(self.sockets[port].as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT);
        let counters = &mut self.lock().counters;
        match outcome {
            Ok(_) => counters.sent += 1,
            Err(_) => counters.refused += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The real-time priority of the switch: above the daemons, because a wire does not wait for them.
const PRIORITY: i32 = 60;

/// The mark of the timer among the ports.
const TIMER: u64 = u64::MAX;

/// How many frames of one port are passed on before the others have their turn.
const BATCH: usize = 32;

/// Room for the largest frame that segmentation offload leaves whole.
const BUFFER_LEN: usize = sys::OFFLOAD_HEADER_LEN + 14 + 65_536;

/// Returns the questions of one round: for each address every server of its network, and back.
fn palindrome(ports: &[PortPlan], watched: &[Watched]) -> Vec<(usize, Vec<u8>)> {
    let mut round = Vec::new();
    for watched in watched {
        let mut out = Vec::new();
        for (index, port) in ports.iter().enumerate() {
            let Some(server) = port.server.filter(|_| port.network == watched.network) else {
                continue;
            };
            let [neighbour, echo] = question::questions(watched.address, server.hardware);
            out.push((index, with_offload_header(&neighbour)));
            out.push((index, with_offload_header(&echo)));
        }
        // The last server's questions stand in the middle once.
        let back: Vec<_> = out.iter().rev().skip(2).cloned().collect();
        round.extend(out);
        round.extend(back);
    }
    round
}

/// Returns the ports at which servers are asked, each with its network.
fn asked_ports(ports: &[PortPlan]) -> Vec<(usize, usize)> {
    let asked = ports.iter().enumerate().filter(|(_, port)| port.server.is_some());
    asked.map(|(index, port)| (index, port.network)).collect()
}

fn with_offload_header(frame: &[u8]) -> Vec<u8> {
    [&[0; sys::OFFLOAD_HEADER_LEN], frame].concat()
}

/// A frame that is sent later.
#[derive(Debug)]
struct Later {
    due_us: u64,
    to: usize,
    bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::super::Server;
    use super::*;

    #[test]
    fn a_round_of_questions_is_a_palindrome_over_the_servers_of_the_network() {
        let port = |network, machine: Option<usize>| PortPlan {
            adapter: 1,
            network,
            server: machine.map(|machine| Server {
                machine,
                hardware: [2, 0, 0, 0, 0, u8::try_from(machine).unwrap()],
            }),
        };
        let ports =
            [port(0, Some(0)), port(0, None), port(0, Some(1)), port(1, Some(1)), port(0, Some(2))];
        let watched = Watched { address: "10.77.0.100".parse().unwrap(), network: 0 };
        let asked: Vec<usize> =
            palindrome(&ports, &[watched]).into_iter().map(|(port, _)| port).collect();
        assert_eq!(asked, [0, 0, 2, 2, 4, 4, 2, 2, 0, 0]);
    }
}
