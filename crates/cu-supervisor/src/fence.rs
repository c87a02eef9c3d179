//! No second attempt in one output directory, and no second start of one attempt.
//!
//! Schedulers start things twice, and processes outlive what the scheduler believes. So before a
//! supervisor starts its program:
//!
//! 1. **Its attempt must be the newest.** The main process writes the newest attempt's number before
//!    it submits it; supervisors of older ones end at once, running ones stop their program.
//! 2. **It must hold the job's lock**, an `flock` on a file in the output directory. The program
//!    inherits the open file, so the lock outlives a supervisor that is killed with SIGKILL.
//! 3. **Nobody else's record may be alive.** A program may close what it inherits (`sudo`, daemons,
//!    launchers), and hosts may not see each other's locks (NFS, Lustre). So the holder also keeps a
//!    record there: host, boot, processes, attempt, renewed while it lives. A free lock does not
//!    make it void.
//! 4. **It must decide the attempt's fate**: `started.json`, created exclusively, at most once.
//!
//! What happens when somebody else is there:
//!
//! | the holder | what the newcomer does |
//! | --- | --- |
//! | lives, on any host | waits [`FenceTimes::wait`], then ends without having started anything |
//! | its supervisor is dead, its program lives on this host | asks that program to stop as the job's policy says (signal, grace, SIGTERM, grace, SIGKILL), for nobody else will; waits as above |
//! | is dead, on this host | starts at once |
//! | is of a host or a container that can't be asked | waits until the record has not been renewed for [`FenceTimes::stale_after`] by the newcomer's own monotonic clock, then starts |
//!
//! The last line is a guess, and wrong in two cases. A host that is cut off from the shared file
//! system for that long, and goes on computing, overlaps with its successor; its supervisor stops it
//! as soon as it sees the newer attempt's number. And where a supervisor alone was killed with
//! SIGKILL, on a host that does not share its locks, nobody renews the record of the program that
//! lives on: it overlaps with its successor on another host, and nobody stops it but the scheduler.

mod holder;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use cu_protocol::{Attempt, JobId, Timestamp};
use cu_system::files;
use cu_system::machine::Place;
use cu_system::process::ProcessId;
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use serde::{Deserialize, Serialize};

use self::holder::{Holder, Orphans};
use crate::{Error, Result, RunDir, StopPolicy, door, json_file};

/// The lock's descriptor in the program has at least this number, out of the way of scripts that
/// use small ones (`exec 3>file`). Not 64 or more: then the kernel enlarges the table of descriptors,
/// which takes a process with threads some milliseconds.
const INHERITED_DESCRIPTOR: i32 = 50;

/// The longest that a record or a number can be.
const MOST_BYTES: u64 = 1 << 20;

/// How long things take here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FenceTimes {
    /// How long to wait for another attempt's end.
    pub wait: Duration,
    /// How long the record of an unreachable holder must stay as it is until it counts as dead.
    pub stale_after: Duration,
    /// How often the holder renews its record.
    pub renew_every: Duration,
}

impl Default for FenceTimes {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(15 * 60),
            stale_after: Duration::from_secs(5 * 60),
            renew_every: Duration::from_secs(30),
        }
    }
}

/// `started.json`: whoever created it decided what becomes of the attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decision {
    version: u32,
    /// The host of the supervisor that decided.
    pub host: String,
    /// That supervisor's process id.
    pub supervisor: u32,
    /// When.
    pub at: Timestamp,
}

impl Decision {
    const VERSION: u32 = 1;
}

/// May the program be started?
#[derive(Debug)]
pub(crate) enum Turn {
    /// Yes: the job is ours until this is dropped.
    Ours(Held),
    /// Not yet; ask again in a while. For this reason.
    Wait(String),
    /// No, for this reason, and nobody has said so yet.
    Never(String),
    /// No: another supervisor of this attempt decides or has decided.
    DecidedByAnother {
        /// What it did, as far as is known.
        text: String,
        /// When it was decided, as far as is known.
        at: Option<Timestamp>,
        /// No process of it is left.
        is_over: bool,
    },
}

/// A supervisor at the fence.
#[derive(Debug)]
pub(crate) struct Fence<'a> {
    run: &'a RunDir,
    job: JobId,
    attempt: Attempt,
    times: FenceTimes,
    here: Place,
    since: Instant,
    lock: Option<File>,
    /// The record of a holder that can't be asked, and since when it is as it is.
    watched: Option<(Vec<u8>, Instant)>,
    orphans: Orphans,
}

/// The lock on a job.
#[derive(Debug)]
enum Lock {
    Ours,
    /// Some living process on a host whose locks we see has it.
    Others,
    /// This file system has no locks.
    Unsupported,
}

impl<'a> Fence<'a> {
    /// Arrives there now.
    pub fn new(
        run: &'a RunDir,
        (job, attempt): (JobId, Attempt),
        stop: &StopPolicy,
        times: FenceTimes,
        now: Instant,
    ) -> Self {
        Self {
            run,
            job,
            attempt,
            // An orphaned program must have its time to stop.
            times: FenceTimes {
                wait: times.wait.max(stop.grace.saturating_mul(3)),
                ..times
            },
            here: Place::here(),
            since: now,
            lock: None,
            watched: None,
            orphans: Orphans::new(stop),
        }
    }

    /// How long to wait before asking again.
    pub fn pause(&self, now: Instant) -> Duration {
        let waited = now.saturating_duration_since(self.since);
        (waited / 10).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }

    /// Asks whether the program may be started. What can't be read or written now (a stale handle, a
    /// full disk, no descriptor left) is waited for as another attempt is; what is damaged is not.
    pub fn ask(&mut self, now: Instant) -> Turn {
        match self.look(now) {
            Ok(turn) => turn,
            // The number of the newest attempt, which is written as a whole and anew for the next.
            Err(error @ Error::Content { .. }) => Turn::Never(error.to_string()),
            Err(error) => self.wait_or_give_up(error.to_string(), now),
        }
    }

    fn look(&mut self, now: Instant) -> Result<Turn> {
        if let Some(newest) = newer_attempt(self.run, self.job, self.attempt)? {
            return Ok(Turn::Never(self.superseded(newest)));
        }
        let lock = self.try_lock()?;
        let obstacle = self.obstacle(&lock, now)?;
        if self.is_decided() {
            let (text, at) = self.decided_by_another();
            let is_over = obstacle.is_none();
            if is_over || self.has_waited_enough(now) {
                return Ok(Turn::DecidedByAnother { text, at, is_over });
            }
            return Ok(Turn::Wait(text));
        }
        match obstacle {
            Some(reason) => Ok(self.wait_or_give_up(reason, now)),
            None => self.enter(),
        }
    }

    fn wait_or_give_up(&self, reason: String, now: Instant) -> Turn {
        if !self.has_waited_enough(now) {
            return Turn::Wait(reason);
        }
        let waited = self.times.wait.as_secs();
        Turn::Never(format!(
            "{reason}; that did not change within {waited} s, and nothing was started"
        ))
    }

    /// Decides that this attempt is not started. `false` if another supervisor decided before.
    pub fn decide_against(run: &RunDir, job: JobId, attempt: Attempt) -> Result<bool> {
        decide(&run.started(job, attempt), &Place::here())
    }

    fn has_waited_enough(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.times.wait
    }

    fn try_lock(&mut self) -> Result<Lock> {
        let path = self.run.attempt_lock(self.job);
        let file = match self.lock.take() {
            Some(file) => file,
            None => files::open(&path, OpenOptions::new().write(true).create(true))
                .map_err(Error::file("open", &path))?,
        };
        let lock = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Lock::Ours,
            Err(Errno::WOULDBLOCK | Errno::INTR) => Lock::Others,
            Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL) => Lock::Unsupported,
            Err(error) => return Err(Error::file("lock", &path)(error.into())),
        };
        self.lock = Some(file);
        Ok(lock)
    }

    /// Who is in the way, if anybody.
    fn obstacle(&mut self, lock: &Lock, now: Instant) -> Result<Option<String>> {
        let path = self.run.attempt_holder(self.job);
        let record = match json_file::content(&path, MOST_BYTES) {
            // A damaged one, all the same.
            Err(Error::Content { reason, .. }) => Some(reason.into_bytes()),
            record => record?,
        };
        let holder = record.as_deref().and_then(Holder::parse);
        let described = match &holder {
            Some(holder) => holder.describe(self.job),
            None => format!("another attempt of job {} may still be running", self.job),
        };
        let obstacle = Some(described);
        match (lock, record, holder) {
            (Lock::Ours | Lock::Unsupported, None, _) => Ok(None),
            (_, _, Some(holder)) if self.here.shares_processes_with(&holder.place) => {
                self.orphans
                    .stop_if_abandoned(self.run, self.job, &holder, now);
                // A free lock alone tells nothing: programs close what they inherit.
                let is_locked = matches!(lock, Lock::Others);
                let lives = is_locked || holder.has_living_process(self.run, self.job);
                if let (false, Some(door)) = (lives, &holder.door) {
                    door::clear_away(door);
                }
                Ok(obstacle.filter(|_| lives))
            }
            (Lock::Others, _, _) => Ok(obstacle),
            (_, Some(record), _) => Ok(obstacle.filter(|_| !self.is_stale(record, now))),
        }
    }

    /// Whether the record has not been renewed for long, as seen from here: no two clocks are
    /// compared.
    fn is_stale(&mut self, record: Vec<u8>, now: Instant) -> bool {
        match &self.watched {
            Some((seen, since)) if *seen == record => {
                now.saturating_duration_since(*since) >= self.times.stale_after
            }
            _ => {
                self.watched = Some((record, now));
                false
            }
        }
    }

    fn enter(&mut self) -> Result<Turn> {
        let path = self.run.attempt_holder(self.job);
        let holder = Holder::new(self.attempt, self.here.clone());
        let kept_out = match holder.write(&path).and_then(|()| self.decide_to_start()) {
            Ok(None) => {
                return Ok(Turn::Ours(Held {
                    run: self.run.clone(),
                    job: self.job,
                    attempt: self.attempt,
                    lock: self.lock.take(),
                    holder,
                    renew_every: self.times.renew_every,
                    next_renewal: Instant::now() + self.times.renew_every,
                }));
            }
            Ok(Some(turn)) => Ok(turn),
            Err(error) => Err(error),
        };
        // It would keep everybody out as long as we wait here, ourselves too.
        holder.remove(&path);
        kept_out
    }

    /// With our record in its place: `None` if the attempt is ours from now on.
    fn decide_to_start(&self) -> Result<Option<Turn>> {
        // Where locks are not seen by all, two may come this far. The number of the newest attempt
        // was written before its supervisor started, and our record before this line: so of two
        // attempts the older one sees the newer number here, or the newer one saw the older's record.
        if let Some(newest) = newer_attempt(self.run, self.job, self.attempt)? {
            return Ok(Some(Turn::Never(self.superseded(newest))));
        }
        if !decide(&self.run.started(self.job, self.attempt), &self.here)? {
            return Ok(Some(Turn::Wait(self.decided_by_another().0)));
        }
        Ok(None)
    }

    fn is_decided(&self) -> bool {
        self.run.started(self.job, self.attempt).exists()
    }

    fn superseded(&self, newest: Attempt) -> String {
        let (job, attempt) = (self.job, self.attempt);
        format!("attempt {attempt} of job {job} was not started: attempt {newest} is newer")
    }

    fn decided_by_another(&self) -> (String, Option<Timestamp>) {
        let path = self.run.started(self.job, self.attempt);
        let decision = json_file::read::<Decision>(&path, Decision::VERSION);
        let decision = decision.ok().flatten();
        let by = decision.as_ref().map_or_else(
            || "another supervisor".to_owned(),
            |decision| format!("process {} on {}", decision.supervisor, decision.host),
        );
        let text = format!(
            "attempt {} of job {} was taken up before, by {by}, and an attempt is started only once",
            self.attempt, self.job
        );
        (text, decision.map(|decision| decision.at))
    }
}

/// The job is ours. Dropped, it is free for the next.
#[derive(Debug)]
pub(crate) struct Held {
    run: RunDir,
    job: JobId,
    attempt: Attempt,
    lock: Option<File>,
    holder: Holder,
    renew_every: Duration,
    next_renewal: Instant,
}

impl Held {
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
        self.holder.door = Some(door.to_owned());
        self.write_record();
    }

    /// Renews the record if that is due. Says whether there is a newer attempt, which means that we
    /// are believed dead.
    pub fn renew_if_due(&mut self, now: Instant) -> bool {
        if now < self.next_renewal {
            return false;
        }
        self.next_renewal = now + self.renew_every;
        self.write_record();
        // If it can't be read now, it may be in a while.
        matches!(
            newer_attempt(&self.run, self.job, self.attempt),
            Ok(Some(_))
        )
    }

    /// When the record is to be renewed.
    pub fn next_deadline(&self) -> Instant {
        self.next_renewal
    }

    fn write_record(&mut self) {
        self.holder.renewals += 1;
        // A full disk does not end the program; the lock and the next renewal remain.
        if let Err(error) = self.holder.write(&self.run.attempt_holder(self.job)) {
            crate::tell(&error.to_string());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The program lives on. Its record stays for whoever comes next.
            return;
        }
        self.holder.remove(&self.run.attempt_holder(self.job));
    }
}

/// The newest attempt, if it is newer than ours.
fn newer_attempt(run: &RunDir, job: JobId, attempt: Attempt) -> Result<Option<Attempt>> {
    Ok(newest_attempt(run, job)?.filter(|newest| *newest > attempt))
}

/// What the main process wrote before it submitted the newest attempt.
pub(crate) fn newest_attempt(run: &RunDir, job: JobId) -> Result<Option<Attempt>> {
    let path = run.newest_attempt(job);
    let text = json_file::content(&path, MOST_BYTES)?;
    let number = text.map(|text| String::from_utf8_lossy(&text).trim().parse());
    number
        .transpose()
        .map_err(|error| Error::content(&path, error))
}

/// Creates the file that decides; `false` if it is there.
fn decide(path: &Path, here: &Place) -> Result<bool> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
        file => file.map_err(Error::file("create", path))?,
    };
    let decision = Decision {
        version: Decision::VERSION,
        host: here.host.clone(),
        supervisor: std::process::id(),
        at: std::time::SystemTime::now().into(),
    };
    // That it exists decides. What it holds is for people.
    let text = serde_json::to_vec(&decision).map_err(|error| Error::content(path, error))?;
    let _ = file.write_all(&text);
    Ok(true)
}

#[cfg(test)]
mod tests;
