//! The bpf system call, as far as the kernel lease needs it: maps, programs and where they hang.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Makes a map of `words` words, all zero, that can be shared.
///
/// # Errors
/// EPERM for all but root of the first user namespace; ENOSYS where the kernel has no BPF.
pub(crate) fn map(words: usize) -> Result<OwnedFd, Errno> {
    let mut attributes = MapCreate {
        kind: 2,
        key_size: 4,
        // One entry with all the words, as programs can address the first entry alone.
        value_size: u32::try_from(words * size_of::<u64>()).map_err(|_| Errno::E2BIG)?,
        max_entries: 1,
        flags: 1 << 10,
        inner: [0; 2],
        name: text(c"lifesign"),
    };
    // SAFETY: the attributes are those of MAP_CREATE and hold no pointers.
    unsafe { call_for_descriptor(0, &mut attributes) }
}

/// Returns the number of a descriptor, as the instructions of a program name it.
pub(crate) fn descriptor_number(descriptor: &OwnedFd) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

/// Loads instructions as a program for the tcx hook `hook`.
///
/// # Errors
/// EPERM where not allowed; EINVAL or EACCES where the kernel's check of the program refuses it.
pub(crate) fn load(name: &CStr, instructions: &[u8], hook: u32) -> Result<OwnedFd, Errno> {
    let mut attributes = ProgramLoad {
        kind: 3,
        count: u32::try_from(instructions.len() / 8).map_err(|_| Errno::E2BIG)?,
        instructions: instructions.as_ptr().addr() as u64,
        license: c"Dual MIT/GPL".as_ptr().addr() as u64,
        log: [0; 4],
        version: 0,
        flags: 0,
        name: text(name),
        adapter: 0,
        hook,
    };
    // SAFETY: the attributes are those of PROG_LOAD; the kernel reads `count` instructions and a
    // text with its zero, which both outlive the call.
    unsafe { call_for_descriptor(5, &mut attributes) }
}

/// Attaches a program to a hook of adapter `index`, before those that are there.
///
/// # Errors
/// EINVAL where the kernel has no such hook, ENODEV where the adapter went.
pub(crate) fn attach(program: &OwnedFd, index: u32, hook: u32) -> Result<(), Errno> {
    let flags = 1 << 3;
    let mut attributes =
        ProgramAttach { index, program: descriptor_number(program), hook, flags, relative: [0; 4] };
    // SAFETY: the attributes are those of PROG_ATTACH and hold no pointers.
    unsafe { call(8, &mut attributes) }.map(drop)
}

/// Removes a program from a hook of adapter `index`.
///
/// # Errors
/// ENOENT where it is not there.
pub(crate) fn detach(program: &OwnedFd, index: u32, hook: u32) -> Result<(), Errno> {
    let mut attributes = ProgramAttach {
        index,
        program: descriptor_number(program),
        hook,
        flags: 0,
        relative: [0; 4],
    };
    // SAFETY: the attributes are those of PROG_DETACH and hold no pointers.
    unsafe { call(9, &mut attributes) }.map(drop)
}

/// Returns the numbers of the programs on a hook of adapter `index`.
///
/// # Errors
/// EPERM where not allowed, EINVAL where the kernel has no such hook.
pub(crate) fn query(index: u32, hook: u32) -> Result<Vec<u32>, Errno> {
    let mut numbers = vec![0_u32; 64];
    let mut attributes = ProgramQuery {
        index,
        hook,
        flags: [0; 2],
        numbers: numbers.as_mut_ptr().addr() as u64,
        count: 64,
        rest: [0; 9],
    };
    // SAFETY: the attributes are those of PROG_QUERY; the kernel writes at most `count` numbers to
    // a vector which holds as many and outlives the call.
    match unsafe { call(16, &mut attributes) } {
        // No program was ever attached here.
        Err(Errno::ENOENT) => attributes.count = 0,
        outcome => drop(outcome?),
    }
    numbers.truncate(attributes.count.try_into().unwrap_or(0));
    Ok(numbers)
}

/// Returns the program with a number.
///
/// # Errors
/// ENOENT where it went.
pub(crate) fn program(number: u32) -> Result<OwnedFd, Errno> {
    let mut attributes = [number, 0, 0];
    // SAFETY: the attributes are those of PROG_GET_FD_BY_ID and hold no pointers.
    unsafe { call_for_descriptor(13, &mut attributes) }
}

/// Returns the number of a program, and the name under which it was loaded.
///
/// # Errors
/// EPERM where not allowed.
pub(crate) fn identity(program: &OwnedFd) -> Result<(u32, Vec<u8>), Errno> {
    let mut information = [0_u8; 80];
    let mut attributes = ObjectInformation {
        object: descriptor_number(program),
        len: 80,
        information: information.as_mut_ptr().addr() as u64,
    };
    // SAFETY: the attributes are those of OBJ_GET_INFO_BY_FD; the kernel writes at most `len` bytes
    // to an array which has as many and outlives the call.
    unsafe { call(15, &mut attributes) }?;
    let [_, _, _, _, n0, n1, n2, n3, ..] = information;
    let name = information.get(64..).unwrap_or(&[]);
    let name = name.iter().copied().take_while(|byte| *byte != 0).collect();
    Ok((u32::from_ne_bytes([n0, n1, n2, n3]), name))
}

/// Attributes of `MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: [u32; 2],
    name: [u8; 16],
}

/// Attributes of `PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u32; 4],
    version: u32,
    flags: u32,
    name: [u8; 16],
    adapter: u32,
    hook: u32,
}

/// Attributes of `PROG_ATTACH` and `PROG_DETACH`.
#[repr(C)]
struct ProgramAttach {
    index: u32,
    program: u32,
    hook: u32,
    flags: u32,
    relative: [u32; 4],
}

/// Attributes of `PROG_QUERY`.
#[repr(C)]
struct ProgramQuery {
    index: u32,
    hook: u32,
    flags: [u32; 2],
    numbers: u64,
    count: u32,
    rest: [u32; 9],
}

/// Attributes of `OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct ObjectInformation {
    object: u32,
    len: u32,
    information: u64,
}

/// Returns a name as the kernel's attributes hold it, cut to 15 bytes.
fn text(name: &CStr) -> [u8; 16] {
    let mut text = [0; 16];
    for (to, from) in text.iter_mut().take(15).zip(name.to_bytes()) {
        *to = *from;
    }
    text
}

/// Calls bpf and takes the descriptor it returns.
///
/// # Safety
/// As [`call`], and `command` returns a descriptor.
unsafe fn call_for_descriptor<T>(
    command: libc::c_int,
    attributes: &mut T,
) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller's promise.
    let number = unsafe { call(command, attributes) }?;
    let number = i32::try_from(number).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just opened it for us, closed on exec.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Calls bpf.
///
/// # Safety
/// `T` is the layout of `command`'s attributes, and its pointers are good for what the command
/// reads and writes.
unsafe fn call<T>(command: libc::c_int, attributes: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: the attributes are as long as said, and the rest is the caller's promise.
    let outcome = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    Errno::result(outcome)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::sys::shared::SharedWords;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    #[test]
    fn a_forked_process_shares_the_words() {
        // Not the first root user: the only reason there may be.
        let Ok(map) = map(2).inspect_err(|errno| assert_eq!(*errno, Errno::EPERM)) else { return };
        let words = SharedWords::of_map(&map, 2).unwrap();
        words.store(0, 7);
        // SAFETY: the child touches atomic words and ends, without allocation, locks or
        // destructors.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                let seen = words.word(0).map_or(0, |word| word.load(Ordering::SeqCst));
                words.store(1, seen + 1);
                // SAFETY: the call takes an integer and does not return.
                unsafe { libc::_exit(0) }
            }
        };
        assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        assert_eq!(words.word(1).unwrap().load(Ordering::SeqCst), 8);
    }
}
