//! The Linux shell around `lifesign-core`.

pub mod address;
pub mod check;
pub mod cli;
pub mod clock;
pub mod control;
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
pub mod settings;
pub mod status;
mod sys;
pub mod why;
