//! The record of who runs a job's program, and what is done with a program whose supervisor is dead.

use std::path::Path;
use std::time::Instant;

use cu_protocol::{Attempt, JobId, StopCause};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::place::{Place, ProcessId, Stat, all_processes, lock_holders};
use crate::program::signal_process;
use crate::stop::{Push, Stop};
use crate::{Result, RunDir, StopPolicy, json_file};

/// `.cu-holder.json` in the output directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    version: u32,
    /// Of this attempt.
    pub attempt: Attempt,
    /// Here.
    pub place: Place,
    /// The supervisor.
    pub supervisor: ProcessId,
    /// The program, once it runs.
    pub program: Option<ProcessId>,
    /// Counts, so that a renewed record differs from the one before.
    pub renewals: u64,
}

impl Holder {
    const VERSION: u32 = 1;

    /// This process.
    pub fn new(attempt: Attempt, place: Place) -> Self {
        let pid = std::process::id();
        let supervisor = ProcessId::of(pid).unwrap_or(ProcessId {
            pid,
            start_ticks: 0,
        });
        Self {
            version: Self::VERSION,
            attempt,
            place,
            supervisor,
            program: None,
            renewals: 0,
        }
    }

    /// `None` if it is damaged or of another version: then it is watched without being understood.
    pub fn parse(record: &[u8]) -> Option<Self> {
        let holder: Self = serde_json::from_slice(record).ok()?;
        (holder.version == Self::VERSION).then_some(holder)
    }

    /// Replaces the record. It need not survive a power failure: neither does the holder.
    pub fn write(&self, path: &Path) -> Result<()> {
        json_file::write_quickly(path, self)
    }

    /// Removes the record, if it is this one's.
    pub fn remove(&self, path: &Path) {
        let found = std::fs::read(path).ok().and_then(|it| Self::parse(&it));
        let is_mine = found
            .is_some_and(|found| found.place == self.place && found.supervisor == self.supervisor);
        if is_mine {
            // If it stays, the next attempt finds the lock free, or waits until it is stale.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Whether its supervisor or its program lives. Only valid where process numbers are shared.
    pub fn has_living_process(&self) -> bool {
        self.supervisor.is_alive() || self.program.is_some_and(ProcessId::is_alive)
    }

    /// For people.
    pub fn describe(&self, job: JobId) -> String {
        format!(
            "attempt {} of job {job} may still be running on {} (supervisor process {})",
            self.attempt, self.place.host, self.supervisor.pid
        )
    }
}

/// Stops a program that outlived its supervisor.
#[derive(Debug)]
pub(super) struct Orphans {
    stop: Stop,
    signal: Signal,
}

impl Orphans {
    pub fn new(policy: &StopPolicy) -> Self {
        Self {
            stop: Stop::new(policy.grace),
            signal: crate::signals::stop_signal(&policy.signal).unwrap_or(Signal::TERM),
        }
    }

    /// The next push that is due, if the holder's supervisor is dead and was on this machine.
    pub fn stop_if_abandoned(
        &mut self,
        run: &RunDir,
        job: JobId,
        holder: &Holder,
        here: &Place,
        now: Instant,
    ) {
        if !here.shares_processes_with(&holder.place) || holder.supervisor.is_alive() {
            return;
        }
        self.stop.wish(StopCause::Operator, now);
        let Some(push) = self.stop.due(now) else {
            return;
        };
        let signal = match push {
            Push::Ask => {
                // For a program that looks for nothing else. Signals follow anyhow.
                let _ = std::fs::write(run.stop_file(job, holder.attempt), "");
                self.signal
            }
            Push::Terminate => Signal::TERM,
            Push::Kill => Signal::KILL,
        };
        for pid in survivors(run, job, holder) {
            signal_process(pid, signal);
        }
    }
}

/// All processes that hold the job's lock, and those of the program's group, if its first process
/// is verifiably the one of the record.
fn survivors(run: &RunDir, job: JobId, holder: &Holder) -> Vec<u32> {
    let mut survivors = lock_holders(&run.attempt_lock(job));
    if let Some(program) = holder.program.filter(|program| program.is_alive()) {
        let is_member = |pid: &u32| Stat::of(*pid).is_some_and(|stat| stat.group == program.pid);
        survivors.extend(all_processes().filter(is_member));
    }
    // The stop signal once only: two would be two wishes to some programs.
    survivors.sort_unstable();
    survivors.dedup();
    survivors.retain(|pid| *pid != std::process::id());
    survivors
}
