//! The record of who runs a job's program, and what is done with a program whose supervisor is dead.

use std::path::{Path, PathBuf};
use std::time::Instant;

use cu_protocol::{Attempt, JobId, StopCause};
use cu_system::machine::Place;
use cu_system::process::{ProcessId, Stat, all_processes, has_in_environment, lock_holders};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::MOST_BYTES;
use crate::program::signal_process;
use crate::stop::{Push, Stop, make_stop_file};
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
    /// The directory of its door, once the program runs. Left behind by a supervisor that was killed
    /// with SIGKILL.
    #[serde(default)]
    pub door: Option<PathBuf>,
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
            door: None,
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
        json_file::write_quickly(path, self).or_else(|error| {
            // Over a quota no file can be made, but there is room for what is there; and a record that
            // is not renewed counts as dead. Who finds it half-written waits.
            json_file::overwrite(path, self).map_err(|_| error)
        })
    }

    /// Removes the record, if it is this one's.
    pub fn remove(&self, path: &Path) {
        let found = json_file::content(path, MOST_BYTES).ok().flatten();
        let found = found.and_then(|it| Self::parse(&it));
        let is_mine = found
            .is_some_and(|found| found.place == self.place && found.supervisor == self.supervisor);
        if is_mine {
            // If it stays, the next attempt finds the lock free, or waits until it is stale.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Whether its supervisor lives, or anything that is left of its program. Only valid where
    /// process numbers are shared.
    pub fn has_living_process(&self, run: &RunDir, job: JobId) -> bool {
        self.supervisor.is_alive() || !self.members(run, job).is_empty()
    }

    /// The living processes of the program's group. The group's number may have been given to
    /// another one later: so either its first process is the one of the record, or a member names
    /// this attempt in its environment.
    fn members(&self, run: &RunDir, job: JobId) -> Vec<u32> {
        let Some(program) = self.program else {
            return Vec::new();
        };
        let is_member = |pid: &u32| {
            Stat::of(*pid).is_some_and(|stat| stat.group == program.pid && !stat.has_ended)
        };
        let mut members: Vec<u32> = all_processes().filter(is_member).collect();
        if !program.is_alive() {
            let marks = [
                format!("CU_OUTPUT_DIR={}", run.output_dir(job).display()),
                format!("CU_ATTEMPT={}", self.attempt),
            ];
            members.retain(|pid| has_in_environment(*pid, &marks));
        }
        members
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

    /// The next push that is due, if the holder's supervisor is dead. Only valid where process numbers
    /// are shared.
    pub fn stop_if_abandoned(&mut self, run: &RunDir, job: JobId, holder: &Holder, now: Instant) {
        if holder.supervisor.is_alive() {
            return;
        }
        self.stop.wish(StopCause::Operator, now);
        let Some(push) = self.stop.due(now) else {
            return;
        };
        let signal = match push {
            Push::Ask => {
                // For a program that looks for nothing else. Signals follow anyhow.
                let _ = make_stop_file(&run.stop_file(job, holder.attempt));
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

/// All processes that hold the job's lock, and the members of the program's group.
fn survivors(run: &RunDir, job: JobId, holder: &Holder) -> Vec<u32> {
    let mut survivors = lock_holders(&run.attempt_lock(job));
    survivors.extend(holder.members(run, job));
    // The stop signal once only: two would be two wishes to some programs.
    survivors.sort_unstable();
    survivors.dedup();
    survivors.retain(|pid| *pid != std::process::id());
    survivors
}
