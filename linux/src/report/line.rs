//! What a daemon tells of serial lines, of what is done over them, and of the IP side they outlive.

use serde::{Deserialize, Serialize};

/// What is known of a port of a serial link. Counters begin when the link is first opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// Its device.
    pub device: String,
    /// `up`, or `down: ` and why.
    pub state: String,
    /// What it hears, while it is up: `good`, or what is probably wrong.
    pub diagnosis: Option<String>,
    /// Messages sent.
    pub sent: u64,
    /// Frames that came in whole.
    pub received: u64,
    /// Of those, how many were passed on to the other ports.
    pub relayed: u64,
    /// Of those, how many had come in at another port before.
    pub copies: u64,
    /// Messages replaced by newer ones, or lost because the device took nothing.
    pub lost: u64,
    /// What came in and was no message.
    pub garbage: u64,
    /// Own frames that came back: around a ring, which is harmless, or from a loopback plug.
    #[serde(default)]
    pub returned: u64,
    /// Whether its driver hands on each byte at once, if it has such a mode and the port is open.
    #[serde(default)]
    pub low_latency: Option<bool>,
    /// For how long a USB adapter waits for more bytes, if its driver tells.
    #[serde(default)]
    pub latency_timer_ms: Option<u32>,
    /// What the driver counted, if it does.
    pub line_errors: Option<LineErrorsReport>,
    /// How often the device hung up.
    pub hang_ups: u64,
    /// How often it was opened again.
    pub reopened: u64,
}

/// What a driver counted on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineErrorsReport {
    /// Bytes without a stop bit: a wrong speed, or noise.
    pub framing: u64,
    /// Bytes with a wrong parity.
    pub parity: u64,
    /// Bytes lost because this machine was too slow.
    pub overruns: u64,
    /// Breaks: the line was pulled low for longer than a byte.
    pub breaks: u64,
}

/// What a dongle says of itself, as far as it has been heard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DongleReport {
    /// The name of the witness that it is.
    pub witness: String,
    /// How long ago it answered; `None` if it never did.
    pub said_ms: Option<u64>,
    /// The version of its firmware.
    pub firmware: Option<String>,
    /// The board it runs on.
    pub board: Option<String>,
    /// How long it has been running, if it has not restarted since it answered.
    pub uptime_ms: Option<u64>,
    /// How often it has started.
    pub starts: Option<u32>,
    /// Whether it promises.
    pub promises: Option<bool>,
    /// By how much its clock is fast, or slow if less than nothing, as far as is certain.
    pub clock_off_percent: Option<f64>,
    /// What is wrong with it: sentences, without full stops.
    pub faults: Vec<String>,
}

/// Whether clients can reach a node, as far as it can tell from whom it hears over IP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IpSideReport {
    /// Whether it offers its addresses.
    pub works: bool,
    /// Why it does not: a sentence, without a full stop.
    pub why: Option<String>,
    /// The machines that are pinged.
    pub pings: Vec<PingReport>,
}

/// A machine that is pinged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingReport {
    /// Its address.
    pub address: String,
    /// How long ago it last answered.
    pub answered_ms: Option<f64>,
    /// Why it could not be asked.
    pub failure: Option<String>,
}
