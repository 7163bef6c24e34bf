//! The course that each contender runs.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use lifesign::address::netlink::Netlink;
use lifesign::demo::client::{Client, Log};
use lifesign::demo::cluster::Cluster;
use lifesign::demo::lab::{Lab, MachinePlan, Plan, Role};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contender::{Contender, SERVERS, WITNESS};
use crate::cost::Cost;

/// A laboratory in which one contender competes.
pub(crate) struct Course {
    contender: Contender,
    cluster: Cluster,
    client: Option<Client>,
}

/// The outages of several crashes.
pub(crate) struct Crashes {
    outages_ms: Vec<f64>,
    on_wire_ms: f64,
    all_ms: f64,
}

impl Course {
    /// Builds the laboratory and waits until one server serves.
    pub(crate) fn set(contender: Contender, directory: PathBuf) -> Result<Self, Box<dyn Error>> {
        let program = std::env::current_exe()?;
        let mut lab = Lab::build(&program, &plan())?;
        let client = Client::start(lab.machine("client"), ADDRESS.parse::<IpAddr>()?)?;
        let subject = program.with_file_name("subject");
        let mut cluster = Cluster::new(lab, subject, directory);
        for name in SERVERS {
            contender.start_server(&mut cluster, name)?;
        }
        contender.start_witness(&mut cluster)?;
        let course = Self { contender, cluster, client: Some(client) };
        course.await_settled(READY_US)?;
        Ok(course)
    }

    /// Crashes the holder `count` times, whichever it is, and lets it come back.
    pub(crate) fn crash(&mut self, count: u64) -> Result<Crashes, Box<dyn Error>> {
        let mut crashes = Crashes { outages_ms: Vec::new(), on_wire_ms: 0.0, all_ms: 0.0 };
        for round in 0..count {
            let holder = self.holder().ok_or("nobody or more than one holds the address")?;
            // The phase between the crash and the heartbeats is to differ from round to round.
            pause_us(round * 1_700);
            let begun_us = self.cluster.lab().now_us();
            self.cluster.lab_mut().crash(holder);
            self.await_settled(SETTLED_US)?;
            let now_us = self.cluster.lab().now_us();
            let record = self.cluster.lab().switch().record(0);
            let outage_us = self.log().longest_outage_us(begun_us, now_us);
            crashes.outages_ms.push(milliseconds(outage_us));
            crashes.on_wire_ms += milliseconds(record.on_wire.two_holders_us(begun_us, now_us));
            crashes.all_ms += milliseconds(record.all.two_holders_us(begun_us, now_us));
            self.bring_back(holder)?;
        }
        crashes.outages_ms.sort_by(f64::total_cmp);
        Ok(crashes)
    }

    /// Stops every process of the holder for a while, then cuts the servers off from each other.
    pub(crate) fn split(&mut self) -> Result<String, Box<dyn Error>> {
        let holder = self.holder().ok_or("nobody or more than one holds the address")?;
        let ids = self.cluster.lab_mut().machine(holder).process_ids()?;
        // Supervisors were started last and are to see nothing of it: they stop first.
        let send = |signal| ids.iter().rev().try_for_each(|id| kill(Pid::from_raw(*id), signal));
        let frozen_us = self.cluster.lab().now_us();
        send(Signal::SIGSTOP)?;
        thread::sleep(HARM);
        send(Signal::SIGCONT)?;
        self.await_settled(READY_US)?;
        let cut_us = self.cluster.lab().now_us();
        self.cluster.lab().cut(SERVERS[0], SERVERS[1]);
        thread::sleep(HARM);
        self.cluster.lab().heal();
        self.await_settled(READY_US)?;
        let record = self.cluster.lab().switch().record(0).on_wire;
        let log = self.log();
        let measure = |from_us, to_us| {
            let two_us = record.two_holders_us(from_us, to_us);
            let outage_us = log.longest_outage_us(from_us, to_us);
            format!(
                "two holders {:.1} ms, longest outage {:.1} ms",
                milliseconds(two_us),
                milliseconds(outage_us)
            )
        };
        let now_us = self.cluster.lab().now_us();
        Ok(format!(
            "  holder frozen for {0} s: {1}\n  servers cut off from each other for {0} s: {2}",
            HARM.as_secs(),
            measure(frozen_us, cut_us),
            measure(cut_us, now_us)
        ))
    }

    /// Lets `seconds` pass and returns what that cost on each server.
    pub(crate) fn idle(&mut self, seconds: u64) -> Result<String, Box<dyn Error>> {
        let mut text = String::new();
        let holder = self.holder().ok_or("nobody or more than one holds the address")?;
        // Questions and echo requests would be paid for by whichever process runs meanwhile.
        self.client = None;
        self.cluster.lab().switch().set_asking(false);
        let before = self.costs()?;
        thread::sleep(Duration::from_secs(seconds));
        let after = self.costs()?;
        self.cluster.lab().switch().set_asking(true);
        let machine = self.cluster.lab_mut().machine("client");
        self.client = Some(Client::start(machine, ADDRESS.parse()?)?);
        self.await_settled(READY_US)?;
        for ((name, before), after) in SERVERS.into_iter().zip(before).zip(after) {
            let part = if name == holder { "holder" } else { "standby" };
            let minute = (after.processor_s - before.processor_s) * 60.0 / real(seconds);
            text += &format!(
                "  {part}: {minute:.2} s of processor time a minute, {:.1} MiB\n",
                after.memory_mib
            );
        }
        Ok(text.trim_end().to_owned())
    }

    /// Keeps every processor busy for `seconds` and returns how often the address moved.
    pub(crate) fn busy(&self, seconds: u64) -> Result<String, Box<dyn Error>> {
        let begun_us = self.cluster.lab().now_us();
        let busy: Vec<Busy> =
            (0..BUSY_PROCESSES).map(|_| Busy::start()).collect::<Result<_, _>>()?;
        thread::sleep(Duration::from_secs(seconds));
        drop(busy);
        let now_us = self.cluster.lab().now_us();
        let record = self.cluster.lab().switch().record(0).all;
        let spans = record.spans().iter().filter(|span| span.last_us >= begun_us);
        let holders: Vec<usize> = spans.map(|span| span.server).collect();
        let moves = holders.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let losses = holders.len().saturating_sub(1);
        let log = self.log();
        Ok(format!(
            "  {BUSY_PROCESSES} busy processes for {seconds} s: {moves} moves, {losses} losses, two \
             holders {:.1} ms, longest outage {:.1} ms (client late by {:.1} ms in all)",
            milliseconds(record.two_holders_us(begun_us, now_us)),
            milliseconds(log.longest_outage_us(begun_us, now_us)),
            milliseconds(log.own_lateness_us(begun_us, now_us)),
        ))
    }

    /// Boots a crashed server as after a loss of power: nothing is left of its addresses.
    fn bring_back(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        let service: IpAddr = ADDRESS.parse()?;
        self.cluster.lab_mut().machine(name).within(|| {
            let mut netlink = Netlink::open().map_err(std::io::Error::other)?;
            let addresses = netlink.addresses().map_err(std::io::Error::other)?;
            for address in addresses.into_iter().filter(|address| address.ip == service) {
                netlink.delete_address(address).map_err(std::io::Error::other)?;
            }
            Ok(())
        })?;
        self.cluster.lab_mut().machine(name).boot()?;
        self.cluster.lab().set_cables(name, true);
        self.contender.start_server(&mut self.cluster, name)?;
        self.await_settled(READY_US)
    }

    /// Waits until one server has held the address and the client was answered for `span_us`.
    fn await_settled(&self, span_us: u64) -> Result<(), Box<dyn Error>> {
        let begun_us = self.cluster.lab().now_us();
        let mut since_us = begun_us;
        loop {
            let now_us = self.cluster.lab().now_us();
            let last_us = self.client.as_ref().and_then(Client::last_arrival_us);
            let answered = last_us.is_some_and(|at| at + 20_000 >= now_us);
            if self.holder().is_none() || !answered {
                since_us = now_us;
            }
            if now_us - since_us >= span_us {
                return Ok(());
            }
            if now_us - begun_us > PATIENCE_US {
                let journals = SERVERS.map(|name| self.cluster.journal(name)).join("---\n");
                return Err(format!("the service does not settle:\n{journals}").into());
            }
            pause_us(5_000);
        }
    }

    /// Returns the server that alone answers on the wire.
    fn holder(&self) -> Option<&'static str> {
        let lab = self.cluster.lab();
        let holders = lab.switch().record(0).on_wire.holders(lab.now_us());
        let [holder] = holders[..] else {
            return None;
        };
        SERVERS.into_iter().find(|name| lab.index_of(name) == holder)
    }

    fn log(&self) -> Log {
        self.client.as_ref().map(Client::log).unwrap_or_default()
    }

    fn costs(&mut self) -> Result<[Cost; 2], Box<dyn Error>> {
        let [one, other] = SERVERS.map(|name| Cost::of(self.cluster.lab_mut().machine(name)));
        Ok([one?, other?])
    }
}

impl fmt::Display for Crashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |part: usize| {
            let index = (self.outages_ms.len() * part / 100).min(self.outages_ms.len() - 1);
            self.outages_ms[index]
        };
        write!(
            f,
            "  {} crashes: outage median {:.1} ms, p90 {:.1} ms, least {:.1} ms, most {:.1} ms; two \
             holders on the wire {:.1} ms, behind pulled cables besides {:.1} ms",
            self.outages_ms.len(),
            at(50),
            at(90),
            at(0),
            at(100),
            self.on_wire_ms,
            self.all_ms,
        )
    }
}

/// A process that does nothing but keep a processor busy; dropping it ends it.
struct Busy(Child);

impl Busy {
    fn start() -> std::io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        command.spawn().map(Self)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // One that cannot be killed has ended, and waiting for it cannot fail then.
        drop((self.0.kill(), self.0.wait()));
    }
}

const ADDRESS: &str = "10.77.0.100";

/// How long the service has to be settled before the next crash, in microseconds.
const READY_US: u64 = 1_500_000;

/// How long it has to be settled after a crash before the outage is over, in microseconds.
const SETTLED_US: u64 = 300_000;

/// How long one waits for either, in microseconds.
const PATIENCE_US: u64 = 20_000_000;

/// How long a holder is frozen and a link is cut.
const HARM: Duration = Duration::from_secs(3);

const BUSY_PROCESSES: usize = 16;

fn plan() -> Plan {
    Plan::new()
        .with_machine(MachinePlan::new(SERVERS[0], Role::Server).with_cable(0, "10.77.0.1/24"))
        .with_machine(MachinePlan::new(SERVERS[1], Role::Server).with_cable(0, "10.77.0.2/24"))
        .with_machine(MachinePlan::new(WITNESS, Role::Witness).with_cable(0, "10.77.0.9/24"))
        .with_machine(MachinePlan::new("client", Role::Client).with_cable(0, "10.77.0.50/24"))
        .with_watched(0, ADDRESS)
}

fn pause_us(us: u64) {
    thread::sleep(Duration::from_micros(us));
}

fn milliseconds(us: u64) -> f64 {
    real(us) / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "all that is measured is far below 2^53")]
fn real(count: u64) -> f64 {
    count as f64
}
