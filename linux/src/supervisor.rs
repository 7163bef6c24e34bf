//! The supervisor: a process that outlives a killed daemon and cleans up behind it.
//!
//! It waits at one end of a socket. While the daemon runs it says there which groups are up and
//! leaves its farewell frames, signed in advance. When the other end closes without a word of good
//! order, the daemon is dead: the supervisor takes the service addresses down, stops the services
//! of the groups that were up, and only then sends the farewell, so that peers need not wait for
//! promises to run out. What it cannot stop it does not call stopped: then no farewell is sent.
//! Where the executor is dead as well, it starts one of its own.
//!
//! A daemon that lives and does not get on keeps its services. Its routes are withdrawn all the
//! same when their time is over.

mod farewell;
mod overdue;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use lifesign_core::group::{GroupId, MAX_GROUPS, Token};
use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

pub use self::farewell::{Way, ways};
use self::overdue::{Ends, Overdue};
use crate::address::TakeDown;
use crate::agent::{self, Action, Call, convention};
use crate::clock;
use crate::executor::message::{Command, Outcome, Reply, Request};
use crate::executor::{self, Executor, GRACE, Started};
use crate::log::{Level, Logger};
use crate::realtime;
use crate::settings::{Group, Service};
use crate::sys;
use crate::watchdog::feeder::Feeding;

/// What the daemon tells its supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Word {
    /// The farewell to send over the link with this number.
    Farewell { link: u8, frame: Vec<u8> },
    /// Whether the group with this number may be up, and under which token.
    Up { group: u8, token: Option<u32> },
    /// The daemon ends in good order: there is nothing left to do.
    GoodOrder,
}

/// The daemon's end.
#[derive(Debug)]
pub struct Supervisor {
    socket: OwnedFd,
    process: Pid,
    up: Held,
    ends: Ends,
}

/// Under which token each group may be up, for every group that there can be.
type Held = Vec<Option<u32>>;

/// What the supervisor works with once the daemon is dead.
#[derive(Debug)]
pub struct Tools {
    /// Takes every service address down.
    pub take_down: TakeDown,
    /// Runs the stop commands.
    pub executor: Executor,
    /// The name of this node.
    pub node: String,
    /// The groups, by number.
    pub groups: Vec<Group>,
    /// For each link, how a farewell goes over it.
    pub links: Vec<Way>,
    /// The way to what feeds the watchdog, if this node has one.
    pub feeding: Option<Feeding>,
}

impl Tools {
    /// Starts another executor where there is none any more, and returns how it logs.
    fn replace_executor(&mut self) -> Option<Logger> {
        while self.executor.poll_reply().is_some() {}
        if !self.executor.is_gone() {
            return None;
        }
        let Started { supervisor, logger, .. } = executor::start(&self.node, None).ok()?;
        self.executor = supervisor;
        Some(logger)
    }
}

/// Which of the two processes this is after they have parted.
#[derive(Debug)]
pub enum Parted {
    /// The daemon.
    Daemon(Supervisor),
    /// The supervisor.
    Supervisor(Post),
}

/// The supervisor's end.
#[derive(Debug)]
pub struct Post {
    socket: OwnedFd,
    ends: Ends,
}

impl Post {
    /// Watches over the daemon until it ends, cleans up behind it, and ends too. Drop first what is
    /// the daemon's alone.
    pub fn watch(self, mut tools: Tools, logger: &Logger) -> ! {
        watch(&self, &mut tools, logger);
        std::process::exit(0)
    }
}

impl Supervisor {
    /// Forks the supervisor. Call while the process has one thread.
    ///
    /// # Errors
    /// Out of descriptors or processes, or the process has more than one thread.
    pub fn part() -> io::Result<Parted> {
        let (socket, other) = executor::pair()?;
        let ends = Ends::new()?;
        Ok(match sys::fork()? {
            Some(process) => {
                Parted::Daemon(Self { socket, process, up: vec![None; MAX_GROUPS], ends })
            }
            None => {
                drop(socket);
                Parted::Supervisor(Post { socket: other, ends })
            }
        })
    }

    /// Leaves the farewell for one link, in place of the one before.
    pub fn leave_farewell(&mut self, link: u8, frame: &[u8]) -> bool {
        self.say(&Word::Farewell { link, frame: frame.to_vec() })
    }

    /// Says whether `group` may be up, and under which token; says nothing if it is known.
    pub fn set_up(&mut self, group: GroupId, token: Option<Token>) -> bool {
        let token = token.map(|token| token.0);
        let known = &mut self.up[group.index()];
        let is_news = std::mem::replace(known, token) != token;
        !is_news || self.say(&Word::Up { group: group.number(), token })
    }

    /// Says until when the routes of `group` may stand whatever becomes of this process, or that
    /// nothing of it is up. Costs one store.
    pub fn set_end(&self, group: GroupId, end: Option<Instant>) {
        self.ends.set(group, end);
    }

    /// Says that the daemon ends in good order.
    pub fn dismiss(&mut self) -> bool {
        self.say(&Word::GoodOrder)
    }

    /// Returns the supervisor's process.
    #[must_use]
    pub const fn process(&self) -> Pid {
        self.process
    }

    fn say(&self, word: &Word) -> bool {
        let mut buffer = [0; WORD_LEN_MAX];
        let Ok(bytes) = postcard::to_slice(word, &mut buffer) else { return false };
        send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            .is_ok()
    }
}

/// A word is a frame and a few bytes.
const WORD_LEN_MAX: usize = 2048;

/// What the daemon had said when it ended.
#[derive(Debug, Default)]
struct Heard {
    farewells: Vec<(u8, Vec<u8>)>,
    up: Held,
    is_good_order: bool,
}

fn watch(post: &Post, tools: &mut Tools, log: &Logger) {
    let mut blocked = SigSet::empty();
    blocked.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT]);
    let _blocked = blocked.thread_block();
    let _named = nix::sys::prctl::set_name(c"lifesign-watch");
    // It has to be quick when the machine is not: a dead daemon's address helps nobody.
    let _obtained = realtime::hurry(realtime::PRIORITY);
    let mut overdue = Overdue::new(&post.ends, &tools.groups, &mut tools.take_down, log);
    let heard = listen(&post.socket, &mut overdue);
    if heard.is_good_order {
        // Whatever needed the watchdog has stopped, or the daemon would not have left.
        if let Some(feeding) = &tools.feeding {
            feeding.disarm();
        }
        return;
    }
    let began = clock::now();
    let taken = tools.take_down.run();
    let own = tools.replace_executor();
    let log = own.as_ref().unwrap_or(log);
    let stopping = Stopping { executor: &mut tools.executor, node: &tools.node, id: 0 };
    let running = stop_services(stopping, &tools.groups, &heard.up);
    let is_stopped = running.is_empty();
    if taken.is_ok() && is_stopped {
        farewell::bid(&tools.links, &heard.farewells);
    }
    let took = clock::now().since(began);
    match (taken, is_stopped) {
        (Ok(count), true) => log.write(
            Level::Error,
            format_args!(
                "the daemon is dead; took {count} addresses down and said farewell for it in {took}"
            ),
        ),
        (Ok(_), false) => log.write(
            Level::Error,
            format_args!(
                "the daemon is dead; a service did not stop, so its group is not given free"
            ),
        ),
        (Err(error), _) => log.write(
            Level::Error,
            format_args!("the daemon is dead; {error}: the kernel lease silences its addresses"),
        ),
    }
    if let Some(feeding) = &tools.feeding {
        release(feeding, &running);
    }
}

/// Disarms the watchdog if all that needs it has stopped; else leaves it to reset the machine.
fn release(feeding: &Feeding, running: &[&Group]) {
    match reason_to_bite(running) {
        None => feeding.disarm(),
        Some(why) => feeding.leave(&why),
    }
}

/// Returns why the machine has to be reset because of what is still `running`, if it has to be.
fn reason_to_bite(running: &[&Group]) -> Option<String> {
    let group = running.iter().find(|group| group.watchdog)?;
    Some(format!("the daemon had ended, and {} did not stop", group.name))
}

/// Listens until the daemon has ended, and withdraws meanwhile what it has not.
fn listen(socket: &OwnedFd, overdue: &mut Overdue<'_>) -> Heard {
    let mut heard = Heard { up: vec![None; MAX_GROUPS], ..Heard::default() };
    let mut buffer = [0; WORD_LEN_MAX];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return heard,
            Ok(len) => match postcard::from_bytes(&buffer[..len]) {
                Ok(Word::Farewell { link, frame }) => {
                    heard.farewells.retain(|(other, _)| *other != link);
                    heard.farewells.push((link, frame));
                }
                Ok(Word::Up { group, token }) => {
                    if let Some(known) = heard.up.get_mut(usize::from(group)) {
                        *known = token;
                    }
                }
                Ok(Word::GoodOrder) => heard.is_good_order = true,
                Err(_) => {}
            },
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                use std::os::fd::AsFd;
                let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                let _events = poll(&mut waiting, overdue.patience(clock::now()));
                overdue.withdraw(clock::now());
            }
            Err(_) => return heard,
        }
    }
}

/// Stops the services of the groups that were up, each group's in reverse order; returns those
/// groups that have not stopped.
fn stop_services<'g>(
    mut stopping: Stopping<'_>,
    groups: &'g [Group],
    up: &[Option<u32>],
) -> Vec<&'g Group> {
    let mut running = Vec::new();
    for (group, token) in groups.iter().zip(up) {
        let Some(token) = token.map(Token) else { continue };
        let mut is_stopped = true;
        for service in group.services.iter().rev() {
            is_stopped &= stopping.stop(group, service, token);
        }
        running.extend((!is_stopped).then_some(group));
    }
    running
}

/// What it takes to stop one service after the other.
struct Stopping<'a> {
    executor: &'a mut Executor,
    node: &'a str,
    id: u32,
}

impl Stopping<'_> {
    /// Stops `service` like the daemon would, and returns whether it has stopped.
    fn stop(&mut self, group: &Group, service: &Service, token: Token) -> bool {
        if self.id == 0 {
            // The daemon may have died while it was starting something.
            let _cancelled = self.executor.submit(&Request::CancelAll);
        }
        let began = clock::now();
        let mut is_done = |action| {
            let limit = agent::limit(service, action, clock::now().since(began));
            let call = Call { group: &group.name, node: self.node, token, limit };
            let command = agent::command(service, action, &call);
            let answer = command.and_then(|command| self.run(command));
            answer.is_some_and(|(outcome, output)| {
                convention::judge(service.convention, action, &outcome, &output).is_good
            })
        };
        is_done(Action::Stop) && (!service.convention.is_verified() || is_done(Action::Verify))
    }

    /// Runs a command and returns how it ended, if that comes to be known in time.
    fn run(&mut self, command: Command) -> Option<(Outcome, String)> {
        use std::os::fd::AsFd;
        self.id += 1;
        let limit = Duration::from_micros(command.limit_us) + GRACE.times(4);
        let deadline = clock::now() + limit;
        self.executor.submit(&Request::Run { id: self.id, command }).ok()?;
        while clock::now() < deadline && !self.executor.is_gone() {
            while let Some(reply) = self.executor.poll_reply() {
                if let Reply::Done { id, outcome, output, .. } = reply
                    && id == self.id
                {
                    return Some((outcome, output));
                }
            }
            let mut waiting = [PollFd::new(self.executor.as_fd(), PollFlags::POLLIN)];
            let _events = poll(&mut waiting, PollTimeout::from(100u8));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::example;

    #[test]
    fn what_needs_the_watchdog_and_runs_on_is_left_to_it() {
        let mut group = example().groups.remove(0);
        assert_eq!(reason_to_bite(&[]), None, "all has stopped");
        assert_eq!(reason_to_bite(&[&group]), None, "it has another guard");
        group.watchdog = true;
        let why = reason_to_bite(&[&group]).unwrap();
        assert_eq!(why, "the daemon had ended, and www did not stop");
    }
}
