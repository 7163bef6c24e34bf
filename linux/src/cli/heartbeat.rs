//! Commands about Linux-HA heartbeat's own files.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::grammar::heartbeat::{ChoiceArgs, ClStatusArgs, ImportArgs, SetArgs};
use super::{BAD_SETTINGS, fail, say};
use crate::heartbeat::fault::File;
use crate::heartbeat::surroundings::Machine;
use crate::heartbeat::{self, Choices, Imported, directive, tool};
use crate::operate::{self, Move};
use crate::page::Page;
use crate::settings::said;

/// Prints the settings that a directory of Linux-HA comes to.
pub(super) fn import(args: ImportArgs) -> ExitCode {
    let ImportArgs { directory, node, choices, key, force, directives } = args;
    if directives {
        say(&directive::table());
        return ExitCode::SUCCESS;
    }
    let choices = Choices { keys_into: key.clone(), ..choices.choices(node) };
    let Ok(imported) = imported(&directory, &choices) else { return ExitCode::from(BAD_SETTINGS) };
    // Nothing is printed that names a key file that is not there.
    if let (Some(path), Some(keys)) = (key, imported.keys) {
        match keys.write(&path, force) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return fail(&format!("{}: is there already; --force replaces it", path.display()));
            }
            Err(error) => return fail(&format!("write {}: {}", path.display(), said(&error))),
        }
    }
    say(imported.text.trim_end());
    ExitCode::SUCCESS
}

/// What a directory of Linux-HA comes to, for a daemon.
pub(super) struct ForDaemon {
    /// Where the settings come from.
    pub(super) file: PathBuf,
    /// The settings.
    pub(super) text: String,
    /// Which node this machine is.
    pub(super) node: String,
}

/// Returns what the files in `directory` come to, or has said what is wrong.
pub(super) fn for_daemon(
    directory: &Path,
    node: Option<String>,
    choices: ChoiceArgs,
) -> Result<ForDaemon, ExitCode> {
    let imported = imported(directory, &choices.choices(node));
    let imported = imported.map_err(|()| ExitCode::from(BAD_SETTINGS))?;
    let Imported { text, node, .. } = imported;
    Ok(ForDaemon { file: directory.join(File::HaCf.name()), text, node })
}

/// Returns the settings made of `directory`, or has said what is wrong; warnings are said.
fn imported(directory: &Path, choices: &Choices) -> Result<Imported, ()> {
    let imported = heartbeat::import(directory, choices, &Machine).map_err(|error| {
        let is_coloured = Page::of(&io::stderr()).is_coloured;
        eprintln!("{}", error.render(directory, is_coloured));
    })?;
    for warning in &imported.warnings {
        eprintln!("warning: {}: {warning}", directory.display());
    }
    Ok(imported)
}

/// Returns the words of the command line; a link to this program that is called like a tool of
/// Linux-HA is that tool.
pub(super) fn words() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let name = words.first().and_then(|first| Path::new(first).file_name());
    if let Some(tool) = name.filter(|name| TOOLS.iter().any(|tool| *name == *tool)) {
        words.insert(1, tool.to_owned());
    }
    words
}

const TOOLS: [&str; 3] = ["cl_status", "hb_standby", "hb_takeover"];

/// Answers a question of `cl_status`.
pub(super) fn cl_status(args: &ClStatusArgs) -> ExitCode {
    let report = operate::report(&args.control);
    let told = tool::cl_status(&args.words, report.as_ref().map_err(String::as_str));
    if told.is_answer {
        say(&told.text);
    } else {
        eprintln!("{}", told.text);
    }
    ExitCode::from(told.code)
}

/// Moves a set of groups, one after the other.
pub(super) fn relocate(args: &SetArgs, to: Move) -> ExitCode {
    let gives = to == Move::Away;
    let report = operate::report(&args.control);
    let groups = match report.and_then(|report| tool::meant(&report, &args.set, gives)) {
        Ok(groups) => groups,
        Err(error) => return fail(&error),
    };
    if gives {
        say(&format!("Going standby [{}].", args.set));
    }
    let mut all = true;
    for group in &groups {
        match operate::relocate(&args.control, Some(group), to) {
            Ok(outcome) => {
                say(&outcome.text);
                all &= outcome.has_moved;
            }
            Err(error) => return fail(&error),
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
