//! Everything that can happen in a small cluster, tried.
//!
//! The states are those of the real engines and the real witness, of messages on their way, and of
//! what each kernel has up until when by its own clock. True time goes on in coarse units; clocks
//! run as fast and as slow as is assumed. From the first quiet moment in which somebody holds the
//! group, every message may come at once, later, twice or never, processes may stop to run or start
//! anew without memory, and the operator may give orders, each as often as the limits say; all
//! of that in every order, up to a horizon. [`law`] says what must hold in each state.
//!
//! | module | what it is |
//! |---|---|
//! | [`setup`] | what is explored: a small cluster, its clocks, and how much may go wrong |
//! | [`actor`] | one host: the real engine or witness, and what its kernel has up |
//! | [`stage`] | every different host and message once, and what each did with each |
//! | [`state`] | a state of the whole cluster, and everything that can happen next |
//! | [`law`] | what must hold in every state |
//! | [`prologue`] | how everything begins |
//! | [`search`] | breadth first through every state |
//! | [`list`] | what is explored |
//! | [`run`] | one exploration from beginning to end |
//! | [`tell`] | a path told step by step |
//! | [`digest`] | hashes of states |

pub mod actor;
pub mod digest;
pub mod law;
pub mod list;
pub mod prologue;
pub mod run;
pub mod search;
pub mod setup;
pub mod stage;
pub mod state;
pub mod tell;
