//! The system calls that no library of ours wraps, and the only unsafe code of the crate.
#![allow(unsafe_code, reason = "every unsafe block of the crate is here and in sys/")]

pub(crate) mod bpf;
pub(crate) mod shared;
pub(crate) mod terminal;
pub(crate) mod watchdog;

use std::ffi::CStr;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, unshare};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{ForkResult, Gid, Pid, Uid, setgid, setgroups, setuid};

/// Makes `command` start in the namespaces of `flags`; a user namespace maps its only user and
/// group to the caller's.
///
/// The maps are written by the child itself before it becomes the command, so the caller may have
/// threads, and the command is the first to see its namespaces.
pub(crate) fn start_in_namespaces(command: &mut Command, flags: CloneFlags) {
    let user = format!("0 {} 1\n", nix::unistd::geteuid());
    let group = format!("0 {} 1\n", nix::unistd::getegid());
    let enter = move || {
        unshare(flags)?;
        if flags.contains(CloneFlags::CLONE_NEWUSER) {
            // An ordinary user may map a group only after giving up setgroups.
            write_file(c"/proc/self/setgroups", b"deny")?;
            write_file(c"/proc/self/uid_map", user.as_bytes())?;
            write_file(c"/proc/self/gid_map", group.as_bytes())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only: it neither allocates nor
    // takes a lock, and what it reads is owned by it.
    unsafe {
        command.pre_exec(enter);
    }
}

/// Makes `command` end by SIGKILL when the thread that starts it has ended.
pub(crate) fn end_with_starter(command: &mut Command) {
    let end_with_it = || Ok(prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: between fork and exec the closure makes one system call.
    unsafe {
        command.pre_exec(end_with_it);
    }
}

/// Makes `command` start as a user with a first group, and in `groups`.
///
/// Failure shows as an error of `spawn`: not permitted without the privilege to be somebody else.
pub(crate) fn start_as(command: &mut Command, (user, group): (Uid, Gid), groups: Vec<Gid>) {
    let become_it = move || {
        setgroups(&groups)?;
        setgid(group)?;
        Ok(setuid(user)?)
    };
    // SAFETY: between fork and exec the closure makes system calls only: it neither allocates nor
    // takes a lock, and what it reads is owned by it.
    unsafe {
        command.pre_exec(become_it);
    }
}

/// Raises the loopback adapter of the caller's network namespace.
///
/// # Errors
/// What socket or SIOCSIFFLAGS refused.
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all zeroes is a valid ifreq: integers and arrays of integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = FLAG_UP;
    // SAFETY: the descriptor is open and the kernel reads one ifreq, which outlives the call.
    let outcome =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(outcome)?;
    Ok(())
}

/// `IFF_UP`, in the width which the request has.
const FLAG_UP: libc::c_short = 1;

/// Writes `bytes` to the existing file `path` by one call, without allocation.
fn write_file(path: &CStr, bytes: &[u8]) -> io::Result<()> {
    let file: OwnedFd = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    if nix::unistd::write(&file, bytes)? == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Returns a socket that sends and receives every frame of the adapter with this index.
///
/// Frames carry the offload header of [`OFFLOAD_HEADER_LEN`] bytes in both directions, so that a
/// frame whose checksum or segments the kernel has left to hardware can be passed on as it is. Own
/// frames do not come back, and each received frame has its time of arrival. Nothing blocks.
///
/// # Errors
/// What the kernel refused: not permitted without `CAP_NET_RAW`, no such device.
pub(crate) fn packet_socket(adapter: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes integers and returns a descriptor or -1.
    let raw = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: the kernel has just given this descriptor to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    set_option(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    set_option(socket.as_fd(), libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    bind_packet(socket.as_fd(), ALL_PROTOCOLS, adapter)?;
    Ok(socket)
}

/// Binds a packet socket to adapter `index` and to frames of `protocol`, an Ethernet type.
///
/// # Errors
/// What bind refused: no such device where the adapter went.
pub(crate) fn bind_packet(socket: BorrowedFd<'_>, protocol: u16, index: u32) -> Result<(), Errno> {
    let (address, len) = packet_address(protocol, index)?;
    // SAFETY: the descriptor is open, and the kernel reads `len` bytes of an address that has them.
    let outcome = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    Errno::result(outcome).map(drop)
}

/// Sends `bytes` over a packet socket that writes the Ethernet header itself: out of adapter
/// `index`, with Ethernet type `protocol`, to `mac`. Returns how many went.
///
/// # Errors
/// What sendto refused: the adapter is down or gone, its queue is full, or that is too much for it.
pub(crate) fn send_packet(
    socket: BorrowedFd<'_>,
    (index, protocol, mac): (u32, u16, [u8; 6]),
    bytes: &[u8],
) -> Result<usize, Errno> {
    let (mut address, len) = packet_address(protocol, index)?;
    address.sll_halen = 6;
    for (to, from) in address.sll_addr.iter_mut().zip(mac) {
        *to = from;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the descriptor is open; the kernel reads the bytes and the address, whose lengths are
    // said, and both outlive the call.
    let outcome = unsafe {
        let (bytes, count) = (bytes.as_ptr().cast(), bytes.len());
        libc::sendto(socket.as_raw_fd(), bytes, count, flags, (&raw const address).cast(), len)
    };
    Errno::result(outcome).map(isize::cast_unsigned)
}

/// Has adapter `index` hear frames to the group address `mac`, for as long as the packet socket is
/// open.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn join_packet_group(
    socket: BorrowedFd<'_>,
    index: u32,
    mac: [u8; 6],
) -> Result<(), Errno> {
    // SAFETY: all zeroes is a valid packet_mreq: integers and an array of integers.
    let mut group: libc::packet_mreq = unsafe { std::mem::zeroed() };
    group.mr_ifindex = index.cast_signed();
    group.mr_type = u16::try_from(libc::PACKET_MR_MULTICAST).map_err(|_| Errno::EINVAL)?;
    group.mr_alen = 6;
    for (to, from) in group.mr_address.iter_mut().zip(mac) {
        *to = from;
    }
    let len = libc::socklen_t::try_from(size_of_val(&group)).map_err(|_| Errno::EINVAL)?;
    let (level, name) = (libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP);
    // SAFETY: the pointer and the length describe one packet_mreq, which outlives the call.
    let outcome = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const group).cast(), len)
    };
    Errno::result(outcome).map(drop)
}

/// Returns the address of adapter `index` and Ethernet type `protocol` for a packet socket, and its
/// length.
fn packet_address(
    protocol: u16,
    index: u32,
) -> Result<(libc::sockaddr_ll, libc::socklen_t), Errno> {
    // SAFETY: all zeroes is a valid sockaddr_ll: integers and an array of integers.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(|_| Errno::EAFNOSUPPORT)?;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index.cast_signed();
    let len = libc::socklen_t::try_from(size_of_val(&address)).map_err(|_| Errno::EINVAL)?;
    Ok((address, len))
}

/// The length of the offload header before each frame of a [`packet_socket`], `virtio_net_hdr`.
pub(crate) const OFFLOAD_HEADER_LEN: usize = 10;

/// `PACKET_IGNORE_OUTGOING` of `linux/if_packet.h`.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// `ETH_P_ALL` of `linux/if_ether.h`.
const ALL_PROTOCOLS: u16 = 3;

/// Sets a socket option whose value is an integer.
///
/// # Errors
/// What the kernel refused.
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length describe one integer, which outlives the call.
    let outcome = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len)
    };
    Errno::result(outcome)?;
    Ok(())
}

/// Gives the calling thread the real-time class FIFO with `priority`, 1 to 99; threads and
/// processes which it starts afterwards do not inherit it.
///
/// # Errors
/// Not permitted without `CAP_SYS_NICE` and a limit of zero, or in a group without real-time share.
pub(crate) fn set_fifo_priority(priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    let class = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads one sched_param, which outlives the call; 0 is the calling thread.
    let outcome = unsafe { libc::sched_setscheduler(0, class, &raw const parameters) };
    Errno::result(outcome)?;
    Ok(())
}

/// Gives the calling thread the ordinary class with the nice value `nice`, -20 to 19; threads and
/// processes which it starts afterwards do not inherit a negative one.
///
/// # Errors
/// Not permitted without `CAP_SYS_NICE` and a limit above `nice`.
pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: the call takes integers; 0 is the calling thread.
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })?;
    let parameters = libc::sched_param { sched_priority: 0 };
    let class = libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads one sched_param, which outlives the call; 0 is the calling thread.
    let outcome = unsafe { libc::sched_setscheduler(0, class, &raw const parameters) };
    Errno::result(outcome)?;
    Ok(())
}

/// Makes the allocator keep what it was once given, so that memory freed is not asked for again.
pub(crate) fn keep_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes integers and changes parameters of the allocator only.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_MMAP_MAX, 0);
        // A further thread shares the heap: one of its own would be locked in memory too.
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Divides the process in two; returns the child's number in the parent and nothing in the child.
///
/// # Errors
/// What the kernel refused, or that the process has more than one thread: the child would have
/// only the calling one, and locks held by the others would stay locked in it for ever.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("a process with several threads cannot be divided"));
    }
    // SAFETY: the process has one thread, as was just checked, so that nothing in the child is left
    // half done by another.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Returns a descriptor which is readable once the process has ended; closed on exec.
///
/// # Errors
/// What `pidfd_open` refused.
pub(crate) fn open_process(process: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let outcome = unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0) };
    let number = Errno::result(outcome)?;
    let number = RawFd::try_from(number).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Returns whether the process may lock `len` bytes of memory, without making any of it resident.
///
/// Only trying tells: the right to exceed the limit does not count in a user namespace, where the
/// process seems to have it.
pub(crate) fn may_lock(len: NonZeroUsize) -> bool {
    let (access, kind) = (ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE);
    // SAFETY: the kernel chooses a place where nothing else is, and nobody touches it.
    let Ok(start) = (unsafe { mmap_anonymous(None, len, access, kind) }) else { return false };
    // SAFETY: the range is the mapping just made.
    let outcome = unsafe { libc::mlock2(start.as_ptr(), len.get(), libc::MLOCK_ONFAULT) };
    // SAFETY: the range is the mapping just made, and nothing refers to it.
    let removed = unsafe { munmap(start, len.get()) };
    outcome == 0 && removed.is_ok()
}
