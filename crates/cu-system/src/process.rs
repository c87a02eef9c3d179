//! Finds processes in `/proc`, and tells a living one from a later one of the same number.
//!
//! Names of processes may hold any bytes: the kernel cuts them at 15, also within a character.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

/// A process, never confused with a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start_ticks: u64,
}

impl ProcessId {
    /// The process that has this number now; `None` if there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        Some(Self {
            pid,
            start_ticks: stat.start_ticks,
        })
    }

    /// Whether it still runs: it exists, and is more than a dead process whose parent has not noticed
    /// its end.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Stat::of(self.pid)
            .is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.has_ended)
    }
}

/// The facts of `/proc/PID/stat` that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its parent's number.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// When it started, in clock ticks since the boot.
    pub start_ticks: u64,
    /// A zombie, or about to vanish.
    pub has_ended: bool,
}

impl Stat {
    /// Of the process that has this number now; `None` if there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything: spaces,
        // parentheses, half a character. No later field holds a parenthesis.
        let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = str::from_utf8(&stat[end_of_name + 1..]).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            has_ended: matches!(*fields.first()?, "Z" | "X" | "x"),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The numbers of all processes that can be seen.
pub fn all_processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            if !name.as_bytes().first()?.is_ascii_digit() {
                return None;
            }
            name.to_str()?.parse().ok()
        })
}

/// Whether a process does something about a signal: it has a handler, or it blocks the signal and
/// waits for it (`sigwait`, a signalfd), as `srun` does. `None` if the kernel withholds it.
#[must_use]
pub fn handles(pid: u32, signal: Signal) -> Option<bool> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let caught = has_signal(&status, "SigCgt:", signal)?;
    let blocked = has_signal(&status, "SigBlk:", signal)?;
    // A process that blocks even this one is being started, with all signals blocked for a moment.
    let all_blocked = has_signal(&status, "SigBlk:", Signal::SEGV)?;
    Some(caught || blocked && !all_blocked)
}

fn has_signal(status: &[u8], mask: &str, signal: Signal) -> Option<bool> {
    let mut lines = status.split(|byte| *byte == b'\n');
    let mask = lines.find_map(|line| line.strip_prefix(mask.as_bytes()))?;
    let mask = str::from_utf8(mask).ok()?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let bit = u32::try_from(signal.as_raw()).ok()?.checked_sub(1)?;
    Some(mask.checked_shr(bit)? & 1 == 1)
}

/// The environment that a process was started with, variables separated by zero bytes. `None` if the
/// kernel withholds it: the process belongs to another user, or has given up its rights.
///
/// In the instant between `exec` and the first instruction it reads as empty, so an empty one is
/// read again.
#[must_use]
pub fn environment(pid: u32) -> Option<Vec<u8>> {
    let path = format!("/proc/{pid}/environ");
    for _ in 0..3 {
        let environment = fs::read(&path).ok()?;
        if !environment.is_empty() {
            return Some(environment);
        }
        std::thread::yield_now();
    }
    None
}

/// What a process calls itself, as people see it in `ps`; `None` if there is none.
#[must_use]
pub fn name(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
}

/// Whether a process was started with all of these variables, each as `NAME=value`. `false` if the
/// kernel withholds it.
#[must_use]
pub fn has_in_environment(pid: u32, variables: &[String]) -> bool {
    let environment = environment(pid).unwrap_or_default();
    let has = |variable: &String| {
        let mut found = environment.split(|byte| *byte == 0);
        found.any(|found| found == variable.as_bytes())
    };
    variables.iter().all(has)
}

/// The processes that hold a lock on this file: only those that were given the descriptor by which
/// it was taken, and not those that wait for it.
#[must_use]
pub fn lock_holders(lock: &Path) -> Vec<u32> {
    let Ok(lock) = lock.canonicalize() else {
        return Vec::new();
    };
    all_processes()
        .filter(|pid| holds_lock(*pid, &lock))
        .collect()
}

fn holds_lock(pid: u32, lock: &Path) -> bool {
    // Other users' processes can't be looked at; they are not ours either.
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        fs::read_link(descriptor.path()).is_ok_and(|target| target == lock)
            && fs::read_to_string(
                Path::new("/proc")
                    .join(pid.to_string())
                    .join("fdinfo")
                    .join(descriptor.file_name()),
            )
            .is_ok_and(|info| info.lines().any(|line| line.starts_with("lock:")))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mask_of_signals_is_read() {
        let status = |caught: &str, blocked: &str| {
            let mut status = b"Name:\tx\xc3\n".to_vec();
            let masks =
                format!("SigBlk:\t{blocked}\nSigIgn:\t0000000000000000\nSigCgt:\t{caught}\n");
            status.extend(masks.as_bytes());
            status
        };
        let usr1 = |status: &[u8]| has_signal(status, "SigBlk:", Signal::USR1);
        // USR1 is the tenth.
        assert_eq!(usr1(&status("0", "0000000000000200")), Some(true));
        assert_eq!(usr1(&status("0000000000000200", "0")), Some(false));
        assert_eq!(usr1(b"no masks"), None);
    }

    proptest! {
        #[test]
        fn a_name_of_any_bytes_hides_no_field(name in proptest::collection::vec(any::<u8>(), 0..16)) {
            let mut stat = b"42 (".to_vec();
            stat.extend(name);
            stat.extend(b") R 7 8 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 5150 0");
            let stat = Stat::parse(&stat).unwrap();
            prop_assert_eq!((stat.parent, stat.group, stat.start_ticks), (7, 8, 5150));
            prop_assert!(!stat.has_ended);
        }
    }

    #[test]
    fn a_zombie_has_ended() {
        let stat = b"1 (x) Z 1 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 5 5 6";
        assert!(Stat::parse(stat).unwrap().has_ended);
    }

    #[test]
    fn this_process_is_alive_and_an_earlier_one_of_its_number_is_not() {
        let this = ProcessId::of(std::process::id()).unwrap();
        assert!(this.is_alive());
        let earlier = ProcessId {
            start_ticks: this.start_ticks - 1,
            ..this
        };
        assert!(!earlier.is_alive());
    }

    #[test]
    fn this_process_is_among_all() {
        assert!(all_processes().any(|pid| pid == std::process::id()));
        assert!(!name(std::process::id()).unwrap().is_empty());
        assert_eq!(name(u32::MAX), None);
    }

    #[test]
    fn only_the_holder_of_a_lock_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let holds = || lock_holders(file.path()) == [std::process::id()];
        assert!(!holds());
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert!(holds());
    }
}
