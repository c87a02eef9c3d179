//! Reads jobs with their chains one after another, so that a reader of a million of them needs memory for one.

use std::time::Duration;

use cu_protocol::{Attempt, JobId, Metrics, Timestamp};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::read::{Reader, policy};
use super::values::{parse, word};
use crate::machine::{Job, why};
use crate::{
    AttemptReport, Error, JobPlan, JobReport, JobState, Policy, Result, RunDir, RunningJob, lock,
};

impl Reader {
    /// All jobs, by their numbers. Takes some kB of memory for each: [`each_job`](Self::each_job) takes none.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn jobs(&self) -> Result<Vec<JobReport>> {
        let mut jobs = Vec::new();
        self.each_job(&mut |job| jobs.push(job))?;
        Ok(jobs)
    }

    /// Passes on each job, by their numbers, all as they are at one moment.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn each_job(&self, each: &mut dyn FnMut(JobReport)) -> Result<()> {
        self.each("TRUE", each)
    }

    /// As [`each_job`](Self::each_job), but without their attempts, which takes a fraction of the time.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn each_without_attempts(&self, each: &mut dyn FnMut(JobReport)) -> Result<()> {
        self.each("FALSE", each)
    }

    /// Passes on each job with those of its attempts that meet a condition.
    fn each(&self, attempts: &str, each: &mut dyn FnMut(JobReport)) -> Result<()> {
        let view = View::of(self);
        self.read(|connection| {
            let policy = policy(connection)?;
            let mut attempts = connection.prepare(&attempts_where(attempts))?;
            let mut attempts = Ahead::new(attempts.query([])?, attempt_report)?;
            let mut metrics = connection.prepare(&metrics_where(connection, "TRUE")?)?;
            let mut metrics = Ahead::new(metrics.query([])?, metric)?;
            let mut jobs = connection.prepare("SELECT body, plan FROM jobs ORDER BY job")?;
            let mut rows = jobs.query([])?;
            while let Some(row) = rows.next()? {
                let mut report = view.report(&parse(row, 0)?, parse(row, 1)?, &policy);
                metrics.take(report.job, |(name, value)| {
                    report.metrics.insert(name, value);
                })?;
                attempts.take(report.job, |attempt| report.attempts.push(attempt))?;
                each(report);
            }
            Ok(())
        })
    }

    /// The first `most` of the jobs in one of these states, by their numbers. Looks at no other job.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn jobs_in(&self, states: &[JobState], most: usize) -> Result<Vec<JobReport>> {
        let view = View::of(self);
        self.read(|connection| {
            let policy = policy(connection)?;
            let chosen = numbers(connection, states, most)?.into_iter();
            chosen
                .filter_map(|job| view.one(connection, job, &policy).transpose())
                .collect()
        })
    }

    /// The first `most` of the jobs that are not completed, with the number of attempts of each.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Read`].
    pub fn unfinished(&self, most: usize) -> Result<Vec<(JobReport, u64)>> {
        let states = [
            JobState::Waiting,
            JobState::Queued,
            JobState::Running,
            JobState::Failed,
            JobState::Cancelled,
        ];
        let view = View::of(self);
        self.read(|connection| {
            let policy = policy(connection)?;
            let mut jobs = connection.prepare(
                "SELECT body, plan, (SELECT count(*) FROM attempts WHERE attempts.job = jobs.job) \
                 FROM jobs WHERE job = ?1",
            )?;
            let chosen = numbers(connection, &states, most)?.into_iter();
            let read = chosen.map(|job| {
                jobs.query_row([job.0], |row| {
                    let report = view.report(&parse(row, 0)?, parse(row, 1)?, &policy);
                    Ok((report, row.get(2)?))
                })
            });
            read.collect()
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
                let early = metrics_of(connection, job.id)?;
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
        let view = View::of(self);
        let found = self.read(|connection| view.one(connection, job, &policy(connection)?))?;
        found.ok_or_else(|| self.no_job(job))
    }

    /// The error that there is no such job, or that not even that can be read.
    pub(super) fn no_job(&self, job: JobId) -> Error {
        match self.status() {
            Ok(status) => Error::NoJob {
                job,
                jobs: status.jobs.known(),
            },
            Err(error) => error,
        }
    }
}

/// How jobs are reported at a moment.
struct View {
    run_dir: RunDir,
    /// What the main process itself waits for, before anything that a job waits for.
    waits: Option<String>,
}

impl View {
    fn of(reader: &Reader) -> Self {
        Self {
            run_dir: reader.run_dir().clone(),
            waits: lock::waits(reader.run_dir()),
        }
    }

    fn one(
        &self,
        connection: &Connection,
        job: JobId,
        policy: &Policy,
    ) -> rusqlite::Result<Option<JobReport>> {
        let select = "SELECT body, plan FROM jobs WHERE job = ?1";
        let mut select = connection.prepare_cached(select)?;
        let report = select.query_row([job.0], |row| {
            Ok(self.report(&parse(row, 0)?, parse(row, 1)?, policy))
        });
        let Some(mut report) = report.optional()? else {
            return Ok(None);
        };
        let metrics = metrics_of(connection, job)?;
        report.metrics.extend(metrics.unwrap_or_default());
        let mut attempts = connection.prepare_cached(&attempts_where("job = ?1"))?;
        for row in attempts.query_map([job.0], attempt_report)? {
            report.attempts.push(row?.1);
        }
        Ok(Some(report))
    }

    fn report(&self, job: &Job, plan: JobPlan, policy: &Policy) -> JobReport {
        let why = why(job, policy);
        let waits = self.waits.as_deref();
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

/// Rows that belong to jobs, in the order of these, read one ahead.
pub(super) struct Ahead<'a, T> {
    rows: Rows<'a>,
    read: fn(&Row<'_>) -> rusqlite::Result<(JobId, T)>,
    next: Option<(JobId, T)>,
}

impl<'a, T> Ahead<'a, T> {
    pub fn new(
        mut rows: Rows<'a>,
        read: fn(&Row<'_>) -> rusqlite::Result<(JobId, T)>,
    ) -> rusqlite::Result<Self> {
        let next = rows.next()?.map(read).transpose()?;
        Ok(Self { rows, read, next })
    }

    /// Passes on the rows of `job`.
    pub fn take(&mut self, job: JobId, mut each: impl FnMut(T)) -> rusqlite::Result<()> {
        while let Some((_, row)) = self.next.take_if(|(of, _)| *of <= job) {
            each(row);
            self.next = self.rows.next()?.map(self.read).transpose()?;
        }
        Ok(())
    }
}

/// The numbers of the first `most` jobs in one of these states, in order.
fn numbers(
    connection: &Connection,
    states: &[JobState],
    most: usize,
) -> rusqlite::Result<Vec<JobId>> {
    let of_one = "SELECT job FROM jobs WHERE state = ?1 ORDER BY job LIMIT ?2";
    let mut of_one = connection.prepare(of_one)?;
    let most_rows = i64::try_from(most).unwrap_or(i64::MAX);
    let mut chosen = Vec::new();
    for state in states {
        let word = word(state)?;
        let rows = of_one.query_map((word, most_rows), |row| row.get(0).map(JobId))?;
        for row in rows {
            chosen.push(row?);
        }
    }
    chosen.sort();
    chosen.truncate(most);
    Ok(chosen)
}

/// The query for the metrics of the jobs that meet a condition, in order. In format 1 the jobs hold them.
pub(super) fn metrics_where(connection: &Connection, which: &str) -> rusqlite::Result<String> {
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(match format {
        1 => "SELECT job, '', '' FROM jobs WHERE FALSE".to_owned(),
        _ => format!("SELECT job, name, value FROM metrics WHERE {which} ORDER BY job, name"),
    })
}

/// The name and the value of a metric.
pub(super) fn metric(
    row: &Row<'_>,
) -> rusqlite::Result<(JobId, (String, cu_protocol::MetricValue))> {
    Ok((JobId(row.get(0)?), (row.get(1)?, parse(row, 2)?)))
}

/// The metrics of a job, unless it has none.
fn metrics_of(connection: &Connection, job: JobId) -> rusqlite::Result<Option<Metrics>> {
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format == 1 {
        return Ok(None);
    }
    let mut metrics = connection.prepare_cached(&metrics_where(connection, "job = ?1")?)?;
    let rows = metrics.query_map([job.0], metric)?;
    let metrics: Metrics = rows
        .map(|row| row.map(|(_, metric)| metric))
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(metrics).filter(|metrics| !metrics.is_empty()))
}

fn attempts_where(which: &str) -> String {
    format!("SELECT * FROM attempts WHERE {which} ORDER BY job, attempt")
}

/// How long an attempt may run until it is asked to stop, or until its time limit.
fn longest(plan: &JobPlan) -> Option<Duration> {
    let limit = plan.resources.time_limit;
    let before = plan.stop.before_limit.unwrap_or_default();
    let limit = limit.map(|limit| limit.saturating_sub(before));
    plan.stop.after.into_iter().chain(limit).min()
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
