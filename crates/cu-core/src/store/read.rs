//! Reads a run at any time, beside its main process, after it, or from a copy.

use std::cell::RefCell;

use cu_protocol::{JobId, OperatorRequest, RunId, Selection, Timestamp};
use cu_run_dir::{Change, Update};
use rusqlite::{Connection, OptionalExtension, Row};

use super::sums::to_come;
use super::update::merged;
use super::values::{fact, parse};
use super::{open, recover, sums};
use crate::lock;
use crate::machine::{Event, Job, Machine, order, selection};
use crate::{Counts, Error, JobPlan, MainProcessSeen, Policy, Result, RunDir, RunState, Status};

/// A recorded event.
#[cfg(feature = "unstable")]
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// When it was recorded.
    pub at: Timestamp,
    /// The job.
    pub job: JobId,
    /// The event.
    pub event: Event,
}

/// Reads a run.
#[derive(Debug)]
pub struct Reader {
    /// Opened again if a main process was killed meanwhile.
    connection: RefCell<Connection>,
    run_dir: RunDir,
}

impl Reader {
    /// Opens the run in `run_dir` for reading.
    ///
    /// # Errors
    /// [`Error::NoRun`], [`Error::NewerVersion`], [`Error::Damaged`], [`Error::Read`].
    pub fn open(run_dir: &RunDir) -> Result<Self> {
        Ok(Self {
            connection: RefCell::new(recover::readable(run_dir)?),
            run_dir: run_dir.clone(),
        })
    }

    /// The run as a whole.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn status(&self) -> Result<Status> {
        let held_up = lock::waits(&self.run_dir);
        self.read(|connection| {
            let tally = sums::tally(connection)?;
            let counts = tally.counts;
            let first_queued = match counts.running {
                0 => connection
                    .query_row(FIRST_QUEUED, [], |row| parse::<Job>(row, 0))
                    .optional()?,
                _ => None,
            };
            let settled = counts.settled() == counts.total;
            let mut status = Status::new(
                self.run_dir.path().to_owned(),
                fact(connection, "name")?.unwrap_or_default(),
                state(&self.run_dir, counts),
                created(connection)?,
            );
            status.held_up = held_up;
            status.backend = fact(connection, "backend")?.unwrap_or_default();
            if settled {
                status.ended = last_recorded(connection)?;
            }
            tally.show_in(&mut status, first_queued.as_ref(), &policy(connection)?);
            Ok(status)
        })
    }

    /// When the run was made. Reads nothing else of it.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn created(&self) -> Result<Timestamp> {
        self.read(created)
    }

    /// The budgets of the run, and the plan of its first job, with the updates that are still pending.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn in_force(&self) -> Result<(Policy, JobPlan)> {
        let pending = Update::pending(&self.run_dir)?;
        self.read(|connection| {
            let first = "SELECT plan FROM jobs ORDER BY job LIMIT 1";
            let plan: String = connection.query_row(first, [], |row| row.get(0))?;
            let policy = fact(connection, "policy")?.unwrap_or_default();
            let pending = || pending.iter().map(|(_, update)| update);
            let policy = merged(&policy, |it| {
                pending().for_each(|update| update.merge_policy(it))
            })?;
            let plan = merged(&plan, |it| {
                pending().for_each(|update| update.merge_plan(it))
            })?;
            Ok((policy, plan))
        })
    }

    /// What `cu update` has changed for a job, the oldest first.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn updates(&self, job: JobId) -> Result<Vec<(Timestamp, Vec<Change>)>> {
        self.read(|connection| {
            let mut events = connection.prepare(
                "SELECT at, event FROM events \
                 WHERE job = ?1 AND substr(event, 1, 10) = '{\"updated\"' ORDER BY number",
            )?;
            let rows = events.query_map([job.0], |row| {
                Ok((Timestamp::from_millis(row.get(0)?), parse(row, 1)?))
            })?;
            let changes = rows.map(|row| {
                let (at, event) = row?;
                Ok(match event {
                    Event::Updated { changes, .. } => (at, changes),
                    _ => (at, Vec::new()),
                })
            });
            changes.collect()
        })
    }

    /// The run directory.
    pub(super) fn run_dir(&self) -> &RunDir {
        &self.run_dir
    }

    /// The id of the run.
    pub(crate) fn run(&self) -> Result<RunId> {
        self.read(run)
    }

    /// The run directory, without links, when a main process last opened it. `None` in old stores.
    pub(crate) fn place(&self) -> Result<Option<String>> {
        self.read(|connection| fact(connection, "place"))
    }

    /// Whether a living main process works on it.
    #[must_use]
    pub fn has_main_process(&self) -> bool {
        lock::is_held(&self.run_dir)
    }

    /// Whether a main process works on it, as far as its lock shows. It may live on another host, where
    /// [`has_main_process`](Self::has_main_process) does not see it.
    #[must_use]
    pub fn main_process(&self) -> MainProcessSeen {
        lock::main_process(&self.run_dir)
    }

    /// Refuses a run that a living main process works on, before anything else of it is opened.
    ///
    /// # Errors
    /// [`Error::InUse`].
    pub fn check_unused(&self) -> Result<()> {
        match self.main_process() {
            MainProcessSeen::Alive { holder } => Err(lock::in_use(self.run_dir.path(), &holder)),
            _ => Ok(()),
        }
    }

    /// How many jobs an operator's request changes, as the run was recorded last.
    ///
    /// # Errors
    /// [`Error::NoJob`], [`Error::Damaged`], [`Error::Read`].
    pub fn affected(&self, request: &OperatorRequest) -> Result<u32> {
        let affects = |row: &Row<'_>| Ok(order(&parse::<Job>(row, 0)?, request).is_some());
        let chosen = match selection(request) {
            None => return Ok(0),
            Some(Selection::Jobs(chosen)) => chosen,
            Some(Selection::All) => {
                return self.read(|connection| {
                    let mut jobs = connection.prepare("SELECT body FROM jobs")?;
                    let (mut known, mut affected) = (0, 0);
                    for affects in jobs.query_map([], affects)? {
                        known += 1;
                        affected += u32::from(affects?);
                    }
                    Ok(match request {
                        OperatorRequest::Stop(_) => affected + to_come(connection, known)?,
                        _ => affected,
                    })
                });
            }
        };
        let mut affected = 0;
        for job in chosen {
            let found = self.read(|connection| {
                let mut body = connection.prepare_cached("SELECT body FROM jobs WHERE job = ?1")?;
                body.query_row([job.0], affects).optional()
            })?;
            affected += u32::from(found.ok_or_else(|| self.no_job(*job))?);
        }
        Ok(affected)
    }

    /// All events, in the order in which they were recorded: the jobs follow from them. Of the progress
    /// that an attempt announced, only the largest and the last are kept; of its early metrics, the last
    /// of each name.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    #[cfg(feature = "unstable")]
    pub fn events(&self) -> Result<Vec<RecordedEvent>> {
        let (mut events, mut last) = (Vec::new(), 0);
        loop {
            let recorded = self.recorded(last)?;
            match recorded.last() {
                Some((number, ..)) => last = *number,
                None => return Ok(events),
            }
            let recorded = recorded.into_iter();
            events.extend(recorded.map(|(_, at, job, event)| RecordedEvent { at, job, event }));
        }
    }

    /// The next events after the one with this number, with their numbers: some thousands, or none if there are no more.
    pub(crate) fn recorded(&self, after: i64) -> Result<Vec<(i64, Timestamp, JobId, Event)>> {
        self.read(|connection| {
            let mut events = connection.prepare(
                "SELECT number, at, job, event FROM events \
                 WHERE number > ?1 ORDER BY number LIMIT ?2",
            )?;
            let rows = events.query_map([after, MOST_EVENTS], |row| {
                let at = Timestamp::from_millis(row.get(1)?);
                Ok((row.get(0)?, at, JobId(row.get(2)?), parse(row, 3)?))
            })?;
            rows.collect()
        })
    }

    /// The plans of all jobs.
    pub(crate) fn plans(&self) -> Result<Vec<JobPlan>> {
        self.read(|connection| {
            let mut jobs = connection.prepare("SELECT plan FROM jobs ORDER BY job")?;
            let plans = jobs.query_map([], |row| parse(row, 0))?;
            plans.collect()
        })
    }

    /// The plan of one job.
    pub(crate) fn job_plan(&self, job: JobId) -> Result<JobPlan> {
        let plan = "SELECT plan FROM jobs WHERE job = ?1";
        self.read(|connection| connection.query_row(plan, [job.0], |row| parse(row, 0)))
    }

    /// How many jobs the run has in the end, as far as that is decided.
    pub(crate) fn all_jobs(&self) -> Result<u32> {
        self.read(|connection| {
            let jobs = "SELECT count(*) FROM jobs";
            let jobs = connection.query_row(jobs, [], |row| row.get(0))?;
            Ok(jobs + to_come(connection, jobs)?)
        })
    }

    /// The jobs that the run was made with, as they were then. The events lead from there to what they are, and
    /// [`Event::Added`] to those that came later.
    pub(crate) fn beginning(&self) -> Result<Machine> {
        self.read(|connection| {
            let added = "SELECT count(*) FROM events WHERE event = '\"added\"'";
            let added: u32 = connection.query_row(added, [], |row| row.get(0))?;
            let mut jobs = connection.prepare(
                "SELECT job, plan FROM jobs ORDER BY job \
                 LIMIT (SELECT count(*) FROM jobs) - ?1",
            )?;
            let rows = jobs.query_map([added], |row| {
                let plan: JobPlan = parse(row, 1)?;
                Ok(Job::new(JobId(row.get(0)?), plan.exit_rules))
            })?;
            Ok(Machine::new(
                rows.collect::<rusqlite::Result<_>>()?,
                policy(connection)?,
            ))
        })
    }

    /// Copies the store into `copy`, as it is at this moment.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`]; [`Error::File`] if the copy can't be written.
    pub fn copy_to(&self, copy: &RunDir) -> Result<()> {
        let path = copy.store();
        // Its transaction is its own: it can't be part of one.
        let connection = self.connection.borrow();
        let name = path.to_string_lossy().into_owned();
        let copied = connection.execute("VACUUM INTO ?1", [name]);
        let failed = |error| Error::file("write", &path)(std::io::Error::other(error));
        copied.map(drop).map_err(failed)
    }

    /// Reads in one transaction, so that all parts are of the same moment.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let unusable = |error| open::unusable(&self.run_dir.store(), error);
        let mut connection = self.connection.borrow_mut();
        let refused = match open::begin(&connection) {
            Ok(transaction) => return read(&transaction).map_err(unusable),
            Err(error) => unusable(error),
        };
        if !recover::is_needed(&refused) {
            return Err(refused);
        }
        *connection = recover::readable(&self.run_dir)?;
        let transaction = open::begin(&connection).map_err(unusable)?;
        read(&transaction).map_err(unusable)
    }
}

/// The number of events that are read at once. A run of a million jobs has tens of millions.
const MOST_EVENTS: i64 = 10_000;
const FIRST_QUEUED: &str = "SELECT body FROM jobs WHERE state = 'queued' ORDER BY job LIMIT 1";

/// The state of a run, from its jobs and from whether a main process holds its lock.
fn state(run_dir: &RunDir, counts: Counts) -> RunState {
    match state_without_us(counts) {
        RunState::Interrupted if lock::is_held(run_dir) => RunState::Running,
        state => state,
    }
}

/// The state of a run without a main process.
pub(crate) fn state_without_us(counts: Counts) -> RunState {
    match counts {
        _ if counts.settled() < counts.total => RunState::Interrupted,
        Counts { failed: 1.., .. } => RunState::Failed,
        Counts { cancelled: 1.., .. } => RunState::Stopped,
        _ => RunState::Completed,
    }
}

pub(super) fn run(connection: &Connection) -> rusqlite::Result<RunId> {
    let run = fact(connection, "run")?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    run.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, TEXT, Box::new(error)))
}

fn created(connection: &Connection) -> rusqlite::Result<Timestamp> {
    let created = fact(connection, "created")?;
    Ok(Timestamp::from_millis(
        created.and_then(|text| text.parse().ok()).unwrap_or(0),
    ))
}

/// When the newest event was recorded.
pub(super) fn last_recorded(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let newest = "SELECT at FROM events ORDER BY number DESC LIMIT 1";
    let newest = connection.query_row(newest, [], |row| row.get(0));
    Ok(newest.optional()?.map(Timestamp::from_millis))
}

pub(super) fn policy(connection: &Connection) -> rusqlite::Result<Policy> {
    connection.query_row("SELECT value FROM facts WHERE name = 'policy'", [], |row| {
        parse(row, 0)
    })
}

const TEXT: rusqlite::types::Type = rusqlite::types::Type::Text;
