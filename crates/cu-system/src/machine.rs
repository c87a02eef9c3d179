//! Names this machine, its boot, and the process numbers that are valid here.

use std::fs;

use serde::{Deserialize, Serialize};

/// A machine since its last boot, and the process numbers that are valid there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The host's own name for itself. For people: two hosts may share one.
    pub host: String,
    /// Identifies this boot of the kernel; no other machine has it.
    pub boot: String,
    /// Containers count processes on their own.
    pub process_namespace: String,
}

impl Place {
    /// Where this process runs. A fact that the kernel withholds is empty.
    #[must_use]
    pub fn here() -> Self {
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        Self {
            host: host(),
            boot: boot_id(),
            process_namespace: namespace.to_string_lossy().into_owned(),
        }
    }

    /// Whether a process number means the same process in both: the same kernel, and not in different
    /// containers.
    #[must_use]
    pub fn shares_processes_with(&self, other: &Self) -> bool {
        let is_known = !self.boot.is_empty() && !self.process_namespace.is_empty();
        is_known && (&self.boot, &self.process_namespace) == (&other.boot, &other.process_namespace)
    }
}

/// This host's own name for itself.
#[must_use]
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The main memory of this machine, in bytes; 0 if the kernel withholds it.
#[must_use]
pub fn memory() -> u64 {
    let system = rustix::system::sysinfo();
    u64::from(system.mem_unit).saturating_mul(system.totalram as u64)
}

/// Identifies the present boot of the kernel; empty if the kernel withholds it.
#[must_use]
pub fn boot_id() -> String {
    line("/proc/sys/kernel/random/boot_id")
}

/// A text that no other call returns; empty if the kernel withholds it.
#[must_use]
pub fn unique_token() -> String {
    line("/proc/sys/kernel/random/uuid")
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn two_tokens_differ() {
        assert_ne!(unique_token(), unique_token());
    }
}
