//! The feeder at work: it opens the device, feeds it while it may, and obeys its two masters.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::{io, thread};

use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::Pid;

use super::{DISARM, Facts, Feeder, Plan, STATE_LEN_MAX, State, Told};
use crate::log::{Level, Logger};
use crate::settings::said;
use crate::watchdog::device::{self, Device};
use crate::watchdog::note::Scribe;
use crate::watchdog::{Bowl, Limit};
use crate::{clock, sys};

/// What is to become of the device in the end.
enum Verdict {
    /// Everything has stopped.
    Disarm,
    /// Something has not, because of this.
    Leave(String),
}

/// What the feeder works with.
pub(super) struct Work {
    plan: Plan,
    bowl: Bowl,
    /// The daemon's process, by a descriptor and by its number.
    daemon: (Option<OwnedFd>, Pid),
    logger: Arc<Logger>,
    /// How many orders have been carried out.
    orders: u32,
    /// The daemon's socket, until the daemon is dead.
    socket: Option<OwnedFd>,
    /// The supervisor's, until it is dead.
    supervisor: Option<OwnedFd>,
    scribe: Scribe,
    device: Option<(Device, Facts)>,
    is_wanted: bool,
    is_counting: bool,
    is_withheld: bool,
    opened_first: Instant,
    open_at: Instant,
    fault: Option<String>,
    told: Option<(u32, State)>,
}

impl Work {
    pub(super) fn new(feeder: Feeder, daemon: Pid, logger: Arc<Logger>) -> io::Result<Self> {
        let Feeder { plan, bowl, daemon: socket, supervisor } = feeder;
        let now = clock::now();
        Ok(Self {
            scribe: Scribe::start(plan.note.clone(), Arc::clone(&logger))?,
            plan,
            bowl,
            daemon: (sys::open_process(daemon).ok(), daemon),
            logger,
            orders: 0,
            socket: Some(socket),
            supervisor: Some(supervisor),
            device: None,
            is_wanted: false,
            is_counting: false,
            is_withheld: false,
            opened_first: now,
            open_at: now,
            fault: None,
            told: None,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            self.tend();
            self.tell();
            let sockets = [&self.socket, &self.supervisor].into_iter().flatten();
            let mut waiting: Vec<PollFd<'_>> =
                sockets.map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)).collect();
            let _events = poll(&mut waiting, self.patience());
            self.obey();
            match self.hear() {
                None => {}
                Some(Verdict::Disarm) => return self.disarm(),
                Some(Verdict::Leave(why)) => return self.leave(&why),
            }
        }
    }

    /// Returns what the supervisor says, or what follows from its death and the daemon's.
    fn hear(&mut self) -> Option<Verdict> {
        let mut word = [0; STATE_LEN_MAX];
        let supervisor = self.supervisor.as_ref();
        match supervisor.map(|it| recv(it.as_raw_fd(), &mut word, MsgFlags::MSG_DONTWAIT)) {
            Some(Err(Errno::EAGAIN | Errno::EINTR)) => return None,
            Some(Ok(len)) if len > 0 => {
                let word = &word[..len];
                return Some(match word {
                    [DISARM] => Verdict::Disarm,
                    why => Verdict::Leave(String::from_utf8_lossy(why).into_owned()),
                });
            }
            Some(Ok(_) | Err(_)) => self.supervisor = None,
            None => {}
        }
        if self.socket.is_some() {
            return None;
        }
        // Nobody is left who could stop anything.
        Some(match self.bowl.get() {
            None => Verdict::Disarm,
            Some(limit) => {
                let group = self.group_name(limit);
                let why =
                    format!("the daemon and its supervisor had ended, and nobody stopped {group}");
                Verdict::Leave(why)
            }
        })
    }

    /// Returns how long to sleep: an eighth of the timeout while it counts.
    fn patience(&self) -> PollTimeout {
        let millis = match &self.device {
            Some((_, facts)) if self.is_counting => u64::from(facts.timeout_s) * 1000 / 8,
            Some(_) => IDLE_MS,
            None => self.open_at.since(clock::now()).as_millis().max(1),
        };
        PollTimeout::try_from(millis.min(IDLE_MS)).unwrap_or(PollTimeout::MAX)
    }

    fn tend(&mut self) {
        let now = clock::now();
        if self.device.is_none() && now.has_reached(self.open_at) {
            self.open(now);
        }
        let Some((device, facts)) = &self.device else { return };
        let result = match (self.is_wanted, self.is_counting) {
            (true, false) => device.arm().map(|()| self.is_counting = true),
            (false, true) if facts.can_rest => device.rest().map(|()| self.is_counting = false),
            _ => Ok(()),
        };
        if let Err(errno) = result.and_then(|()| self.feed()) {
            self.fault = Some(format!("the driver refuses: {}", errno.desc().to_lowercase()));
        } else {
            self.fault = None;
        }
    }

    /// Feeds the device if it counts and may be fed.
    fn feed(&mut self) -> Result<(), Errno> {
        let Some((device, _)) = self.device.as_ref().filter(|_| self.is_counting) else {
            return Ok(());
        };
        let limit = self.bowl.get();
        let over = limit.filter(|limit| clock::now().has_reached(limit.until));
        // Nothing that may take its time stands between the look at the clock and the feed.
        if over.is_none() {
            device.feed()?;
        }
        match (over, self.is_withheld) {
            (Some(limit), false) => self.withhold(self.reason(limit)),
            (None, true) => {
                self.is_withheld = false;
                self.scribe.write(None);
                self.log(Level::Warning, "fed again: what was waited for has stopped");
            }
            _ => {}
        }
        Ok(())
    }

    fn withhold(&mut self, why: String) {
        self.is_withheld = true;
        self.log(Level::Error, &format!("not fed any more, the machine will be reset: {why}"));
        self.scribe.write(Some(why));
    }

    /// Returns why feeding has ended, as far as it can be seen from here.
    fn reason(&self, limit: Limit) -> String {
        let group = self.group_name(limit);
        if limit.is_stopping {
            return format!("{group} did not stop in time");
        }
        let daemon = self.daemon.1;
        let how = match self.daemon.0.as_ref().and_then(state_of) {
            Some('T' | 't') => "is stopped by a signal",
            Some('D') => "waits for a device",
            Some('Z' | 'X') | None => "has ended",
            Some(_) => "did not get on",
        };
        format!("the authority over {group} ended, and the daemon (process {daemon}) {how}")
    }

    fn group_name(&self, limit: Limit) -> &str {
        self.plan.groups.get(limit.group).map_or("a group", String::as_str)
    }

    fn open(&mut self, now: Instant) {
        let opened = Device::open(&self.plan.device).map_err(|error| {
            let busy = error.raw_os_error() == Some(Errno::EBUSY as i32);
            match device::holder().filter(|_| busy) {
                Some(holder) => format!("held by {holder}"),
                None if busy => "held by another program".to_owned(),
                None => said(&error),
            }
        });
        match opened.and_then(|device| self.prepare(device)) {
            Ok((device, facts)) => {
                self.is_counting = !facts.can_rest;
                self.device = Some((device, facts));
                self.fault = None;
            }
            Err(why) => {
                // What an earlier start had open may take a moment to close.
                let is_early = now.since(self.opened_first) < EARLY;
                self.fault = Some(why).filter(|_| !is_early);
                self.open_at = now + if is_early { EARLY_RETRY } else { RETRY };
            }
        }
    }

    /// Sets the timeout, and lets the device rest until it is needed.
    fn prepare(&self, device: Device) -> Result<(Device, Facts), String> {
        match self.look(&device) {
            Ok(facts) => Ok((device, facts)),
            Err(why) => {
                // Closed without the magic byte, it would reset the machine.
                let _asked = device.rest();
                let _disarmed = device.disarm();
                Err(why)
            }
        }
    }

    fn look(&self, device: &Device) -> Result<Facts, String> {
        let refuses = |what: &str| {
            let what = what.to_owned();
            move |errno: Errno| format!("{what}: {}", errno.desc().to_lowercase())
        };
        let info = device.info().map_err(refuses("it is no watchdog"))?;
        let wanted = self.plan.timeout.as_micros() / 1_000_000;
        let asked = i32::try_from(wanted).unwrap_or(i32::MAX);
        let counts = device.set_timeout(asked).map_err(refuses("its timeout cannot be set"))?;
        if counts < 1 || counts > asked {
            return Err(format!(
                "{} counts {counts} s, and the settings have a timeout of {asked} s: raise it",
                info.identity
            ));
        }
        let nowayout = device::nowayout(&self.plan.device);
        Ok(Facts {
            timeout_s: counts.unsigned_abs(),
            boot_status: device.boot_status(),
            can_rest: device.rest().is_ok(),
            nowayout,
            info,
        })
    }

    /// Does what the daemon has ordered.
    fn obey(&mut self) {
        let Some(socket) = &self.socket else { return };
        let mut word = [0];
        loop {
            match recv(socket.as_raw_fd(), &mut word, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => {}
                // It is dead. Until the supervisor has cleaned up, its last limit holds.
                Ok(0) | Err(_) => {
                    self.socket = None;
                    return;
                }
                Ok(_) => {
                    self.is_wanted = word[0] == 1;
                    self.orders = self.orders.wrapping_add(1);
                }
            }
        }
    }

    fn state(&self) -> State {
        match (&self.device, &self.fault) {
            (_, Some(fault)) => State::Unusable(fault.clone()),
            (None, None) => State::Opening,
            (Some((_, facts)), None) if self.is_counting => State::Armed(facts.clone()),
            (Some((_, facts)), None) => State::Resting(facts.clone()),
        }
    }

    /// Tells the daemon how the device is if it does not know.
    fn tell(&mut self) {
        let Some(socket) = &self.socket else { return };
        let news = (self.orders, self.state());
        if self.told.as_ref() == Some(&news) {
            return;
        }
        let mut buffer = [0; STATE_LEN_MAX];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let told = Told { orders: news.0, state: news.1.clone() };
        if let Ok(bytes) = postcard::to_slice(&told, &mut buffer)
            && send(socket.as_raw_fd(), bytes, flags).is_ok()
        {
            self.told = Some(news);
        }
    }

    fn disarm(mut self) {
        let Some((device, facts)) = self.device.take() else { return };
        let is_withheld = self.is_withheld;
        match device.disarm() {
            Ok(()) if facts.nowayout == Some(true) && self.is_counting => {
                let left = facts.timeout_s;
                self.log(
                    Level::Warning,
                    &format!(
                        "cannot be disarmed (nowayout): the machine is reset in {left} s unless \
                         lifesign is started again"
                    ),
                );
            }
            Ok(()) => {}
            Err(errno) => self.log(
                Level::Error,
                &format!("cannot be disarmed, the machine will be reset: {}", errno.desc()),
            ),
        }
        if is_withheld {
            self.scribe.write(None);
        }
        self.scribe.finish();
    }

    fn leave(mut self, why: &str) {
        if self.is_counting {
            self.withhold(why.to_owned());
            // To close it would feed it once more.
            thread::sleep(core::time::Duration::from_micros(self.plan.overshoot.as_micros()));
            self.log(Level::Error, "has not reset the machine");
        }
    }

    fn log(&self, level: Level, text: &str) {
        let device = self.plan.device.display();
        self.logger.write(level, format_args!("watchdog {device}: {text}"));
    }
}

/// Returns the letter that the kernel has for how a process is, if it has not ended.
pub(super) fn state_of(process: &OwnedFd) -> Option<char> {
    // The table of processes may be another namespace's, with other numbers than ours.
    let path = format!("/proc/thread-self/fdinfo/{}", process.as_raw_fd());
    let told = fs::read_to_string(path).ok()?;
    let number: i32 =
        told.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name before the state is in parentheses and may have some of its own.
    stat.rsplit_once(')')?.1.trim().chars().next()
}

/// How often to look at what is not urgent, in milliseconds.
const IDLE_MS: u64 = 1000;
/// How long an earlier start may take to let go of the device.
const EARLY: Duration = Duration::from_millis(2000);
/// How often it is tried again meanwhile.
const EARLY_RETRY: Duration = Duration::from_millis(50);
/// How often it is tried again later.
const RETRY: Duration = Duration::from_millis(5000);
