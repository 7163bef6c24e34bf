//! The Linux shell around `lifesign-core`.

pub mod address;
pub mod check;
pub mod cli;
pub mod clock;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod executor;
pub mod explain;
pub mod keygen;
pub mod link;
pub mod log;
pub mod namespace;
pub mod notify;
pub mod operate;
pub mod page;
pub mod realtime;
pub mod report;
pub mod reservation;
pub mod settings;
pub mod status;
pub mod supervisor;
mod sys;
pub mod why;
pub mod witness;
