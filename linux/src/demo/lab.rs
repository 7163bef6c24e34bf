//! The laboratory: machines in namespaces of their own, and the cables between them and a switch.
//!
//! [`Lab::build`] needs a network namespace in which nothing else lives, with every network
//! capability: [`namespace::isolate`](crate::namespace::isolate) gives one, with or without
//! privilege. What is in it dies with the process that built it.
//!
//! ```no_run
//! use lifesign::demo::lab::{Lab, MachinePlan, Plan, Role};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plan = Plan::new()
//!     .with_machine(MachinePlan::new("alpha", Role::Server).with_cable(0, "10.77.0.1/24"))
//!     .with_machine(MachinePlan::new("beta", Role::Server).with_cable(0, "10.77.0.2/24"))
//!     .with_machine(MachinePlan::new("client", Role::Client).with_cable(0, "10.77.0.50/24"))
//!     .with_watched(0, "10.77.0.100");
//! let mut lab = Lab::build("/usr/sbin/lifesign".as_ref(), &plan)?;
//! lab.cut("alpha", "beta");
//! assert_eq!(lab.two_holders_us(0, 0, lab.now_us()), 0);
//! # Ok(())
//! # }
//! ```

mod plan;

use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::Path;

pub use self::plan::{MachinePlan, Plan, Role};
use super::machine::Machine;
use super::stopwatch::Stopwatch;
use super::switch::{PortPlan, Server, Switch, Watched};
use crate::address::error::Error as NetlinkError;
use crate::address::netlink::{Adapter, Installed, Netlink};
use crate::namespace::cable;

/// A laboratory; dropping it ends everything in it.
#[derive(Debug)]
pub struct Lab {
    places: Vec<Place>,
    switch: Switch,
    stopwatch: Stopwatch,
}

/// A machine and the switch's ports to which its cables lead.
#[derive(Debug)]
struct Place {
    name: String,
    machine: Machine,
    ports: Vec<usize>,
}

impl Lab {
    /// Builds the machines of `plan`, connects them and switches them on.
    ///
    /// `program` is a lifesign program, see [`Machine::new`].
    ///
    /// # Errors
    /// [`LabError`] with the step that was refused.
    pub fn build(program: &Path, plan: &Plan) -> Result<Self, LabError> {
        let mut builder = Builder { ports: Vec::new() };
        let mut places = Vec::new();
        for (index, machine) in plan.machines.iter().enumerate() {
            places.push(builder.build_place(program, index, machine)?);
        }
        let ports = builder.ports;
        let mut watched = Vec::new();
        for (network, address) in &plan.watched {
            let address = address.parse().map_err(|_| LabError::bad_address(address))?;
            watched.push(Watched { address, network: *network });
        }
        let switch = Switch::start(&ports, &watched, plan.seed).map_err(LabError::Switch)?;
        for port in 0..ports.len() {
            cable::switch(&near_end(port), true).map_err(LabError::Netlink)?;
        }
        for place in &mut places {
            let booted = place.machine.boot();
            booted.map_err(|error| LabError::machine(&place.name, error))?;
        }
        Ok(Self { places, switch, stopwatch: Stopwatch::new() })
    }

    /// Returns the machine `name`.
    ///
    /// # Panics
    /// If no machine of the plan has the name, as every method here that takes one.
    pub fn machine(&mut self, name: &str) -> &mut Machine {
        let index = self.index_of(name);
        &mut self.places[index].machine
    }

    /// Kills everything on `name` at once and pulls all its cables in the same moment.
    pub fn crash(&mut self, name: &str) {
        self.set_cables(name, false);
        self.machine(name).crash();
    }

    /// Takes the carrier away from the adapter with the index `cable` of `name`, or gives it back.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_carrier(&self, name: &str, cable: usize, up: bool) -> Result<(), LabError> {
        let port = self.places[self.index_of(name)].ports[cable];
        cable::switch(&near_end(port), up).map_err(LabError::Netlink)
    }

    /// Removes the adapter with the index `cable` from `name`, as if its card were pulled out.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn take_adapter(&mut self, name: &str, cable: usize) -> Result<(), LabError> {
        let here = File::open("/proc/thread-self/ns/net").map_err(LabError::Switch)?;
        let (port, index) = (self.port(name, cable), self.index_of(name));
        let adapter = format!("eth{cable}");
        let give = || {
            // Its name is another one here, where others may have the same one.
            cable::switch(&adapter, false).map_err(io::Error::other)?;
            cable::rename(&adapter, &far_end(port)).map_err(io::Error::other)?;
            cable::give(&far_end(port), &here).map_err(io::Error::other)
        };
        let given = self.places[index].machine.within(give);
        given.map_err(|error| LabError::machine(name, error))
    }

    /// Gives an adapter that was taken back to `name`, with its address there as `IP/prefix`.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn return_adapter(
        &mut self,
        name: &str,
        cable: usize,
        address: &str,
    ) -> Result<(), LabError> {
        let (ip, prefix) = parse(address)?;
        let (port, index) = (self.port(name, cable), self.index_of(name));
        let machine = &self.places[index].machine;
        cable::rename(&far_end(port), FAR_END).map_err(LabError::Netlink)?;
        cable::give(FAR_END, machine.network()).map_err(LabError::Netlink)?;
        let set_up = || set_up_end(&format!("eth{cable}"), ip, prefix).map_err(io::Error::other);
        machine.within(set_up).map_err(|error| LabError::machine(name, error))
    }

    /// Plugs all cables of `name` in, or pulls them; the machine keeps its carrier.
    pub fn set_cables(&self, name: &str, plugged: bool) {
        for &port in &self.places[self.index_of(name)].ports {
            self.switch.set_down(port, !plugged);
        }
    }

    /// Plugs the cable with the index `cable` of `name` in, or pulls it; the carrier stays.
    pub fn set_cable(&self, name: &str, cable: usize, plugged: bool) {
        self.switch.set_down(self.port(name, cable), !plugged);
    }

    /// Cuts every way between two machines, in both directions.
    pub fn cut(&self, one: &str, other: &str) {
        self.set_loss(one, other, super::fabric::ALL_PPM);
        self.set_loss(other, one, super::fabric::ALL_PPM);
    }

    /// Loses `loss_ppm` of a million frames from one machine to another, in this direction.
    pub fn set_loss(&self, from: &str, to: &str, loss_ppm: u32) {
        for &from in &self.places[self.index_of(from)].ports {
            for &to in &self.places[self.index_of(to)].ports {
                self.switch.set_loss(from, to, loss_ppm);
            }
        }
    }

    /// Sends every frame from one machine to another once more after `delay_us`, whatever is cut.
    ///
    /// # Panics
    /// If no machine of the plan has one of the names.
    pub fn repeat(&self, from: &str, to: &str, delay_us: u64) {
        for &from in &self.places[self.index_of(from)].ports {
            for &to in &self.places[self.index_of(to)].ports {
                self.switch.repeat(from, to, delay_us);
            }
        }
    }

    /// Takes every cut, loss and repetition away and plugs every cable in.
    pub fn heal(&self) {
        self.switch.heal();
    }

    /// Returns the switch.
    #[must_use]
    pub const fn switch(&self) -> &Switch {
        &self.switch
    }

    /// Returns whether nothing passes between two machines, in neither direction.
    ///
    /// # Panics
    /// If no machine of the plan has one of the names.
    #[must_use]
    pub fn is_cut(&self, one: &str, other: &str) -> bool {
        let ends = [one, other].map(|name| &self.places[self.index_of(name)].ports);
        let cut = |from: &usize, to: &usize| self.switch.is_cut(*from, *to);
        ends[0].iter().all(|from| ends[1].iter().all(|to| cut(from, to) && cut(to, from)))
    }

    /// Returns of each cable of `name` whether it is pulled.
    ///
    /// # Panics
    /// If no machine of the plan has the name.
    #[must_use]
    pub fn unplugged(&self, name: &str) -> Vec<bool> {
        let ports = self.places[self.index_of(name)].ports.iter();
        ports.map(|&port| self.switch.is_down(port)).collect()
    }

    /// Returns whether the machine `name` is on.
    ///
    /// # Panics
    /// If no machine of the plan has the name.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        self.places[self.index_of(name)].machine.is_on()
    }

    /// Returns the names of the machines seen to answer for the watched address within a moment.
    #[must_use]
    pub fn holders(&self, watched: usize) -> Vec<&str> {
        let holders = self.switch.holders(watched, self.now_us());
        holders.into_iter().map(|index| self.places[index].name.as_str()).collect()
    }

    /// Returns for how long two machines answered for the watched address, in microseconds.
    ///
    /// Machines with pulled cables count: see [`switch`](super::switch).
    #[must_use]
    pub fn two_holders_us(&self, watched: usize, from_us: u64, to_us: u64) -> u64 {
        self.switch.record(watched).all.two_holders_us(from_us, to_us)
    }

    /// Returns the switch's port at which the cable with the index `cable` of `name` ends.
    ///
    /// # Panics
    /// If there is no such machine or cable.
    #[must_use]
    pub fn port(&self, name: &str, cable: usize) -> usize {
        self.places[self.index_of(name)].ports[cable]
    }

    /// Returns boot time, the clock of all that the laboratory measures, in microseconds.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.stopwatch.now_us()
    }

    /// Returns the number of the machine `name`, as the switch's records have it.
    ///
    /// # Panics
    /// If no machine of the plan has the name.
    #[must_use]
    pub fn index_of(&self, name: &str) -> usize {
        let found = self.places.iter().position(|place| place.name == name);
        found.expect("the plan has a machine of this name")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for port in self.places.iter().flat_map(|place| &place.ports) {
            // The other end goes with its machine, and which of both is first does not matter.
            drop(cable::remove(&near_end(*port)));
        }
    }
}

/// What is known while the machines are built.
struct Builder {
    ports: Vec<PortPlan>,
}

impl Builder {
    fn build_place(
        &mut self,
        program: &Path,
        index: usize,
        plan: &MachinePlan,
    ) -> Result<Place, LabError> {
        let failed = |error| LabError::machine(&plan.name, error);
        let machine = Machine::new(program.to_owned()).map_err(failed)?;
        let mut place = Place { name: plan.name.clone(), machine, ports: Vec::new() };
        for (number, (network, address)) in plan.cables.iter().enumerate() {
            let (ip, prefix) = parse(address)?;
            let port = self.ports.len();
            let near = near_end(port);
            cable::lay(&near, FAR_END).map_err(LabError::Netlink)?;
            // A kernel without IPv6 has nothing to silence.
            drop(cable::silence(&near));
            let hardware = adapter(FAR_END)?.mac.unwrap_or_default();
            cable::give(FAR_END, place.machine.network()).map_err(LabError::Netlink)?;
            let set_up = || set_up_end(&format!("eth{number}"), ip, prefix);
            place.machine.within(|| set_up().map_err(io::Error::other)).map_err(failed)?;
            place.ports.push(port);
            let server = Server { machine: index, hardware };
            self.ports.push(PortPlan {
                adapter: adapter(&near)?.index,
                network: *network,
                server: (plan.role == Role::Server).then_some(server),
            });
        }
        Ok(place)
    }
}

/// The name of a cable's far end until it is in its machine.
const FAR_END: &str = "far";

/// Returns the name of the cable's end at a port of the switch.
fn near_end(port: usize) -> String {
    format!("port{port}")
}

/// Returns the name of the cable's far end while it is out of its machine.
fn far_end(port: usize) -> String {
    format!("card{port}")
}

/// Names the far end in the calling thread's network `name`, gives it an address and raises it.
fn set_up_end(name: &str, ip: IpAddr, prefix: u8) -> Result<(), LabError> {
    cable::rename(FAR_END, name).map_err(LabError::Netlink)?;
    // Duplicate address detection delays each adapter by a second, and there are no duplicates. A
    // container may forbid writing here, and then the second is waited for.
    drop(std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/accept_dad"), "0"));
    let address = Installed { index: adapter(name)?.index, ip, prefix };
    let mut netlink = Netlink::open().map_err(LabError::Netlink)?;
    netlink.add_address(address, true, None).map_err(LabError::Netlink)?;
    cable::switch(name, true).map_err(LabError::Netlink)
}

/// Returns the adapter `name` of the calling thread's network.
fn adapter(name: &str) -> Result<Adapter, LabError> {
    let mut netlink = Netlink::open().map_err(LabError::Netlink)?;
    let adapters = netlink.adapters().map_err(LabError::Netlink)?;
    let found = adapters.into_iter().find(|adapter| adapter.name == name);
    found.ok_or_else(|| LabError::NoAdapter(name.to_owned()))
}

fn parse(address: &str) -> Result<(IpAddr, u8), LabError> {
    let parts = address.split_once('/');
    let parsed = parts.and_then(|(ip, prefix)| Some((ip.parse().ok()?, prefix.parse().ok()?)));
    parsed.ok_or_else(|| LabError::bad_address(address))
}

/// Why a laboratory could not be built.
#[derive(Debug)]
pub enum LabError {
    /// The kernel refused a change of adapters or addresses.
    Netlink(NetlinkError),
    /// An adapter that was made is not there.
    NoAdapter(String),
    /// The switch did not start.
    Switch(io::Error),
    /// A machine did not start.
    Machine {
        /// Its name.
        name: String,
        /// What was refused.
        error: io::Error,
    },
    /// The plan has an address that is none.
    BadAddress(String),
}

impl LabError {
    fn machine(name: &str, error: io::Error) -> Self {
        Self::Machine { name: name.to_owned(), error }
    }

    fn bad_address(address: &str) -> Self {
        Self::BadAddress(address.to_owned())
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Netlink(error) => write!(f, "{error}"),
            Self::NoAdapter(name) => write!(f, "find adapter {name}: no such adapter"),
            Self::Switch(error) => write!(f, "start the switch: {error}"),
            Self::Machine { name, error } => write!(f, "set up machine {name}: {error}"),
            Self::BadAddress(address) => write!(f, "{address} is not an address"),
        }
    }
}

impl core::error::Error for LabError {}
