//! What a laboratory consists of, before it is built.

/// What a machine is in the laboratory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may hold service addresses, so the switch asks it for them.
    Server,
    /// It makes promises and holds nothing.
    Witness,
    /// It uses the service.
    Client,
}

/// A machine to build.
#[derive(Clone, Debug)]
pub struct MachinePlan {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) cables: Vec<(usize, String)>,
}

impl MachinePlan {
    /// Returns a machine without cables.
    #[must_use]
    pub fn new(name: &str, role: Role) -> Self {
        Self { name: name.to_owned(), role, cables: Vec::new() }
    }

    /// Returns the machine with one more cable, to `network`, and its address there as `IP/prefix`.
    ///
    /// The adapters are named `eth0`, `eth1` and so on.
    #[must_use]
    pub fn with_cable(mut self, network: usize, address: &str) -> Self {
        self.cables.push((network, address.to_owned()));
        self
    }
}

/// A laboratory to build.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(super) machines: Vec<MachinePlan>,
    pub(super) watched: Vec<(usize, String)>,
    pub(super) seed: u64,
}

impl Plan {
    /// Returns a laboratory without machines.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the plan with one more machine.
    #[must_use]
    pub fn with_machine(mut self, machine: MachinePlan) -> Self {
        self.machines.push(machine);
        self
    }

    /// Returns the plan with one more service address, which the switch watches in `network`.
    #[must_use]
    pub fn with_watched(mut self, network: usize, address: &str) -> Self {
        self.watched.push((network, address.to_owned()));
        self
    }

    /// Returns the plan with the seed of the switch's losses.
    #[must_use]
    pub const fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}
