//! Which servers a trial has, and what they are told.

use std::path::Path;

use lifesign::demo::lab::{MachinePlan, Plan, Role};

use lifesign::demo::dongle::DONGLE;

use super::WITNESS;
use super::routers::{ROUTED, ROUTER, Software};

/// What a test is tried with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) nodes: Vec<&'static str>,
    has_witness: bool,
    /// What leads clients to the servers, if there is a router between them.
    routing: Option<Software>,
    has_dongle: bool,
    cables: usize,
    /// The kinds of the links over standby adapters on the network of the first cable.
    standbys: Vec<&'static str>,
    is_watched_twice: bool,
    timing: String,
    guard: &'static str,
    pub(super) groups: Vec<(&'static str, Vec<&'static str>)>,
    tables: Vec<(&'static str, &'static str, String)>,
    services: String,
    longest_promise: &'static str,
    /// What stands in the table of the first node.
    first: String,
    /// What stands in the table of every node.
    each: String,
}

impl Setup {
    /// Returns two servers and a quorum server, with one group that prefers alpha.
    #[must_use]
    pub fn pair() -> Self {
        Self {
            nodes: vec!["alpha", "beta"],
            has_witness: true,
            routing: None,
            has_dongle: false,
            cables: 1,
            standbys: Vec::new(),
            is_watched_twice: false,
            timing: "heartbeat = \"100ms\"\ndead = \"500ms\"\npromise = \"600ms\"\n\
                     settle = \"1200ms\"\n"
                .to_owned(),
            guard: "address",
            groups: vec![("www", vec!["alpha", "beta"])],
            tables: Vec::new(),
            services: String::new(),
            longest_promise: "1s",
            first: String::new(),
            each: String::new(),
        }
    }

    /// Returns three servers without a quorum server.
    #[must_use]
    pub fn three() -> Self {
        let nodes = vec!["alpha", "beta", "gamma"];
        Self {
            nodes: nodes.clone(),
            has_witness: false,
            groups: vec![("www", nodes)],
            ..Self::pair()
        }
    }

    /// Returns servers without a quorum server, each with a serial line to a dongle that is the
    /// only witness and can reset all of them, and with spans for such lines on a busy machine.
    #[must_use]
    pub fn with_dongle(nodes: &[&'static str]) -> Self {
        Self {
            nodes: nodes.to_vec(),
            has_witness: false,
            has_dongle: true,
            groups: vec![("www", nodes.to_vec())],
            timing: "heartbeat = \"100ms\"\ndead = \"1s\"\npromise = \"1200ms\"\n\
                     settle = \"2s\"\n"
                .to_owned(),
            ..Self::pair()
        }
    }

    /// Returns the setup with a router between the client and the servers, each in a network of its
    /// own, and service addresses that no network has; see [`routers`](super::routers).
    #[must_use]
    pub const fn with_router(mut self, software: Software) -> Self {
        self.routing = Some(software);
        self
    }

    /// Returns the service address of the group with this index.
    pub(super) fn service(&self, group: usize) -> String {
        if self.routing.is_some() { ROUTED.to_owned() } else { format!("10.77.0.{}", 100 + group) }
    }

    /// Returns the addresses of the group with this index as they are written in the settings.
    fn addresses(&self, group: usize) -> Vec<String> {
        match self.routing {
            Some(software) => software.addresses(),
            None => vec![self.service(group) + "/24"],
        }
    }

    /// Returns the setup with another guard of all groups.
    #[must_use]
    pub const fn with_guard(mut self, guard: &'static str) -> Self {
        self.guard = guard;
        self
    }

    /// Returns the setup with another table of spans.
    #[must_use]
    pub fn with_spans(mut self, lines: &str) -> Self {
        self.timing = lines.to_owned();
        self
    }

    /// Returns the setup with one more line in the table of spans.
    #[must_use]
    pub fn with_timing(mut self, line: &str) -> Self {
        self.timing += line;
        self.timing += "\n";
        self
    }

    /// Returns the setup with one more group, which prefers `nodes` in this order, or does not say
    /// whom if there are none.
    #[must_use]
    pub fn with_group(mut self, name: &'static str, nodes: &[&'static str]) -> Self {
        self.groups.push((name, nodes.to_vec()));
        self
    }

    /// Returns the setup with a guard of its own for the group `name`, and `text` after its keys.
    #[must_use]
    pub fn with_table(mut self, name: &'static str, guard: &'static str, text: &str) -> Self {
        self.tables.push((name, guard, text.to_owned()));
        self
    }

    /// Returns the setup with a quorum server that promises for so long at most.
    #[must_use]
    pub const fn with_longest_promise(mut self, span: &'static str) -> Self {
        self.longest_promise = span;
        self
    }

    /// Returns the setup with a second network, over which another link runs.
    #[must_use]
    pub const fn with_second_link(mut self) -> Self {
        self.cables = 2;
        self
    }

    /// Returns the setup with a standby adapter on each server, at a switch of its own to which the
    /// quorum server is connected too. Addresses are watched at both switches.
    #[must_use]
    pub fn with_second_switch(mut self) -> Self {
        self.is_watched_twice = true;
        self.with_second_link().with_network(1, "")
    }

    /// Returns the setup with a standby adapter on each server, on the same network, and `text` in
    /// the table of the network. It has an address in the same subnet, and a link of `kind` runs
    /// over it: `ether` or `udp`.
    #[must_use]
    pub fn with_standby(self, kind: &'static str, text: &str) -> Self {
        self.with_standbys(&[kind], text)
    }

    /// Returns the setup with a standby adapter on each server for each of `kinds`, in this order.
    #[must_use]
    pub fn with_standbys(mut self, kinds: &[&'static str], text: &str) -> Self {
        self.standbys = kinds.to_vec();
        self.with_network(kinds.len(), text)
    }

    /// Returns the setup with a network of the first link and so many standby ones, and `text` in
    /// its table.
    fn with_network(self, standbys: usize, text: &str) -> Self {
        let links: Vec<String> = (0..=standbys).map(|at| format!("lan{at}")).collect();
        self.with_services(&format!("\n[[network]]\nname = \"front\"\nlinks = {links:?}\n{text}"))
    }

    /// Returns the links over the standby adapters, as the settings have them.
    fn standby_text(&self) -> String {
        let link = |(kind, at): (&&str, usize)| {
            let start = format!(
                "\n[[link]]\nname = \"lan{at}\"\nkind = \"{kind}\"\nadapter = \"eth{at}\"\n"
            );
            if *kind != "udp" {
                return start;
            }
            let members: Vec<String> = (self.nodes.iter().zip(1..))
                .map(|(name, number)| format!("{name} = \"10.77.0.{}\"", 10 * at + number))
                .collect();
            let port = 6940 + at;
            let members = members.join(", ");
            format!("{start}delivery = \"broadcast\"\nport = {port}\nmembers = {{ {members} }}\n")
        };
        self.standbys.iter().zip(1..).map(link).collect()
    }

    /// Returns the setup with `text` appended to the settings, after the last group;
    /// `DIRECTORY` in it stands for where they are.
    #[must_use]
    pub fn with_services(mut self, text: &str) -> Self {
        self.services.push_str(text);
        self
    }

    /// Returns the setup with `text` in the table of the first node; `DIRECTORY` in it stands for
    /// where the settings are.
    #[must_use]
    pub fn with_first(mut self, text: &str) -> Self {
        self.first.push_str(text);
        self
    }

    /// Returns the setup with `text` in the table of every node; `DIRECTORY` in it stands for where
    /// the settings are.
    #[must_use]
    pub fn with_each(mut self, text: &str) -> Self {
        self.each.push_str(text);
        self
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&'static str, u8)> {
        let witness = self.has_witness.then_some((WITNESS, 9));
        self.nodes.iter().copied().zip(1..).chain(witness)
    }

    pub(super) fn plan(&self) -> Plan {
        let mut plan = Plan::new().with_seed(1);
        for (name, number) in self.members() {
            let role = if name == WITNESS { Role::Witness } else { Role::Server };
            let cabled = (0..self.cables).fold(MachinePlan::new(name, role), |machine, cable| {
                machine.with_cable(cable, &format!("10.{}.0.{number}/24", 77 + cable))
            });
            let cabled = if self.routing.is_some() && role == Role::Server {
                cabled.with_cable(90 + usize::from(number), &format!("10.{}.0.1/24", 90 + number))
            } else {
                cabled
            };
            let standbys = if role == Role::Server { self.standbys.len() } else { 0 };
            plan = plan.with_machine((1..=standbys).fold(cabled, |machine, at| {
                machine.with_cable(0, &format!("10.77.0.{}/24", 10 * at + usize::from(number)))
            }));
        }
        if self.has_dongle {
            plan = plan.with_machine(MachinePlan::new(DONGLE, Role::Witness));
        }
        let client = MachinePlan::new("client", Role::Client).with_cable(0, "10.77.0.50/24");
        plan = if self.routing.is_some() {
            let router = (90..=92)
                .fold(MachinePlan::new(ROUTER, Role::Client), |router, network| {
                    router.with_cable(network, &format!("10.{network}.0.2/24"))
                });
            plan.with_machine(client.with_cable(90, "10.90.0.50/24")).with_machine(router)
        } else {
            plan.with_machine(client)
        };
        let switches = if self.is_watched_twice { 2 } else { 1 };
        let groups = self.groups.len();
        (0..switches * groups)
            .fold(plan, |plan, at| plan.with_watched(at / groups, &self.service(at % groups)))
    }

    /// Returns the text of the quorum server's settings, with `directory` for all it has.
    pub(super) fn witness_text(&self, directory: &Path) -> String {
        format!(
            "version = 1\nlisten = [\"0.0.0.0:6940\"]\nlongest_promise = \"{1}\"\n\
             state_dir = \"{0}\"\ncontrol = \"{0}/quorum.control\"\n\n[[cluster]]\n\
             name = \"trial\"\nkey_file = \"{0}/key\"\nwitness = 1\n\
             heartbeat = \"100ms\"\ndead = \"500ms\"\n",
            directory.display(),
            self.longest_promise,
        )
    }

    /// Returns the text of the settings, with `directory` for the key.
    #[must_use]
    pub fn text(&self, directory: &Path) -> String {
        let mut text = format!(
            "version = 1\ncluster = \"trial\"\nkey_file = \"{0}/key\"\nstate_dir = \"{0}\"\n\
             quorum = [\"majority\"{1}]\n\n[timing]\n{2}",
            directory.display(),
            if self.has_witness || self.has_dongle { ", \"witness\"" } else { "" },
            self.timing,
        );
        for name in &self.nodes {
            text += &format!("\n[[node]]\nname = \"{name}\"\n");
            if self.nodes.first() == Some(name) {
                text += &self.first;
            }
            text += &self.each;
        }
        if self.has_witness {
            text += &format!("\n[[witness]]\nname = \"{WITNESS}\"\n");
        }
        if self.has_dongle {
            text += &format!("\n[[witness]]\nname = \"{DONGLE}\"\n");
        }
        for cable in 0..self.cables {
            let members: Vec<String> = self
                .members()
                .map(|(name, number)| format!("{name} = \"10.{}.0.{number}\"", 77 + cable))
                .collect();
            text += &format!(
                "\n[[link]]\nname = \"lan{cable}\"\nkind = \"udp\"\nadapter = \"eth{cable}\"\n\
                 delivery = \"multicast\"\nmulticast = \"239.255.76.83\"\nport = 6940\n\
                 members = {{ {} }}\n",
                members.join(", ")
            );
        }
        text += &self.standby_text();
        if self.has_dongle {
            let device = |name: &&str| format!("{name} = \"DIRECTORY/{name}.tty\"");
            let devices: Vec<String> = self.nodes.iter().map(device).collect();
            text += &format!(
                "\n[[link]]\nname = \"wire\"\nkind = \"serial\"\ndevice = {{ {} }}\n\
                 witness = \"{DONGLE}\"\nresets = {:?}\n",
                devices.join(", "),
                self.nodes
            );
        }
        for (group, (name, nodes)) in self.groups.iter().enumerate() {
            let own = self.tables.iter().find(|(owner, ..)| owner == name);
            let order =
                if nodes.is_empty() { String::new() } else { format!("prefer = {nodes:?}\n") };
            text += &format!(
                "\n[[group]]\nname = \"{name}\"\naddresses = {:?}\n{order}guard = \"{}\"\n\
                 conflict_probe = \"50ms\"\n{}",
                self.addresses(group),
                own.map_or(self.guard, |(_, guard, _)| guard),
                own.map_or("", |(.., text)| text),
            );
        }
        text += &self.services;
        text.replace("DIRECTORY", &directory.display().to_string())
    }
}
