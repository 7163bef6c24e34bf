//! Daemons on the machines of a laboratory, started, asked and hurt by name.
//!
//! A [`Cluster`] starts the same program that a user would, with settings files in one directory,
//! and talks to it by the same commands. Each node has a state directory and a control socket of
//! its own there, and a file with what it wrote to its standard error.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::lab::Lab;
use super::machine::Process;

/// Daemons in a laboratory.
#[derive(Debug)]
pub struct Cluster {
    lab: Lab,
    program: PathBuf,
    directory: PathBuf,
    environment: Vec<(String, PathBuf)>,
    wrapper: Option<PathBuf>,
    daemons: BTreeMap<String, Process>,
}

impl Cluster {
    /// Returns a cluster without daemons.
    ///
    /// `program` is the lifesign program. In `directory`, which exists, everything is written.
    #[must_use]
    pub const fn new(lab: Lab, program: PathBuf, directory: PathBuf) -> Self {
        Self {
            lab,
            program,
            directory,
            environment: Vec::new(),
            wrapper: None,
            daemons: BTreeMap::new(),
        }
    }

    /// Writes `text` to the file `name`, which its owner alone can read, and returns its path.
    ///
    /// # Errors
    /// What the file system refused.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        options.open(&path)?.write_all(text.as_bytes())?;
        Ok(path)
    }

    /// Gives the path `value` to every daemon that is started from here on, in its environment.
    pub fn set_environment(&mut self, name: &str, value: &Path) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts every node's daemon from here on by `wrapper`, which finds the program and its
    /// arguments after its own name, and becomes it.
    pub fn set_wrapper(&mut self, wrapper: &Path) {
        self.wrapper = Some(wrapper.to_owned());
    }

    /// Starts the daemon of the node `name` on its machine, which is on.
    ///
    /// # Errors
    /// What kept it from starting; what happens later shows in [`journal`](Self::journal).
    pub fn start_node(&mut self, name: &str, settings: &Path) -> io::Result<()> {
        let state = self.directory.join(name);
        fs::create_dir_all(&state)?;
        let mut command = Command::new(self.wrapper.as_ref().unwrap_or(&self.program));
        command.args(self.wrapper.as_ref().map(|_| &self.program));
        command.arg("run").arg(settings).args(["--node", name]);
        command.arg("--state-dir").arg(state);
        command.arg("--control").arg(self.control(name));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.start(name, command)
    }

    /// Starts the quorum server on the machine `name`, whose settings name a place for its state.
    ///
    /// # Errors
    /// As [`start_node`](Self::start_node).
    pub fn start_witness(&mut self, name: &str, settings: &Path) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("witness").arg(settings);
        command.arg("--control").arg(self.control(name));
        self.start(name, command)
    }

    /// Starts any command as the daemon of the machine `name`; its output goes to the journal.
    ///
    /// # Errors
    /// As [`start_node`](Self::start_node).
    pub fn start(&mut self, name: &str, mut command: Command) -> io::Result<()> {
        let journal = File::options().create(true).append(true).open(self.journal_path(name))?;
        command.stdin(Stdio::null()).stdout(journal.try_clone()?).stderr(journal);
        let process = self.lab.machine(name).start(command)?;
        self.daemons.insert(name.to_owned(), process);
        Ok(())
    }

    /// Sends `signal` to the process that was started on `name`, and to none of its children.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it has ended or was never started.
    pub fn signal(&self, name: &str, signal: Signal) -> io::Result<()> {
        self.daemon(name)?.signal(signal)
    }

    /// Asks the daemon of `name` to end in good order and waits until it has.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] if it runs on after `limit`.
    pub fn stop(&self, name: &str, limit: Duration) -> io::Result<()> {
        let daemon = self.daemon(name)?;
        daemon.signal(Signal::SIGTERM)?;
        daemon.wait(limit)?.map(|_| ()).ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// Returns the laboratory, to change.
    pub const fn lab_mut(&mut self) -> &mut Lab {
        &mut self.lab
    }

    /// Returns the laboratory.
    #[must_use]
    pub const fn lab(&self) -> &Lab {
        &self.lab
    }

    /// Returns whether the daemon of `name` runs, frozen or not.
    #[must_use]
    pub fn is_running(&self, name: &str) -> bool {
        self.daemon(name).is_ok_and(Process::is_running)
    }

    /// Returns the process that was started on `name` last.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if none was.
    pub fn daemon(&self, name: &str) -> io::Result<&Process> {
        self.daemons.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Runs the command `words` against the daemon of `name`, as an administrator would.
    ///
    /// # Errors
    /// What kept the command from starting. A command that fails is an output like any other.
    pub fn ask(&self, name: &str, words: &[&str]) -> io::Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(words).arg("--control").arg(self.control(name));
        command.stdin(Stdio::null()).output()
    }

    /// Returns what `status --json` says on `name`, or nothing while the daemon does not answer.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<Value> {
        let output = self.ask(name, &["status", "--json"]).ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Returns what `check --json` says about a settings file.
    ///
    /// # Errors
    /// [`ClusterError`] with what it wrote, if it refused the settings or did not speak JSON.
    pub fn check(&self, settings: &Path) -> Result<Value, ClusterError> {
        let mut command = Command::new(&self.program);
        command.arg("check").arg(settings).arg("--json").stdin(Stdio::null());
        let output = command.output().map_err(ClusterError::Start)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(ClusterError::Refused(said));
        }
        serde_json::from_slice(&output.stdout).map_err(|_| {
            ClusterError::Refused(String::from_utf8_lossy(&output.stdout).into_owned())
        })
    }

    /// Returns what the daemons of `name` wrote so far.
    #[must_use]
    pub fn journal(&self, name: &str) -> String {
        fs::read(self.journal_path(name))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Returns where everything is written.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the lifesign program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the path of the control socket of `name`.
    #[must_use]
    pub fn control(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.control"))
    }

    /// Returns the file with what the daemons of `name` wrote.
    #[must_use]
    pub fn journal_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.journal"))
    }
}

/// Why a cluster's settings were not taken.
#[derive(Debug)]
pub enum ClusterError {
    /// The program did not start.
    Start(io::Error),
    /// The program refused the settings, with these words.
    Refused(String),
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "start the program: {error}"),
            Self::Refused(said) => write!(f, "the settings were refused: {}", said.trim()),
        }
    }
}

impl core::error::Error for ClusterError {}
