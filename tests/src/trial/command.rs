//! Commands on the machines of a trial, as an administrator would give them there. Words are parted
//! by single blanks.

use std::fs;
use std::process::{Command, Output, Stdio};

use super::Trial;

impl Trial {
    /// Runs the program with `words`, as an administrator would.
    #[must_use]
    pub fn run_program(&self, words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(words).stdin(Stdio::null()).output().expect("a command")
    }

    /// Runs a command on a machine, which does it, and returns what it wrote.
    pub fn run_on(&mut self, name: &str, words: &str) -> String {
        let output = self.output_on(name, words);
        assert!(output.status.success(), "{words} on {name}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command on a machine and returns what it wrote, whatever came of it.
    #[must_use]
    pub fn said_on(&mut self, name: &str, words: &str) -> String {
        String::from_utf8_lossy(&self.output_on(name, words).stdout).into_owned()
    }

    fn output_on(&mut self, name: &str, words: &str) -> Output {
        let mut parts = words.split(' ');
        let program = parts.next().unwrap_or_default();
        let machine = self.cluster_mut().lab_mut().machine(name);
        machine.within(|| Command::new(program).args(parts).output()).expect("a command")
    }

    /// Returns the process on a machine that noted its number in a file beside the settings, as
    /// this process sees it; none if it has ended.
    #[must_use]
    pub fn noted_process(&mut self, name: &str, file: &str) -> Option<i32> {
        let inner = fs::read_to_string(self.cluster().directory().join(file)).unwrap_or_default();
        let ids = self.cluster_mut().lab_mut().machine(name).process_ids().expect("processes");
        ids.into_iter().find(|id| {
            // A machine numbers its own.
            let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            numbers.and_then(|line| line.split_whitespace().last()) == Some(inner.trim())
        })
    }
}
