//! The writer: takes entries out of the ring and keeps the latest of them on disk.
//!
//! It is a thread of the executor, so the disk may be as slow as it likes. Segments are numbered
//! files in a directory of their own; before their sum exceeds the bound, the oldest goes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use lifesign_core::time::{Duration, Instant};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Plan;
use super::block::{self, HEAD_LEN, Kind};
use super::ring::{self, Taker};
use crate::clock;

/// The end of a recording that belongs to the executor.
#[derive(Debug)]
pub struct Writer {
    taker: Taker,
    plan: Plan,
    segment: Option<Segment>,
    /// The segments on disk with their lengths, the oldest first, without the open one.
    old: Vec<(u64, u64)>,
    /// Entries that have been taken and not written.
    entries: Vec<u8>,
    message: Vec<u8>,
    synced: Instant,
}

/// The file that is being written.
#[derive(Debug)]
struct Segment {
    file: File,
    number: u64,
    len: u64,
    blocks: u32,
}

/// The most entries in one block, in bytes.
const BLOCK_LEN: usize = 64 * 1024;
/// How often the ring is looked at while it is not half full, in milliseconds.
const LOOK_MS: u16 = 1000;
/// How often what is written is brought to the disk.
const SYNC: Duration = Duration::from_millis(5000);

impl Writer {
    /// Makes the writer of what `taker` gives, as `plan` says.
    pub(super) fn new(taker: Taker, plan: Plan) -> Self {
        Self {
            taker,
            plan,
            segment: None,
            old: Vec::new(),
            entries: Vec::new(),
            message: Vec::new(),
            synced: Instant::ZERO,
        }
    }

    /// Writes until `is_over`, and then what is left.
    pub fn run(mut self, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Acquire) {
            let mut bell = [PollFd::new(self.taker.as_fd(), PollFlags::POLLIN)];
            let rung = poll(&mut bell, PollTimeout::from(LOOK_MS));
            if rung == Ok(1) {
                self.taker.hush();
            }
            self.drain();
        }
        self.drain();
    }

    /// Writes everything that is in the ring.
    ///
    /// Where the disk refuses, everything up to the next beginning of a segment is dropped, and the
    /// other end is told.
    pub fn drain(&mut self) {
        loop {
            self.message.clear();
            let mut message = core::mem::take(&mut self.message);
            let kind = self.taker.take(&mut message);
            let written = match kind {
                None => self.flush().and_then(|()| self.sync()),
                Some(ring::Kind::Start) => self.begin(&message),
                Some(ring::Kind::Entry) => self.add(&message),
                Some(ring::Kind::End) => {
                    self.flush().and_then(|()| self.write(Kind::End, &[])).and_then(|()| {
                        self.segment.take().map_or(Ok(()), |segment| segment.file.sync_data())
                    })
                }
            };
            self.message = message;
            if let Err(error) = written {
                self.give_up(&error);
            }
            if kind.is_none() {
                return;
            }
        }
    }

    fn add(&mut self, entry: &[u8]) -> io::Result<()> {
        if self.segment.is_none() {
            return Ok(());
        }
        self.entries.extend_from_slice(entry);
        if self.entries.len() >= BLOCK_LEN { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let mut entries = core::mem::take(&mut self.entries);
        let written = self.write(Kind::Entries, &entries);
        entries.clear();
        self.entries = entries;
        written
    }

    fn sync(&mut self) -> io::Result<()> {
        let now = clock::now();
        match &self.segment {
            Some(segment) if now.since(self.synced) >= SYNC => {
                self.synced = now;
                segment.file.sync_data()
            }
            _ => Ok(()),
        }
    }

    /// Begins a segment with the state `start`.
    fn begin(&mut self, start: &[u8]) -> io::Result<()> {
        self.flush()?;
        self.close();
        DirBuilder::new().mode(0o700).recursive(true).create(&self.plan.directory)?;
        // Another start of the daemon may have written here since; and what somebody has removed
        // does not count any more.
        self.old = list(&self.plan.directory)?;
        let number = self.old.last().map_or(0, |(number, _)| *number).saturating_add(1);
        let path = path(&self.plan.directory, number);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        self.segment = Some(Segment { file, number, len: 0, blocks: 0 });
        let origin =
            postcard::to_extend(&self.plan.origin, Vec::new()).map_err(io::Error::other)?;
        self.append(&block::prefix())?;
        self.write(Kind::Origin, &origin)?;
        self.write(Kind::Start, start)
    }

    fn write(&mut self, kind: Kind, said: &[u8]) -> io::Result<()> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        let mut bytes = Vec::with_capacity(HEAD_LEN + 1 + said.len());
        block::write(&mut bytes, segment.blocks, kind, said);
        segment.blocks += 1;
        self.append(&bytes)
    }

    /// Appends `bytes` to the open segment, for which the oldest segments make room.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let Some(segment) = &mut self.segment else { return Ok(()) };
        let len = segment.len.saturating_add(more);
        while len + self.old.iter().map(|(_, len)| *len).sum::<u64>() > self.plan.bound {
            if self.old.is_empty() {
                return Err(Errno::EFBIG.into());
            }
            let (number, _) = self.old.remove(0);
            match fs::remove_file(path(&self.plan.directory, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        segment.file.write_all(bytes)?;
        segment.len = len;
        Ok(())
    }

    fn close(&mut self) {
        if let Some(segment) = self.segment.take() {
            // Whatever it says, the next segment is what matters now.
            let _synced = segment.file.sync_data();
            self.old.push((segment.number, segment.len));
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        self.entries.clear();
        self.segment = None;
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        self.taker.tell_fault(errno);
    }
}

/// Returns the path of the segment `number`.
fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}.{EXTENSION}"))
}

const EXTENSION: &str = "record";

/// Returns the segments in `directory` with their numbers and lengths, the oldest first.
///
/// # Errors
/// The directory cannot be read.
pub fn list(directory: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = PathBuf::from(entry.file_name());
        let is_ours = path.extension().is_some_and(|extension| extension == EXTENSION);
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| is_ours) {
            found.push((number, entry.metadata().map_or(0, |data| data.len())));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns the paths of the segments in `directory`, the oldest first.
///
/// # Errors
/// The directory cannot be read.
pub fn segments(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let found = list(directory)?;
    Ok(found.into_iter().map(|(number, _)| path(directory, number)).collect())
}
