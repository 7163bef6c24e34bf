//! One wake-up: authority first, frames before timers, decisions before sleep.

use lifesign_core::engine::Event;
use lifesign_core::frame::MAX_FRAME_LEN;
use lifesign_core::node::LinkId;
use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::conduct::Progress;
use super::{Daemon, Holding, dongle, prepare};
use crate::clock;
use crate::connections::note;
use crate::link;
use crate::log::Level;
use crate::settings::key;

/// What a descriptor in the epoll set belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Timer,
    Signals,
    Addresses,
    Executor,
    Control,
    Pings,
    Watchdog,
    Link(u64),
}

impl Source {
    const fn number(self) -> u64 {
        match self {
            Self::Timer => 0,
            Self::Signals => 1,
            Self::Addresses => 2,
            Self::Executor => 3,
            Self::Control => 4,
            Self::Pings => 5,
            Self::Watchdog => 6,
            Self::Link(at) => 16 + at,
        }
    }

    pub(super) const fn event(self) -> EpollEvent {
        EpollEvent::new(EpollFlags::EPOLLIN, self.number())
    }
}

/// Which sources have something to read, one bit each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready(u64);

impl Ready {
    fn of(events: &[EpollEvent]) -> Self {
        Self(events.iter().fold(0, |bits, event| bits | 1 << event.data().min(63)))
    }

    /// Returns whether `source` has something to read.
    pub(super) const fn has(self, source: Source) -> bool {
        self.0 >> source.number() & 1 == 1
    }
}

impl Daemon {
    /// Runs until the node has left in good order.
    pub(super) fn run(&mut self) {
        // At first everything may have news.
        let mut ready = Ready(u64::MAX);
        loop {
            let now = clock::now();
            // Nothing may be held a moment too long, whatever waits to be read.
            self.engine.check_authority(now);
            self.receive(ready, now);
            self.handle_answers(now);
            self.hear(ready, now);
            self.engine.handle_timeout(now);
            self.addresses.handle_timeout(now);
            self.do_what_is_due(now);
            self.handle_requests(ready, now);
            self.carry_out(now);
            self.go_on_fencing(now);
            self.renew_leases();
            self.guard_machine(now);
            self.send();
            self.look_for_alerts(now);
            self.keep_clients(now);
            self.look_after_connections(now);
            self.deliver(now);
            self.tell_watchers(now);
            self.tell_manager(now);
            if self.engine.has_said_farewell() {
                return self.end();
            }
            if self.cannot_leave() {
                return self.leave_to_supervisor();
            }
            ready = self.sleep();
        }
    }

    fn receive(&mut self, ready: Ready, now: Instant) {
        let mut buffer = [0; MAX_FRAME_LEN + 1];
        for (link, id) in self.links.iter_mut().zip(LinkId::all()) {
            if !ready.has(Source::Link(id.number().into())) {
                continue;
            }
            let (engine, connected) = (&mut self.engine, &mut self.connected);
            link.receive(&mut buffer, now, &mut |frame, _| {
                if note::is_note(frame) {
                    return connected.handle_note(frame, engine, now);
                }
                // What is not taken in is counted by the engine.
                link::Verdict::of(&engine.handle_frame(id, frame, now))
            });
        }
    }

    fn hear(&mut self, ready: Ready, now: Instant) {
        if ready.has(Source::Addresses) && self.addresses.handle_readable(now) {
            self.look_at_links(now);
        }
        if ready.has(Source::Executor) {
            self.handle_errands(now);
        }
        if ready.has(Source::Watchdog) {
            self.handle_watchdog(now);
        }
        if ready.has(Source::Signals) {
            self.handle_signals(now);
        }
        if ready.has(Source::Pings) {
            self.pinger.handle_readable(now);
        }
    }

    fn send(&mut self) {
        let mut buffer = [0; MAX_FRAME_LEN];
        let now = clock::now();
        while let Some(transmit) = self.engine.poll_transmit(now, &mut buffer) {
            if let Some(link) = self.links.get_mut(transmit.link.index()) {
                link.send(&buffer[..transmit.len], now);
            }
        }
    }

    /// Carries out what was decided here and what happened to addresses, until nobody has more to
    /// say.
    fn carry_out(&mut self, now: Instant) {
        self.carry_out_decisions(now);
        while let Some(event) = self.addresses.poll_event() {
            self.handle_address(event, now);
        }
        // Answers to the engine may have led to further decisions.
        self.carry_out_decisions(now);
    }

    fn carry_out_decisions(&mut self, now: Instant) {
        while let Some(event) = self.engine.poll_event() {
            self.tell(&event);
            match event {
                Event::Group { group, role, reason } => {
                    self.keep_what_nobody_takes(group, role, reason, now);
                    self.note_doubt(group, role, reason);
                    self.play(group, role, now);
                }
                Event::Reserve(token) => self.reserve(token),
                Event::Decreed(_) => self.save_word(),
                Event::FenceNeeded { group, node, boot } => self.fence(group, node, boot, now),
                _ => {}
            }
        }
    }

    fn handle_signals(&mut self, now: Instant) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGTERM | Signal::SIGINT)) => {
                    if !self.engine.is_leaving() {
                        self.decided("leaving in good order, as asked by a signal".to_owned());
                    }
                    self.engine.handle_leave(now);
                }
                Ok(Ok(Signal::SIGHUP)) => self.reload_keys(),
                Ok(Ok(Signal::SIGCHLD)) => self.reap(),
                _ => {}
            }
        }
    }

    /// Reads the key file again. The old keys stay in use if it is wrong.
    fn reload_keys(&mut self) {
        match key::load(&self.settings.key_file, &self.settings.cluster) {
            Ok(keyring) => {
                let ids: Vec<String> = keyring.ids().map(|id| id.0.to_string()).collect();
                let signer = keyring.signer().0;
                self.control_keys = dongle::control_keys(&keyring);
                self.connected.set_keyring(&keyring);
                self.engine.set_keyring(keyring);
                let is_told = prepare::leave_farewells(&self.engine, &mut self.supervisor);
                self.decided(format!(
                    "accepts the keys {} and signs with {signer}",
                    ids.join(", ")
                ));
                if !is_told {
                    self.alert(
                        "the supervisor does not listen: a killed daemon would not be cleaned up"
                            .into(),
                    );
                }
            }
            Err(error) => self.alert(format!("the old keys stay in use: {error}")),
        }
    }

    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                return;
            }
            if status.pid() == Some(self.supervisor.process()) {
                self.alert("the supervisor is dead: if the daemon is killed too, only the kernel lease silences its addresses".into());
            } else if self.watch.as_ref().is_some_and(|it| status.pid() == Some(it.process())) {
                // Its socket tells it as well.
            } else {
                self.alert(
                    "the executor is dead: no service can be started or stopped, no token saved; \
                     restart this daemon, and its supervisor stops what is up"
                        .into(),
                );
            }
        }
    }

    /// Opens links again whose adapters have come back, and forgets descriptors that are gone.
    fn look_at_links(&mut self, now: Instant) {
        for (at, link) in self.links.iter_mut().enumerate() {
            if link.handle_adapter_change(now) {
                Self::watch(&self.epoll, at, link);
            }
        }
    }

    fn watch(epoll: &nix::sys::epoll::Epoll, at: usize, link: &link::Link) {
        let Some(descriptor) = link.descriptor() else { return };
        let event = Source::Link(at as u64).event();
        // It may be a number that was in the set before; then it is already being watched.
        if epoll.add(descriptor, event) == Err(Errno::EEXIST) {
            let mut event = event;
            let _same = epoll.modify(descriptor, &mut event);
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        for (at, link) in self.links.iter_mut().enumerate() {
            if link.poll_timeout().is_some_and(|due| now.has_reached(due))
                && link.handle_timeout(now)
            {
                Self::watch(&self.epoll, at, link);
            }
        }
        if self.reserve_retry.is_some_and(|due| now.has_reached(due)) {
            self.reserve_retry = None;
            if let Some(token) = self.reserving {
                self.reserve(token);
            }
        }
        self.retry_word(now);
        self.retry_steps(now);
        self.ask_monitors(now);
        self.end_penalties(now);
        self.pinger.handle_timeout(now);
        self.look_at_ip_side(now);
        self.look_at_networks(now);
        self.ask_dongles(now);
    }

    fn tell_manager(&mut self, now: Instant) {
        let Some(notifier) = &mut self.notifier else { return };
        if !self.is_ready {
            self.is_ready = notifier.ready();
        }
        if now.has_reached(self.notify_at) {
            let every = notifier.watchdog().unwrap_or(IDLE.times(10));
            notifier.alive();
            self.notify_at = now + Duration::from_micros(every.as_micros() / 3);
        }
    }

    fn sleep(&mut self) -> Ready {
        let mut events = [EpollEvent::empty(); 32];
        let links = self.links.iter().filter_map(link::Link::poll_timeout);
        let own = [
            self.addresses.poll_timeout(),
            self.reserve_retry,
            self.saving.poll_timeout(),
            self.next_errand_due(),
            self.control.poll_timeout(),
            self.pinger.poll_timeout(),
            self.fencing.poll_timeout(),
            self.next_pursuit(),
            self.next_dongle_due(),
            self.notifying.poll_timeout(self.engine.now()),
            self.next_client_due(),
            self.connected.poll_timeout(),
            self.next_look_after_connections(),
            self.next_look(),
        ];
        let notify = self.notifier.as_ref().map(|_| self.notify_at);
        let dues = own.into_iter().flatten().chain(notify).chain(links);
        let due = dues.fold(self.engine.poll_timeout(), Instant::min);
        // Without a timer the loop would sleep through its deadlines: then it polls instead.
        let timeout = match self.timer.arm(due) {
            Ok(()) => EpollTimeout::NONE,
            Err(_) => EpollTimeout::from(1u8),
        };
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => {
                self.alert(format!("cannot wait for events: {}", error.desc()));
                0
            }
        };
        let ready = Ready::of(&events[..count]);
        if ready.has(Source::Timer) {
            let _expired = self.timer.consume();
        }
        ready
    }

    /// Returns whether this node is leaving and can never stop what is up, as nobody runs its
    /// commands.
    fn cannot_leave(&self) -> bool {
        let is_stuck = |holding: &Holding| holding.conduct.progress() == Progress::Stuck;
        self.engine.is_leaving() && self.executor.is_gone() && self.groups.iter().any(is_stuck)
    }

    /// Ends without a word, so that the supervisor cleans up with an executor of its own.
    fn leave_to_supervisor(&mut self) {
        self.engine.end_recording();
        self.control.end("the daemon leaves what it cannot stop to its supervisor", clock::now());
        if let Some(notifier) = &mut self.notifier {
            notifier.stopping();
        }
    }

    /// The node has left: nothing is held and everybody has been told.
    fn end(&mut self) {
        self.engine.end_recording();
        if let Err(error) = self.addresses.close() {
            self.logger.write(Level::Error, format_args!("{error}: the supervisor tries again"));
            return;
        }
        self.stop_clients();
        self.wait_for_deliveries();
        let now = clock::now();
        self.tell_watchers(now);
        self.control.end("the daemon has left in good order", now);
        self.supervisor.dismiss();
        if let Some(notifier) = &mut self.notifier {
            notifier.stopping();
        }
        self.logger.write(Level::Info, format_args!("has left in good order"));
    }
}

/// How often the service manager hears of the daemon if it does not say.
const IDLE: Duration = Duration::from_millis(1000);
