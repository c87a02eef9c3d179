//! What squeue is asked, and how its answer is read.

use super::job_id::Listed;
use super::row::{Exit, Row, time, told};

/// The arguments that give one row for each job and task of ours, ended ones too as long as
/// Slurm's controller knows them.
pub(super) const ARGUMENTS: [&str; 7] = [
    "--me",
    "--noheader",
    "--array",
    "--states=all",
    "--Format",
    // The text behind the colon stands behind the column, which has then no width.
    "JobArrayID:|,State:|,exit_code:|,RestartCnt:|,SubmitTime:|,StartTime:|,EndTime:|,NodeList:|,\
     Reason:|,Name:|",
    "--sort=i",
];

/// Reads the rows; what is none is passed over.
pub(super) fn parse(answer: &str) -> Vec<Row> {
    answer.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let mut columns = line.splitn(10, '|');
    let mut next = || columns.next();
    Some(Row {
        listed: Listed::parse(next()?.trim())?,
        state: next()?.trim().to_owned(),
        exit: next().and_then(Exit::parse),
        restarts: next()?.parse().ok(),
        submitted: time(next()?),
        started: time(next()?),
        ended: time(next()?),
        host: told(next()?).map(str::to_owned),
        reason: told(next()?).map(str::to_owned),
        name: next()?.strip_suffix('|')?.to_owned(),
    })
}
