//! Adapters of a trial's machines: what they are, and what the servers say of them.

use super::Trial;

impl Trial {
    /// Gives the first adapter of each machine an address of IPv6 in `fd00:77::/64` that ends like
    /// its address of IPv4.
    pub fn add_ipv6(&mut self, names: &[&str]) {
        for (name, host) in [("alpha", 1), ("beta", 2), ("client", 0x50)] {
            if names.contains(&name) {
                self.run_on(name, &format!("ip address add fd00:77::{host:x}/64 dev eth0 nodad"));
            }
        }
    }

    /// Returns the hardware address of an adapter of a machine.
    ///
    /// # Panics
    /// Where there is no such adapter.
    pub fn mac_of(&mut self, name: &str, adapter: &str) -> String {
        let link = self.run_on(name, &format!("ip -o link show dev {adapter}"));
        let (_, rest) = link.split_once("link/ether ").expect("a hardware address");
        rest.split(' ').next().unwrap_or_default().to_owned()
    }

    /// Returns what a server says of its adapters on the first network.
    #[must_use]
    pub fn verdicts(&self, name: &str) -> Vec<String> {
        let status = self.status(name);
        let adapters = status["networks"][0]["adapters"].as_array().cloned().unwrap_or_default();
        adapters.iter().map(|it| it["verdict"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
