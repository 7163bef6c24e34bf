//! A file in the place of a dongle's flash.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use lifesign_firmware::dongle::{Save, Stored};
use lifesign_firmware::store::{Area, Medium, Store};

use crate::dongle::DongleError;
use crate::settings::said;

/// The length of each of the two areas, in bytes.
const AREA_LEN: usize = 4096;
const WORDS: usize = AREA_LEN / 4;

/// What a dongle stores, kept in a file that is always one whole state: it is replaced in one step,
/// and what could not be written is not in force either.
#[derive(Debug)]
pub(super) struct Flash {
    path: PathBuf,
    cells: Cells,
    store: Store<Cells>,
}

impl Flash {
    /// Opens the file at `path`; one that is not there is a dongle that was never used.
    pub(super) fn open(path: &Path) -> Result<Self, DongleError> {
        let failed = |why: String| DongleError::Failed(format!("open {}: {why}", path.display()));
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => {
                let most = 2 * AREA_LEN as u64 + 1;
                file.take(most).read_to_end(&mut bytes).map_err(|error| failed(said(&error)))?;
                if bytes.len() != 2 * AREA_LEN {
                    return Err(failed(
                        "not what an emulated dongle has stored; remove it, or say --state with \
                         another file"
                            .to_owned(),
                    ));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bytes.resize(2 * AREA_LEN, 0xff);
            }
            Err(error) => return Err(failed(said(&error))),
        }
        let cells = Cells::of(&bytes);
        let store = Store::open(cells.clone());
        Ok(Self { path: path.to_owned(), cells, store })
    }

    /// Counts one more start, and returns what is stored.
    pub(super) fn start(&mut self) -> Stored {
        let before = self.cells.bytes();
        let stored = self.store.start();
        match self.write() {
            Ok(()) => stored,
            Err(_) => {
                self.restore(&before);
                Stored { starts: None, ..stored }
            }
        }
    }

    /// Saves what the dongle wants saved, and returns whether it is on the disk.
    pub(super) fn save(&mut self, save: &Save<'_>) -> bool {
        let before = self.cells.bytes();
        let is_saved = self.store.save(save) && self.write().is_ok();
        if !is_saved {
            self.restore(&before);
        }
        is_saved
    }

    fn restore(&mut self, bytes: &[u8]) {
        self.cells = Cells::of(bytes);
        self.store = Store::open(self.cells.clone());
    }

    fn write(&self) -> io::Result<()> {
        let mut draft = self.path.clone().into_os_string();
        draft.push(format!(".{}", std::process::id()));
        // The cluster's keys are in it.
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&draft).and_then(|mut file| {
            file.write_all(&self.cells.bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &self.path)
        });
        if written.is_err() {
            let _gone = fs::remove_file(&draft);
        }
        written?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

/// The words of both areas.
#[derive(Clone, Debug)]
struct Cells(Rc<RefCell<[[u32; WORDS]; 2]>>);

impl Cells {
    fn of(bytes: &[u8]) -> Self {
        let mut words = bytes.chunks_exact(4).map(|word| match word {
            [one, two, three, four] => u32::from_le_bytes([*one, *two, *three, *four]),
            _ => u32::MAX,
        });
        let areas = [(); 2].map(|()| [(); WORDS].map(|()| words.next().unwrap_or(u32::MAX)));
        Self(Rc::new(RefCell::new(areas)))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.borrow().iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }
}

const fn place(area: Area) -> usize {
    match area {
        Area::First => 0,
        Area::Second => 1,
    }
}

impl Medium for Cells {
    fn area_len(&self) -> usize {
        AREA_LEN
    }

    fn read(&self, area: Area, offset: usize) -> u32 {
        self.0.borrow()[place(area)].get(offset / 4).copied().unwrap_or(u32::MAX)
    }

    fn erase(&mut self, area: Area) {
        self.0.borrow_mut()[place(area)] = [u32::MAX; WORDS];
    }

    fn program(&mut self, area: Area, offset: usize, word: u32) {
        if let Some(cell) = self.0.borrow_mut()[place(area)].get_mut(offset / 4) {
            // As flash does: bits are only ever cleared.
            *cell &= word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::Folder;
    use lifesign_core::group::Token;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_saved_is_there_at_the_next_start() {
        let folder = Folder::new("flash");
        let path = folder.path.join("flash");
        let mut flash = Flash::open(&path).unwrap();
        assert_eq!(flash.start(), Stored::nothing());
        assert!(flash.save(&Save::Tokens(Token(1000))));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let stored = Flash::open(&path).unwrap().start();
        assert_eq!((stored.starts, stored.tokens), (Some(2), Token(1000)));
        assert_eq!(fs::read_dir(&folder.path).unwrap().count(), 1, "no drafts are left");
    }

    #[test]
    fn what_cannot_be_written_is_not_in_force() {
        let folder = Folder::new("flash");
        let path = folder.path.join("below/flash");
        let mut flash = Flash::open(&path).unwrap();
        assert_eq!(flash.start().starts, None);
        assert!(!flash.save(&Save::Tokens(Token(1000))));
        fs::create_dir(folder.path.join("below")).unwrap();
        assert_eq!(flash.start(), Stored::nothing());
    }

    #[test]
    fn what_is_something_else_is_left_alone() {
        let folder = Folder::new("flash");
        let path = folder.path.join("letter");
        fs::write(&path, "Dear Sir").unwrap();
        let error = Flash::open(&path).unwrap_err().to_string();
        assert!(error.contains("letter: not what an emulated dongle has stored"), "{error}");
        let error = Flash::open(&folder.path).unwrap_err().to_string();
        assert!(error.ends_with("is a directory"), "{error}");
    }
}
