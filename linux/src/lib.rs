//! The Linux shell around `lifesign-core`.

pub mod namespace;
mod sys;
