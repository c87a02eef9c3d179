//! Reads `/proc` about the machine's processes. A process that has just ended is not found there.

use std::fs;

use rustix::process::Pid;

/// Those of which `is_it` is true.
///
/// # Panics
/// If there is no `/proc`.
pub fn of_which(is_it: impl Fn(Pid) -> bool) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("Linux");
    let pids = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        Pid::from_raw(name.parse().ok()?)
    });
    pids.filter(|pid| is_it(*pid)).collect()
}

/// The words that a process was started with.
#[must_use]
pub fn command_line(pid: Pid) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0);
    words.map(<[u8]>::to_vec).collect()
}

/// The name of what it runs, up to 15 bytes of it.
#[must_use]
pub fn name(pid: Pid) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// Its parent, the parent of that, and so on.
pub fn ancestors(pid: Pid) -> impl Iterator<Item = Pid> {
    std::iter::successors(parent(pid), |pid| parent(*pid))
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name in parentheses, which may hold any: the state, then the parent.
    let (_, rest) = stat.rsplit_once(") ")?;
    Pid::from_raw(rest.split(' ').nth(1)?.parse().ok()?)
}
