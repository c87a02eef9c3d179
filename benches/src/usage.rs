//! What one process has used, without its children, as the kernel reports it in `/proc`.

use std::fs;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// The ticks in which `/proc/PID/stat` counts, a second.
const TICKS: u64 = 100;

/// Waits for the end of a child. Returns how it ended, and its own processor time: that of its children,
/// which `wait4` would add, is left out.
///
/// # Errors
/// If it can't be waited for.
pub fn own_processor_time(child: &mut Child) -> Result<(ExitStatus, Duration)> {
    let pid = child.id();
    let number = i32::try_from(pid).context("a process id is small")?;
    // Until it is waited for, the kernel keeps what it has used.
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(Pid::from_raw(number)), flags)?;
    let used = ticks(pid)?;
    Ok((child.wait()?, used))
}

/// The processor time of a process so far, to 10 ms.
fn ticks(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything.
    let (_, after) = text.rsplit_once(')').context("a process has a name")?;
    let field = |number: usize| -> Result<u64> {
        let field = after.split_whitespace().nth(number - 3);
        Ok(field.context("fields 14 and 15 are times")?.parse()?)
    };
    let ticks = field(14)? + field(15)?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}

/// The processor time of all living threads of a process so far, to the nanosecond.
///
/// # Errors
/// If it has ended.
pub fn of_its_threads(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().context("three numbers")?;
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The most memory that a process has had, in bytes.
///
/// # Errors
/// If it has ended.
pub fn peak_memory(pid: u32) -> Result<u64> {
    bytes(pid, "VmHWM:")
}

/// The memory that a process has now, in bytes.
///
/// # Errors
/// If it has ended.
pub fn memory(pid: u32) -> Result<u64> {
    bytes(pid, "VmRSS:")
}

fn bytes(pid: u32, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
    let kilobytes = kilobytes.with_context(|| format!("the kernel names {name}"))?;
    Ok(kilobytes.parse::<u64>()? * 1024)
}
