//! Starting and stopping one group: addresses first, then services in order; back in reverse.
//!
//! A [`Conduct`] is told what the engine wants and what has happened, and answers with the next
//! thing to do. It does nothing itself.
//!
//! An init script is asked before its start, and not started if it runs already. Every agent is
//! asked after its stop, and has stopped only if it says so.

use lifesign_core::time::Instant;

use crate::agent::Action;
use crate::agent::convention::Convention;
use crate::settings::Service;

/// Something to do for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask on the wire whether somebody has the addresses.
    Probe,
    /// Take the addresses.
    Acquire,
    /// Give the addresses up.
    Release,
    /// Run a service's command.
    Run(usize, Action),
    /// End the command that runs.
    Cancel,
    /// Tell the engine that the group has started.
    Started,
    /// A service was restarted in place, and all is up again.
    Restarted,
    /// Give the group up: a service could not be restarted in place.
    Failed,
    /// Tell the engine that the group could not be started.
    StartFailed,
    /// Tell the engine that the group has stopped.
    Stopped,
    /// Tell the engine that the group could not be stopped.
    StopFailed,
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing of it is up.
    Down,
    /// It is being asked whether somebody has the addresses.
    Probing,
    /// The addresses are being taken.
    Acquiring,
    /// This service is being started, or asked whether it runs; those before it are up.
    Starting(usize),
    /// All of it is up.
    Up,
    /// A start command is being ended before the services are stopped from this one on, downwards.
    Cancelling(usize),
    /// This service is being stopped, or asked whether it is; those after it are down.
    Stopping(usize),
    /// The addresses are being given up.
    Releasing,
    /// Something did not stop.
    Stuck,
}

/// One group on its way up or down.
#[derive(Clone, Debug)]
pub(super) struct Conduct {
    progress: Progress,
    /// By which each service is asked before its start and after its stop, or not.
    services: Vec<Convention>,
    is_failing: bool,
    /// Which service is restarted in place, with those after it.
    restarted: Option<usize>,
    /// When each service is next asked whether it is well.
    pub(super) monitors: Vec<Option<Instant>>,
}

impl Conduct {
    /// Makes the conduct of a group that is down.
    pub(super) fn new(services: &[Service]) -> Self {
        Self {
            progress: Progress::Down,
            services: services.iter().map(|service| service.convention).collect(),
            is_failing: false,
            restarted: None,
            monitors: vec![None; services.len()],
        }
    }

    /// Returns how far the group is.
    pub(super) const fn progress(&self) -> Progress {
        self.progress
    }

    /// Returns whether any of it may be up.
    pub(super) fn is_up(&self) -> bool {
        !matches!(self.progress, Progress::Down | Progress::Probing)
    }

    /// Returns whether the addresses are answered for.
    pub(super) const fn has_addresses(&self) -> bool {
        match self.progress {
            Progress::Starting(_) | Progress::Up => true,
            Progress::Stopping(_) => self.restarted.is_some(),
            _ => false,
        }
    }

    /// Begins to start. `is_cold`: nobody is known to have held it, so the wire is asked first.
    pub(super) fn start(&mut self, is_cold: bool) -> Option<Step> {
        if self.progress != Progress::Down {
            return None;
        }
        let (progress, step) = if is_cold {
            (Progress::Probing, Step::Probe)
        } else {
            (Progress::Acquiring, Step::Acquire)
        };
        self.progress = progress;
        Some(step)
    }

    /// The wire was asked: somebody has the addresses, or nobody.
    pub(super) fn probed(&mut self, is_free: bool) -> Option<Step> {
        if self.progress != Progress::Probing {
            return None;
        }
        self.progress = if is_free { Progress::Acquiring } else { Progress::Down };
        Some(if is_free { Step::Acquire } else { Step::StartFailed })
    }

    /// The addresses were taken, or not.
    pub(super) fn acquired(&mut self, is_taken: bool) -> Option<Step> {
        if self.progress != Progress::Acquiring {
            return None;
        }
        if !is_taken {
            self.progress = Progress::Down;
            return Some(Step::StartFailed);
        }
        self.start_service(0)
    }

    /// A command of a service has ended, and all is as it should be, or not.
    pub(super) fn done(&mut self, service: usize, action: Action, is_good: bool) -> Option<Step> {
        match (self.progress, action) {
            (Progress::Starting(at), Action::Look) if at == service && !is_good => {
                Some(Step::Run(at, Action::Start))
            }
            (Progress::Starting(at), Action::Look | Action::Start) if at == service => {
                if is_good {
                    return self.start_service(at + 1);
                }
                // What failed half-way is stopped like what is up.
                let was_up = self.restarted.take().is_some();
                Some(if was_up { Step::Failed } else { Step::StartFailed })
            }
            (Progress::Cancelling(at), Action::Look | Action::Start) if at == service => {
                self.stop_service(Some(at))
            }
            (Progress::Stopping(at), Action::Stop)
                if at == service && is_good && self.convention(at).is_verified() =>
            {
                Some(Step::Run(at, Action::Verify))
            }
            (Progress::Stopping(at), Action::Stop | Action::Verify)
                if at == service && self.restarted.is_some() =>
            {
                self.stopped_in_place(at, is_good)
            }
            (Progress::Stopping(at), Action::Stop | Action::Verify) if at == service => {
                self.is_failing |= !is_good;
                self.stop_service(at.checked_sub(1))
            }
            _ => None,
        }
    }

    /// Begins to stop `service` and those after it, and to start them again; the addresses and the
    /// services before it stay as they are.
    pub(super) fn restart(&mut self, service: usize) -> Option<Step> {
        if self.progress != Progress::Up || service >= self.services.len() {
            return None;
        }
        self.monitors.fill(None);
        self.restarted = Some(service);
        self.stop_service(self.services.len().checked_sub(1))
    }

    /// Begins to stop, from wherever it is.
    pub(super) fn stop(&mut self) -> Option<Step> {
        self.is_failing = false;
        self.restarted = None;
        self.monitors.fill(None);
        match self.progress {
            Progress::Down => Some(Step::Stopped),
            Progress::Probing => {
                self.progress = Progress::Down;
                Some(Step::Stopped)
            }
            Progress::Acquiring => self.stop_service(None),
            Progress::Starting(at) => {
                self.progress = Progress::Cancelling(at);
                Some(Step::Cancel)
            }
            Progress::Up => self.stop_service(self.services.len().checked_sub(1)),
            Progress::Stuck => self.stop_service(self.services.len().checked_sub(1)),
            Progress::Cancelling(_) | Progress::Stopping(_) | Progress::Releasing => None,
        }
    }

    /// No command was running when one was to be cancelled.
    pub(super) fn nothing_to_cancel(&mut self) -> Option<Step> {
        match self.progress {
            Progress::Cancelling(at) => self.stop_service(Some(at)),
            _ => None,
        }
    }

    /// The addresses were given up, or not.
    pub(super) fn released(&mut self, is_gone: bool) -> Option<Step> {
        if self.progress != Progress::Releasing {
            return None;
        }
        let is_stopped = is_gone && !self.is_failing;
        self.progress = if is_stopped { Progress::Down } else { Progress::Stuck };
        Some(if is_stopped { Step::Stopped } else { Step::StopFailed })
    }

    /// A service has stopped that is to be started again, or has not.
    fn stopped_in_place(&mut self, at: usize, is_good: bool) -> Option<Step> {
        let first = self.restarted?;
        if !is_good {
            // It may still run, so it is not started again; the whole group is stopped from here.
            self.restarted = None;
            self.progress = Progress::Up;
            return Some(Step::Failed);
        }
        if at > first { self.stop_service(at.checked_sub(1)) } else { self.start_service(first) }
    }

    fn start_service(&mut self, at: usize) -> Option<Step> {
        if at < self.services.len() {
            self.progress = Progress::Starting(at);
            let is_asked_first = self.convention(at).is_asked_first();
            return Some(Step::Run(at, if is_asked_first { Action::Look } else { Action::Start }));
        }
        self.progress = Progress::Up;
        Some(if self.restarted.take().is_some() { Step::Restarted } else { Step::Started })
    }

    fn stop_service(&mut self, at: Option<usize>) -> Option<Step> {
        match at.filter(|at| *at < self.services.len()) {
            Some(at) => {
                self.progress = Progress::Stopping(at);
                Some(Step::Run(at, Action::Stop))
            }
            None => {
                self.progress = Progress::Releasing;
                Some(Step::Release)
            }
        }
    }

    fn convention(&self, at: usize) -> Convention {
        self.services.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the conduct of a group with services of plain commands.
    fn conduct(services: usize) -> Conduct {
        conduct_of(&vec![Convention::Command; services])
    }

    fn conduct_of(services: &[Convention]) -> Conduct {
        Conduct {
            progress: Progress::Down,
            services: services.to_vec(),
            is_failing: false,
            restarted: None,
            monitors: vec![None; services.len()],
        }
    }

    const VERIFIED: Convention = Convention::Ocf;
    const SCRIPT: Convention = Convention::Lsb;

    /// Returns a group whose services are all up.
    fn up(services: usize) -> Conduct {
        let mut group = conduct(services);
        group.start(false);
        group.acquired(true);
        for at in 0..services {
            group.done(at, Action::Start, true);
        }
        assert_eq!(group.progress(), Progress::Up);
        group
    }

    #[test]
    fn a_group_goes_up_in_order_and_down_in_reverse() {
        let mut group = conduct(2);
        assert_eq!(group.start(true), Some(Step::Probe));
        assert!(!group.is_up());
        assert_eq!(group.probed(true), Some(Step::Acquire));
        assert_eq!(group.acquired(true), Some(Step::Run(0, Action::Start)));
        assert_eq!(group.done(0, Action::Start, true), Some(Step::Run(1, Action::Start)));
        assert_eq!(group.done(1, Action::Start, true), Some(Step::Started));
        assert_eq!(group.stop(), Some(Step::Run(1, Action::Stop)));
        assert_eq!(group.stop(), None, "it is on its way");
        assert_eq!(group.done(1, Action::Stop, true), Some(Step::Run(0, Action::Stop)));
        assert_eq!(group.done(0, Action::Stop, true), Some(Step::Release));
        assert_eq!(group.released(true), Some(Step::Stopped));
        assert_eq!(group.progress(), Progress::Down);
    }

    #[test]
    fn a_failed_start_is_stopped_from_where_it_failed() {
        let mut group = conduct(2);
        group.start(false);
        group.acquired(true);
        group.done(0, Action::Start, true);
        assert_eq!(group.done(1, Action::Start, false), Some(Step::StartFailed));
        assert_eq!(group.stop(), Some(Step::Cancel));
        assert_eq!(group.nothing_to_cancel(), Some(Step::Run(1, Action::Stop)));
    }

    #[test]
    fn a_start_that_is_cut_short_is_waited_for() {
        let mut group = conduct(2);
        group.start(false);
        group.acquired(true);
        assert_eq!(group.stop(), Some(Step::Cancel));
        assert_eq!(group.done(0, Action::Start, false), Some(Step::Run(0, Action::Stop)));
    }

    #[test]
    fn what_does_not_stop_is_never_called_stopped() {
        let mut group = conduct(1);
        group.start(false);
        group.acquired(true);
        group.done(0, Action::Start, true);
        group.stop();
        assert_eq!(
            group.done(0, Action::Stop, false),
            Some(Step::Release),
            "the addresses all the same"
        );
        assert_eq!(group.released(true), Some(Step::StopFailed));
        assert!(group.is_up());
        assert_eq!(group.stop(), Some(Step::Run(0, Action::Stop)), "tried again");
        assert_eq!(group.done(0, Action::Stop, true), Some(Step::Release));
        assert_eq!(group.released(false), Some(Step::StopFailed));
    }

    #[test]
    fn an_address_in_use_fails_the_start_with_nothing_taken() {
        let mut group = conduct(1);
        group.start(true);
        assert_eq!(group.probed(false), Some(Step::StartFailed));
        assert_eq!(group.stop(), Some(Step::Stopped));
    }

    #[test]
    fn a_restart_in_place_stops_and_starts_what_comes_after_too() {
        let mut group = up(3);
        assert_eq!(group.restart(1), Some(Step::Run(2, Action::Stop)));
        assert!(group.has_addresses() && group.is_up(), "clients are still answered");
        assert_eq!(group.restart(0), None, "one at a time");
        assert_eq!(group.done(2, Action::Stop, true), Some(Step::Run(1, Action::Stop)));
        assert_eq!(group.done(1, Action::Stop, true), Some(Step::Run(1, Action::Start)));
        assert_eq!(group.done(1, Action::Start, true), Some(Step::Run(2, Action::Start)));
        assert!(group.has_addresses());
        assert_eq!(group.done(2, Action::Start, true), Some(Step::Restarted));
        assert_eq!(group.progress(), Progress::Up);
        assert_eq!(group.stop(), Some(Step::Run(2, Action::Stop)));
        assert!(!group.has_addresses(), "now it is no restart");
    }

    #[test]
    fn a_restart_that_does_not_start_gives_the_group_up() {
        let mut group = up(2);
        group.restart(0);
        group.done(1, Action::Stop, true);
        group.done(0, Action::Stop, true);
        assert_eq!(group.done(0, Action::Start, false), Some(Step::Failed));
        assert_eq!(group.stop(), Some(Step::Cancel));
        assert_eq!(group.nothing_to_cancel(), Some(Step::Run(0, Action::Stop)));
    }

    #[test]
    fn a_service_that_does_not_stop_is_not_started_again_in_place() {
        let mut group = up(2);
        group.restart(1);
        assert_eq!(group.done(1, Action::Stop, false), Some(Step::Failed));
        assert_eq!(group.stop(), Some(Step::Run(1, Action::Stop)), "tried again");
        assert_eq!(group.done(1, Action::Stop, false), Some(Step::Run(0, Action::Stop)));
        assert_eq!(group.done(0, Action::Stop, true), Some(Step::Release));
        assert_eq!(group.released(true), Some(Step::StopFailed));
    }

    #[test]
    fn a_restart_is_cut_short_wherever_it_is() {
        let mut stopping = up(2);
        stopping.restart(1);
        assert_eq!(stopping.stop(), None, "the stop that runs is waited for");
        assert_eq!(stopping.done(1, Action::Stop, true), Some(Step::Run(0, Action::Stop)));
        let mut starting = up(2);
        starting.restart(1);
        starting.done(1, Action::Stop, true);
        assert_eq!(starting.stop(), Some(Step::Cancel));
        assert_eq!(starting.done(1, Action::Start, true), Some(Step::Run(1, Action::Stop)));
    }

    #[test]
    fn only_what_is_up_is_restarted() {
        let mut group = conduct(1);
        assert_eq!(group.restart(0), None);
        group.start(false);
        group.acquired(true);
        assert_eq!(group.restart(0), None);
        assert_eq!(up(1).restart(1), None, "there is no such service");
    }

    #[test]
    fn answers_that_come_too_late_change_nothing() {
        let mut group = conduct(1);
        assert_eq!(group.probed(true), None);
        assert_eq!(group.acquired(true), None);
        assert_eq!(group.done(0, Action::Start, true), None);
        assert_eq!(group.released(true), None);
        assert_eq!(group.progress(), Progress::Down);
    }

    #[test]
    fn a_script_is_asked_before_its_start_and_after_its_stop() {
        let mut group = conduct_of(&[SCRIPT, VERIFIED]);
        group.start(false);
        assert_eq!(group.acquired(true), Some(Step::Run(0, Action::Look)));
        assert_eq!(group.done(0, Action::Look, false), Some(Step::Run(0, Action::Start)));
        assert_eq!(group.done(0, Action::Start, true), Some(Step::Run(1, Action::Start)));
        assert_eq!(group.done(1, Action::Start, true), Some(Step::Started));
        assert_eq!(group.stop(), Some(Step::Run(1, Action::Stop)));
        assert_eq!(group.done(1, Action::Stop, true), Some(Step::Run(1, Action::Verify)));
        assert_eq!(group.done(1, Action::Verify, true), Some(Step::Run(0, Action::Stop)));
        assert_eq!(group.done(0, Action::Stop, true), Some(Step::Run(0, Action::Verify)));
        assert_eq!(group.done(0, Action::Verify, true), Some(Step::Release));
        assert_eq!(group.released(true), Some(Step::Stopped));
    }

    #[test]
    fn a_script_that_runs_already_is_not_started() {
        let mut group = conduct_of(&[SCRIPT, SCRIPT]);
        group.start(false);
        group.acquired(true);
        assert_eq!(group.done(0, Action::Look, true), Some(Step::Run(1, Action::Look)));
        assert_eq!(group.done(1, Action::Look, true), Some(Step::Started));
    }

    #[test]
    fn a_stop_that_lies_is_a_failed_one() {
        let mut group = conduct_of(&[VERIFIED, VERIFIED]);
        group.start(false);
        group.acquired(true);
        group.done(0, Action::Start, true);
        group.done(1, Action::Start, true);
        group.stop();
        group.done(1, Action::Stop, true);
        assert_eq!(
            group.done(1, Action::Verify, false),
            Some(Step::Run(0, Action::Stop)),
            "the others all the same"
        );
        group.done(0, Action::Stop, true);
        assert_eq!(group.done(0, Action::Verify, true), Some(Step::Release));
        assert_eq!(group.released(true), Some(Step::StopFailed));
        assert!(group.is_up());
        assert_eq!(group.stop(), Some(Step::Run(1, Action::Stop)), "tried again");
    }

    #[test]
    fn a_stop_that_failed_is_not_asked_about() {
        let mut group = conduct_of(&[VERIFIED]);
        group.start(false);
        group.acquired(true);
        group.done(0, Action::Start, true);
        group.stop();
        assert_eq!(group.done(0, Action::Stop, false), Some(Step::Release));
        assert_eq!(group.released(true), Some(Step::StopFailed));
    }

    #[test]
    fn a_question_that_is_cut_short_is_waited_for() {
        let mut group = conduct_of(&[SCRIPT]);
        group.start(false);
        group.acquired(true);
        assert_eq!(group.stop(), Some(Step::Cancel));
        assert_eq!(group.done(0, Action::Look, false), Some(Step::Run(0, Action::Stop)));
    }

    #[test]
    fn a_restart_in_place_believes_no_stop_that_lies() {
        let mut group = conduct_of(&[VERIFIED, SCRIPT]);
        group.progress = Progress::Up;
        assert_eq!(group.restart(0), Some(Step::Run(1, Action::Stop)));
        assert_eq!(group.done(1, Action::Stop, true), Some(Step::Run(1, Action::Verify)));
        assert_eq!(group.done(1, Action::Verify, true), Some(Step::Run(0, Action::Stop)));
        group.done(0, Action::Stop, true);
        let mut liar = group.clone();
        assert_eq!(group.done(0, Action::Verify, true), Some(Step::Run(0, Action::Start)));
        assert_eq!(group.done(0, Action::Start, true), Some(Step::Run(1, Action::Look)));
        assert_eq!(group.done(1, Action::Look, true), Some(Step::Restarted));
        assert_eq!(liar.done(0, Action::Verify, false), Some(Step::Failed));
        assert_eq!(liar.progress(), Progress::Up);
    }

    /// Every place that a group can be in, told that any command has ended, answers as the table
    /// says and stays where it is otherwise.
    #[test]
    fn a_command_counts_where_it_is_waited_for_and_nowhere_else() {
        use Action::{Look, Monitor, Start, Stop, Verify};
        let places = [
            Progress::Down,
            Progress::Probing,
            Progress::Acquiring,
            Progress::Starting(1),
            Progress::Up,
            Progress::Cancelling(1),
            Progress::Stopping(1),
            Progress::Releasing,
            Progress::Stuck,
        ];
        let ends = [(0, true), (0, false), (1, true), (1, false), (2, true)];
        for (progress, restarted) in
            places.into_iter().flat_map(|place| [(place, None), (place, Some(1))])
        {
            for (action, (service, is_good)) in [Look, Start, Stop, Verify, Monitor]
                .into_iter()
                .flat_map(|action| ends.map(|end| (action, end)))
            {
                let mut group = conduct_of(&[SCRIPT, SCRIPT]);
                (group.progress, group.restarted) = (progress, restarted);
                let step = group.done(service, action, is_good);
                let in_place = restarted.is_some();
                let either = |plain, again| Some(if in_place { again } else { plain });
                let expected = match (progress, action, is_good) {
                    _ if service != 1 => None,
                    (Progress::Starting(1), Look | Start, true) => {
                        either(Step::Started, Step::Restarted)
                    }
                    (Progress::Starting(1), Look, false) => Some(Step::Run(1, Start)),
                    (Progress::Starting(1), Start, false) => {
                        either(Step::StartFailed, Step::Failed)
                    }
                    (Progress::Cancelling(1), Look | Start, _) => Some(Step::Run(1, Stop)),
                    (Progress::Stopping(1), Stop, true) => Some(Step::Run(1, Verify)),
                    (Progress::Stopping(1), Verify, true) => {
                        either(Step::Run(0, Stop), Step::Run(1, Look))
                    }
                    (Progress::Stopping(1), Stop | Verify, false) => {
                        either(Step::Run(0, Stop), Step::Failed)
                    }
                    _ => None,
                };
                let what =
                    format!("{progress:?} {restarted:?}: {action:?} of {service}, {is_good}");
                assert_eq!(step, expected, "{what}");
                assert!(step.is_some() || group.progress() == progress, "{what}");
                let has_not_stopped = step == Some(Step::Run(0, Stop)) && !is_good;
                assert_eq!(group.is_failing, has_not_stopped, "{what}");
            }
        }
    }
}
