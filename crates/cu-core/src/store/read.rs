//! Reads a run at any time, beside its main process, after it, or from a copy.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use cu_protocol::{Attempt, JobId, Metrics, OperatorRequest, RunId, Selection, Timestamp};
use cu_run_dir::{Change, Update};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};

use super::rows::to_come;
use super::update::merged;
use super::{Loaded, PlanText, open, recover};
use crate::lock;
use crate::machine::{Event, Job, Machine, Share, Tally, orders, why};
use crate::{
    AttemptReport, Counts, Error, JobPlan, JobReport, JobState, MainProcessSeen, Policy, Result,
    RunDir, RunState, RunningJob, Status,
};

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
            let mut tally = Tally::default();
            let mut jobs = connection.prepare("SELECT body, state FROM jobs")?;
            let mut rows = jobs.query([])?;
            while let Some(row) = rows.next()? {
                let state = job_state(row.get_ref(1)?.as_str()?)?;
                tally.add(Share {
                    state,
                    ..parse(row, 0)?
                });
            }
            tally.set_to_come(to_come(connection, tally.counts.known())?);
            let counts = tally.counts;
            let first_queued = match counts.running {
                0 => connection
                    .query_row(FIRST_QUEUED, [], |row| parse::<Job>(row, 0))
                    .optional()?,
                _ => None,
            };
            let settled = counts.settled() == counts.total;
            let ended: Option<u64> =
                connection.query_row("SELECT max(at) FROM events", [], |row| row.get(0))?;
            let mut status = Status::new(
                self.run_dir.path().to_owned(),
                fact(connection, "name")?.unwrap_or_default(),
                state(&self.run_dir, counts),
                created(connection)?,
            );
            status.held_up = held_up;
            status.backend = fact(connection, "backend")?.unwrap_or_default();
            status.ended = ended.filter(|_| settled).map(Timestamp::from_millis);
            tally.show_in(&mut status, first_queued.as_ref(), &policy(connection)?);
            Ok(status)
        })
    }

    /// All jobs, by their numbers.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn jobs(&self) -> Result<Vec<JobReport>> {
        let waits = lock::waits(&self.run_dir);
        self.read(|connection| {
            let policy = policy(connection)?;
            let mut attempts = connection.prepare(ATTEMPTS_OF_ALL)?;
            let mut attempts = attempts.query([])?;
            let mut next = attempts.next()?.map(attempt_report).transpose()?;
            let mut metrics = metrics(connection, None)?;
            let mut jobs = connection.prepare("SELECT body, plan FROM jobs ORDER BY job")?;
            let mut rows = jobs.query([])?;
            let mut reports = Vec::new();
            while let Some(row) = rows.next()? {
                let mut report =
                    self.report(&parse(row, 0)?, parse(row, 1)?, &policy, waits.as_deref());
                report
                    .metrics
                    .extend(metrics.remove(&report.job).unwrap_or_default());
                while let Some((_, attempt)) = next.take_if(|(job, _)| *job == report.job) {
                    report.attempts.push(attempt);
                    next = attempts.next()?.map(attempt_report).transpose()?;
                }
                reports.push(report);
            }
            Ok(reports)
        })
    }

    /// The first `most` of the jobs that are not completed, with the number of attempts of each.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn unfinished(&self, most: usize) -> Result<Vec<(JobReport, u64)>> {
        let waits = lock::waits(&self.run_dir);
        self.read(|connection| {
            let policy = policy(connection)?;
            let mut jobs = connection.prepare(
                "SELECT body, plan, (SELECT count(*) FROM attempts WHERE attempts.job = jobs.job) \
                 FROM jobs WHERE state != 'completed' ORDER BY job LIMIT ?1",
            )?;
            let rows = jobs.query_map([most], |row| {
                let (job, plan) = (parse(row, 0)?, parse(row, 1)?);
                let report = self.report(&job, plan, &policy, waits.as_deref());
                Ok((report, row.get(2)?))
            })?;
            rows.collect()
        })
    }

    /// The first `most` of the running jobs.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn running(&self, most: usize) -> Result<Vec<RunningJob>> {
        self.read(|connection| {
            let mut jobs = connection.prepare(
                "SELECT body, plan FROM jobs WHERE state = 'running' ORDER BY job LIMIT ?1",
            )?;
            let mut rows = jobs.query([most])?;
            let mut running = Vec::new();
            while let Some(row) = rows.next()? {
                let (job, plan): (Job, JobPlan) = (parse(row, 0)?, parse(row, 1)?);
                let Some(active) = job.active() else {
                    continue;
                };
                let mut metrics = metrics(connection, Some(job.id))?;
                let early = metrics.remove(&job.id);
                running.push(RunningJob {
                    job: job.id,
                    attempt: active.attempt,
                    host: active.host.clone(),
                    started: active.started,
                    longest: longest(&plan),
                    metrics: early.unwrap_or_else(|| Metrics::clone(&job.metrics)),
                    fraction: job.fraction.map(cu_protocol::Fraction::get),
                    parameters: plan.parameters,
                });
            }
            Ok(running)
        })
    }

    /// One job with its chain.
    ///
    /// # Errors
    /// [`Error::NoJob`], [`Error::Damaged`], [`Error::Read`].
    pub fn job(&self, job: JobId) -> Result<JobReport> {
        let waits = lock::waits(&self.run_dir);
        let found = self.read(|connection| {
            let policy = policy(connection)?;
            let report = connection
                .query_row(
                    "SELECT body, plan FROM jobs WHERE job = ?1",
                    [job.0],
                    |row| {
                        Ok(self.report(&parse(row, 0)?, parse(row, 1)?, &policy, waits.as_deref()))
                    },
                )
                .optional()?;
            let Some(mut report) = report else {
                return Ok(None);
            };
            let mut metrics = metrics(connection, Some(job))?;
            report
                .metrics
                .extend(metrics.remove(&job).unwrap_or_default());
            let mut attempts = connection.prepare(ATTEMPTS_OF_ONE)?;
            let rows = attempts.query_map(params![job.0], attempt_report)?;
            for row in rows {
                report.attempts.push(row?.1);
            }
            Ok(Some(report))
        })?;
        match found {
            Some(report) => Ok(report),
            None => Err(Error::NoJob {
                job,
                jobs: self.status()?.jobs.known(),
            }),
        }
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
                "SELECT at, event FROM events WHERE job = ?1 AND event LIKE '{\"updated\":%' \
                 ORDER BY number",
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
        let (jobs, to_come) = self.read(|connection| {
            let mut jobs = connection.prepare("SELECT body FROM jobs ORDER BY job")?;
            let rows = jobs.query_map([], |row| parse::<Job>(row, 0))?;
            let jobs = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let known = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
            Ok((jobs, to_come(connection, known)?))
        })?;
        let affected = orders(&jobs, request)?.len() as u32; // At most as many as there are job ids.
        Ok(match request {
            OperatorRequest::Stop(Selection::All) => affected + to_come,
            _ => affected,
        })
    }

    /// All events, in the order in which they were recorded: the jobs follow from them. Of the progress
    /// that an attempt announced, only the largest and the last are kept; of its early metrics, the last
    /// of each name.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    #[cfg(feature = "unstable")]
    pub fn events(&self) -> Result<Vec<RecordedEvent>> {
        let events = self.recorded(0)?.into_iter();
        let events = events.map(|(_, at, job, event)| RecordedEvent { at, job, event });
        Ok(events.collect())
    }

    /// The events after the one with this number, with their numbers.
    pub(crate) fn recorded(&self, after: i64) -> Result<Vec<(i64, Timestamp, JobId, Event)>> {
        self.read(|connection| {
            let mut events = connection.prepare(
                "SELECT number, at, job, event FROM events WHERE number > ?1 ORDER BY number",
            )?;
            let rows = events.query_map([after], |row| {
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
    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
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

    /// `waits` is what the main process itself waits for, before anything that the job waits for.
    fn report(&self, job: &Job, plan: JobPlan, policy: &Policy, waits: Option<&str>) -> JobReport {
        let why = why(job, policy);
        JobReport {
            job: job.id,
            state: job.state(),
            output_dir: self.run_dir.output_dir(job.id),
            parameters: plan.parameters,
            metrics: Metrics::clone(&job.metrics),
            fraction: match job.state() {
                JobState::Completed => Some(1.0),
                _ => job.fraction.map(cu_protocol::Fraction::get),
            },
            why: match waits.filter(|_| !job.state().is_settled()) {
                Some(waits) => format!("{waits}; as recorded last: {}", why.sentence),
                None => why.sentence,
            },
            limit: why.limit,
            paused: job.is_paused(),
            attempts: Vec::new(),
        }
    }
}

/// How long an attempt may run until it is asked to stop, or until its time limit.
fn longest(plan: &JobPlan) -> Option<Duration> {
    let limit = plan.resources.time_limit;
    let before = plan.stop.before_limit.unwrap_or_default();
    let limit = limit.map(|limit| limit.saturating_sub(before));
    plan.stop.after.into_iter().chain(limit).min()
}

const FIRST_QUEUED: &str = "SELECT body FROM jobs WHERE state = 'queued' ORDER BY job LIMIT 1";
const ATTEMPTS_OF_ALL: &str = "SELECT * FROM attempts ORDER BY job, attempt";
const ATTEMPTS_OF_ONE: &str = "SELECT * FROM attempts WHERE job = ?1 ORDER BY attempt";

/// The state of a job, from its word in the store.
fn job_state(word: &str) -> rusqlite::Result<JobState> {
    let word: StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
    JobState::deserialize(word)
        .map_err(|error| FromSqlError::Other(Box::new(error)))
        .map_err(rusqlite::Error::from)
}

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

pub(super) fn load(connection: &Connection) -> rusqlite::Result<Loaded> {
    let run = run(connection)?;
    let mut statement = connection.prepare("SELECT body, plan FROM jobs ORDER BY job")?;
    let mut rows = statement.query([])?;
    let (mut jobs, mut plans) = (Vec::new(), Vec::new());
    let mut metrics = metrics(connection, None)?;
    while let Some(row) = rows.next()? {
        let mut job: Job = parse(row, 0)?;
        if let Some(metrics) = metrics.remove(&job.id) {
            job.metrics = metrics.into();
        }
        jobs.push(job);
        parse::<JobPlan>(row, 1)?; // Damage shows now, not at a submission.
        plans.push(PlanText(row.get_ref(1)?.as_str()?.into()));
    }
    let newest = "SELECT at FROM events ORDER BY number DESC LIMIT 1";
    let newest = connection
        .query_row(newest, [], |row| row.get(0))
        .optional()?;
    Ok(Loaded {
        run,
        last_recorded: Timestamp::from_millis(newest.unwrap_or(0)),
        policy: policy(connection)?,
        to_come: to_come(connection, u32::try_from(jobs.len()).unwrap_or(u32::MAX))?,
        jobs,
        plans,
    })
}

fn run(connection: &Connection) -> rusqlite::Result<RunId> {
    let run = fact(connection, "run")?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    run.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, TEXT, Box::new(error)))
}

/// The metrics of all jobs, or of one. Empty in format 1, where the jobs hold them.
fn metrics(
    connection: &Connection,
    only: Option<JobId>,
) -> rusqlite::Result<HashMap<JobId, Metrics>> {
    let mut all: HashMap<JobId, Metrics> = HashMap::new();
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format == 1 {
        return Ok(all);
    }
    let mut statement = connection.prepare(
        "SELECT job, name, value FROM metrics WHERE ?1 IS NULL OR job = ?1 ORDER BY job, name",
    )?;
    let mut rows = statement.query([only.map(|job| job.0)])?;
    while let Some(row) = rows.next()? {
        let metrics = all.entry(JobId(row.get(0)?)).or_default();
        metrics.insert(row.get(1)?, parse(row, 2)?);
    }
    Ok(all)
}

fn created(connection: &Connection) -> rusqlite::Result<Timestamp> {
    let created = fact(connection, "created")?;
    Ok(Timestamp::from_millis(
        created.and_then(|text| text.parse().ok()).unwrap_or(0),
    ))
}

fn fact(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()
}

fn policy(connection: &Connection) -> rusqlite::Result<Policy> {
    connection.query_row("SELECT value FROM facts WHERE name = 'policy'", [], |row| {
        parse(row, 0)
    })
}

const TEXT: rusqlite::types::Type = rusqlite::types::Type::Text;

pub(super) fn parse<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| FromSqlError::Other(Box::new(error)))
        .map_err(rusqlite::Error::from)
}

fn attempt_report(row: &Row<'_>) -> rusqlite::Result<(JobId, AttemptReport)> {
    let moment = |column| {
        Ok::<_, rusqlite::Error>(
            row.get::<_, Option<u64>>(column)?
                .map(Timestamp::from_millis),
        )
    };
    let end: Option<String> = row.get(7)?;
    let end = end
        .map(|word| serde_json::from_value(serde_json::Value::String(word)))
        .transpose()
        .map_err(|error| FromSqlError::Other(Box::new(error)))?;
    let report = AttemptReport {
        attempt: Attempt(row.get(1)?),
        cluster_job_id: row.get(2)?,
        host: row.get(3)?,
        submitted: Timestamp::from_millis(row.get(4)?),
        started: moment(5)?,
        ended: moment(6)?,
        end,
        exit_code: row.get(8)?,
        signal: row.get(9)?,
        detail: row.get(10)?,
    };
    Ok((JobId(row.get(0)?), report))
}
