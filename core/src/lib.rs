//! The part of lifesign that decides: heartbeats, promises and authority.
//!
//! Nothing here reads a clock, draws randomness, allocates or does I/O. Bytes and moments go in,
//! bytes and decisions come out, so the same code runs in the Linux daemon, in the quorum server,
//! in firmware and in a simulator.
//!
//! # The files, in reading order
//!
//! | module | what it is |
//! |---|---|
//! | [`time`] | instants and spans, in microseconds |
//! | [`numbered`] | numbers of one kind of thing, and sets of them |
//! | [`node`] | who: nodes, links, sets of them, and which start of theirs |
//! | [`group`] | resources that move together, and the part this node plays for each |
//! | [`config`] | settings that cannot be wrong, and the inequality behind them |
//! | [`watchdog`] | until when a machine may be fed that holds a group |
//! | [`quorum`] | votes, and the chain of modules that counts them |
//! | [`seal`] | keys and tags |
//! | [`frame`] | one authenticated message: its layout, encoding and decoding |
//! | [`stream`] | messages on a serial line: where one begins and ends |
//! | [`relay`] | passing frames on between serial ports |
//! | [`deadline`] | how late is late |
//! | [`peer`] | who is alive, by frames that prove to be recent |
//! | [`promise`] | a voter's word, and until when it holds |
//! | [`authority`] | how old the support of a quorum is, counted from sending |
//! | [`decree`] | the operator's lasting word, which all nodes share |
//! | [`cadence`] | when a member speaks |
//! | [`member`] | what a server and a witness have in common |
//! | [`side`] | a witness's choice of side |
//! | [`witness`] | a voter that holds nothing, asked only in a tie |
//! | [`reset`] | resetting a dead server in two steps |
//! | [`fence`] | fencing by agents, level after level |
//! | [`network`] | several adapters on one network: which has failed, and which one serves |
//! | [`dongle`] | messages between a dongle and whoever is on its line |
//! | `array` | arrays of any length for serde |
//! | [`engine`] | one server: the only file that knows all the others |
//! | [`vectors`] | what every build must answer alike, on any machine |
//!
//! # The path of a frame
//!
//! [`Engine::handle_frame`](engine::Engine::handle_frame) gives the bytes to [`member`], which
//! opens them by [`frame`] and [`seal`], asks [`peer`] whether they are life, and lets [`promise`]
//! judge what they want. The engine takes the sender's echo and promises into [`authority`].
//! [`Engine::handle_timeout`](engine::Engine::handle_timeout) decides what follows,
//! [`Engine::poll_event`](engine::Engine::poll_event) says it to the shell, and
//! [`Engine::poll_transmit`](engine::Engine::poll_transmit) says it to everybody else.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod array;
pub mod authority;
pub mod cadence;
pub mod config;
pub mod deadline;
pub mod decree;
pub mod dongle;
pub mod engine;
pub mod fence;
pub mod frame;
pub mod group;
pub mod member;
pub mod network;
pub mod node;
pub mod numbered;
pub mod peer;
pub mod promise;
pub mod quorum;
pub mod relay;
pub mod reset;
pub mod seal;
pub mod side;
pub mod stream;
pub mod time;
pub mod vectors;
pub mod watchdog;
pub mod witness;
