//! Fuzz targets: what must be true of any bytes whatever.
//!
//! A target is a plain function that takes bytes and panics if what its documentation says is not
//! so. `tests/tests/corpus.rs` runs each on the inputs that are kept in `tests/corpus`, and on some
//! mutations of them; `tests/fuzz` hands them to libFuzzer:
//!
//! ```text
//! cargo install cargo-fuzz
//! cd tests
//! cargo +nightly fuzz run -s none frame corpus/frame
//! ```
//!
//! Without either, `cargo run -p lifesign-tests --bin fuzz -- frame 1000000` runs mutations of what
//! is kept. What is found is put into `tests/corpus/TARGET` under the name of what it showed.
//!
//! | target | takes in |
//! |---|---|
//! | [`frame`](fn@frame) | one frame, as it comes or with a right tag |
//! | [`member`](fn@member) | rightly tagged frames, time and orders, in any order, at a server and at witnesses |
//! | [`stream`](fn@stream) | what comes over a serial line |
//! | [`dongle`](fn@dongle) | requests, frames and noise at a dongle's ports |
//! | [`settings`](fn@settings) | the settings of a node or of a quorum server |
//! | [`keyfile`](fn@keyfile) | a key file |
//! | [`control`](fn@control) | requests at the control socket |
//! | [`note`](fn@note) | a note about connections, as it comes or with a right tag |
//! | [`import`](fn@import) | the files of Linux-HA heartbeat |

mod control;
mod dongle;
mod frame;
mod import;
mod kept;
mod keyfile;
mod member;
mod note;
mod script;
mod settings;
mod stream;

pub mod mutation;

pub use control::control;
pub use dongle::dongle;
pub use frame::frame;
pub use import::import;
pub use keyfile::keyfile;
pub use member::member;
pub use note::note;
pub use settings::settings;
pub use stream::stream;

/// A target, by its name.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of its folder in `tests/corpus`.
    pub name: &'static str,
    /// The target itself.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 9] = [
    Target { name: "frame", run: frame },
    Target { name: "member", run: member },
    Target { name: "stream", run: stream },
    Target { name: "dongle", run: dongle },
    Target { name: "settings", run: settings },
    Target { name: "keyfile", run: keyfile },
    Target { name: "control", run: control },
    Target { name: "note", run: note },
    Target { name: "import", run: import },
];
