//! No second attempt in one output directory, and no second start of one attempt.
//!
//! Schedulers start things twice, and processes outlive what the scheduler believes. So before a
//! supervisor starts its program:
//!
//! 1. **Its attempt must be the newest.** The main process writes the newest attempt's number before
//!    it submits it; supervisors of older ones end at once, running ones stop their program.
//! 2. **It must hold the job's lock**, an `flock` on a file in `attempts/{id}`, where no program clears
//!    up. The program inherits the open file, so the lock outlives a supervisor that is killed with SIGKILL.
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
//! | its supervisor is dead, and something of its attempt lives on this host | asks that to stop as the job's policy says (signal, grace, SIGTERM, grace, SIGKILL), for nobody else will; waits as above |
//! | is dead, on this host | starts at once |
//! | left a damaged record, and all supervisors that have ever started an attempt of the job have recorded its end, or are dead, on this host | as if it had left none |
//! | is of a host or a container that can't be asked | waits until the record has not been renewed for [`FenceTimes::stale_after`] by the newcomer's own monotonic clock, then starts |
//!
//! `members.rs` says what "something of its attempt" is: a process that has left the program's process
//! group, or has closed the lock, still belongs. A process that the kernel hides is treated as in the last
//! line. A supervisor that could not kill all that its program left behind leaves its record, too.
//!
//! The last line is a guess, and wrong in two cases. A host that is cut off from the shared file
//! system for that long, and goes on computing, overlaps with its successor; its supervisor stops it
//! as soon as it sees the newer attempt's number. So nobody who has only guessed records the end of an
//! attempt that another supervisor has started. And where a supervisor alone was killed with
//! SIGKILL, on a host that does not share its locks, nobody renews the record of the program that
//! lives on: it overlaps with its successor on another host, and nobody stops it but the scheduler.

mod held;
mod holder;

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cu_protocol::{Attempt, JobId, Timestamp};
use cu_run_dir::{Holder, StartedFile, StopPolicy, read_newest_attempt};
use cu_system::causes::in_one_line;
use cu_system::files;
use cu_system::machine::Place;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

pub(crate) use self::held::{Held, Renewal};
use self::holder::{Orphans, describe, left_by};
use crate::members::left_behind;
use crate::{Error, Result, RunDir, doorway};

/// The longest wait before the holder is asked again, however long asking takes.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

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

/// May the program be started?
#[derive(Debug)]
pub(crate) enum Turn {
    /// Yes: the job is ours until this is dropped.
    Ours(Box<Held>),
    /// Not yet; ask again in a while. For this reason.
    Wait(String),
    /// Not yet, for this reason, and it will not be: another supervisor of this attempt has decided.
    /// Whether that one is over is asked again in a while.
    WaitForAnother(String),
    /// No, for this reason, and nobody has said so yet.
    Never(String),
    /// No: another supervisor of this attempt decides or has decided.
    DecidedByAnother {
        /// What it did, as far as is known.
        text: String,
        /// When it was decided, as far as is known.
        at: Option<Timestamp>,
        /// No process of it is left, for certain.
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
    /// How long asking took the last time.
    took: Duration,
}

/// Whether the way is free.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    Free,
    /// Probably: its holder has not been heard of for long.
    Deserted,
    /// This may be in it.
    Blocked(String),
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
            took: Duration::ZERO,
        }
    }

    /// How long to wait before asking again. Asking may mean to look at every process of the machine,
    /// and never takes more than a tenth of its time, unless a file system hangs.
    pub fn pause(&self, now: Instant) -> Duration {
        let waited = now.saturating_duration_since(self.since);
        let pause = (waited / 10).clamp(Duration::from_millis(5), Duration::from_secs(1));
        pause.max(self.took.saturating_mul(9).min(LONGEST_PAUSE))
    }

    /// How long from `now` on it waits at most.
    pub fn patience(&self, now: Instant) -> Duration {
        let waited = now.saturating_duration_since(self.since);
        self.times.wait.saturating_sub(waited)
    }

    /// Asks whether the program may be started. What can't be read or written now (a stale handle, a
    /// full disk, no descriptor left) is waited for as another attempt is; what is damaged is not.
    pub fn ask(&mut self, now: Instant) -> Turn {
        let begun = Instant::now();
        let turn = match self.look(now) {
            Ok(turn) => turn,
            // The number of the newest attempt, which is written as a whole and anew for the next.
            Err(error @ Error::RunDir(cu_run_dir::Error::Content { .. })) => {
                Turn::Never(in_one_line(&error))
            }
            Err(error) => self.wait_or_give_up(in_one_line(&error), now),
        };
        self.took = begun.elapsed();
        turn
    }

    fn look(&mut self, now: Instant) -> Result<Turn> {
        if let Some(reason) = self.forbidden()? {
            return Ok(Turn::Never(reason));
        }
        let lock = self.try_lock()?;
        let way = match self.former_way(now)? {
            Way::Free => {
                let record = self.run.attempt_holder(self.job);
                self.way(&record, matches!(lock, Lock::Others), now)?
            }
            way => way,
        };
        if self.is_decided() {
            let (text, at) = self.decided_by_another();
            if matches!(way, Way::Blocked(_)) && !self.has_waited_enough(now) {
                return Ok(Turn::WaitForAnother(text));
            }
            let is_over = way == Way::Free;
            return Ok(Turn::DecidedByAnother { text, at, is_over });
        }
        match way {
            Way::Blocked(reason) => Ok(self.wait_or_give_up(reason, now)),
            Way::Free | Way::Deserted => self.enter(),
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
        Ok(StartedFile::create(
            &run.started(job, attempt),
            &Place::here(),
        )?)
    }

    fn has_waited_enough(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.times.wait
    }

    fn try_lock(&mut self) -> Result<Lock> {
        let path = self.run.attempt_lock(self.job);
        // A lock on a file that was removed keeps nobody out.
        let file = match self.lock.take().filter(|file| is_still_at(&path, file)) {
            Some(file) => file,
            None => files::open(&path, files::new_file().write(true))
                .map_err(Error::file("open", &path))?,
        };
        let lock = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Lock::Ours,
            Err(Errno::WOULDBLOCK | Errno::INTR) => Lock::Others,
            Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL) => {
                return Ok(Lock::Unsupported);
            }
            Err(error) => return Err(Error::file("lock", &path)(error.into())),
        };
        self.lock = Some(file);
        Ok(lock)
    }

    /// Finds whether an attempt that an earlier version of `cu` has started is in the way. Nobody writes its
    /// files any more but itself.
    fn former_way(&mut self, now: Instant) -> Result<Way> {
        let [lock, record] = self.run.former_lock_and_holder(self.job);
        let is_locked = match files::open(&lock, OpenOptions::new().write(true)) {
            // Closing it gives it back.
            Ok(file) => {
                flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
            }
            Err(_) => false,
        };
        if !is_locked && !record.exists() {
            return Ok(Way::Free);
        }
        let way = self.way(&record, is_locked, now)?;
        if way != Way::Free {
            return Ok(way);
        }
        // It is over, and its record would be asked each time.
        let _ = std::fs::remove_file(&record);
        Ok(Way::Free)
    }

    /// Finds what is in the way: the holder that has left the record at `path`, or who has its lock.
    fn way(&mut self, path: &Path, is_locked: bool, now: Instant) -> Result<Way> {
        let record = match Holder::read(path) {
            // What lies there is not a record: it is damaged.
            Err(cu_run_dir::Error::Content { reason, .. }) => Some(reason.into_bytes()),
            record => record?,
        };
        match record {
            None if is_locked => Ok(Way::Blocked(self.somebody("holds its lock"))),
            None => Ok(Way::Free),
            Some(record) => match Holder::parse(&record) {
                Some(holder) if self.here.shares_processes_with(&holder.place) => {
                    Ok(self.way_past(&holder, record, is_locked, now))
                }
                Some(holder) => {
                    let stale_after = self.times.stale_after.as_secs();
                    let described = describe(
                        &holder,
                        self.job,
                        &format!(
                            ", which can't be asked from here: it counts as dead once its record has \
                             stayed the same for {stale_after} s"
                        ),
                    );
                    Ok(self.way_past_a_stranger(record, described, is_locked, now))
                }
                None if !is_locked && self.are_all_over() => Ok(Way::Free),
                None => {
                    let described = self.somebody("has left a damaged record");
                    Ok(self.way_past_a_stranger(record, described, is_locked, now))
                }
            },
        }
    }

    fn somebody(&self, trace: &str) -> String {
        format!(
            "another attempt of job {} may still be running: it {trace}",
            self.job
        )
    }

    /// For a holder whose processes can be asked. A free lock alone proves nothing: programs close what
    /// they inherit.
    fn way_past(&mut self, holder: &Holder, record: Vec<u8>, is_locked: bool, now: Instant) -> Way {
        if holder.supervisor.is_alive() {
            return Way::Blocked(describe(holder, self.job, ""));
        }
        let members = left_by(holder, self.run, self.job);
        let names = (self.job, holder.attempt);
        self.orphans.stop(self.run, names, &members, now);
        let follows =
            ": its supervisor is dead, and what is left of it is asked to stop, then killed";
        let described = describe(holder, self.job, follows);
        if is_locked || !(members.certain.is_empty() && members.possible.is_empty()) {
            return Way::Blocked(described);
        }
        if !members.hidden.is_empty() {
            return self.way_past_a_stranger(record, described, is_locked, now);
        }
        if let Some(door) = &holder.door {
            doorway::clear_away(door);
        }
        Way::Free
    }

    /// For a holder that can't be asked.
    fn way_past_a_stranger(
        &mut self,
        record: Vec<u8>,
        described: String,
        is_locked: bool,
        now: Instant,
    ) -> Way {
        match is_locked || !self.is_stale(record, now) {
            true => Way::Blocked(described),
            false => Way::Deserted,
        }
    }

    /// Whether no attempt of the job can be running, whoever has left the record: each that was ever
    /// started has recorded its end, or its supervisor was here and is dead, and nothing of it is left.
    fn are_all_over(&self) -> bool {
        let is_over = |attempt: Attempt| {
            if self.run.exit_record(self.job, attempt).exists() {
                return true;
            }
            let started = self.run.started(self.job, attempt);
            match StartedFile::read(&started) {
                Ok(None) => true,
                Ok(Some(decision)) => {
                    let here = decision.place.as_ref();
                    here.is_some_and(|place| self.here.shares_processes_with(place))
                        && decision.process.is_some_and(|process| !process.is_alive())
                }
                Err(_) => false,
            }
        };
        let Ok(entries) = std::fs::read_dir(self.run.attempts(self.job)) else {
            return false;
        };
        let mut entries = entries.map(|entry| entry.map(|entry| entry.file_name()));
        entries.all(|name| match name {
            Ok(name) => match name.to_str().and_then(|name| name.parse().ok()) {
                Some(attempt) => is_over(attempt),
                None => true,
            },
            Err(_) => false,
        }) && left_behind(self.run, self.job, None).is_empty()
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
        let written = holder.write(&path).map_err(Error::from);
        let kept_out = match written.and_then(|()| self.decide_to_start()) {
            Ok(None) => {
                let names = (self.job, self.attempt);
                let lock = self.lock.take();
                let every = self.times.renew_every;
                let held = Held::new(self.run, names, lock, holder, every);
                return Ok(Turn::Ours(Box::new(held)));
            }
            Ok(Some(turn)) => Ok(turn),
            Err(error) => Err(error),
        };
        // It would keep everybody out as long as we wait here, ourselves too.
        holder.remove(&path, self.lock.is_some());
        kept_out
    }

    /// With our record in its place: `None` if the attempt is ours from now on.
    fn decide_to_start(&self) -> Result<Option<Turn>> {
        // Where locks are not seen by all, two may come this far. The number of the newest attempt
        // was written before its supervisor started, and our record before this line: so of two
        // attempts the older one sees the newer number here, or the newer one saw the older's record.
        if let Some(reason) = self.forbidden()? {
            return Ok(Some(Turn::Never(reason)));
        }
        if !StartedFile::create(&self.run.started(self.job, self.attempt), &self.here)? {
            return Ok(Some(Turn::WaitForAnother(self.decided_by_another().0)));
        }
        Ok(None)
    }

    fn is_decided(&self) -> bool {
        self.run.started(self.job, self.attempt).exists()
    }

    /// Why this attempt must not start its program, however long it waits.
    fn forbidden(&self) -> Result<Option<String>> {
        let (job, attempt) = (self.job, self.attempt);
        let not_started = |why: String| {
            Ok(Some(format!(
                "attempt {attempt} of job {job} was not started: {why}"
            )))
        };
        if let Some(newest) = newer_attempt(self.run, job, attempt)? {
            return not_started(format!("attempt {newest} is newer"));
        }
        let cancelled = self.run.cancelled(job, attempt);
        match cancelled.try_exists() {
            Ok(true) => not_started("it was cancelled before".to_owned()),
            Ok(false) => Ok(None),
            Err(error) => Err(Error::file("find", &cancelled)(error)),
        }
    }

    fn decided_by_another(&self) -> (String, Option<Timestamp>) {
        let path = self.run.started(self.job, self.attempt);
        let decision = StartedFile::read(&path);
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

/// Whether the open file is the one at `path`.
fn is_still_at(path: &Path, file: &File) -> bool {
    let identity = |found: &Metadata| (found.dev(), found.ino());
    let (open, there) = (file.metadata(), path.metadata());
    matches!((open, there), (Ok(open), Ok(there)) if identity(&open) == identity(&there))
}

/// The newest attempt, if it is newer than ours.
fn newer_attempt(run: &RunDir, job: JobId, attempt: Attempt) -> Result<Option<Attempt>> {
    Ok(read_newest_attempt(run, job)?.filter(|newest| *newest > attempt))
}

#[cfg(test)]
mod tests;
