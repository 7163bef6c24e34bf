//! A host route to a service address, which the routing daemon of this machine passes on.
//!
//! It is added when all services before it have started, and deleted before any of them stops. The
//! address itself belongs to the group, under the kernel lease: what takes it away deletes the
//! route as well, at the end of authority, behind a killed daemon, and before the next start.
//! Behind a daemon that is frozen its supervisor deletes the route, and the address falls silent.

use std::net::IpAddr;

use lifesign_core::time::Duration;

use super::{Fault, Own, Parameter};
use crate::address::netlink::Netlink;
use crate::address::route::HostRoute;
use crate::agent::Kind;
use crate::settings::{Service, value};

/// What the settings say of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePlan {
    /// The service address to which it leads.
    pub ip: IpAddr,
    /// The name of the adapter on which it stands.
    pub adapter: String,
    /// Its metric.
    pub metric: u32,
    /// For how long routers follow a server that is dead, as the routing daemon is set; it changes
    /// nothing here, and `lifesign explain layers` counts with it.
    pub hold: Option<Duration>,
    /// How long routers take to follow what they have been told or have found out; likewise.
    pub convergence: Option<Duration>,
}

impl RoutePlan {
    /// The names of its parameters, and whether nodes may have different ones.
    pub const PARAMETERS: &'static [(&'static str, bool)] = &[
        ("prefix", false),
        ("adapter", false),
        ("metric", false),
        ("hold", false),
        ("convergence", false),
    ];

    /// Reads the parameters.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(parameters: &[Parameter]) -> Result<Self, Fault> {
        let text = |name: &str| {
            let found = parameters.iter().find(|parameter| parameter.name == name);
            found.map(|parameter| parameter.value.as_str())
        };
        let prefix = text("prefix").ok_or_else(|| Fault::missing("prefix", "\"192.0.2.77/32\""))?;
        let not = |why: &str| Fault::of("prefix", why, "write \"192.0.2.77/32\"");
        let (ip, bits) = prefix.split_once('/').ok_or_else(|| not("its length is missing"))?;
        let ip: IpAddr = ip.parse().map_err(|_| not("this is no address"))?;
        let host = if ip.is_ipv4() { "32" } else { "128" };
        if bits != host {
            return Err(not(&format!("it must lead to one address: its length is {host}")));
        }
        let adapter = value::adapter_said(text("adapter").unwrap_or("lo"));
        let adapter = adapter.map_err(|why| Fault::of("adapter", why, "write \"lo\""))?;
        let metric = text("metric").map_or(Ok(METRIC), str::parse);
        let metric =
            metric.map_err(|_| Fault::of("metric", "this is no whole number", "write \"100\""))?;
        let span = |name| {
            let span = text(name).map(value::span_said).transpose();
            span.map_err(|why| Fault::of(name, why, "write \"3s\""))
        };
        let (hold, convergence) = (span("hold")?, span("convergence")?);
        Ok(Self { ip, adapter, metric, hold, convergence })
    }

    /// Returns what the settings say of the route that `service` is, if it is one.
    #[must_use]
    pub fn of(service: &Service) -> Option<Self> {
        let agent = service.agent.as_ref()?;
        let is_route = matches!(agent.kind, Kind::Lifesign(Own::Route));
        is_route.then(|| Self::read(&agent.parameters).ok())?
    }

    /// Adds the route, if the address is on this machine.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub fn start(&self) -> Result<String, String> {
        let mut netlink = open()?;
        let installed = netlink.addresses().map_err(said)?;
        if !installed.iter().any(|address| address.ip == self.ip) {
            return Err(format!("{} is not on this machine: nobody would answer", self.ip));
        }
        let route = self.route(&mut netlink)?;
        netlink.add_route(route).map_err(said)?;
        self.look(&mut netlink)
    }

    /// Deletes the route, if it is there, and looks again.
    ///
    /// # Errors
    /// Why it is still there, in one line.
    pub fn stop(&self) -> Result<String, String> {
        let mut netlink = open()?;
        for route in netlink.routes().map_err(said)? {
            if route.ip == self.ip {
                // The supervisor may be quicker; what matters is what is left.
                let _gone = netlink.delete_route(route);
            }
        }
        let left = netlink.routes().map_err(said)?;
        if left.iter().any(|route| route.ip == self.ip) {
            return Err(format!("the route to {} is still there", self.ip));
        }
        Ok(String::new())
    }

    /// Says whether the route is there.
    ///
    /// # Errors
    /// What is there in place of it, in one line.
    pub fn monitor(&self) -> Result<String, String> {
        self.look(&mut open()?)
    }

    fn route(&self, netlink: &mut Netlink) -> Result<HostRoute, String> {
        let adapters = netlink.adapters().map_err(said)?;
        let adapter = adapters.iter().find(|adapter| adapter.name == self.adapter);
        let adapter =
            adapter.ok_or_else(|| format!("this machine has no adapter {}", self.adapter))?;
        if !adapter.up {
            return Err(format!("the adapter {} is down", self.adapter));
        }
        Ok(HostRoute { ip: self.ip, index: adapter.index, metric: self.metric })
    }

    fn look(&self, netlink: &mut Netlink) -> Result<String, String> {
        let route = self.route(netlink)?;
        if netlink.routes().map_err(said)?.contains(&route) {
            return Ok(String::new());
        }
        Err(format!("the route to {} is not there", self.ip))
    }
}

/// The metric of a route, if the settings do not say.
const METRIC: u32 = 76;

fn open() -> Result<Netlink, String> {
    Netlink::open().map_err(said)
}

fn said(error: impl core::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::lease::{Enforcer, EnforcerChoice};
    use crate::address::netlink::Installed;
    use crate::address::{Addresses, ServiceAddress};
    use crate::namespace::{self, Users};

    fn plan(told: &[(&str, &str)]) -> Result<RoutePlan, String> {
        let parameter = |(name, value): &(&str, &str)| Parameter {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            span: 0..0,
        };
        let told: Vec<Parameter> = told.iter().map(parameter).collect();
        RoutePlan::read(&told).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_route_leads_to_one_address() {
        let read = plan(&[("prefix", "fd00::77/128"), ("adapter", "eth0"), ("metric", "5")]);
        let ip = "fd00::77".parse().unwrap();
        let (adapter, metric) = ("eth0".to_owned(), 5);
        let plan_read = RoutePlan { ip, adapter, metric, hold: None, convergence: None };
        assert_eq!(read, Ok(plan_read));
        for (told, expected) in [
            (("prefix", "192.0.2.77"), "prefix: its length is missing; write \"192.0.2.77/32\""),
            (("prefix", "192.0.2/32"), "prefix: this is no address; write \"192.0.2.77/32\""),
            (
                ("prefix", "192.0.2.0/24"),
                "prefix: it must lead to one address: its length is 32; write \"192.0.2.77/32\"",
            ),
        ] {
            assert_eq!(plan(&[told]), Err(expected.to_owned()));
        }
        assert!(plan(&[("prefix", "192.0.2.77/32"), ("metric", "-1")]).is_err());
    }

    #[test]
    fn a_route_is_there_from_start_to_stop_and_never_without_its_address() {
        let name = "agent::own::route::tests::\
                    a_route_is_there_from_start_to_stop_and_never_without_its_address";
        let entered = namespace::enter(name, Users::New);
        if entered.unwrap_or_else(|error| panic!("{error}")).is_none() {
            return;
        }
        for prefix in ["192.0.2.77/32", "fd00::77/128"] {
            let plan = plan(&[("prefix", prefix)]).unwrap();
            let ip = plan.ip;
            let error = plan.start().unwrap_err();
            assert_eq!(error, format!("{ip} is not on this machine: nobody would answer"));
            let mut netlink = Netlink::open().unwrap();
            let address = Installed { index: 1, ip, prefix: if ip.is_ipv4() { 32 } else { 128 } };
            netlink.add_address(address, true, None).unwrap();
            assert_eq!(plan.monitor(), Err(format!("the route to {ip} is not there")));
            for _ in 0..2 {
                assert_eq!((plan.start(), plan.monitor()), (Ok(String::new()), Ok(String::new())));
            }
            assert_eq!(netlink.routes().unwrap(), [HostRoute { ip, index: 1, metric: METRIC }]);
            for _ in 0..2 {
                assert_eq!(plan.stop(), Ok(String::new()));
            }
            assert_eq!(netlink.routes().unwrap(), []);
            assert!(netlink.addresses().unwrap().contains(&address));
        }
        let plan = plan(&[("prefix", "192.0.2.77/32"), ("adapter", "eth7")]).unwrap();
        assert_eq!(plan.start(), Err("this machine has no adapter eth7".to_owned()));
        what_takes_an_address_down_withdraws_its_route();
    }

    fn what_takes_an_address_down_withdraws_its_route() {
        let ip: IpAddr = "192.0.2.77".parse().unwrap();
        let service = ServiceAddress { ip, prefix: 32, adapter: "lo".to_owned() };
        let plan = plan(&[("prefix", "192.0.2.77/32")]).unwrap();
        let choice = EnforcerChoice::Only(Enforcer::Nftables);
        let mut addresses = Addresses::open(&[vec![service]], choice).unwrap();
        let mut take_down = addresses.take_down().unwrap();
        let mut netlink = Netlink::open().unwrap();
        let other = HostRoute { ip: "192.0.2.78".parse().unwrap(), index: 1, metric: 1 };
        netlink.add_route(other).unwrap();
        for way in 0..3 {
            let address = Installed { index: 1, ip, prefix: 32 };
            netlink.add_address(address, true, None).unwrap();
            plan.start().unwrap();
            let second = HostRoute { ip, index: 1, metric: 5 };
            netlink.add_route(second).unwrap();
            match way {
                0 => assert_eq!(addresses.remove_leftovers(), Ok(vec![ip])),
                1 => assert_eq!(take_down.run(), Ok(1)),
                _ => assert_eq!(addresses.release(0), Ok(())),
            }
            assert_eq!(netlink.routes().unwrap(), [other]);
        }
        netlink.delete_route(other).unwrap();
    }
}
