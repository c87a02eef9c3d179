//! The server and its copies: what the owner's orders set going.
#![allow(unsafe_code)] // `fork`, and the environment of a copy.

use std::env;
use std::ffi::{CString, OsString};
use std::fs::{File, read_dir};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::{ForkResult, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, setpgid,
    test_kill_process_group, waitid,
};

use super::passing::{receive_with, send_with};
use super::{DONE, Ended, OVER, Order, Report, STANDING_BY};
use crate::process::{self, ProcessId};

/// After so many orders a copy ends: what the C library keeps of each, such as variables that were replaced,
/// must not add up. The next copy costs as much as few orders.
const MOST_ORDERS: u32 = 1000;
/// How long a server whose owner has ended waits for those who stand by. They end at once.
const LAST_MOMENT: Duration = Duration::from_millis(500);

/// The owner whose order a copy obeys.
#[derive(Debug)]
pub struct Owner(UnixStream);

impl Owner {
    /// Reports that what the order was given, such as processors, is free for the next, though this process
    /// has not ended.
    pub fn done(&self) {
        // Without an owner, nothing waits for it.
        let _ = self.say([DONE, 0]);
    }

    fn say(&self, word: [u8; 2]) -> Result<(), Errno> {
        send(&self.0, &word, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }
}

/// What becomes of a copy that has carried out its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// It stands by for another order, if nothing of this one is left in it: no child, no thread, no open
    /// file. Else it exits. The order ends with this code.
    StandsBy(u8),
    /// It exits with this code.
    Exits(u8),
}

/// Is a fork server until its owner ends, whose socket is the standard input. `begin` is called in each copy,
/// before its first order, and returns the work: that is called for each order that the copy gets, with the
/// arguments of the order and its owner.
///
/// Call it before there are threads, children or locks. It leaves `/dev/null` as standard input.
///
/// # Errors
/// If the standard input is not the socket of an owner, or this process has threads, or the system lacks
/// something.
pub fn serve<W>(begin: impl Fn() -> W) -> io::Result<()>
where
    W: FnMut(&[String], &Owner) -> Afterwards,
{
    // A lock that another thread holds would be held for ever in a copy.
    if threads()? != 1 {
        return Err(io::Error::other("a fork server must have one thread"));
    }
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let mut copies = Vec::new();
    let served = serve_owner(control, &mut copies, &begin);
    await_standbys(copies);
    served
}

/// A copy, and a descriptor that is readable once it is dead.
type Copy = (Pid, OwnedFd);

fn serve_owner<W>(
    control: OwnedFd,
    copies: &mut Vec<Copy>,
    begin: &impl Fn() -> W,
) -> io::Result<()>
where
    W: FnMut(&[String], &Owner) -> Afterwards,
{
    loop {
        let watched = copies.iter().map(|(_, pidfd)| pidfd).chain([&control]);
        let mut watched: Vec<_> = watched
            .map(|watched| PollFd::new(watched, PollFlags::IN))
            .collect();
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let stirred: Vec<bool> = watched.iter().map(|it| !it.revents().is_empty()).collect();
        let (asked, dead) = stirred.split_last().unwrap_or((&false, &[]));
        for place in (0..dead.len()).rev().filter(|place| dead[*place]) {
            if let Some(report) = see_out(&copies[place]) {
                copies.swap_remove(place);
                send(&control, &serde_json::to_vec(&report)?, SendFlags::NOSIGNAL)?;
            }
        }
        if !asked {
            continue;
        }
        let mut count = [0];
        match recv(&control, &mut count, RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => return Ok(()),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        for _ in 0..count[0] {
            let (owners, its_end) = UnixStream::pair()?;
            // SAFETY: this process has one thread, as was checked above, so that the copy is as whole as
            // this one.
            match unsafe { fork() } {
                Ok(ForkResult::Parent { child }) => {
                    drop(its_end);
                    let child = Pid::from_raw(child.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
                    let _ = setpgid(Some(child), Some(child));
                    copies.push((child, pidfd_open(child, PidfdFlags::empty())?));
                    let pid = child.as_raw_nonzero().get().unsigned_abs();
                    let process = ProcessId::of(pid).ok_or(io::ErrorKind::NotFound)?;
                    let report = serde_json::to_vec(&Report::StandsBy(process))?;
                    send_with(&control, &report, &[owners.as_fd()])?;
                }
                Ok(ForkResult::Child) => {
                    drop((owners, control, std::mem::take(copies)));
                    std::process::exit(be_a_copy(&Owner(its_end), begin()).into());
                }
                // Its owner does without.
                Err(_) => break,
            }
        }
    }
}

/// Waits for those who stand by: only then what they have used counts as used by this process.
fn await_standbys(mut copies: Vec<Copy>) {
    let begun = Instant::now();
    copies.retain(|(pid, _)| {
        let name = process::name(pid.as_raw_nonzero().get().unsigned_abs());
        name.is_some_and(|name| name.as_bytes() == STANDING_BY.to_bytes())
    });
    for copy in copies {
        let left = LAST_MOMENT.saturating_sub(begun.elapsed());
        let left = Timespec::try_from(left).unwrap_or_default();
        let _ = poll(&mut [PollFd::new(&copy.1, PollFlags::IN)], Some(&left));
        let _ = see_out(&copy);
    }
}

/// Waits for a copy that is dead; `None` if it isn't.
fn see_out((pid, _): &Copy) -> Option<Report> {
    // Until it is waited for, the number of the group stays its own.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let is_alive = matches!(
        waitid(WaitId::Pid(*pid), look | WaitIdOptions::NOWAIT),
        Ok(None)
    );
    if is_alive {
        return None;
    }
    let _ = kill_process_group(*pid, Signal::KILL);
    let status = waitid(WaitId::Pid(*pid), look).ok().flatten();
    let exited = |status: &rustix::process::WaitIdStatus| status.exit_status().map(Ended::Exited);
    let end = status.and_then(|status| {
        exited(&status).or_else(|| status.terminating_signal().map(Ended::Signaled))
    });
    Some(Report::Ended {
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        end: end.unwrap_or(Ended::Unknown),
        group_lives: test_kill_process_group(*pid).is_ok(),
    })
}

/// Obeys one order after the other. Returns the exit code of the copy.
fn be_a_copy(owner: &Owner, mut work: impl FnMut(&[String], &Owner) -> Afterwards) -> u8 {
    // What a copy exits with that was never ordered to do anything.
    let mut code = 0;
    let Ok(bare) = Bare::now() else {
        return code;
    };
    if rustix::thread::set_name(STANDING_BY).is_err() {
        return code;
    }
    for orders in 1.. {
        let Some(order) = stand_by(&owner.0, &bare) else {
            break;
        };
        let before = Variables::set(&order.environment);
        match obey(&order, owner, &mut work) {
            Afterwards::StandsBy(its) => code = its,
            Afterwards::Exits(its) => return its,
        }
        if orders == MOST_ORDERS || bare.restore(before).is_err() {
            break;
        }
        // Its name has said so already: whoever finds it standing by knows that it has no order.
        if owner.say([OVER, code]).is_err() {
            break;
        }
    }
    code
}

/// What a copy is before its first order, and is to be after each.
struct Bare {
    name: CString,
    descriptors: u64,
}

impl Bare {
    fn now() -> io::Result<Self> {
        Ok(Self {
            name: rustix::thread::name()?,
            descriptors: descriptors()?,
        })
    }

    /// Takes back what an order was given. Fails if more of the order is left.
    fn restore(&self, variables: Variables<'_>) -> io::Result<()> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let has_children = !matches!(waitid(WaitId::All, look), Err(Errno::CHILD));
        if has_children || threads()? != 1 || descriptors()? != self.descriptors {
            return Err(io::Error::other("something of the order is left"));
        }
        variables.restore();
        env::set_current_dir("/")?;
        rustix::stdio::dup2_stdout(io::stdin())?;
        rustix::stdio::dup2_stderr(io::stdin())?;
        Ok(rustix::thread::set_name(STANDING_BY)?)
    }
}

/// The variables that an order sets, as they were before.
struct Variables<'a>(Vec<(&'a str, Option<OsString>)>);

impl<'a> Variables<'a> {
    fn set(given: &'a [(String, String)]) -> Self {
        let names = given.iter().map(|(name, _)| name.as_str());
        let before = names.map(|name| (name, env::var_os(name))).collect();
        for (name, value) in given {
            // SAFETY: a copy has one thread before its work, so nobody reads the environment meanwhile.
            unsafe { env::set_var(name, value) };
        }
        Self(before)
    }

    fn restore(self) {
        for (name, value) in self.0 {
            // SAFETY: called once this copy has one thread again.
            match value {
                Some(value) => unsafe { env::set_var(name, value) },
                None => unsafe { env::remove_var(name) },
            }
        }
    }
}

/// How many threads this process has.
fn threads() -> io::Result<u64> {
    let directory = Path::new("/proc/self/task");
    // Each has a directory there, which links to it, as two other names do.
    match directory.metadata()?.nlink() {
        0..=2 => Ok(read_dir(directory)?.count() as u64),
        links => Ok(links - 2),
    }
}

/// How many descriptors this process has open, or one more.
fn descriptors() -> io::Result<u64> {
    let directory = Path::new("/proc/self/fd");
    match directory.metadata()?.size() {
        // Linux before 6.2 does not count them.
        0 => Ok(read_dir(directory)?.count() as u64),
        count => Ok(count),
    }
}

/// Waits for an order. `None` if there will be none, or only half of one came.
fn stand_by(mut orders: &UnixStream, bare: &Bare) -> Option<Order> {
    let mut length = [0; 4];
    let received = loop {
        match receive_with(orders, &mut length, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            received => break received.ok()?,
        }
    };
    let (4, outputs) = received else {
        return None;
    };
    let mut order = vec![0; u32::from_le_bytes(length) as usize];
    orders.read_exact(&mut order).ok()?;
    let order: Order = serde_json::from_slice(&order).ok()?;
    let [stdout, stderr] = &outputs[..] else {
        return None;
    };
    rustix::stdio::dup2_stdout(stdout).ok()?;
    rustix::stdio::dup2_stderr(stderr).ok()?;
    rustix::thread::set_name(&bare.name).ok()?;
    Some(order)
}

fn obey(
    order: &Order,
    owner: &Owner,
    work: &mut impl FnMut(&[String], &Owner) -> Afterwards,
) -> Afterwards {
    /// As shells have it, if a command can't be executed.
    const NOT_STARTED: u8 = 126;
    if let Err(error) = env::set_current_dir(&order.directory) {
        let text = format!("can't start in {}: {error}\n", order.directory.display());
        let _ = io::stderr().write_all(text.as_bytes());
        return Afterwards::Exits(NOT_STARTED);
    }
    work(&order.arguments, owner)
}
