//! A job that is ours: its lock is handed on to the program, its record is kept up to date.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use cu_protocol::{Attempt, JobId};
use cu_run_dir::Holder;
use cu_system::causes::in_one_line;
use cu_system::process::ProcessId;
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use super::holder::look_around;
use super::newer_attempt;
use crate::{Error, Result, RunDir};

/// The lock's descriptor in the program has at least this number, out of the way of scripts that
/// use small ones (`exec 3>file`). Not 64 or more: then the kernel enlarges the table of descriptors,
/// which takes a process with threads some milliseconds.
const INHERITED_DESCRIPTOR: i32 = 50;

/// The wait before the record is renewed for the first time. Then it is doubled, up to
/// `FenceTimes::renew_every`: most of what a program starts it starts at its beginning.
const FIRST_RENEWAL: Duration = Duration::from_secs(1);

/// The job is ours. Dropped, it is free for the next.
#[derive(Debug)]
pub(crate) struct Held {
    run: RunDir,
    job: JobId,
    attempt: Attempt,
    /// `None` where the file system has no locks.
    lock: Option<File>,
    holder: Holder,
    renew_every: Duration,
    /// Before the next renewal but one.
    pause: Duration,
    next_renewal: Instant,
    /// What could not be killed.
    left: Vec<ProcessId>,
}

impl Held {
    /// From now on.
    pub(super) fn new(
        run: &RunDir,
        (job, attempt): (JobId, Attempt),
        lock: Option<File>,
        holder: Holder,
        renew_every: Duration,
    ) -> Self {
        Self {
            run: run.clone(),
            job,
            attempt,
            lock,
            holder,
            renew_every,
            pause: FIRST_RENEWAL,
            next_renewal: Instant::now() + FIRST_RENEWAL,
            left: Vec::new(),
        }
    }

    /// The lock for the program to inherit: close this one once the program runs.
    pub fn for_program(&self) -> Result<Option<OwnedFd>> {
        let Some(lock) = &self.lock else {
            return Ok(None);
        };
        let path = self.run.attempt_lock(self.job);
        let failed = |error: Errno| Error::file("hand on", &path)(error.into());
        let copy = fcntl_dupfd_cloexec(lock, INHERITED_DESCRIPTOR)
            // Descriptors may be limited to less.
            .or_else(|_| fcntl_dupfd_cloexec(lock, 0))
            .map_err(failed)?;
        fcntl_setfd(&copy, FdFlags::empty()).map_err(failed)?;
        Ok(Some(copy))
    }

    /// The program runs: the record names it, so that a successor can stop it if we are killed, and
    /// can clear away our door.
    pub fn program_started(&mut self, pid: u32, door: &Path) {
        self.holder.program = ProcessId::of(pid);
        // A path that JSON can't hold is left out: the record matters more than what it would remove.
        self.holder.door = door.to_str().map(|_| door.to_owned());
        self.write_record();
    }

    /// Renews the record if that is due.
    pub fn renew_if_due(&mut self, now: Instant) -> Option<Renewal> {
        if now < self.next_renewal {
            return None;
        }
        self.pause = self.pause.saturating_mul(2).min(self.renew_every);
        self.next_renewal = now + self.pause;
        look_around(&mut self.holder);
        self.write_record();
        // If it can't be read now, it may be in a while.
        match newer_attempt(&self.run, self.job, self.attempt) {
            Ok(Some(_)) => Some(Renewal::Superseded),
            _ => Some(Renewal::Done),
        }
    }

    /// The attempt ends, and these processes of it could not be killed: the record stays for as long as
    /// they live.
    pub fn leave_to(&mut self, left: Vec<ProcessId>) {
        self.left = left;
    }

    /// When the record is to be renewed.
    pub fn next_deadline(&self) -> Instant {
        self.next_renewal
    }

    fn write_record(&mut self) {
        self.holder.renewals += 1;
        // A full disk does not end the program; the lock and the next renewal remain.
        if let Err(error) = self.holder.write(&self.run.attempt_holder(self.job)) {
            crate::tell(&in_one_line(&error));
        }
    }
}

impl Held {
    /// Makes the job free for the next. Returns whether nothing says any more that this process has it.
    pub fn release(self) -> bool {
        let path = self.run.attempt_holder(self.job);
        drop(self);
        matches!(path.try_exists(), Ok(false))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The program lives on. Its record stays for whoever comes next.
            return;
        }
        self.left.retain(|process| process.is_alive());
        if !self.left.is_empty() {
            self.holder.seen = std::mem::take(&mut self.left);
            self.write_record();
            return;
        }
        let path = self.run.attempt_holder(self.job);
        self.holder.remove(&path, self.lock.is_some());
    }
}

/// The record was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// And that is all.
    Done,
    /// There is a newer attempt, which means that we are believed dead.
    Superseded,
}
