//! The Linux shell around `lifesign-core`.

