//! The grammar of `lifesign dongle`, with its help texts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifesign_core::time::Duration;

use crate::link::serial::SPEED;
use crate::settings::value;

#[derive(Debug, Subcommand)]
pub(in super::super) enum DongleCommand {
    /// Show what a dongle is, whose it is, what it hears and what it could do
    ///
    /// Needs no key, and changes nothing. With the settings it also says whether the dongle is of
    /// their cluster and would serve it.
    #[command(after_help = INFO_EXAMPLES)]
    Info(InfoArgs),
    /// Give a dongle its cluster, timing, keys and the names of its ports
    ///
    /// All of it is taken from the settings and their key file, and stored in one step: afterwards
    /// the dongle has all of it or what it had before, and this command says which. The keys go
    /// over the cable in clear, so do this at a machine and with a cable that you trust.
    ///
    /// A fresh dongle takes whatever it is given. One that belongs to a cluster takes it from
    /// whoever has that cluster's key; else its unlock pin must be held (on STM32F405 boards:
    /// connect PA0 to 3.3 V) while the command is given again.
    #[command(after_help = PROVISION_EXAMPLES)]
    Provision(ProvisionArgs),
    /// Print the last 64 things that a dongle has noted, also of its time before a reset
    #[command(after_help = LOG_EXAMPLES)]
    Log(LogArgs),
    /// Try a line: times there and back, throughput, garbage, and the dongle's clock
    ///
    /// Needs no key, and changes nothing. A plug that joins the line's two conductors, a wrong
    /// speed and a line with nobody at its end are recognised and named. Exit status 0 means that
    /// the line carries everything and that the clock is as good as the settings say.
    #[command(after_help = TEST_EXAMPLES)]
    Test(TestArgs),
    /// Be a dongle: run its firmware on this machine, behind pseudo-terminals
    ///
    /// For trying everything without hardware. Each port is a device in a directory, to be used
    /// like that of a real dongle; what a dongle stores in its flash is kept in a file. Needs no
    /// privileges. Ends with SIGINT or SIGTERM.
    #[command(after_help = EMULATE_EXAMPLES)]
    Emulate(EmulateArgs),
}

pub(super) const AFTER_HELP: &str = "\
To begin:
  lifesign dongle info /dev/ttyUSB0
  lifesign dongle test /dev/ttyUSB0
  lifesign dongle emulate               without hardware

Exit status: 0 good, 1 failed, 2 usage or bad settings, 3 the device cannot be used, 4 no dongle
answers, 5 the dongle is of another cluster or speaks another version.";

const INFO_EXAMPLES: &str = "\
Examples:
  lifesign dongle info /dev/ttyUSB0
  lifesign dongle info /dev/ttyUSB0 --settings /etc/lifesign.toml
  lifesign dongle info --json /dev/ttyUSB0 | jq .ports";

const PROVISION_EXAMPLES: &str = "\
Examples:
  lifesign dongle provision /dev/ttyUSB0 --settings /etc/lifesign.toml \\
      --port 1=alpha --port 2=beta
  lifesign dongle provision /dev/ttyUSB0 --settings /etc/lifesign.toml \\
      --port 1=alpha --port 2=beta --witness dongle --resets alpha,beta --pulse 500ms";

const LOG_EXAMPLES: &str = "\
Examples:
  lifesign dongle log /dev/ttyUSB0
  lifesign dongle log --json /dev/ttyUSB0";

const TEST_EXAMPLES: &str = "\
Examples:
  lifesign dongle test /dev/ttyUSB0
  lifesign dongle test --seconds 60 --settings /etc/lifesign.toml /dev/ttyUSB0";

const EMULATE_EXAMPLES: &str = "\
Examples:
  lifesign dongle emulate
  lifesign dongle emulate --ports 3 --dir /run/user/1000/dongle --on-reset 'echo reset of $LIFESIGN_NAME'";

/// Which dongle.
#[derive(Debug, Args)]
pub(in super::super) struct DeviceArgs {
    /// The serial device, or the socket of an emulator
    pub(in super::super) device: PathBuf,
    /// The speed of the line, in baud
    #[arg(long, value_name = "BAUD", default_value_t = SPEED,
          value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    pub(in super::super) speed: u32,
}

#[derive(Debug, Args)]
pub(in super::super) struct InfoArgs {
    #[command(flatten)]
    pub(in super::super) at: DeviceArgs,
    /// The settings of the cluster to which it should belong
    #[arg(long, value_name = "FILE")]
    pub(in super::super) settings: Option<PathBuf>,
    /// Answer in JSON, for machines
    #[arg(long)]
    pub(in super::super) json: bool,
}

#[derive(Debug, Args)]
pub(in super::super) struct ProvisionArgs {
    #[command(flatten)]
    pub(in super::super) at: DeviceArgs,
    /// The settings of the cluster
    #[arg(long, value_name = "FILE")]
    pub(in super::super) settings: PathBuf,
    /// Which node is at which port of the dongle, such as 1=alpha; once for each
    #[arg(long = "port", value_name = "PORT=NODE", required = true, value_parser = port)]
    pub(in super::super) ports: Vec<(u8, String)>,
    /// Which witness of the settings it is; by default the only one, if there is one
    #[arg(long, value_name = "NAME")]
    pub(in super::super) witness: Option<String>,
    /// Whom its reset lines can reset, such as alpha,beta
    #[arg(long, value_name = "NODES", value_delimiter = ',')]
    pub(in super::super) resets: Vec<String>,
    /// How long a reset line is held
    #[arg(long, value_name = "SPAN", default_value = "500ms", value_parser = value::span_said)]
    pub(in super::super) pulse: Duration,
    /// Ask nothing
    #[arg(long)]
    pub(in super::super) yes: bool,
}

#[derive(Debug, Args)]
pub(in super::super) struct LogArgs {
    #[command(flatten)]
    pub(in super::super) at: DeviceArgs,
    /// The settings of the cluster, for the names of its nodes
    #[arg(long, value_name = "FILE")]
    pub(in super::super) settings: Option<PathBuf>,
    /// Answer in JSON, for machines
    #[arg(long)]
    pub(in super::super) json: bool,
}

#[derive(Debug, Args)]
pub(in super::super) struct TestArgs {
    #[command(flatten)]
    pub(in super::super) at: DeviceArgs,
    /// How long to try; the longer, the better the clock is known
    #[arg(long, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(in super::super) seconds: u32,
    /// The settings whose `clock_error` the dongle's clock must keep
    #[arg(long, value_name = "FILE")]
    pub(in super::super) settings: Option<PathBuf>,
    /// Answer in JSON, for machines
    #[arg(long)]
    pub(in super::super) json: bool,
}

#[derive(Debug, Args)]
pub(in super::super) struct EmulateArgs {
    /// How many ports it has
    #[arg(long, value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(in super::super) ports: u8,
    /// The directory for the devices port1, port2 and so on; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "lifesign-dongle")]
    pub(in super::super) dir: PathBuf,
    /// The file for what a dongle stores in its flash; by default `flash` in the directory
    #[arg(long, value_name = "FILE")]
    pub(in super::super) state: Option<PathBuf>,
    /// Be deaf to any other speed, as a real dongle is; else each line has the speed of whoever
    /// opens its device
    #[arg(long, value_name = "BAUD", value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    pub(in super::super) speed: Option<u32>,
    /// Run as if the unlock pin were held
    #[arg(long)]
    pub(in super::super) unlock: bool,
    /// Run this by the shell when a reset line fires, with `LIFESIGN_PORT` and `LIFESIGN_NAME` set
    #[arg(long, value_name = "COMMAND")]
    pub(in super::super) on_reset: Option<String>,
    /// Print one JSON object a line, for machines
    #[arg(long)]
    pub(in super::super) json: bool,
}

fn port(text: &str) -> Result<(u8, String), String> {
    let (number, name) = text.split_once('=').ok_or("it must be like 1=alpha")?;
    let number = number.parse().map_err(|_| format!("{number:?} is not the number of a port"))?;
    if name.is_empty() {
        return Err("the name of a node is missing".to_owned());
    }
    Ok((number, name.to_owned()))
}
