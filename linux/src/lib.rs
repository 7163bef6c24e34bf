//! The Linux shell around `lifesign-core`.

pub mod clock;
pub mod namespace;
mod sys;
