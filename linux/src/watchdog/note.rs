//! Why a watchdog was left to bite, on disk, for those who ask after the reset.
//!
//! It is written before the bite, when feeding ends, and withdrawn if feeding goes on after all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use crate::clock;
use crate::executor::persist::persist;
use crate::log::{Level, Logger};

/// That a watchdog was left to bite, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How often that has happened on this node so far.
    pub count: u64,
    /// When feeding ended, on the wall clock, in microseconds since 1970.
    pub wall_us: u64,
    /// Which start of the machine it was, by the kernel's own number.
    pub boot: String,
    /// Why: a sentence, without a full stop.
    pub why: String,
}

/// Returns where the note of the node `name` is kept in the directory `state`.
#[must_use]
pub fn path(state: &Path, name: &str) -> PathBuf {
    state.join(format!("{name}.bite"))
}

impl Note {
    /// Makes a note of what happens at this moment, after what was noted `before`.
    #[must_use]
    pub fn of(why: String, before: Option<&Self>) -> Self {
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        Self { count, wall_us: clock::wall_us(), boot: this_boot(), why }
    }

    /// Reads what is noted at `path`. A note that is damaged is none: nothing rests on it.
    #[must_use]
    pub fn load(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let mut of = |key: &str| lines.next()?.strip_prefix(key).map(|rest| rest.trim().to_owned());
        Some(Self {
            count: of("count ")?.parse().ok()?,
            wall_us: of("at ")?.parse().ok()?,
            boot: of("boot ")?,
            why: of("why ")?,
        })
    }

    /// Writes the note at `path`, and returns when it is on the disk.
    ///
    /// # Errors
    /// What failed, with the file's name.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let Self { count, wall_us, boot, why } = self;
        let why = why.replace(char::is_control, " ");
        let text = format!("{HEAD}\ncount {count}\nat {wall_us}\nboot {boot}\nwhy {why}\n");
        persist(path, text.as_bytes())
    }

    /// Returns whether the machine has been started since.
    #[must_use]
    pub fn is_of_another_start(&self) -> bool {
        self.boot != this_boot()
    }
}

/// Puts back what stood at `path` before the last note, which did not come true.
///
/// # Errors
/// What failed, with the file's name.
pub fn withdraw(path: &Path, before: Option<&Note>) -> Result<(), String> {
    match before {
        Some(before) => before.write(path),
        None => match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("remove {}: {error}", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        },
    }
}

/// A thread that writes down why feeding has ended, and withdraws it.
#[derive(Debug)]
pub struct Scribe {
    orders: Sender<Option<String>>,
    thread: JoinHandle<()>,
}

impl Scribe {
    /// Starts the thread for the note at `path`.
    ///
    /// # Errors
    /// Out of threads.
    pub fn start(path: PathBuf, logger: Arc<Logger>) -> io::Result<Self> {
        let (orders, received) = mpsc::channel::<Option<String>>();
        let before = Note::load(&path);
        let thread = thread::Builder::new().name("scribe".into()).spawn(move || {
            while let Ok(order) = received.recv() {
                let written = match order {
                    Some(why) => Note::of(why, before.as_ref()).write(&path),
                    None => withdraw(&path, before.as_ref()),
                };
                if let Err(error) = written {
                    logger.write(Level::Error, format_args!("{error}"));
                }
            }
        })?;
        Ok(Self { orders, thread })
    }

    /// Has it written down that feeding has ended because of `why`, or that it goes on.
    pub fn write(&self, why: Option<String>) {
        // It ends with its sender alone.
        let _sent = self.orders.send(why);
    }

    /// Waits until everything is on the disk.
    pub fn finish(self) {
        drop(self.orders);
        let _ended = self.thread.join();
    }
}

const HEAD: &str = "lifesign bite, version 1";

/// Returns the number that the kernel draws at each start of the machine.
fn this_boot() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::Folder;

    #[test]
    fn a_note_is_kept_counted_and_withdrawn() {
        let folder = Folder::new("bite");
        let path = path(&folder.path, "alpha");
        assert_eq!(Note::load(&path), None);
        let first = Note::of("www did not stop\nin time".to_owned(), None);
        first.write(&path).unwrap();
        let read = Note::load(&path).unwrap();
        assert_eq!((read.count, read.why.as_str()), (1, "www did not stop in time"));
        assert!(!read.is_of_another_start());
        let second = Note::of("again".to_owned(), Some(&read));
        second.write(&path).unwrap();
        assert_eq!(Note::load(&path).unwrap().count, 2);
        withdraw(&path, Some(&read)).unwrap();
        assert_eq!(Note::load(&path), Some(read));
        withdraw(&path, None).unwrap();
        withdraw(&path, None).unwrap();
        assert_eq!(Note::load(&path), None);
        let other = Note { boot: "other".to_owned(), ..first };
        assert!(other.is_of_another_start());
        fs::write(&path, "lifesign bite, version 1\ncount x\n").unwrap();
        assert_eq!(Note::load(&path), None, "nothing rests on it");
    }
}
