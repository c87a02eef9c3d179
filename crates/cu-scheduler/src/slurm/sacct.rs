//! What sacct is asked, and how its answer is read.

use super::job_id::Listed;
use super::row::{Exit, Row, time, told};

/// The arguments that give one row for each run of a job, the newest last. Which jobs must stand
/// beside them: without any it would be all.
pub(super) const ARGUMENTS: [&str; 6] = [
    "--allocations",
    "--duplicates",
    "--noheader",
    "--parsable2",
    "--format",
    "JobID,State,ExitCode,Submit,Start,End,NodeList,Reason,JobName",
];

/// Reads the rows; what is none is passed over. How often a job was restarted is how many rows of
/// it came before.
pub(super) fn parse(answer: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = answer.lines().filter_map(row).collect();
    let mut runs = std::collections::HashMap::new();
    for row in &mut rows {
        if let Listed::One(job) = row.listed {
            let runs = runs.entry((job, row.name.clone())).or_insert(0);
            row.restarts = Some(*runs);
            *runs += 1;
        }
    }
    rows
}

fn row(line: &str) -> Option<Row> {
    let mut columns = line.splitn(9, '|');
    let mut next = || columns.next();
    Some(Row {
        listed: Listed::parse(next()?.trim())?,
        state: next()?.trim().to_owned(),
        exit: Exit::parse(next()?),
        submitted: time(next()?),
        started: time(next()?),
        ended: time(next()?),
        host: told(next()?).map(str::to_owned),
        reason: told(next()?).map(str::to_owned),
        name: next()?.to_owned(),
        restarts: None,
    })
}
