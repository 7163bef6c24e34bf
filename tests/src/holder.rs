//! A process of a test that holds a group, and says until when it does.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use lifesign::address::lease::Enforcer;
use lifesign::namespace;
use lifesign_core::time::Instant;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that holds a group and writes each deadline of its lease; dropping it ends it.
#[derive(Debug)]
pub struct Holder {
    child: Child,
    words: Lines<BufReader<ChildStdout>>,
}

impl Holder {
    /// Runs the test `test` once more in this namespace, in the role of a holder by `enforcer`.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn start(test: &str, enforcer: Enforcer) -> Self {
        let mut command = namespace::player(test, &enforcer.to_string()).expect("a role");
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let words = BufReader::new(child.stdout.take().expect("its words")).lines();
        Self { child, words }
    }

    /// Reads so many deadlines and returns the last.
    ///
    /// # Panics
    /// Where it wrote none.
    pub fn read_until(&mut self, count: usize) -> Instant {
        self.deadlines().take(count).last().expect("a deadline")
    }

    /// Reads what is left and returns the last deadline in it.
    pub fn read_rest(&mut self) -> Option<Instant> {
        self.deadlines().last()
    }

    fn deadlines(&mut self) -> impl Iterator<Item = Instant> {
        self.words.by_ref().map_while(Result::ok).filter_map(|line| {
            let (_, number) = line.split_once("deadline ")?;
            number.parse().ok().map(Instant::from_micros)
        })
    }

    /// Returns why it gave up.
    ///
    /// # Panics
    /// Where it did not say.
    pub fn last_words(&mut self) -> String {
        let mut lines = self.words.by_ref().map_while(Result::ok);
        let refused = lines.find_map(|line| line.find("refused: ").map(|at| line[at..].to_owned()));
        refused.expect("a reason")
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Where it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("a process that runs");
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _ended = self.child.wait();
    }
}

impl Drop for Holder {
    /// Ends the process also where the test failed while it was stopped.
    fn drop(&mut self) {
        self.kill();
    }
}
