//! The `lifesign` command.

fn main() {}
