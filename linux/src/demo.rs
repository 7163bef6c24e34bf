//! A laboratory in one command: servers, a witness, a switch and a client in namespaces.
//!
//! [`run`] starts this program once more in a network namespace of its own. In there the parts
//! come together, from the wire up:
//!
//! - [`fabric`] judges which frame leaves by which port, [`question`] knows what a server is asked
//!   for, [`observer`] tells from the answers for how long two held the address, and [`switch`] is
//!   the thread that does all three;
//! - [`machine`] is one server with namespaces of its own, [`lab`] connects several to the switch,
//!   and [`cluster`] runs daemons on them;
//! - [`watchdog`] kills a machine that is not fed;
//! - [`dongle`] is the witness on a serial line instead, whose firmware [`emulator`] runs;
//! - [`client`] asks the service each millisecond, by the time of [`stopwatch`], and [`traffic`]
//!   is a service that has clients by UDP and TCP;
//! - [`stage`] sets up the demonstration, [`scene`] plays it, [`picture`] and [`show`] show it.
//!
//! Tests use everything up to the client, each in a laboratory of its own.
//!
//! Two processes share the work, so that nothing is left behind however it ends: the outer one
//! waits, takes signals and removes the directory; the inner one does everything else, dies with
//! the outer one, and takes machines and daemons with it.

pub mod client;
pub mod cluster;
pub mod dongle;
pub mod emulator;
pub mod fabric;
pub mod lab;
pub mod machine;
pub mod observer;
pub mod picture;
pub mod question;
pub mod scene;
pub mod show;
pub mod stage;
pub mod stopwatch;
pub mod switch;
pub mod traffic;
pub mod watchdog;

use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::unistd::mkdtemp;

use crate::namespace::{self, Users};
use scene::{Outcome, Scene};
use show::Show;
use stage::{Arbiter, Family, Stage, StageError};

/// What to demonstrate, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Print nothing but the outcomes, as JSON.
    pub json: bool,
    /// Use a user namespace even where the caller's privilege would do without.
    pub unprivileged: bool,
    /// Who decides when the servers do not hear each other.
    pub arbiter: Arbiter,
    /// What they speak, and the service.
    pub family: Family,
    /// Play only these scenes, by their names; all if there are none.
    pub scenes: Vec<String>,
}

/// Runs the demonstration and returns the exit status: 0 if every promise was kept, 1 if not.
///
/// The inner process is started with the arguments of this process, and calls this once more.
///
/// # Errors
/// [`DemoError`] with the step that failed, before or between the scenes.
pub fn run(options: &Options) -> Result<u8, DemoError> {
    let scenes = choose(&options.scenes, options.arbiter)?;
    match std::env::var(machine::ROLE).ok().as_deref() {
        Some(machine::FIRST_PROCESS) => {
            machine::serve_as_first_process().map(|()| 0).map_err(DemoError::Start)
        }
        Some(INNER) => play(options, &scenes),
        _ => watch(options),
    }
}

/// Returns the scenes of these names in the order in which they play.
fn choose(names: &[String], arbiter: Arbiter) -> Result<Vec<Scene>, DemoError> {
    let all = Scene::all(arbiter);
    let is_one = |name: &&String| all.iter().any(|scene| scene.name() == *name);
    if let Some(name) = names.iter().find(|name| !is_one(name)) {
        return Err(DemoError::NoScene { name: name.clone(), arbiter });
    }
    let wanted = |scene: &Scene| names.is_empty() || names.iter().any(|name| name == scene.name());
    Ok(all.iter().copied().filter(wanted).collect())
}

/// Is the outer process: starts the inner one and waits for it.
fn watch(options: &Options) -> Result<u8, DemoError> {
    let mut signals = SigSet::empty();
    let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    ends.into_iter().chain([Signal::SIGCHLD]).for_each(|signal| signals.add(signal));
    let masked = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None);
    masked.map_err(|errno| DemoError::Start(errno.into()))?;
    let template = std::env::temp_dir().join("lifesign-demo-XXXXXX");
    let directory = mkdtemp(&template).map_err(|errno| DemoError::Start(errno.into()))?;
    let inner = start_inner(options, &directory).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => DemoError::Forbidden(error),
        _ => DemoError::Start(error),
    });
    let outcome = inner.and_then(|inner| attend(inner, &signals).map_err(DemoError::Start));
    // It is empty, unless the inner process could not mount anything over it.
    drop(std::fs::remove_dir_all(&directory));
    outcome
}

/// Starts the inner process, with the caller's users where those allow it.
fn start_inner(options: &Options, directory: &Path) -> io::Result<Child> {
    let start = |users| {
        let mut command = Command::new(PROGRAM);
        command.args(std::env::args_os().skip(1)).stdin(Stdio::null());
        command.env(machine::ROLE, INNER).env(DIRECTORY, directory);
        // Keys pressed on the terminal reach the outer process alone.
        command.process_group(0);
        namespace::isolate(&mut command, users);
        command.spawn()
    };
    if options.unprivileged {
        return start(Users::New);
    }
    match start(Users::Same) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => start(Users::New),
        outcome => outcome,
    }
}

/// Waits for the inner process, or kills it when a signal asks for the end.
fn attend(mut inner: Child, signals: &SigSet) -> io::Result<u8> {
    let mut otherwise = 1;
    loop {
        let signal = signals.wait()?;
        if signal != Signal::SIGCHLD {
            // As a shell has it for a process that was ended by a signal.
            otherwise = u8::try_from(128 + signal as i32).unwrap_or(1);
            inner.kill()?;
        }
        if let Some(status) = inner.try_wait()? {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(otherwise));
        }
    }
}

/// Is the inner process: sets the stage and plays the scenes.
fn play(options: &Options, scenes: &[Scene]) -> Result<u8, DemoError> {
    let directory = settle_in().map_err(DemoError::Start)?;
    let show = Show::for_standard_output(options.json);
    let program = std::env::current_exe().map_err(DemoError::Start)?;
    let stage = Stage::set(&program, &directory, show, options.arbiter, options.family);
    let mut stage = stage.map_err(DemoError::Stage)?;
    let mut outcomes = Vec::new();
    for &scene in scenes {
        let outcome = scene.play(&mut stage);
        outcomes.push(outcome.map_err(|error| DemoError::Scene { scene, error })?);
    }
    stage.show_mut().conclude(&outcomes);
    let kept = outcomes.iter().all(|outcome: &Outcome| outcome.kept);
    if !kept && let Some(place) = std::env::var_os(JOURNALS) {
        std::fs::write(place, stage.journals()).map_err(DemoError::Start)?;
    }
    Ok(u8::from(!kept))
}

/// Makes the inner process die with the outer one and gives it a directory in memory.
fn settle_in() -> io::Result<PathBuf> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    namespace::raise_loopback()?;
    let missing = || io::Error::other(format!("{DIRECTORY} is not set"));
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).ok_or_else(missing)?);
    // Where mounting is forbidden the directory on the disk serves as well.
    drop(mount_memory(&directory));
    Ok(directory)
}

/// Mounts a file system in memory over `directory`, which nobody else sees.
fn mount_memory(directory: &Path) -> io::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("lifesign"), directory, Some("tmpfs"), flags, Some("mode=0700"))?)
}

/// The program that is running, also when its file has been replaced.
const PROGRAM: &str = "/proc/self/exe";

/// The role of the inner process.
const INNER: &str = "inner";

/// The variable that tells the inner process where to write.
const DIRECTORY: &str = "LIFESIGN_DEMO_DIRECTORY";

/// The variable that names a file for what the daemons wrote, if a promise was not kept.
const JOURNALS: &str = "LIFESIGN_DEMO_JOURNALS";

/// Why the demonstration did not come to its end.
#[derive(Debug)]
pub enum DemoError {
    /// No scene has this name.
    NoScene {
        /// The name.
        name: String,
        /// Among whose scenes there is none.
        arbiter: Arbiter,
    },
    /// A process, a directory or a namespace was refused.
    Start(io::Error),
    /// The kernel gives this user no namespaces.
    Forbidden(io::Error),
    /// The stage was not set.
    Stage(StageError),
    /// A scene could not be played.
    Scene {
        /// The scene.
        scene: Scene,
        /// What was refused.
        error: io::Error,
    },
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScene { name, arbiter } => {
                let names: Vec<&str> =
                    Scene::all(*arbiter).iter().map(|scene| scene.name()).collect();
                let names = names.join(", ");
                write!(f, "no scene is named {name}; there are {names}")
            }
            Self::Start(error) => write!(f, "start the demonstration: {error}"),
            Self::Forbidden(error) => write!(
                f,
                "enter namespaces: {error}; allow user namespaces to this user, or be root"
            ),
            Self::Stage(error) => write!(f, "{error}"),
            Self::Scene { scene, error } => write!(f, "play {}: {error}", scene.name()),
        }
    }
}

impl core::error::Error for DemoError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_scenes_play_unless_some_are_named() {
        let chosen = |names: &[&str], arbiter| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            choose(&names, arbiter)
        };
        let server = Arbiter::QuorumServer;
        assert_eq!(chosen(&[], server).unwrap(), Scene::all(server));
        let named = chosen(&["link-cut", "switchover"], server).unwrap();
        assert_eq!(named, [Scene::Switchover, Scene::LinkCut]);
        let error = chosen(&["flood"], server).unwrap_err().to_string();
        assert!(error.contains("flood") && error.contains("switchover"), "{error}");
        let error = chosen(&["link-cut"], Arbiter::Dongle).unwrap_err().to_string();
        assert!(error.contains("link-cut") && error.contains("machine-frozen"), "{error}");
    }
}
