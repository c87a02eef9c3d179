//! Processes: waits for their end by an event of the kernel and within a bound, kills them by their
//! id, and finds them by a mark in their environment.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::wait::{BOUND, until};

/// How a process ended, and its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// The signal that killed it, if one did.
    pub signal: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A child process. Its output goes to files, so that it never waits for a reader. Killed when
/// dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    patience: Duration,
}

impl Process {
    /// Starts `command` with its output in files of `directory`.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn start(mut command: Command, directory: &Path) -> Self {
        let keep = |name| {
            let prefix = format!("{name}.");
            let file = tempfile::Builder::new()
                .prefix(&prefix)
                .tempfile_in(directory);
            file.unwrap().keep().unwrap()
        };
        let ((out, stdout), (err, stderr)): ((File, _), (File, _)) =
            (keep("stdout"), keep("stderr"));
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?} can't be started: {error}");
        });
        Self {
            child,
            stdout,
            stderr,
            patience: BOUND,
        }
    }

    /// Changes how long [`wait`](Self::wait) waits for its end.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard error so far.
    ///
    /// # Panics
    /// If the file can't be read.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap()).into_owned()
    }

    /// Waits for its end, at most for `bound`; `None` if it still lives.
    ///
    /// # Panics
    /// If it can't be waited for.
    pub fn wait_at_most(&mut self, longest: Duration) -> Option<Exit> {
        if !ends_within(self.child.id(), longest) {
            return None;
        }
        let status = self.child.wait().unwrap();
        let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        Some(Exit {
            code: status.code(),
            signal: status.signal(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
        })
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it lives longer than [`BOUND`], or than the bound that was set.
    #[must_use]
    pub fn wait(mut self) -> Exit {
        self.wait_at_most(self.patience)
            .unwrap_or_else(|| panic!("the process hangs; its stderr: {}", self.stderr()))
    }

    /// Sends SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// If it does not die.
    pub fn kill(&mut self) -> Exit {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.wait_at_most(BOUND).expect("SIGKILL ends a process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if it has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGKILL to a process, which may be gone already.
pub fn kill(pid: u32) {
    if let Some(pid) = number(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Returns whether a process has ended or ends within `bound`.
///
/// # Panics
/// If the kernel can't be asked.
#[must_use]
pub fn ends_within(pid: u32, longest: Duration) -> bool {
    let Some(pid) = number(pid) else { return true };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return true;
    };
    let until = Instant::now() + longest;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("a process can't be waited for: {error}"),
        }
    }
}

/// The processes whose environment contains `mark`, except for our own.
#[must_use]
pub fn marked(mark: &str) -> Vec<u32> {
    let own = std::process::id();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid| *pid != own && has_mark(*pid, mark))
        .collect()
}

/// Stops these processes where they are, as a debugger does: SIGSTOP. Returns once the kernel has.
pub fn freeze(processes: &[u32]) {
    let stop = |pid: u32| number(pid).is_some_and(|pid| kill_process(pid, Signal::STOP).is_ok());
    for pid in processes.iter().filter(|pid| stop(**pid)) {
        until("a process to be stopped", || {
            has_no_turn(*pid).then_some(())
        });
    }
}

/// Lets them go on.
pub fn thaw(processes: &[u32]) {
    for pid in processes.iter().filter_map(|pid| number(*pid)) {
        let _ = kill_process(pid, Signal::CONT);
    }
}

/// Whether it is stopped, or has ended.
fn has_no_turn(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_none_or(|state| "TtZX".contains(state))
}

fn has_mark(pid: u32, mark: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable == mark.as_bytes())
}

/// Kills all processes whose environment contains `mark`, and those that they start meanwhile.
pub fn kill_marked(mark: &str) {
    // Bounded, since processes that start others as fast as they are killed would keep us for ever.
    for _ in 0..100 {
        let found = marked(mark);
        if found.is_empty() {
            return;
        }
        for pid in found {
            kill(pid);
            let _ = ends_within(pid, Duration::from_secs(1));
        }
    }
}

fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_mark_and_killed() {
        let scratch = tempfile::tempdir().unwrap();
        let mark = format!("CU_TESTS_MARK={}", scratch.path().display());
        let (name, value) = mark.split_once('=').unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000").env(name, value);
        let mut process = Process::start(command, scratch.path());
        assert_eq!(process.wait_at_most(Duration::ZERO), None);
        // Between fork and exec it still has our environment.
        crate::wait::until("the mark", || {
            (marked(&mark) == [process.id()]).then_some(())
        });
        kill_marked(&mark);
        assert_eq!(process.wait().signal, Some(9));
        assert!(marked(&mark).is_empty());
    }
}
