//! Brings a store of an older format up to date, all at once, before anything else is written.

use rusqlite::{Connection, Transaction, params};

use super::values::{json, parse};
use super::{FORMAT, sums};
use crate::machine::Job;

/// Upgrades from any format that [`open`](super::open) accepts.
pub(super) fn to_newest(connection: &mut Connection) -> rusqlite::Result<()> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found == FORMAT {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    if found == 1 {
        separate_metrics(&transaction)?;
    }
    // Format 2 has nothing that format 3 has not. Format 3 has neither indices nor the sum over all jobs.
    transaction.execute_batch(include_str!("indices.sql"))?;
    let tally = sums::counted(&transaction)?;
    sums::write(&transaction, &tally)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}

/// In format 1 the metrics of a job are in its body.
fn separate_metrics(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE metrics (
             job INTEGER NOT NULL,
             name TEXT NOT NULL,
             value TEXT NOT NULL,
             PRIMARY KEY (job, name)
         ) WITHOUT ROWID",
    )?;
    let mut bodies = transaction.prepare("SELECT body FROM jobs")?;
    let jobs = bodies.query_map([], |row| parse::<Job>(row, 0))?;
    let jobs = jobs.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut insert = transaction.prepare("INSERT INTO metrics VALUES (?1, ?2, ?3)")?;
    let mut update = transaction.prepare("UPDATE jobs SET body = ?2 WHERE job = ?1")?;
    for job in jobs.iter().filter(|job| !job.metrics.is_empty()) {
        for (name, value) in job.metrics.iter() {
            insert.execute(params![job.id.0, name, json(value)?])?;
        }
        update.execute(params![job.id.0, json(job)?])?;
    }
    Ok(())
}
