//! What a main process needs to go on, read when it opens a run.

use std::sync::Arc;

use cu_protocol::{Metrics, RunId, Timestamp};
use rusqlite::Connection;

use super::plans::Plans;
use super::read::{last_recorded, policy, run};
use super::stream::{Ahead, metric, metrics_where};
use super::sums::to_come;
use super::values::parse;
use crate::machine::Job;
use crate::{JobPlan, Policy};

/// Everything that a main process needs to go on.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub run: RunId,
    pub policy: Policy,
    pub jobs: Vec<Job>,
    pub plans: Plans,
    /// How many jobs are still to come.
    pub to_come: u32,
    /// When the newest event was recorded.
    pub last_recorded: Timestamp,
}

pub(super) fn load(connection: &Connection) -> rusqlite::Result<Loaded> {
    let known: u32 = connection.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0))?;
    let mut metrics = connection.prepare(&metrics_where(connection, "TRUE")?)?;
    let mut metrics = Ahead::new(metrics.query([])?, metric)?;
    let mut all = connection.prepare("SELECT body, plan FROM jobs ORDER BY job")?;
    let mut rows = all.query([])?;
    let mut jobs = Vec::with_capacity(known as usize);
    let mut plans = Plans::default();
    let none = Arc::<Metrics>::default();
    while let Some(row) = rows.next()? {
        let mut job: Job = parse(row, 0)?;
        let mut of_job = Metrics::new();
        metrics.take(job.id, |(name, value)| {
            of_job.insert(name, value);
        })?;
        match (of_job.is_empty(), job.metrics.is_empty()) {
            (false, _) => job.metrics = of_job.into(),
            (true, true) => job.metrics = none.clone(),
            (true, false) => {}
        }
        jobs.push(job);
        parse::<JobPlan>(row, 1)?; // Damage shows now, not at a submission.
        plans.push(row.get_ref(1)?.as_str()?);
    }
    plans.shrink();
    Ok(Loaded {
        run: run(connection)?,
        last_recorded: last_recorded(connection)?.unwrap_or_default(),
        policy: policy(connection)?,
        to_come: to_come(connection, known)?,
        jobs,
        plans,
    })
}
