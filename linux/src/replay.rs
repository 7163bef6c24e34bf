//! Replay: the same engine, fed with what was recorded, decides the same again.
//!
//! Every result is compared with the recorded one: what became of each frame that came, every
//! event, every frame that was written, and at each boundary of segments the whole state. At any
//! moment in between the engine can be asked why, in the same words as the daemon.
//!
//! | file | what it is |
//! |---|---|
//! | [`segment`] | one file of a recording, read and checked |
//! | [`player`] | an engine that is fed with entries |
//! | [`moment`] | times as people write them |
//! | `notes` | what stands around it |
//! | `told` | what is printed |

pub mod moment;
mod notes;
pub mod player;
pub mod segment;
mod told;

use core::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lifesign_core::time::Instant;

use self::moment::Moment;
use self::player::{Difference, Player, Step};
use self::segment::{Ending, ReadError, Segment};
use crate::page::Page;
use crate::record::entry::Entry;
use crate::record::writer;
use crate::settings::said;

/// What is asked of a replay.
#[derive(Clone, Debug)]
pub struct Question {
    /// Decisions before this moment are not shown.
    pub from: Option<Moment>,
    /// Decisions after this moment are not shown.
    pub until: Option<Moment>,
    /// The group that an explanation is wanted of, in place of the decisions.
    pub why: Option<String>,
    /// The moment of that explanation; the end of the recording if there is none.
    pub at: Option<Moment>,
    /// Whether answers are for machines.
    pub json: bool,
    /// How explanations are drawn.
    pub page: Page,
}

impl Question {
    /// Asks for all decisions, for people, drawn on `page`.
    #[must_use]
    pub const fn new(page: Page) -> Self {
        Self { from: None, until: None, why: None, at: None, json: false, page }
    }
}

/// How a replay went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many inputs were fed.
    pub inputs: u64,
    /// How many frames were written again.
    pub frames: u64,
    /// How many decisions came out again.
    pub decisions: u64,
    /// The first difference, if there is one, in a sentence.
    pub difference: Option<String>,
    /// What could not be read: the rest of a file that is damaged.
    pub damage: Option<String>,
}

impl Outcome {
    /// Returns the outcome for machines.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { inputs, frames, decisions, .. } = self;
        let counts = serde_json::json!({
            "inputs": inputs,
            "frames": frames,
            "decisions": decisions,
            "as_recorded": self.is_good(),
        });
        counts.to_string()
    }

    /// Returns whether everything was read and came out as recorded.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.difference.is_none() && self.damage.is_none()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, frames, decisions, difference, damage } = self;
        let head = format!("reproduced {inputs} inputs, {frames} frames, {decisions} decisions");
        match difference {
            None => write!(formatter, "{head}: all as recorded")?,
            Some(difference) => write!(formatter, "{head}, then a difference: {difference}")?,
        }
        match damage {
            None => Ok(()),
            Some(damage) => write!(formatter, "; {damage}"),
        }
    }
}

/// Why nothing can be replayed.
#[derive(Debug)]
pub enum ReplayError {
    /// A file or directory cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A file is not what it should be.
    Bad(PathBuf, ReadError),
    /// There is no segment in the directory.
    Empty(PathBuf),
    /// What is asked for is not in the recording.
    Absent(String),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                write!(formatter, "read {}: {}", path.display(), said(error))
            }
            Self::Bad(path, error) => write!(formatter, "read {}: {error}", path.display()),
            Self::Empty(path) => write!(formatter, "there is no recording in {}", path.display()),
            Self::Absent(what) => formatter.write_str(what),
        }
    }
}

impl core::error::Error for ReplayError {}

/// The longest file that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 32;

/// Replays the file or directory `path`, and gives what is to be printed to `print`.
///
/// # Errors
/// Nothing could be replayed.
pub fn run(
    path: &Path,
    question: &Question,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<Outcome, ReplayError> {
    // An engine with room for the largest cluster is read in one piece, and passed on in several
    // copies where the compiler does not spare them.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_LEN);
        let playing = thread.spawn_scoped(scope, move || play(path, question, print));
        let unreadable = |error| ReplayError::Unreadable(path.to_owned(), error);
        let played = playing.map_err(unreadable)?.join();
        played.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// How much stack a replay has.
const STACK_LEN: usize = 64 << 20;

fn play(
    path: &Path,
    question: &Question,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<Outcome, ReplayError> {
    let unreadable = |error| ReplayError::Unreadable(path.to_owned(), error);
    let paths = if fs::metadata(path).map_err(unreadable)?.is_dir() {
        let paths = writer::segments(path).map_err(unreadable)?;
        if paths.is_empty() {
            return Err(ReplayError::Empty(path.to_owned()));
        }
        paths
    } else {
        vec![path.to_owned()]
    };
    let mut show = Show { question, print, outcome: Outcome::default(), has_answered: false };
    let mut before = None;
    for path in paths {
        let file = match read(&path) {
            Ok(file) => file,
            // The oldest may have made room meanwhile.
            Err(ReplayError::Unreadable(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                before = None;
                continue;
            }
            Err(error) => return Err(error),
        };
        let segment = Segment::read(&file);
        let segment = match segment {
            Ok(segment) => segment,
            // It is being begun at this moment, or was when the machine crashed.
            Err(ReadError::NoState) if show.outcome.inputs > 0 => {
                show.say(&format!("{}: it ends before its first state", path.display()));
                continue;
            }
            Err(error) => return Err(ReplayError::Bad(path, error)),
        };
        before = show.play(&path, segment, before.take())?;
        if !show.outcome.is_good() {
            break;
        }
    }
    show.finish(before.as_ref())?;
    Ok(show.outcome)
}

fn read(path: &Path) -> Result<Vec<u8>, ReplayError> {
    let unreadable = |error| ReplayError::Unreadable(path.to_owned(), error);
    let len = fs::metadata(path).map_err(unreadable)?.len();
    if len > LONGEST_FILE {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read(path).map_err(unreadable)
}

/// A replay that is being shown.
struct Show<'q> {
    question: &'q Question,
    print: &'q mut (dyn FnMut(&str) + Send),
    outcome: Outcome,
    /// Whether the explanation that is asked for was given.
    has_answered: bool,
}

impl Show<'_> {
    /// Plays one segment, which should go on where `before` ended, and returns its player if the
    /// next may go on there.
    fn play(
        &mut self,
        path: &Path,
        segment: Segment<'_>,
        before: Option<Player>,
    ) -> Result<Option<Player>, ReplayError> {
        let bad = |error| ReplayError::Bad(path.to_owned(), error);
        let (mut player, mut entries) = Player::new(segment).map_err(bad)?;
        self.tell_seam(&player, before.as_ref());
        if let (Some(0), Some(before)) = (player.lost(), &before)
            && before.is_complete()
            && !player.goes_on_from(before)
        {
            let number = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let what = format!("the state at the beginning of segment {number} is another one");
            self.outcome.difference = Some(format!("{what}, {}", player.stamp()));
            return Ok(None);
        }
        let ending = loop {
            let entry = match entries.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => break Ok(entries.ending()),
                Err(error) => break Err(error),
            };
            self.answer_before(&player, &entry)?;
            match player.feed(&entry) {
                Ok(step) => self.show(&player, &step)?,
                Err(difference) => {
                    self.count(&player);
                    self.outcome.difference = Some(told::difference(&player, &difference));
                    return Ok(None);
                }
            }
        };
        if let Err(difference) = player.finish() {
            self.outcome.difference = Some(told::difference(&player, &difference));
        }
        self.count(&player);
        match ending {
            Ok(ending) => {
                self.tell_ending(&player, ending);
                player.set_complete(ending != Ending::Torn);
            }
            Err(error) => {
                let name = path.display();
                self.outcome.damage = Some(format!("the rest of {name} cannot be read: {error}"));
            }
        }
        Ok(Some(player))
    }

    fn count(&mut self, player: &Player) {
        let counts = player.counts();
        self.outcome.inputs += counts.inputs;
        self.outcome.frames += counts.frames;
        self.outcome.decisions += counts.decisions;
    }

    /// Says what lies between two segments.
    fn tell_seam(&mut self, player: &Player, before: Option<&Player>) {
        let text = match (player.lost(), before) {
            (None, _) => "the recording of a start of the daemon begins".to_owned(),
            (Some(0), Some(_)) => return,
            (Some(0), None) => "the recording begins; what was before it made room".to_owned(),
            (Some(lost), _) => format!("{lost} entries before this are lost: the disk was slow"),
        };
        self.remark(player, &text);
    }

    fn tell_ending(&mut self, player: &Player, ending: Ending) {
        match ending {
            Ending::Left => self.remark(player, "the recording ends: the daemon has left"),
            Ending::Torn => self.remark(
                player,
                "the recording ends in what was being written: of a machine that crashed, or of a \
                 daemon that is running",
            ),
            Ending::Open => {}
        }
    }

    fn remark(&mut self, player: &Player, text: &str) {
        if self.question.why.is_none() && self.is_wanted(player) {
            let line = told::line(player, text, None, self.question.json);
            self.say(&line);
        }
    }

    fn show(&mut self, player: &Player, step: &Step) -> Result<(), ReplayError> {
        if matches!(step, Step::Told) && self.is_asked_at(player, player.now()) {
            self.answer(player, player.now())?;
        }
        if self.question.why.is_some() || !self.is_wanted(player) {
            return Ok(());
        }
        if let Some((text, event)) = told::step(player, step) {
            let line = told::line(player, &text, event.as_ref(), self.question.json);
            self.say(&line);
        }
        Ok(())
    }

    fn is_wanted(&self, player: &Player) -> bool {
        let Question { from, until, .. } = self.question;
        from.is_none_or(|from| player.now().has_reached(player.clock(from)))
            && until.is_none_or(|until| player.clock(until).has_reached(player.now()))
    }

    /// Returns whether the explanation of exactly this moment is wanted.
    fn is_asked_at(&self, player: &Player, now: Instant) -> bool {
        self.question.at.is_some_and(|at| player.clock(at) == now)
    }

    /// Gives the explanation that is asked for, if `entry` lies behind its moment.
    fn answer_before(&mut self, player: &Player, entry: &Entry<'_>) -> Result<(), ReplayError> {
        let Some(at) = self.question.at.map(|at| player.clock(at)) else { return Ok(()) };
        let next = player.moment_of(entry).unwrap_or_else(|| player.now());
        if !at.has_reached(next) && at.has_reached(player.now()) {
            self.answer(player, at)?;
        }
        Ok(())
    }

    fn answer(&mut self, player: &Player, at: Instant) -> Result<(), ReplayError> {
        let Some(group) = self.question.why.as_deref().filter(|_| !self.has_answered) else {
            return Ok(());
        };
        self.has_answered = true;
        let text = told::why(player, group, at, self.question).map_err(ReplayError::Absent)?;
        self.say(&text);
        Ok(())
    }

    fn finish(&mut self, last: Option<&Player>) -> Result<(), ReplayError> {
        if self.question.why.is_none() || self.has_answered || !self.outcome.is_good() {
            return Ok(());
        }
        let Some(last) = last else { return Ok(()) };
        let at = self.question.at.map_or_else(|| last.now(), |at| last.clock(at));
        if at.has_reached(last.now()) && (self.question.at.is_none() || at == last.now()) {
            return self.answer(last, at);
        }
        Err(ReplayError::Absent(format!(
            "that moment is not in the recording, which ends {}",
            last.stamp()
        )))
    }

    fn say(&mut self, text: &str) {
        (self.print)(text);
    }
}

impl From<Difference> for String {
    fn from(difference: Difference) -> Self {
        let Difference { what, recorded, came_out } = difference;
        format!("{what}: recorded was {recorded}, what came out is {came_out}")
    }
}
