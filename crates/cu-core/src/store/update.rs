//! Records an update of a run: its budgets, the plan of each job, and an event for each job that goes on, in one
//! transaction.

use cu_run_dir::Update;
use rusqlite::{Transaction, params};
use serde::de::DeserializeOwned;

use super::values::{json, set_fact, word};
use crate::machine::Event;
use crate::{JobPlan, JobState, Policy};

/// Writes the update `id`, unless it is recorded already: then the main process was killed before it could remove
/// the file. Returns whether it was written.
pub(super) fn write(
    transaction: &Transaction<'_>,
    at: i64,
    id: &str,
    update: &Update,
) -> rusqlite::Result<bool> {
    let beginning = json(&Event::Updated {
        id: id.to_owned(),
        changes: Vec::new(),
    })?;
    let beginning = beginning.split("\"changes\"").next().unwrap_or_default();
    let known = "SELECT count(*) FROM events WHERE substr(event, 1, length(?1)) = ?1";
    let known: i64 = transaction.query_row(known, [beginning], |row| row.get(0))?;
    if known > 0 {
        return Ok(false);
    }
    let policy = "SELECT value FROM facts WHERE name = 'policy'";
    let policy: String = transaction.query_row(policy, [], |row| row.get(0))?;
    let policy: Policy = merged(&policy, |value| update.merge_policy(value))?;
    set_fact(transaction, "policy", &json(&policy)?)?;
    let mut jobs = transaction.prepare("SELECT job, state, plan FROM jobs")?;
    let rows = jobs.query_map([], |row| {
        let all: (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(all)
    })?;
    let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    let newest = "SELECT coalesce(max(number), 0), coalesce(max(at), 0) FROM events";
    let (newest, last): (i64, i64) =
        transaction.query_row(newest, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let event = json(&Event::Updated {
        id: id.to_owned(),
        changes: update.changes.clone(),
    })?;
    let settled = [JobState::Completed, JobState::Failed, JobState::Cancelled];
    let settled = settled
        .iter()
        .map(word)
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut number = newest;
    for (job, state, plan) in rows {
        let plan: JobPlan = merged(&plan, |value| update.merge_plan(value))?;
        let set = "UPDATE jobs SET plan = ?2 WHERE job = ?1";
        transaction.execute(set, params![job, json(&plan)?])?;
        // A job that has ended has its new plan if it is retried. Nothing has happened to it.
        if settled.contains(&state) {
            continue;
        }
        number += 1;
        let insert = "INSERT INTO events VALUES (?1, ?2, ?3, ?4)";
        transaction.execute(insert, params![number, at.max(last), job, event])?;
    }
    Ok(true)
}

/// What `text` holds after this change.
pub(super) fn merged<T: DeserializeOwned>(
    text: &str,
    change: impl FnOnce(&mut serde_json::Value),
) -> rusqlite::Result<T> {
    let wrong = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let mut value = serde_json::from_str(text).map_err(wrong)?;
    change(&mut value);
    serde_json::from_value(value).map_err(wrong)
}
