//! The Linux shell around `lifesign-core`.

pub mod clock;
pub mod demo;
pub mod link;
pub mod namespace;
mod sys;
