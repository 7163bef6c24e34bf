//! A laboratory in one command: servers, a witness, a switch and a client in namespaces.

pub mod fabric;
pub mod observer;
pub mod question;
pub mod stopwatch;
pub mod switch;
