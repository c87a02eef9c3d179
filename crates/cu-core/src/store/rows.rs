//! What a commit writes, row by row: as text before the transaction begins, so that one that has to be
//! repeated writes the same again.

use cu_protocol::{Attempt, JobId, RunId, Timestamp};
use rusqlite::{Transaction, params};

use super::progress::Announcements;
use super::sums::ALL_JOBS;
use super::values::{json, set_fact, word};
use super::{Changes, PlanText, sums};
use crate::machine::{Event, Job, Measured, Tally};
use crate::{AttemptReport, JobPlan, RunPlan};

/// The rows of a commit.
pub(super) struct Rows<'a> {
    at: Timestamp,
    /// With their numbers.
    events: Vec<(i64, JobId, String)>,
    /// The numbers of the events that need no longer be there.
    superseded: Vec<i64>,
    jobs: Vec<(JobId, String, String)>,
    metrics: Vec<Metrics>,
    attempts: &'a [(JobId, AttemptReport)],
    added: &'a [(JobId, PlanText)],
    all_jobs: Option<u32>,
    tally: Option<Tally>,
    /// The cluster jobs that became known in this commit. An attempt may have ended by then.
    cluster_jobs: Vec<(JobId, Attempt, String)>,
}

/// A change to the metrics of a job.
struct Metrics {
    job: JobId,
    /// Whether they replace all that were there.
    replace: bool,
    /// Names with their values.
    values: Vec<(String, String)>,
}

impl Metrics {
    fn of(job: JobId, measured: &Measured) -> rusqlite::Result<Self> {
        let (replace, metrics) = match measured {
            Measured::More(metrics) => (false, metrics),
            Measured::Results(metrics) => (true, metrics),
        };
        let values = metrics.iter();
        let values = values.map(|(name, value)| Ok((name.clone(), json(value)?)));
        Ok(Self {
            job,
            replace,
            values: values.collect::<rusqlite::Result<_>>()?,
        })
    }
}

impl<'a> Rows<'a> {
    /// The rows of `changes`, whose events are numbered from `next`.
    pub fn of(
        changes: &'a Changes,
        next: i64,
        announcements: &mut Announcements,
    ) -> rusqlite::Result<Self> {
        let mut superseded = Vec::new();
        let events = (next..).zip(&changes.events);
        let events = events.map(|(number, (job, event))| {
            superseded.extend(announcements.supersede(number, *job, event));
            Ok((number, *job, json(event)?))
        });
        let events = events.collect::<rusqlite::Result<_>>()?;
        let jobs = changes.jobs.iter();
        let jobs = jobs.map(|job| Ok((job.id, word(&job.state())?, json(job)?)));
        let cluster_jobs = changes
            .events
            .iter()
            .filter_map(|(job, event)| match event {
                Event::Submitted {
                    attempt,
                    cluster_job,
                } => Some((*job, *attempt, cluster_job.to_string())),
                _ => None,
            });
        let measured = changes.measured.iter();
        let measured = measured.map(|(job, measured)| Metrics::of(*job, measured));
        Ok(Self {
            at: changes.at,
            events,
            superseded,
            jobs: jobs.collect::<rusqlite::Result<_>>()?,
            metrics: measured.collect::<rusqlite::Result<_>>()?,
            attempts: &changes.attempts,
            added: &changes.added,
            all_jobs: changes.all_jobs,
            tally: changes.tally,
            cluster_jobs: cluster_jobs.collect(),
        })
    }

    pub fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        if let Some(all) = self.all_jobs {
            set_fact(transaction, ALL_JOBS, &all.to_string())?;
        }
        if let Some(tally) = &self.tally {
            sums::write(transaction, tally)?;
        }
        // Their state follows below, as that of any job that has changed.
        let mut add = transaction.prepare_cached("INSERT INTO jobs VALUES (?1, '', ?2, '')")?;
        for (job, plan) in self.added {
            add.execute(params![job.0, plan.as_str()])?;
        }
        let mut insert =
            transaction.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4)")?;
        for (number, job, event) in &self.events {
            insert.execute(params![number, self.at.millis(), job.0, event])?;
        }
        let mut delete = transaction.prepare_cached("DELETE FROM events WHERE number = ?1")?;
        for superseded in &self.superseded {
            delete.execute([superseded])?;
        }
        let mut update = transaction.prepare_cached("UPDATE jobs SET body = ?2 WHERE job = ?1")?;
        // SQLite would write the index anew also for a state that stays.
        let mut change = transaction
            .prepare_cached("UPDATE jobs SET state = ?2 WHERE job = ?1 AND state != ?2")?;
        for (job, state, body) in &self.jobs {
            update.execute(params![job.0, body])?;
            change.execute(params![job.0, state])?;
        }
        let mut clear = transaction.prepare_cached("DELETE FROM metrics WHERE job = ?1")?;
        let mut measure =
            transaction.prepare_cached("INSERT OR REPLACE INTO metrics VALUES (?1, ?2, ?3)")?;
        for metrics in &self.metrics {
            if metrics.replace {
                clear.execute([metrics.job.0])?;
            }
            for (name, value) in &metrics.values {
                measure.execute(params![metrics.job.0, name, value])?;
            }
        }
        let mut upsert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO attempts VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
        )?;
        for (job, attempt) in self.attempts {
            upsert.execute(params![
                job.0,
                attempt.attempt.0,
                attempt.cluster_job_id,
                attempt.host,
                attempt.submitted.millis(),
                attempt.started.map(Timestamp::millis),
                attempt.ended.map(Timestamp::millis),
                attempt.end.as_ref().map(word).transpose()?,
                attempt.exit_code,
                attempt.signal,
                attempt.detail,
            ])?;
        }
        let mut found = transaction.prepare_cached(
            "UPDATE attempts SET cluster_job_id = ?3 \
             WHERE job = ?1 AND attempt = ?2 AND cluster_job_id IS NULL",
        )?;
        for (job, attempt, cluster_job) in &self.cluster_jobs {
            found.execute(params![job.0, attempt.0, cluster_job])?;
        }
        Ok(())
    }
}

/// Writes all of a run that is made. Reports now and then how many jobs are written.
pub(super) fn write_plan(
    transaction: &Transaction<'_>,
    (run, plan): (RunId, &RunPlan),
    at: Timestamp,
    written: &mut dyn FnMut(usize),
) -> rusqlite::Result<()> {
    set_fact(transaction, "name", &plan.name)?;
    set_fact(transaction, "run", &run.to_string())?;
    set_fact(transaction, "created", &at.millis().to_string())?;
    set_fact(transaction, "policy", &json(&plan.policy)?)?;
    if plan.to_come > 0 {
        set_fact(transaction, ALL_JOBS, &plan.all_jobs().to_string())?;
    }
    /// One in so many.
    const REPORTED: u32 = 1000;
    let mut insert = transaction.prepare("INSERT INTO jobs VALUES (?1, ?2, ?3, ?4)")?;
    let mut tally = Tally::default();
    for (number, job_plan) in (0..).zip(&plan.jobs) {
        let job = Job::new(JobId(number), job_plan.exit_rules.clone());
        tally.add(&job);
        insert.execute(params![
            number,
            word(&job.state())?,
            json::<JobPlan>(job_plan)?,
            json(&job)?
        ])?;
        if number % REPORTED == 0 {
            written(number as usize);
        }
    }
    tally.set_to_come(plan.to_come);
    sums::write(transaction, &tally)
}
