//! The processes of an attempt: starts them with `posix_spawn`, recognises them, signals them, and
//! waits for their end.
//!
//! Each attempt is a process group of its own, led by its first process. So a Ctrl-C or a hangup of
//! our terminal does not reach it, and a signal can go to all of it. A session would need `setsid`
//! between `fork` and `exec`: std would then fork, which has two thirds of the speed from a small
//! process, and is eighty times slower from one of a gigabyte.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cu_system::files;
use cu_system::fork_server;
use cu_system::process::ProcessId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal, test_kill_process_group, waitid,
};

use super::proc_fs;
use super::record::Cause;
use crate::Submission;

/// How long a process that stood by may take to find that its owner has ended.
const SETTLED: Duration = Duration::from_secs(10);

/// The first process of an attempt, alive, or dead and not yet waited for.
#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
    start_ticks: u64,
    /// Whether it leads its process group. A descendant that was adopted instead of it may not.
    leads: bool,
    /// `None` while no descriptor is free for it. Only a child of ours can do without one: its
    /// number stays its own until we wait for it.
    pidfd: Option<OwnedFd>,
    /// If it is a child of the fork server.
    copy: Option<Reported>,
}

/// What the fork server has reported about its child.
#[derive(Debug, Default)]
struct Reported {
    /// The cause, and whether its group still lives.
    end: Option<(Cause, bool)>,
}

/// Why an attempt was not started.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// Because of what it asks for, so that a second try would fail, too.
    Refused(String),
    /// Because this machine lacks something now.
    Trouble(String),
}

impl Leader {
    /// Starts the command of `submission` with `added` in its environment.
    ///
    /// # Errors
    /// A sentence that names what is missing: the file, the directory, or a resource of this
    /// machine.
    pub fn start(submission: &Submission, added: &[(&str, String)]) -> Result<Self, NotStarted> {
        let (program, arguments) = submission
            .command
            .split_first()
            .ok_or_else(|| NotStarted::Refused("there is no command".to_owned()))?;
        let stdout = append_to(&submission.directory.join("stdout"))?;
        let stderr = append_to(&submission.directory.join("stderr"))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(&submission.environment)
            .envs(added.iter().map(|(name, value)| (name, value)))
            .current_dir(&submission.working_directory)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        let child = command.spawn().map_err(|error| {
            let directory = submission.working_directory.display();
            let text = format!("{program} can't be started in {directory}: {error}");
            NotStarted::by(&error, text)
        })?;
        // Dropping a `Child` neither ends it nor waits for it: from here on the pidfd does both.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a child's process id is positive");
        Ok(Self {
            pid,
            // A child that was not waited for can be opened, unless no descriptor is free.
            start_ticks: proc_fs::look_at(pid.as_raw_pid()).map_or(0, |it| it.start_ticks),
            leads: true,
            pidfd: pidfd_open(pid, PidfdFlags::empty()).ok(),
            copy: None,
        })
    }

    /// As [`adopt`](Self::adopt), after the end of whoever had started it: `None`, too, if it stood by and
    /// ends without having begun.
    pub fn inherit(pid: i32, start_ticks: u64) -> Option<Self> {
        let process = ProcessId {
            pid: pid.try_into().ok()?,
            start_ticks,
        };
        match fork_server::has_begun(process, SETTLED) {
            true => Self::adopt(pid, start_ticks),
            false => None,
        }
    }

    /// A copy that stands by: a child of the fork server's. `None` if it is gone, or no descriptor is free.
    pub fn of_copy(process: ProcessId) -> Option<Self> {
        let leader = Self::adopt(i32::try_from(process.pid).ok()?, process.start_ticks)?;
        Some(Self {
            copy: Some(Reported::default()),
            ..leader
        })
    }

    /// Whether the fork server will report its end.
    pub fn is_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// The fork server has reported its end.
    pub fn has_ended(&mut self, cause: Cause, group_lives: bool) {
        if let Some(copy) = &mut self.copy {
            copy.end = Some((cause, group_lives));
        }
    }

    /// Whether the fork server has reported its end.
    pub fn is_reported(&self) -> bool {
        self.copy.as_ref().is_some_and(|copy| copy.end.is_some())
    }

    /// The fork server is gone, and nobody will report its end.
    pub fn orphan(&mut self) {
        self.copy.take_if(|copy| copy.end.is_none());
    }

    /// The process `pid` if it is still the one that started at `start_ticks`.
    pub fn adopt(pid: i32, start_ticks: u64) -> Option<Self> {
        // Check this after opening the pidfd: from then on it is this process or none.
        Pid::from_raw(pid)
            .and_then(Self::open)
            .filter(|leader| leader.start_ticks == start_ticks)
    }

    fn open(pid: Pid) -> Option<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let process = proc_fs::look_at(pid.as_raw_pid())?;
        Some(Self {
            pid,
            start_ticks: process.start_ticks,
            leads: process.group == process.pid,
            pidfd: Some(pidfd),
            copy: None,
        })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// When it started; 0 if that could not be found out.
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// The descriptor that becomes readable once it is dead; `None` while no descriptor is free for
    /// it.
    pub fn watchable(&mut self) -> Option<&OwnedFd> {
        if self.pidfd.is_none() {
            self.pidfd = pidfd_open(self.pid, PidfdFlags::empty()).ok();
        }
        self.pidfd.as_ref()
    }

    pub fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_ref()
    }

    /// Sends `signal` to the leader only. It is not an error if the leader is gone.
    pub fn signal(&self, signal: Signal) {
        match &self.pidfd {
            Some(pidfd) => pidfd_send_signal(pidfd, signal).ok(),
            None => kill_process(self.pid, signal).ok(),
        };
    }

    /// Sends `signal` to the whole group. We have not waited for the leader, so the number can't
    /// belong to another group. The fork server waits for a copy as soon as it is dead.
    pub fn signal_group(&self, signal: Signal) {
        if self.is_copy() && self.is_dead() {
            return;
        }
        if self.leads {
            kill_process_group(self.pid, signal).ok();
        } else {
            self.signal(signal);
        }
    }

    /// Returns whether it is dead. This works for other processes than its parent, too.
    fn is_dead(&self) -> bool {
        let Some(pidfd) = &self.pidfd else {
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            return !matches!(waitid(self.id(), look), Ok(None));
        };
        let mut pidfd = [PollFd::new(pidfd, PollFlags::IN)];
        poll(&mut pidfd, Some(&Timespec::default())).is_ok_and(|count| count == 1)
    }

    fn id(&self) -> WaitId<'_> {
        match &self.pidfd {
            Some(pidfd) => WaitId::PidFd(pidfd.as_fd()),
            None => WaitId::Pid(self.pid),
        }
    }

    /// Waits for the leader if it is dead. Returns the cause and whether its group still lives; `None`
    /// if the leader is alive.
    pub fn see_out(&self, ours: bool) -> Option<(Cause, bool)> {
        if let Some(copy) = &self.copy {
            return copy.end;
        }
        if !self.is_dead() {
            return None;
        }
        if ours {
            // Until we wait for the dead leader, the number of the group stays its own.
            self.signal_group(Signal::KILL);
        }
        let cause = match waitid(self.id(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(None) => return None,
            Ok(Some(status)) => status
                .exit_status()
                .map(Cause::Exited)
                .or_else(|| status.terminating_signal().map(Cause::Signaled))
                .unwrap_or(Cause::Unknown),
            // It was not our child, so only its parent knows the cause.
            Err(_) => Cause::Unknown,
        };
        Some((cause, test_kill_process_group(self.pid).is_ok()))
    }
}

impl NotStarted {
    /// Sorts the system's error by whether another try can succeed.
    fn by(error: &io::Error, text: String) -> Self {
        use rustix::io::Errno;
        // Every other error may pass: no descriptor, process or memory is free, a disk is full, or
        // the program is being written.
        const FOR_GOOD: [Errno; 9] = [
            Errno::NOENT,
            Errno::ACCESS,
            Errno::PERM,
            Errno::NOTDIR,
            Errno::ISDIR,
            Errno::NOEXEC,
            Errno::TOOBIG,
            Errno::LOOP,
            Errno::NAMETOOLONG,
        ];
        let code = error.raw_os_error();
        let is_for_good =
            code.is_none_or(|code| FOR_GOOD.iter().any(|it| it.raw_os_error() == code));
        match is_for_good {
            true => Self::Refused(text),
            false => Self::Trouble(text),
        }
    }
}

/// A process that outlived its leader. It is killed, and watched until it is gone.
#[derive(Debug)]
pub(super) struct Leftover {
    pidfd: OwnedFd,
}

impl Leftover {
    /// Kills `process`; `None` if it is gone already.
    pub fn kill(process: &proc_fs::Process) -> Option<Self> {
        let leader = Leader::adopt(process.pid, process.start_ticks)?;
        leader.signal(Signal::KILL);
        let pidfd = leader.pidfd?;
        Some(Self { pidfd })
    }
}

impl AsFd for Leftover {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Checks that this kernel has the calls that this backend needs.
pub(super) fn supported() -> io::Result<()> {
    pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    Ok(())
}

pub(super) fn to_system(signal: crate::Signal) -> Signal {
    match signal {
        crate::Signal::Hup => Signal::HUP,
        crate::Signal::Int => Signal::INT,
        crate::Signal::Term => Signal::TERM,
        crate::Signal::Usr1 => Signal::USR1,
        crate::Signal::Usr2 => Signal::USR2,
    }
}

pub(super) fn append_to(path: &Path) -> Result<File, NotStarted> {
    files::open_own(path, files::new_file().append(true)).map_err(|error| {
        let text = format!("{} can't be written: {error}", path.display());
        NotStarted::by(&error, text)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_living_process_is_not_reaped_whoever_its_parent_is() {
        let parent = i32::try_from(std::os::unix::process::parent_id()).expect("it is a number");
        let start = proc_fs::look_at(parent).expect("it lives").start_ticks;
        let stranger = Leader::adopt(parent, start).expect("it lives");
        assert_eq!(stranger.see_out(false), None);

        let mut child = Command::new("/bin/cat")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let leader = Leader::open(Pid::from_child(&child)).expect("it lives");
        assert_eq!(leader.see_out(true), None);
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let echoed = input.zip(output).and_then(|(mut input, mut output)| {
            input.write_all(b"!").ok()?;
            output.read_exact(&mut [0]).ok()
        });
        assert_eq!(echoed, Some(()), "it was killed");
        child.wait().expect("its input has ended");
    }
}
