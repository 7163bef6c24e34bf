//! What lifesign promises, tried.
//!
//! [`world`] runs the real engines and the real witness in virtual time, with clocks that disagree,
//! links that lose, delay, duplicate and reorder, and processes that are killed, paused and
//! restarted. It watches from outside which node answers for each group: the kernel lease is an
//! actor of its own with its own clock. [`fault`] lists what can go wrong in it. What is [`seen`]
//! there goes to the [`oracle`], which judges it by what the README promises and never looks into
//! an engine. [`story`] has the words in which tests tell what happens there. [`mutant`] takes out
//! one safety rule after the other, to show that a test notices.
//!
//! A [`plan`] is one run as data: a seed draws it while it is played, [`shrink`] makes one small
//! that shows a fault, and those that have taught something are kept. [`trace`] tells a run one
//! event a line, with the marks of the [`scene`]; a [`campaign`] plays many seeds and counts, with
//! the [`coverage`], what they met. The program `simulate` does all of that.
//!
//! [`trial`] runs the real daemons on this machine's kernel, each cluster in namespaces of its own,
//! and watches the wire; [`rounds`] does something to one over and over, and audits it.
//! [`name_server`] runs the name servers that they tell. [`rig`] runs the dongle's real firmware in
//! QEMU. At a [`bridge`] of the kernel, which learns where machines are, addresses are tried
//! without daemons, by a process that is a [`holder`] of them or by the test itself. What tests
//! measure by the way becomes [`figures`]. What they write is in a [`scratch`], and nothing is left
//! of one that is [`doomed`].

pub mod bridge;
pub mod campaign;
pub mod coverage;
pub mod doomed;
pub mod explore;
pub mod fault;
pub mod figures;
pub mod fuzz;
pub mod holder;
pub mod mutant;
pub mod name_server;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod rig;
pub mod rounds;
pub mod scene;
pub mod scratch;
pub mod seen;
pub mod shrink;
pub mod story;
pub mod trace;
pub mod trial;
pub mod world;
