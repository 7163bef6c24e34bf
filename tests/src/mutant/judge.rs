//! Copies of the sources, and the tests run on them.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{Change, Mutant};
use crate::scratch::Scratch;

/// Tests that are built and run together, the quickest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The core's own tests.
    Units,
    /// Stories in virtual time.
    Scenarios,
    /// Random faults in virtual time, a bounded number of seeds.
    Swarm,
    /// Everything that can happen in small clusters, as far as that is quick.
    Exhaustive,
    /// The daemon's own tests of what it does around the core.
    Shell,
}

impl Layer {
    /// The layers in their order.
    pub const ALL: [Self; 5] =
        [Self::Units, Self::Scenarios, Self::Swarm, Self::Exhaustive, Self::Shell];

    /// Returns whether this layer can tell what a change in `file` does.
    #[must_use]
    pub fn knows(self, file: &str) -> bool {
        (self == Self::Shell) == file.starts_with("linux/")
    }

    const fn targets(self) -> &'static [&'static str] {
        match self {
            Self::Units => &["-p", "lifesign-core", "--lib"],
            Self::Scenarios => &[
                "-p",
                "lifesign-tests",
                "--test",
                "scenarios",
                "--test",
                "rules",
                "--test",
                "wires",
                "--test",
                "places",
            ],
            Self::Swarm => &["-p", "lifesign-tests", "--test", "simulation"],
            Self::Exhaustive => &["-p", "lifesign-tests", "--test", "exhaustive"],
            Self::Shell => &["-p", "lifesign", "--lib"],
        }
    }

    /// Returns how many tests run at a time, where that is not one a processor: those of the daemon
    /// wait more than they compute.
    const fn threads(self) -> Option<&'static str> {
        if matches!(self, Self::Shell) { Some("4") } else { None }
    }

    /// Returns how the tests begin that are run, all of them if there is nothing here.
    const fn tests(self) -> &'static [&'static str] {
        match self {
            Self::Units | Self::Scenarios | Self::Swarm | Self::Exhaustive => &[],
            Self::Shell => &[
                "address::bpf::",
                "address::front::",
                "address::presence::",
                // Not those that are killed at each step, which take long.
                "address::seat::tests::a",
                "agent::",
                "connections::",
                "daemon::",
                "executor::",
                "settings::tests::",
                "supervisor::",
                "watchdog::",
            ],
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Units => "units",
            Self::Scenarios => "scenarios",
            Self::Swarm => "swarm",
            Self::Exhaustive => "exhaustive",
            Self::Shell => "shell",
        })
    }
}

/// How a judgement ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every layer passed.
    Survived,
    /// A layer failed: which, the first test in it that did, and after how long a run of that
    /// layer's tests and of those before, without what building took.
    Caught(Layer, String, Duration),
}

/// Why nothing can be said.
#[derive(Debug)]
pub enum JudgeError {
    /// A file or a program could not be used.
    Io(String, io::Error),
    /// The text to change stands this often in the file, and not once.
    Text(&'static Change, usize),
    /// The copy does not build; the compiler's last words.
    Build(String),
}

impl fmt::Display for JudgeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, error) => write!(formatter, "{what}: {error}"),
            Self::Text(change, count) => {
                write!(formatter, "{}: found {count} times: {}", change.file, change.find)
            }
            Self::Build(words) => write!(formatter, "does not build:\n{words}"),
        }
    }
}

impl std::error::Error for JudgeError {}

/// A copy of the core, of the dongle's firmware, of the tests that need no more than those, and of
/// the daemon for its own tests.
#[derive(Debug)]
pub struct Copied {
    sources: PathBuf,
    copy: PathBuf,
    target: PathBuf,
    seeds: u64,
    /// Held as long as the copy is used, so that nobody else changes it meanwhile.
    _lock: File,
}

/// The modules of this crate that simulate; the copy has no other.
const MODULES: [&str; 12] = [
    "campaign", "coverage", "explore", "fault", "oracle", "plan", "random", "scene", "seen",
    "shrink", "story", "world",
];
/// The tests that are run on the copy.
const TESTS: [&str; 6] = ["scenarios", "rules", "wires", "places", "simulation", "exhaustive"];
/// A test that has not ended after this long never will.
const PATIENCE: Duration = Duration::from_secs(240);

impl Copied {
    /// Copies the sources at `sources` to `place`, where they are also built. The swarm runs
    /// `seeds` seeds.
    ///
    /// # Errors
    /// Says which file could not be read or written.
    pub fn new(sources: &Path, place: &Path, seeds: u64) -> Result<Self, JudgeError> {
        let (copy, target) = (place.join("copy"), place.join("target"));
        fs::create_dir_all(place).map_err(io_at(place))?;
        let lock = place.join("lock");
        let held = File::create(&lock).map_err(io_at(&lock))?;
        held.lock().map_err(io_at(&lock))?;
        let copied = Self { sources: sources.into(), copy, target, seeds, _lock: held };
        copied.write("Cargo.toml", &reduced(&copied.read("Cargo.toml")?))?;
        copied.write("Cargo.lock", &copied.read("Cargo.lock")?)?;
        copied.write("core/Cargo.toml", &copied.read("core/Cargo.toml")?)?;
        copied.write("firmware/Cargo.toml", &copied.read("firmware/Cargo.toml")?)?;
        copied.write("firmware/build.rs", &copied.read("firmware/build.rs")?)?;
        copied.copy_tree(Path::new("firmware/src"))?;
        copied.write("linux/Cargo.toml", &of_library(&copied.read("linux/Cargo.toml")?))?;
        copied.copy_tree(Path::new("linux/src"))?;
        copied.write("tests/Cargo.toml", &without_shell(&copied.read("tests/Cargo.toml")?))?;
        copied.copy_tree(Path::new("core/src"))?;
        let modules = MODULES.map(|module| format!("pub mod {module};\n")).concat();
        copied.write("tests/src/lib.rs", &modules)?;
        for file in MODULES.map(|module| format!("tests/src/{module}.rs")) {
            copied.write(&file, &copied.read(&file)?)?;
        }
        for tree in MODULES.map(|module| format!("tests/src/{module}")) {
            if sources.join(&tree).is_dir() {
                copied.copy_tree(Path::new(&tree))?;
            }
        }
        copied.copy_tree(Path::new("tests/plans"))?;
        for file in TESTS.map(|test| format!("tests/tests/{test}.rs")) {
            copied.write(&file, &copied.read(&file)?)?;
        }
        Ok(copied)
    }

    /// Runs the layers that can tell on the copy with `mutant`'s changes made, and puts the copy
    /// right again.
    ///
    /// # Errors
    /// Says why nothing can be said: a text that is not there once, or a copy that does not build.
    pub fn judge(&self, mutant: &Mutant) -> Result<Outcome, JudgeError> {
        let changes = mutant.changes;
        for change in changes {
            let path = self.copy.join(change.file);
            let source = fs::read_to_string(&path).map_err(io_at(&path))?;
            let changed = change.apply(&source).map_err(|count| JudgeError::Text(change, count));
            if changed.is_err() {
                self.restore(changes)?;
            }
            self.write(change.file, &changed?)?;
        }
        let outcome = self.run_layers(changes.iter());
        self.restore(changes)?;
        outcome
    }

    /// Runs the layers that can tell of `mutants` on the unchanged copy.
    ///
    /// # Errors
    /// As [`judge`](Self::judge).
    pub fn judge_unchanged(&self, mutants: &[&Mutant]) -> Result<Outcome, JudgeError> {
        self.run_layers(mutants.iter().flat_map(|mutant| mutant.changes))
    }

    fn restore(&self, changes: &[Change]) -> Result<(), JudgeError> {
        changes.iter().try_for_each(|change| self.write(change.file, &self.read(change.file)?))
    }

    fn run_layers<'c>(
        &self,
        changes: impl Iterator<Item = &'c Change> + Clone,
    ) -> Result<Outcome, JudgeError> {
        let mut spent = Duration::ZERO;
        let knows = |layer: &Layer| changes.clone().any(|change| layer.knows(change.file));
        for layer in Layer::ALL.into_iter().filter(knows) {
            for program in self.build(layer)? {
                let begun = Instant::now();
                let failed = self.run(&program, layer)?;
                spent += begun.elapsed();
                if let Some(test) = failed {
                    return Ok(Outcome::Caught(layer, test, spent));
                }
            }
        }
        Ok(Outcome::Survived)
    }

    /// Builds a layer and returns its programs.
    fn build(&self, layer: Layer) -> Result<Vec<PathBuf>, JudgeError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["test", "--offline", "--no-run", "--color", "never"])
            .args(layer.targets())
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| JudgeError::Io("run cargo".into(), error))?;
        let words = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let errors = words.lines().skip_while(|line| !line.starts_with("error")).take(20);
            return Err(JudgeError::Build(errors.collect::<Vec<_>>().join("\n")));
        }
        let programs = words.lines().filter_map(|line| {
            let line = line.trim_start().strip_prefix("Executable ")?;
            Some(self.copy.join(line.rsplit_once('(')?.1.strip_suffix(')')?))
        });
        Ok(programs.collect())
    }

    /// Runs those tests of a program of a layer that are meant, and returns the first that failed.
    fn run(&self, program: &Path, layer: Layer) -> Result<Option<String>, JudgeError> {
        let told = self.target.join("told");
        // What it leaves goes with it, should it be ended early.
        let scratch = Scratch::new("judge");
        let out = File::create(&told).map_err(io_at(&told))?;
        let mut child = Command::new(program)
            .args(layer.tests())
            .current_dir(&self.copy)
            .env("LIFESIGN_SEEDS", self.seeds.to_string())
            .envs(layer.threads().map(|count| ("RUST_TEST_THREADS", count)))
            .env_remove("LIFESIGN_SEED")
            .env("RUST_BACKTRACE", "0")
            .env("TMPDIR", scratch.path())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null())
            .spawn()
            .map_err(io_at(program))?;
        let begun = Instant::now();
        loop {
            let status = child.try_wait().map_err(io_at(program))?;
            // One that fails is enough: the others are not waited for.
            let failed = match first_failed(&told)? {
                None if begun.elapsed() > PATIENCE => Some("never ends".into()),
                failed => failed,
            };
            match (status, failed) {
                (Some(status), None) if status.success() => return Ok(None),
                (Some(status), None) => {
                    return Ok(Some(format!("{} ended early: {status}", program.display())));
                }
                (status, Some(test)) => {
                    if status.is_none() {
                        child.kill().and_then(|()| child.wait()).map_err(io_at(program))?;
                    }
                    return Ok(Some(test));
                }
                (None, None) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn copy_tree(&self, folder: &Path) -> Result<(), JudgeError> {
        let path = self.sources.join(folder);
        for entry in fs::read_dir(&path).map_err(io_at(&path))? {
            let entry = entry.map_err(io_at(&path))?;
            let inner = folder.join(entry.file_name());
            if entry.path().is_dir() {
                self.copy_tree(&inner)?;
            } else {
                let name = inner.to_string_lossy();
                self.write(&name, &self.read(&name)?)?;
            }
        }
        Ok(())
    }

    fn read(&self, file: &str) -> Result<String, JudgeError> {
        let path = self.sources.join(file);
        fs::read_to_string(&path).map_err(io_at(&path))
    }

    /// Writes a file of the copy, unless it is so already: what has not changed is not built again.
    fn write(&self, file: &str, text: &str) -> Result<(), JudgeError> {
        let path = self.copy.join(file);
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io_at(folder))?;
        }
        fs::write(&path, text).map_err(io_at(&path))
    }
}

/// Returns the first test that has failed, as far as a run has told.
fn first_failed(told: &Path) -> Result<Option<String>, JudgeError> {
    let told = fs::read_to_string(told).map_err(io_at(told))?;
    let failed =
        |line: &str| line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(String::from);
    Ok(told.lines().find_map(failed))
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> JudgeError {
    let path = path.display().to_string();
    move |error| JudgeError::Io(path, error)
}

/// Returns the workspace's manifest without lints: a mutant may
/// leave a name unused.
fn reduced(manifest: &str) -> String {
    let mut kept = String::from("[workspace.lints.rust]\nunused = \"allow\"\n");
    let mut keep = true;
    for line in without_shell(manifest).lines() {
        if line.starts_with('[') {
            keep = !line.starts_with("[workspace.lints");
        }
        let members = line.starts_with("members =") || line.starts_with("default-members =");
        if keep && !members {
            kept.push_str(line);
            kept.push('\n');
        }
        if line == "[workspace]" {
            kept.push_str("members = [\"core\", \"linux\", \"tests\"]\n");
        }
    }
    kept
}

/// Returns a manifest up to the first target that is not the library.
fn of_library(manifest: &str) -> String {
    manifest.split("[[").next().unwrap_or_default().to_owned()
}

/// Returns a manifest without the dependency on the daemon.
fn without_shell(manifest: &str) -> String {
    let shell = |line: &&str| line.starts_with("lifesign.") || line.starts_with("lifesign =");
    manifest.lines().filter(|line| !shell(line)).map(|line| format!("{line}\n")).collect()
}
