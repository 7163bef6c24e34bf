//! The Linux shell around `lifesign-core`: the daemon, the quorum server and every command.
//!
//! # The files, in reading order
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the command line: grammar, help, printing, exit status |
//! | [`settings`] | one file, the same on every node, checked in full before anything is touched |
//! | [`agent`] | programs by which others have taught a manager to handle a service |
//! | [`check`] | what settings promise: the inequality and the worst times, term by term |
//! | [`layers`] | how clients find a new holder, and what they see at worst |
//! | [`heartbeat`] | Linux-HA's own files, made into settings |
//! | [`keygen`] | key files: made, and rotated |
//! | [`daemon`] | one thread that decides, and never waits for anything but the next event |
//! | [`supervisor`] | a process that outlives a killed daemon and cleans up behind it |
//! | [`watchdog`] | what ends a machine on which nobody stops the services in time |
//! | [`executor`] | a process that runs commands and writes files for the daemon |
//! | [`reservation`] | the tokens that may have been used, on disk |
//! | [`decree`] | what the operator has said last, on disk |
//! | [`witness`] | the quorum server |
//! | [`link`] | frames out and in, and the kernel's filter |
//! | [`address`] | service addresses, told to neighbours, defended, under the kernel lease |
//! | [`connections`] | who is connected with them, and who is told that the server is another |
//! | [`clock`] | the only place where a clock is read |
//! | [`realtime`] | to run before ordinary threads, in locked memory |
//! | [`log`] | lines that never make the daemon wait |
//! | [`notify`] | the service manager |
//! | [`notice`], [`webhook`] | what others are told of what happens, and how it is posted |
//! | [`control`] | the socket at which a running daemon is asked |
//! | [`report`] | what it tells of itself, of what it sees, and of why |
//! | [`explain`] | the engine's reasons as sentences |
//! | [`view`] | what an engine says, in the words of its settings |
//! | [`record`] | what goes into the engine and comes out, in a bounded ring on disk |
//! | [`replay`] | the same decisions again, from a recording |
//! | [`status`], [`why`], [`page`] | the same for people |
//! | [`operate`] | standby, takeover and what is said to the whole cluster, until it is done |
//! | [`demo`] | machines in namespaces, a switch that watches, and the scenes |
//! | [`dongle`] | what a person does with a dongle, and a dongle without hardware |
//! | [`namespace`] | a process alone with its network, for the demo and for tests |
//! | [`wire`] | a null-modem cable with the speed and the faults of a real one, for both |
//! | `sys` | every call without a safe wrapper; the only unsafe code |

pub mod address;
pub mod agent;
pub mod check;
pub mod cli;
pub mod clock;
pub mod connections;
pub mod control;
pub mod daemon;
pub mod decree;
pub mod demo;
pub mod dongle;
pub mod executor;
pub mod explain;
pub mod heartbeat;
pub mod keygen;
pub mod layers;
pub mod link;
pub mod log;
pub mod namespace;
pub mod notice;
pub mod notify;
pub mod operate;
pub mod page;
pub mod realtime;
pub mod record;
pub mod replay;
pub mod report;
pub mod reservation;
pub mod settings;
pub mod status;
pub mod supervisor;
mod sys;
pub mod view;
pub mod watchdog;
pub mod webhook;
pub mod why;
pub mod wire;
pub mod witness;
