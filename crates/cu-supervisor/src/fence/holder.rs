//! The record of who runs a job's program, and what is done with a program whose supervisor is dead.

use std::path::{Path, PathBuf};
use std::time::Instant;

use cu_protocol::{Attempt, JobId, StopCause};
use cu_run_dir::{StopPolicy, json_file};
use cu_system::files;
use cu_system::machine::Place;
use cu_system::process::{ProcessId, lock_holders, ticks_since_boot};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::members::{Members, Traces, descendants, left_behind};
use crate::program::signal_process;
use crate::stop::{Push, Stop};
use crate::{Result, RunDir};

/// No record is longer.
pub(super) const LONGEST: u64 = 1024 * 1024;
/// How many descendants a record names.
const MOST_SEEN: usize = 1024;

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
    /// Those of the supervisor's descendants that it saw last; after its end, those that it could not
    /// kill.
    #[serde(default)]
    pub seen: Vec<ProcessId>,
    /// When it saw them, and the program had not ended: in clock ticks since the boot.
    #[serde(default)]
    pub seen_at: u64,
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
            seen: Vec::new(),
            seen_at: 0,
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
        let written = json_file::write_quickly(path, self).or_else(|error| {
            // Over a quota no file can be made, but there is room for what is there; and a record that
            // is not renewed counts as dead. Who finds it half-written waits.
            json_file::overwrite(path, self).map_err(|_| error)
        });
        Ok(written?)
    }

    /// Takes down who descends from this process now.
    pub fn look_around(&mut self) {
        let Some(program) = self.program else { return };
        // As long as it was not waited for, its number is its own.
        if ProcessId::of(program.pid) == Some(program) {
            self.seen_at = ticks_since_boot();
        }
        self.seen = descendants();
        self.seen.truncate(MOST_SEEN);
    }

    /// Removes the record, if it is this one's. `is_sole`: nobody else can have written there, so that
    /// a damaged one is this one's, too.
    pub fn remove(&self, path: &Path, is_sole: bool) {
        let Ok(Some(record)) = json_file::content(path, LONGEST) else {
            return;
        };
        let is_mine = match Self::parse(&record) {
            Some(found) => found.place == self.place && found.supervisor == self.supervisor,
            None => is_sole,
        };
        if is_mine {
            // If it stays, the next attempt finds the lock free, or waits until it is stale.
            let _ = std::fs::remove_file(path);
        }
    }

    /// What is left of the attempt, its supervisor being dead. Only valid where process numbers are
    /// shared.
    pub fn left_behind(&self, run: &RunDir, job: JobId) -> Members {
        let traces = Traces {
            supervisor: self.supervisor,
            program: self.program,
            seen: &self.seen,
            seen_at: self.seen_at,
        };
        left_behind(run, job, Some(&traces))
    }

    /// For people. `follows` is what is known of it besides.
    pub fn describe(&self, job: JobId, follows: &str) -> String {
        format!(
            "attempt {} of job {job} may still be running on {} (supervisor process {}){follows}",
            self.attempt, self.place.host, self.supervisor.pid
        )
    }
}

/// Stops a program that outlived its supervisor.
#[derive(Debug)]
pub(super) struct Orphans {
    stop: Stop,
    signal: Signal,
    /// The last push was SIGKILL, which whoever was started meanwhile gets, too.
    is_killing: bool,
}

impl Orphans {
    pub fn new(policy: &StopPolicy) -> Self {
        Self {
            stop: Stop::new(policy.grace),
            signal: crate::signals::stop_signal(policy.signal),
            is_killing: false,
        }
    }

    /// Does the push that is due to all `members` that belong for certain, and to those who hold the
    /// job's lock. Only valid where process numbers are shared.
    pub fn stop(
        &mut self,
        run: &RunDir,
        (job, attempt): (JobId, Attempt),
        members: &Members,
        now: Instant,
    ) {
        self.stop.wish(StopCause::Operator, now);
        let again = self.is_killing.then_some(Push::Kill);
        let Some(push) = self.stop.due(now).or(again) else {
            return;
        };
        self.is_killing = push == Push::Kill;
        let signal = match push {
            Push::Ask => {
                // For a program that looks for nothing else. Signals follow anyhow.
                let _ = files::touch(&run.stop_file(job, attempt));
                self.signal
            }
            Push::Terminate => Signal::TERM,
            Push::Kill => Signal::KILL,
        };
        let mut survivors = lock_holders(&run.attempt_lock(job));
        survivors.extend(&members.certain);
        // The stop signal once only: two would be two wishes to some programs.
        survivors.sort_unstable();
        survivors.dedup();
        survivors.retain(|pid| *pid != std::process::id());
        for pid in survivors {
            signal_process(pid, signal);
        }
    }
}
