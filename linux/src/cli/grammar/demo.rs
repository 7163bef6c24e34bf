//! The grammar of the demonstration.

use clap::Args;

pub(super) const DEMO_EXAMPLES: &str = "\
Examples:
  lifesign demo
  lifesign demo --json
  lifesign demo --dongle
  lifesign demo --ipv6
  lifesign demo --scene switchover --scene server-crashed";

#[derive(Debug, Args)]
pub(in crate::cli) struct DemoArgs {
    /// Wire the servers to a dongle in place of a quorum server
    ///
    /// The dongle is the real firmware in QEMU if `qemu-system-arm` is installed and
    /// `firmware/build` has made the image; else it is the firmware's emulation on this machine.
    #[arg(long)]
    pub(in crate::cli) dongle: bool,
    /// Speak IPv6 in place of IPv4: addresses, links, the witness and the clients
    #[arg(long)]
    pub(in crate::cli) ipv6: bool,
    /// Print nothing but what was measured, in JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Play this scene only; can be given several times
    #[arg(long = "scene", value_name = "NAME")]
    pub(in crate::cli) scenes: Vec<String>,
    /// Do as for an ordinary user, even as root
    #[arg(long)]
    pub(in crate::cli) unprivileged: bool,
}
