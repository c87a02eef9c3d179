//! The sum over all jobs, which is recorded with each change: a reader of a million jobs reads one row.

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;

use super::values::{fact, json, parse, set_fact};
use crate::JobState;
use crate::machine::{Share, Tally};

/// The fact that holds it.
const TALLY: &str = "tally";

/// The fact that says how many jobs a run has in the end, if not all are there yet.
pub(super) const ALL_JOBS: &str = "all_jobs";

/// How many jobs of a run that has `known` are still to come.
pub(super) fn to_come(connection: &Connection, known: u32) -> rusqlite::Result<u32> {
    let all = "SELECT value FROM facts WHERE name = ?1";
    let all = connection.query_row(all, [ALL_JOBS], |row| row.get::<_, String>(0));
    let all = all.optional()?.and_then(|text| text.parse::<u32>().ok());
    Ok(all.unwrap_or(known).saturating_sub(known))
}

/// The sum as it is recorded. Stores of formats before 4 don't have it: there each job is looked at.
pub(super) fn tally(connection: &Connection) -> rusqlite::Result<Tally> {
    match fact(connection, TALLY)? {
        Some(text) => serde_json::from_str(&text)
            .map_err(|error| FromSqlError::Other(Box::new(error)))
            .map_err(rusqlite::Error::from),
        None => counted(connection),
    }
}

/// The sum over the jobs one by one.
pub(super) fn counted(connection: &Connection) -> rusqlite::Result<Tally> {
    let mut tally = Tally::default();
    let mut jobs = connection.prepare("SELECT body, state FROM jobs")?;
    let mut rows = jobs.query([])?;
    while let Some(row) = rows.next()? {
        let state = job_state(row, 1)?;
        tally.add(Share {
            state,
            ..parse(row, 0)?
        });
    }
    tally.set_to_come(to_come(connection, tally.counts.known())?);
    Ok(tally)
}

/// Records the sum.
pub(super) fn write(transaction: &Transaction<'_>, tally: &Tally) -> rusqlite::Result<()> {
    set_fact(transaction, TALLY, &json(tally)?)
}

/// The state of a job, from its word in the store.
pub(super) fn job_state(row: &Row<'_>, column: usize) -> rusqlite::Result<JobState> {
    let word = row.get_ref(column)?.as_str()?;
    let word: StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
    JobState::deserialize(word)
        .map_err(|error| FromSqlError::Other(Box::new(error)))
        .map_err(rusqlite::Error::from)
}
