//! Which machine this is, and which of its processes: facts from `/proc` that tell a living
//! process from one that merely got the same number later.

use std::path::Path;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

/// A machine since its last boot, and the process numbers that are valid there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The host's name as it tells it itself. For people: two hosts may share one.
    pub host: String,
    /// Of this boot of the kernel; no other machine has it.
    pub boot: String,
    /// Containers count processes on their own.
    pub process_namespace: String,
}

impl Place {
    /// Where this process runs. What the kernel won't tell is left empty.
    pub fn here() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            host: host(),
            boot: boot.trim().to_owned(),
            process_namespace: namespace.to_string_lossy().into_owned(),
        }
    }

    /// Whether a process number means the same process in both: the same kernel, and not in different
    /// containers.
    pub fn shares_processes_with(&self, other: &Self) -> bool {
        let is_known = !self.boot.is_empty() && !self.process_namespace.is_empty();
        is_known && (&self.boot, &self.process_namespace) == (&other.boot, &other.process_namespace)
    }
}

/// This host's name, as it tells it itself.
#[must_use]
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// A process, never confused with a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the boot.
    pub start_ticks: u64,
}

impl ProcessId {
    /// The process that has this number now; `None` if there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        Some(Self {
            pid,
            start_ticks: stat.start_ticks,
        })
    }

    /// Whether it still runs: exists, and is not merely waiting for its parent to notice its end.
    pub fn is_alive(self) -> bool {
        Stat::of(self.pid)
            .is_some_and(|stat| stat.start_ticks == self.start_ticks && !stat.has_ended)
    }
}

/// What `/proc/PID/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
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
    /// Of the process that has this number now.
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything, spaces
        // and parentheses too; no later field does.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            has_ended: matches!(*fields.first()?, "Z" | "X" | "x"),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Whether a process does something about a signal: it has a handler, or it blocks the signal and
/// waits for it (`sigwait`, a signalfd), as `srun` does. `None` if the kernel won't tell.
pub(crate) fn handles(pid: u32, signal: Signal) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let caught = has_signal(&status, "SigCgt:", signal)?;
    let blocked = has_signal(&status, "SigBlk:", signal)?;
    // Who blocks even this one is being started, with all signals blocked for a moment.
    let all_blocked = has_signal(&status, "SigBlk:", Signal::SEGV)?;
    Some(caught || blocked && !all_blocked)
}

fn has_signal(status: &str, mask: &str, signal: Signal) -> Option<bool> {
    let mask = status.lines().find_map(|line| line.strip_prefix(mask))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let bit = u32::try_from(signal.as_raw()).ok()?.checked_sub(1)?;
    Some(mask.checked_shr(bit)? & 1 == 1)
}

/// Whether a process was started with all of these variables, each as `NAME=value`. `false` if the
/// kernel won't tell.
pub(crate) fn has_in_environment(pid: u32, variables: &[String]) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let has = |variable: &String| {
        let mut found = environment.split(|byte| *byte == 0);
        found.any(|found| found == variable.as_bytes())
    };
    variables.iter().all(has)
}

/// The numbers of all processes that can be seen.
pub(crate) fn all_processes() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The processes that hold a lock on this file: those alone that were given the descriptor by
/// which it was taken, not those that wait for it.
pub(crate) fn lock_holders(lock: &Path) -> Vec<u32> {
    let Ok(lock) = lock.canonicalize() else {
        return Vec::new();
    };
    all_processes()
        .filter(|pid| holds_lock(*pid, &lock))
        .collect()
}

fn holds_lock(pid: u32, lock: &Path) -> bool {
    // Other people's processes can't be looked at; they are not ours either.
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        std::fs::read_link(descriptor.path()).is_ok_and(|target| target == lock)
            && std::fs::read_to_string(
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
    use super::*;

    #[test]
    fn a_mask_of_signals_is_read() {
        let status = |caught: &str, blocked: &str| {
            format!("Name:\tx\nSigBlk:\t{blocked}\nSigIgn:\t0000000000000000\nSigCgt:\t{caught}\n")
        };
        let usr1 = |status: &str| has_signal(status, "SigBlk:", Signal::USR1);
        // USR1 is the tenth.
        assert_eq!(usr1(&status("0", "0000000000000200")), Some(true));
        assert_eq!(usr1(&status("0000000000000200", "0")), Some(false));
        assert_eq!(usr1("no masks"), None);
    }

    #[test]
    fn a_name_with_parentheses_hides_no_field() {
        let text = "42 (a) R 1 (x)) S 7 8 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 5150 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.group, stat.start_ticks), (7, 8, 5150));
        assert!(!stat.has_ended);
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
    fn only_who_holds_a_lock_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let holds = || lock_holders(file.path()) == [std::process::id()];
        assert!(!holds());
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert!(holds());
    }

    #[test]
    fn a_place_without_a_boot_id_shares_nothing() {
        let here = Place::here();
        assert!(here.shares_processes_with(&here));
        let unknown = Place {
            boot: String::new(),
            ..here
        };
        assert!(!unknown.shares_processes_with(&unknown));
    }
}
