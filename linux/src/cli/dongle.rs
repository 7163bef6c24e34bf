//! What `lifesign dongle` does, and its questions.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use lifesign_core::dongle::Info;
use lifesign_core::time::Duration;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::grammar::dongle::{
    DeviceArgs, DongleCommand, EmulateArgs, InfoArgs, LogArgs, ProvisionArgs, TestArgs,
};
use super::{is_confirmed, refuse, say, say_json};
use crate::clock;
use crate::dongle::client::Client;
use crate::dongle::history::History;
use crate::dongle::line::Line;
use crate::dongle::picture::Picture;
use crate::dongle::provision::{Plan, Wish};
use crate::dongle::trial;
use crate::dongle::{DongleError, emulate};
use crate::page::Page;
use crate::settings::Settings;

/// Does what `command` says, and returns the exit status.
pub(super) fn main(command: DongleCommand) -> ExitCode {
    let done = match command {
        DongleCommand::Info(args) => info(&args),
        DongleCommand::Provision(args) => provision(args),
        DongleCommand::Log(args) => log(&args),
        DongleCommand::Test(args) => test(&args),
        DongleCommand::Emulate(args) => emulate(args),
    };
    match done {
        Ok(status) => status,
        Err(error) => fail(&error),
    }
}

fn fail(error: &DongleError) -> ExitCode {
    if let DongleError::Settings(error) = error {
        return refuse(error);
    }
    eprintln!("error: {error}");
    ExitCode::from(error.status())
}

fn open(at: &DeviceArgs) -> Result<Client, DongleError> {
    Ok(Client::new(Line::open(&at.device, at.speed)?))
}

fn load(path: Option<&Path>) -> Result<Option<Settings>, DongleError> {
    path.map(Settings::load).transpose().map_err(DongleError::Settings)
}

fn info(args: &InfoArgs) -> Result<ExitCode, DongleError> {
    let settings = load(args.settings.as_deref())?;
    let mut client = open(&args.at)?;
    let info = client.info()?;
    let wall_us = clock::wall_us();
    let history = History::new(&client.log()?, &info, wall_us, settings.as_ref());
    let picture = Picture::of(&info, &args.at.device, settings.as_ref()).with_pulses(&history);
    if args.json {
        say_json(&picture);
    } else {
        say(picture.render(Page::of(&io::stdout())).trim_end());
    }
    Ok(match (picture.is_foreign, picture.faults.is_empty()) {
        (true, _) => ExitCode::from(DongleError::OtherCluster(String::new()).status()),
        (false, is_good) => {
            if is_good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
    })
}

fn provision(args: ProvisionArgs) -> Result<ExitCode, DongleError> {
    let ProvisionArgs { at, settings, ports, witness, resets, pulse, yes } = args;
    let settings = Settings::load(&settings).map_err(DongleError::Settings)?;
    let plan = Plan::new(&settings, &Wish { ports, witness, resets, pulse })?;
    let mut client = open(&at)?;
    let info = client.info()?;
    let faults = Plan::faults(&info, &settings);
    if !faults.is_empty() {
        return Err(DongleError::Failed(format!(
            "this dongle is too small: {}",
            faults.join("; ")
        )));
    }
    say(plan.explain(&info, &at.device, client.line().speed()).trim_end());
    if !yes && !is_confirmed("Store this").map_err(DongleError::Unfit)? {
        say("Nothing is stored, and the dongle is as it was.");
        return Ok(ExitCode::FAILURE);
    }
    // Thinking takes a person longer than a challenge lasts.
    let info: Info = client.info()?;
    say(&plan.carry_out(&mut client, info)?);
    Ok(ExitCode::SUCCESS)
}

fn log(args: &LogArgs) -> Result<ExitCode, DongleError> {
    let settings = load(args.settings.as_deref())?;
    let mut client = open(&args.at)?;
    let info = client.info()?;
    let wall_us = clock::wall_us();
    let history = History::new(&client.log()?, &info, wall_us, settings.as_ref());
    if args.json {
        say_json(&history);
    } else {
        say(history.render().trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn test(args: &TestArgs) -> Result<ExitCode, DongleError> {
    let settings = load(args.settings.as_deref())?;
    let allowed = settings.map(|settings| settings.clock_error);
    let span = Duration::from_millis(u64::from(args.seconds) * 1000);
    let trial = trial::run(&args.at.device, args.at.speed, span, allowed)?;
    if args.json {
        say_json(&trial);
    } else {
        say(trial.render(Page::of(&io::stdout())).trim_end());
    }
    Ok(if trial.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn emulate(args: EmulateArgs) -> Result<ExitCode, DongleError> {
    let EmulateArgs { ports, dir, state, speed, unlock, on_reset, json } = args;
    // Before there are threads, which would otherwise take the signals.
    let mut caught = SigSet::empty();
    caught.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    let failed = |errno: Errno| DongleError::Failed(errno.desc().to_lowercase());
    caught.thread_block().map_err(failed)?;
    let signals = SignalFd::with_flags(&caught, SfdFlags::SFD_CLOEXEC).map_err(failed)?;
    let is_unlocked = unlock;
    let options = emulate::Options { ports, directory: dir, state, speed, is_unlocked, on_reset };
    emulate::run(&options, signals.as_fd(), &mut |happening| {
        if json {
            say(&serde_json::to_string(happening).unwrap_or_default());
        } else {
            let (seconds, millis) = (happening.uptime_ms / 1000, happening.uptime_ms % 1000);
            say(&format!("[{seconds:>6}.{millis:03}] {}", happening.text));
        }
    })?;
    Ok(ExitCode::SUCCESS)
}
