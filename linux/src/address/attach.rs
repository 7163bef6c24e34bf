//! The lease's programs in the kernel: loading, attaching to adapters, and the deadlines they
//! share.
//!
//! Programs are attached to the tcx hooks of an adapter and not held by a link, so they outlive
//! every process: whoever is killed, the deadlines stay where they were and pass. A later life
//! attaches its own programs, whose deadlines are all past, before it removes the earlier ones.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::bpf::{self, Direction};
use super::error::Error;
use super::subject::Subject;
use crate::sys::bpf as sys;
use crate::sys::shared::SharedWords;

/// Deadlines that programs on adapters enforce.
#[derive(Debug)]
pub(crate) struct Programs {
    deadlines: SharedWords,
    loaded: [OwnedFd; 2],
}

impl Programs {
    /// Loads both programs for `subjects`, every deadline past.
    ///
    /// # Errors
    /// [`Error::Call`]: operation not permitted for all but the first root user.
    pub(crate) fn load(subjects: &[Subject]) -> Result<Self, Error> {
        let words = subjects.len().max(1);
        let map = sys::map(words).map_err(Error::call("make a BPF map"))?;
        let deadlines = SharedWords::of_map(&map, words).map_err(Error::call("map BPF memory"))?;
        let number = sys::descriptor_number(&map);
        let load = |direction| {
            let code = bpf::program(direction, subjects, number);
            let bytes: Vec<u8> = code.into_iter().flat_map(bpf::Instruction::bytes).collect();
            sys::load(name(direction), &bytes, hook(direction))
                .map_err(Error::call("load a BPF program"))
        };
        let [ingress, egress] = Direction::ALL;
        Ok(Self { deadlines, loaded: [load(ingress)?, load(egress)?] })
    }

    /// Finds out whether programs can be loaded and attached here, and attaches none.
    ///
    /// # Errors
    /// As [`load`](Self::load) and [`attach`](Self::attach).
    pub(crate) fn check() -> Result<(), Error> {
        Self::load(&[IpAddr::from([192, 0, 2, 1]).into()])?;
        // The loopback adapter is always there.
        ours(1, Direction::Ingress).map(drop)
    }

    /// Attaches both programs to adapter `index`, before all others, and removes earlier ones of
    /// ours. Where they are already, they stay.
    ///
    /// # Errors
    /// [`Error::Call`]; invalid argument where the kernel has no tcx (before 6.6).
    pub(crate) fn attach(&self, index: u32) -> Result<(), Error> {
        for (direction, program) in Direction::ALL.into_iter().zip(&self.loaded) {
            let hook = hook(direction);
            let failed = |errno| Error::call(format!("attach BPF to adapter {index}"))(errno);
            let (own, _) = sys::identity(program).map_err(failed)?;
            let there = ours(index, direction)?;
            if !there.iter().any(|(number, _)| *number == own) {
                sys::attach(program, index, hook).map_err(failed)?;
            }
            let earlier = there.into_iter().filter(|(number, _)| *number != own);
            for (_, program) in earlier {
                detach(&program, index, direction)?;
            }
        }
        Ok(())
    }

    /// Removes every program of ours from adapter `index`, also those of an earlier life.
    ///
    /// # Errors
    /// [`Error::Call`]
    pub(crate) fn detach(index: u32) -> Result<(), Error> {
        for direction in Direction::ALL {
            for (_, program) in ours(index, direction)? {
                detach(&program, index, direction)?;
            }
        }
        Ok(())
    }

    /// Makes address `slot` answer until `deadline_us` of `CLOCK_BOOTTIME`: one store.
    pub(crate) fn set(&self, slot: usize, deadline_us: u64) {
        self.deadlines.store(slot, deadline_us.saturating_mul(1000));
    }
}

/// Returns the programs on a hook of adapter `index` whose name is one of ours, with their numbers.
fn ours(index: u32, direction: Direction) -> Result<Vec<(u32, OwnedFd)>, Error> {
    let failed = |errno| Error::call(format!("query BPF on adapter {index}"))(errno);
    let mut found = Vec::new();
    for id in sys::query(index, hook(direction)).map_err(failed)? {
        match sys::program(id) {
            Ok(program) => {
                let (number, found_name) = sys::identity(&program).map_err(failed)?;
                if found_name == name(direction).to_bytes() {
                    found.push((number, program));
                }
            }
            // It went between the two questions.
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(found)
}

/// Removes one program from a hook.
fn detach(program: &OwnedFd, index: u32, direction: Direction) -> Result<(), Error> {
    match sys::detach(program, index, hook(direction)) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(Error::call(format!("detach BPF from adapter {index}"))(errno)),
    }
}

/// Returns the kernel's number of a hook.
const fn hook(direction: Direction) -> u32 {
    match direction {
        Direction::Ingress => 46,
        Direction::Egress => 47,
    }
}

/// Returns the name which tells our programs from others: at most 15 bytes.
const fn name(direction: Direction) -> &'static std::ffi::CStr {
    match direction {
        Direction::Ingress => c"lifesign_in",
        Direction::Egress => c"lifesign_out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the numbers of our programs on the loopback adapter.
    fn attached() -> Vec<u32> {
        let on = |direction| ours(LOOPBACK, direction).unwrap();
        Direction::ALL.into_iter().flat_map(on).map(|(number, _)| number).collect()
    }

    const LOOPBACK: u32 = 1;

    #[test]
    fn programs_that_are_attached_already_stay_and_earlier_ones_go() {
        // A network of its own, which ends with the thread.
        let tried = std::thread::spawn(|| {
            match nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
                Ok(()) => {}
                Err(errno) => return assert_eq!(errno, Errno::EPERM),
            }
            let subjects = [IpAddr::from([192, 0, 2, 1]).into()];
            let [earlier, later] = [(); 2].map(|()| Programs::load(&subjects).unwrap());
            earlier.attach(LOOPBACK).unwrap();
            let before = attached();
            earlier.attach(LOOPBACK).unwrap();
            assert_eq!((attached(), before.len()), (before.clone(), 2));
            later.attach(LOOPBACK).unwrap();
            assert_eq!(attached().len(), 2);
            assert!(attached().iter().all(|number| !before.contains(number)));
            Programs::detach(LOOPBACK).unwrap();
            assert!(attached().is_empty());
        });
        tried.join().unwrap();
    }

    #[test]
    fn the_kernel_takes_the_programs_of_any_number_of_addresses() {
        let few: [IpAddr; 2] = ["10.77.0.100", "fd00::100"].map(|text| text.parse().unwrap());
        let few = few.map(Subject::from).to_vec();
        let mac = [2, 0, 0, 0, 0, 7];
        let many = |n: u16| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]).into();
        let moving = |n: u8| Subject::Ip([10, 0, 0, n].into(), Some(mac));
        let macs = |n: u8| Subject::Mac([2, 0, 0, 0, 0, n]);
        let all = (0..64).map(moving).chain((0..32).map(macs)).collect();
        for subjects in [vec![], few, (0..64).map(many).collect(), all] {
            match Programs::load(&subjects) {
                Ok(programs) => programs.set(subjects.len().saturating_sub(1), 1),
                // Not the first root user: the only reason there may be.
                Err(error) => assert!(error.is(Errno::EPERM), "{error}"),
            }
        }
    }
}
