//! The part of lifesign that decides: heartbeats, promises and authority.
//!
//! Nothing here reads a clock, draws randomness, allocates or does I/O. Bytes and moments go in, bytes and decisions
//! come out, so the same code runs in the Linux daemon, in the quorum server, in firmware and in a simulator.
//!
//! # The files, in reading order
//!
//! | module | what it is |
//! |---|---|
//! | [`time`] | instants and spans, in microseconds |
//! | [`node`] | who: nodes, links, sets of them, and which start of theirs |
//! | [`group`] | resources that move together, and the part this node plays for each |
//! | [`seal`] | keys and tags |
//! | [`quorum`] | votes, and the chain of modules that counts them |
//! | [`config`] | settings that cannot be wrong, and the inequality behind them |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod authority;
pub mod config;
pub mod deadline;
pub mod engine;
pub mod frame;
pub mod group;
pub mod member;
pub mod node;
pub mod peer;
pub mod promise;
pub mod quorum;
pub mod seal;
pub mod side;
pub mod time;
pub mod witness;
