//! A laboratory in one command: servers, a witness, a switch and a client in namespaces.

pub mod client;
pub mod fabric;
pub mod machine;
pub mod observer;
pub mod question;
pub mod stopwatch;
pub mod switch;
