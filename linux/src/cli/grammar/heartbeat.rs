//! The grammar of what has to do with Linux-HA heartbeat, with its help texts.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::heartbeat::{Choices, NodeAddress, Witness};
use crate::settings::value::{adapter_said, host_said, name_said};

pub(super) const IMPORT_EXAMPLES: &str = "\
Examples:
  lifesign import                                   what /etc/ha.d says, as settings
  lifesign import --key /etc/lifesign/key > /etc/lifesign.toml
  lifesign import --witness quorum=10.0.0.9 --address beta=10.0.0.2 /etc/ha.d
  lifesign import --directives                      every directive of ha.cf, and its fate";

#[derive(Debug, Args)]
pub(in super::super) struct ImportArgs {
    /// The directory with ha.cf, authkeys and haresources
    #[arg(value_name = "DIR", default_value = "/etc/ha.d")]
    pub(in super::super) directory: PathBuf,
    /// Which node this machine is; by default the one in DIR/nodeinfo, or with its host name
    #[arg(long, value_name = "NAME")]
    pub(in super::super) node: Option<String>,
    #[command(flatten)]
    pub(in super::super) choices: ChoiceArgs,
    /// Write a key file with the keys that are made of authkeys, and name it in the settings
    ///
    /// The same authkeys makes the same keys on every node. Without this the settings name authkeys
    /// itself.
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    pub(in super::super) key: Option<PathBuf>,
    /// Replace a key file that is there
    #[arg(long, requires = "key")]
    pub(in super::super) force: bool,
    /// Print every directive of ha.cf, what becomes of it, and why
    #[arg(long)]
    pub(in super::super) directives: bool,
}

/// What Linux-HA's files leave open.
#[derive(Debug, Args)]
pub(in super::super) struct ChoiceArgs {
    /// The address of a node, on the first adapter or on the one named; can be given several times
    #[arg(long = "address", value_name = "NODE[@ADAPTER]=IP", value_parser = address)]
    addresses: Vec<NodeAddress>,
    /// Who decides between two halves: a machine that runs `lifesign witness`, or, without an
    /// address, a dongle on the serial line
    #[arg(long, value_name = "NAME[=IP]", value_parser = witness)]
    witness: Option<Witness>,
    /// Let both nodes serve when they lose each other, as Linux-HA did
    #[arg(long, conflicts_with = "witness")]
    accept_split_brain: bool,
    /// Use this key file, made by `lifesign keygen`, and leave authkeys alone
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

impl ChoiceArgs {
    /// Returns whether something was chosen.
    pub(in super::super) const fn is_some(&self) -> bool {
        let Self { addresses, witness, accept_split_brain, key_file } = self;
        !addresses.is_empty() || witness.is_some() || *accept_split_brain || key_file.is_some()
    }

    /// Returns what was chosen on a machine that is `node`.
    pub(in super::super) fn choices(self, node: Option<String>) -> Choices {
        let Self { addresses, witness, accept_split_brain, key_file } = self;
        Choices { node, addresses, witness, accept_split_brain, key_file, keys_into: None }
    }
}

pub(super) const CL_STATUS_EXAMPLES: &str = "\
Examples:
  lifesign cl_status hbstatus
  lifesign cl_status nodestatus beta
  lifesign cl_status hbparameter -p deadtime
  lifesign cl_status hblinkstatus beta eth0
  ln -s lifesign /usr/bin/cl_status         a link of this name does the same";

pub(super) const HB_STANDBY_EXAMPLES: &str = "\
Examples:
  lifesign hb_standby
  lifesign hb_standby foreign";

pub(super) const HB_TAKEOVER_EXAMPLES: &str = "\
Examples:
  lifesign hb_takeover
  lifesign hb_takeover local";

#[derive(Debug, Args)]
pub(in super::super) struct ClStatusArgs {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = "/run/lifesign/control")]
    pub(in super::super) control: PathBuf,
    /// hbstatus, listnodes, nodestatus, nodetype, listhblinks, hblinkstatus or rscstatus, with what
    /// it is asked of
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "QUESTION")]
    pub(in super::super) words: Vec<String>,
}

#[derive(Debug, Args)]
pub(in super::super) struct SetArgs {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = "/run/lifesign/control")]
    pub(in super::super) control: PathBuf,
    /// all, local (at home here), foreign (at home elsewhere) or failback (back to their homes)
    #[arg(value_name = "SET", default_value = "all")]
    pub(in super::super) set: String,
}

/// Returns the address of a node that `text` says.
fn address(text: &str) -> Result<NodeAddress, String> {
    let (place, ip) = text.split_once('=').ok_or("write NODE=IP or NODE@ADAPTER=IP")?;
    let (node, adapter) = match place.split_once('@') {
        Some((node, adapter)) => (node, Some(adapter_said(adapter)?)),
        None => (place, None),
    };
    Ok(NodeAddress { node: name_said(&node.to_lowercase())?, adapter, ip: host_said(ip)? })
}

/// Returns the witness that `text` says.
fn witness(text: &str) -> Result<Witness, String> {
    let (name, ip): (&str, Option<IpAddr>) = match text.split_once('=') {
        Some((name, ip)) => (name, Some(host_said(ip)?)),
        None => (text, None),
    };
    Ok(Witness { name: name_said(name)?, ip })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_witnesses_are_read() {
        let good = address("Beta@eth1=10.0.0.2").unwrap();
        assert_eq!((good.node.as_str(), good.adapter.as_deref()), ("beta", Some("eth1")));
        assert_eq!(address("beta=fd00::2").unwrap().adapter, None);
        for text in ["beta", "beta=", "=10.0.0.2", "beta@=10.0.0.2", "be ta=10.0.0.2"] {
            assert!(address(text).is_err(), "{text}");
        }
        assert_eq!(witness("dongle").unwrap().ip, None);
        assert!(witness("quorum=10.0.0.9").unwrap().ip.is_some());
        assert!(witness("quorum=here").is_err());
    }
}
