//! Routes that stand although their time is over.
//!
//! The kernel lease silences the address of a daemon that is frozen, but its route stands, and
//! routers would go on sending clients there. So the daemon says in shared memory until when the
//! routes of each group may stand: g after the end of the authority that it knows of. What stands
//! then, the supervisor withdraws, which is within D + g + K if it gets on itself.
//!
//! A daemon that gets on after that looks at the clock before anything else. It has lost the
//! authority that it had, and stops the group; the few that were slow and kept it, by an answer
//! which they had before them, have the monitors of their routes look at once. A supervisor that is
//! frozen too withdraws nothing; where the whole machine is, it answers no routing protocol either.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lifesign_core::group::{GroupId, MAX_GROUPS};
use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::poll::PollTimeout;

use crate::address::TakeDown;
use crate::agent::own::route::RoutePlan;
use crate::log::{Level, Logger};
use crate::settings::Group;
use crate::sys::shared::SharedWords;

/// Until when the routes of each group may stand: a word for each, which is zero while nothing of
/// it is up.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    words: Arc<SharedWords>,
}

impl Ends {
    /// Makes words that processes share over fork; nothing is up.
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self { words: Arc::new(SharedWords::anonymous(MAX_GROUPS)?) })
    }

    /// Says until when the routes of `group` may stand, or that nothing of it is up.
    pub(super) fn set(&self, group: GroupId, end: Option<Instant>) {
        self.words.store(group.index(), end.map_or(0, |end| end.as_micros().max(1)));
    }

    fn get(&self, group: usize) -> Option<Instant> {
        let word = self.words.word(group)?.load(Ordering::SeqCst);
        (word != 0).then(|| Instant::from_micros(word))
    }
}

/// The routes of this node, and until when they may stand.
#[derive(Debug)]
pub(super) struct Overdue<'a> {
    ends: &'a Ends,
    /// The groups that have routes: by number, by name, and where their routes lead.
    groups: Vec<(usize, &'a str, Vec<IpAddr>)>,
    take_down: &'a mut TakeDown,
    log: &'a Logger,
    /// What was said last: it is not said again and again.
    said: Option<String>,
}

impl<'a> Overdue<'a> {
    /// Returns what there may be to withdraw of `groups`.
    pub(super) fn new(
        ends: &'a Ends,
        groups: &'a [Group],
        take_down: &'a mut TakeDown,
        log: &'a Logger,
    ) -> Self {
        let of = |(at, group): (usize, &'a Group)| {
            let plans = group.services.iter().filter_map(RoutePlan::of);
            let routes: Vec<IpAddr> = plans.map(|plan| plan.ip).collect();
            (!routes.is_empty()).then_some((at, group.name.as_str(), routes))
        };
        let groups = groups.iter().enumerate().filter_map(of).collect();
        Self { ends, groups, take_down, log, said: None }
    }

    /// Returns how long to sleep at most.
    pub(super) fn patience(&self, now: Instant) -> PollTimeout {
        if self.groups.is_empty() {
            return PollTimeout::NONE;
        }
        let ends = self.groups.iter().filter_map(|(group, ..)| self.ends.get(*group));
        let left = ends.map(|end| if now.has_reached(end) { AGAIN } else { end.since(now) });
        let left = left.min().unwrap_or(IDLE).min(IDLE);
        PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
    }

    /// Withdraws what stands for too long.
    pub(super) fn withdraw(&mut self, now: Instant) {
        for (group, name, routes) in &self.groups {
            if self.ends.get(*group).is_none_or(|end| !now.has_reached(end)) {
                continue;
            }
            let said = match self.take_down.withdraw(routes) {
                Ok(0) => continue,
                Ok(_) => format!(
                    "{name}: its authority has ended and the daemon does not get on; withdrew its \
                     route"
                ),
                Err(error) => format!("{name}: {error}"),
            };
            if self.said.as_ref() != Some(&said) {
                self.log.write(Level::Error, format_args!("{said}"));
                self.said = Some(said);
            }
        }
    }
}

/// How often to look again at a group whose time is over: a start that was on its way may still
/// add a route.
const AGAIN: Duration = Duration::from_millis(100);
/// How often to look while nothing is up. The daemon wakes its supervisor when that changes.
const IDLE: Duration = Duration::from_millis(1000);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::{Post, Supervisor, listen};
    use super::*;
    use crate::address::netlink::{Installed, Netlink};
    use crate::address::route::HostRoute;
    use crate::address::{Addresses, ServiceAddress, lease::EnforcerChoice};
    use crate::namespace::{self, Users};
    use crate::settings::Settings;
    use crate::settings::tests::EXAMPLE;
    use crate::{clock, executor, log};

    /// Returns a group whose only service is a route to `ip`.
    fn group(ip: &str) -> Group {
        let begin = EXAMPLE.find("addresses").unwrap();
        let source = format!(
            "{}addresses = [\"{ip}/32@lo\"]\n[[group.service]]\nname = \"route\"\n\
             agent = \"lifesign:route\"\nparameters = {{ prefix = \"{ip}/32\" }}\n",
            &EXAMPLE[..begin]
        );
        Settings::parse("test.toml", &source).unwrap().groups.remove(0)
    }

    #[test]
    fn a_route_goes_when_its_time_is_over_and_not_before() {
        let name = "supervisor::overdue::tests::\
                    a_route_goes_when_its_time_is_over_and_not_before";
        let entered = namespace::enter(name, Users::New);
        if entered.unwrap_or_else(|error| panic!("{error}")).is_none() {
            return;
        }
        let ip: IpAddr = "192.0.2.77".parse().unwrap();
        let service = ServiceAddress { ip, prefix: 32, adapter: "lo".to_owned() };
        let addresses = Addresses::open(&[vec![service]], EnforcerChoice::Auto).unwrap();
        let mut take_down = addresses.take_down().unwrap();
        let mut netlink = Netlink::open().unwrap();
        netlink.add_address(Installed { index: 1, ip, prefix: 32 }, true, None).unwrap();
        let routes = [ip, "192.0.2.78".parse().unwrap()]
            .map(|ip| HostRoute { ip, index: 1, metric: 1 })
            .map(|route| netlink.add_route(route).map(|()| route).unwrap());
        let (socket, other) = executor::pair().unwrap();
        let (log, _drain) = log::channel("test").unwrap();
        let (ends, groups) = (Ends::new().unwrap(), [group("192.0.2.77")]);
        let post = Post { socket: other, ends: ends.clone() };
        let process = nix::unistd::Pid::this();
        let mut daemon = Supervisor { socket, process, up: vec![None; MAX_GROUPS], ends };
        let group = GroupId::at(0).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                listen(&post.socket, &mut Overdue::new(&post.ends, &groups, &mut take_down, &log))
            });
            let mut end = clock::now() + AGAIN.times(3);
            daemon.set_end(group, Some(end));
            assert!(daemon.set_up(group, Some(lifesign_core::group::Token(1))));
            // A daemon that gets on moves the end.
            for _ in 0..20 {
                thread::sleep(std::time::Duration::from_millis(20));
                if clock::now() < end {
                    end = clock::now() + AGAIN.times(3);
                    daemon.set_end(group, Some(end));
                    assert_eq!(netlink.routes().unwrap(), routes);
                }
            }
            for _ in 0..2 {
                while netlink.routes().unwrap() != routes[1..] {
                    assert!(
                        clock::now().since(end) < IDLE.times(20),
                        "it stands for ever: {:?}",
                        netlink.routes()
                    );
                    thread::sleep(std::time::Duration::from_millis(10));
                }
                assert!(clock::now() >= end, "it went before its time");
                // What a start adds that was on its way goes as well.
                netlink.add_route(routes[0]).unwrap();
            }
            assert!(netlink.addresses().unwrap().iter().any(|address| address.ip == ip));
            drop(daemon);
        });
    }
}
