//! Memory that several processes see.

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// Words of memory which processes share among themselves, and with the kernel's programs if they
/// are those of a map.
#[derive(Debug)]
pub(crate) struct SharedWords {
    start: NonNull<AtomicU64>,
    count: usize,
}

impl SharedWords {
    /// Maps the words of a BPF map into this process; they stay shared over fork.
    ///
    /// # Errors
    /// What mmap refused.
    pub(crate) fn of_map(map: &OwnedFd, words: usize) -> Result<Self, Errno> {
        let (len, access) = (length(words)?, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
        // SAFETY: a new mapping at a place of the kernel's choice aliases nothing.
        let start = unsafe { mmap(None, len, access, MapFlags::MAP_SHARED, map, 0)? };
        Ok(Self { start: start.cast(), count: words })
    }

    /// Maps `words` words, all zero, that this process and those it forks share.
    ///
    /// # Errors
    /// What mmap refused: out of memory.
    pub(crate) fn anonymous(words: usize) -> Result<Self, Errno> {
        let (len, access) = (length(words)?, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
        // SAFETY: a new mapping at a place of the kernel's choice aliases nothing.
        let start = unsafe { mmap_anonymous(None, len, access, MapFlags::MAP_SHARED)? };
        Ok(Self { start: start.cast(), count: words })
    }

    /// Sets word `at` in one piece; nothing where there is no such word.
    pub(crate) fn store(&self, at: usize, value: u64) {
        if let Some(word) = self.words().get(at) {
            word.store(value, Ordering::SeqCst);
        }
    }

    /// Returns word `at`, if there is one.
    pub(crate) fn word(&self, at: usize) -> Option<&AtomicU64> {
        self.words().get(at)
    }

    /// Returns the words.
    const fn words(&self) -> &[AtomicU64] {
        // SAFETY: `count` words were mapped here, aligned to a page and zeroed, and they stay
        // mapped while `self` lives. Others write them too, which atomic words allow.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by this type, and no reference to it outlives `self`.
        let _ = unsafe { munmap(self.start.cast(), self.count * size_of::<u64>()) };
    }
}

// SAFETY: the memory belongs to the process and is touched by atomic operations alone.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

fn length(words: usize) -> Result<NonZeroUsize, Errno> {
    words.checked_mul(size_of::<u64>()).and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)
}
