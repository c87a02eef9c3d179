//! The question to sacct, and the reader of its answer.

use std::collections::HashMap;

use super::job_id::{JobId, Listed};
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

/// The name that version 20.11 gives a job whose start it recorded before its submission.
const LOST: &str = "allocation";

/// Reads the rows, and skips other lines. How often a job was restarted is how many rows of
/// it came before.
pub(super) fn parse(answer: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = answer.lines().filter_map(row).collect();
    let mut runs: HashMap<JobId, (Option<String>, u32)> = HashMap::new();
    for row in &mut rows {
        if let Listed::One(job) = row.listed {
            let (name, count) = runs.entry(job).or_default();
            if name.is_some() && row.name.is_some() && *name != row.name {
                *count = 0; // Another job under the same number.
            }
            *name = row.name.clone().or(name.take());
            row.restarts = Some(*count);
            *count += 1;
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
        name: next().map(|name| (name != LOST).then(|| name.to_owned()))?,
        restarts: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::recorded::recorded;
    use super::super::row::Index;
    use super::super::state;
    use super::*;
    use crate::{ClusterState, EndCause};

    const RECORDED: [(&str, &str); 4] = recorded!("sacct.txt");

    #[test]
    fn the_ends_of_each_version_are_understood() {
        for (version, recorded) in RECORDED {
            let rows = parse(recorded);
            assert_eq!(rows.len(), recorded.lines().count(), "{version}");
            let cause = |name: &str| {
                let row = rows.iter().rfind(|row| row.name.as_deref() == Some(name));
                match state::of(row.unwrap_or_else(|| panic!("{version}: no {name}"))) {
                    ClusterState::Ended(end) => end.cause,
                    state => panic!("{version}: {name} is {state:?}"),
                }
            };
            let from_128 = if version == "26.05" { 137 } else { 9 };
            let expected = [
                ("exit3", EndCause::Exited(3)),
                ("segv", EndCause::Signaled(11)),
                ("kill9", EndCause::Signaled(9)),
                ("exit137", EndCause::Exited(from_128)),
                ("srunfail", EndCause::Exited(0)),
                ("timeout", EndCause::TimeLimit),
                ("cancel-by-user", EndCause::Cancelled),
                // By root, whose job it is.
                ("cancel-pending", EndCause::NotStarted),
                ("badinterp", EndCause::Exited(2)),
                ("deadline", EndCause::NotStarted),
                ("preempt-cancel", EndCause::Preempted),
                ("preempt-requeue", EndCause::NotStarted),
                ("nodefail", EndCause::NodeFailure),
                ("req-append", EndCause::Exited(0)),
            ];
            for (name, wanted) in expected {
                assert_eq!(cause(name), wanted, "{version}: {name}");
            }
        }
    }

    #[test]
    fn runs_of_one_job_are_counted() {
        for (version, recorded) in RECORDED {
            let rows = parse(recorded);
            let last = |name: &str| {
                let row = rows.iter().rfind(|row| row.name.as_deref() == Some(name));
                row.unwrap().restarts
            };
            assert_eq!(last("exit3"), Some(0), "{version}");
            // In 20.11 the first run has lost its name.
            assert_eq!(last("req-append"), Some(1), "{version}");
            assert_eq!(last("nodefail-requeue"), Some(1), "{version}");
        }
    }

    #[test]
    fn tasks_that_were_cancelled_while_they_waited_are_found() {
        for (version, recorded) in RECORDED {
            let rows = parse(recorded);
            let index = Index::new(&rows);
            let folded = rows.iter().find_map(|row| match &row.listed {
                Listed::Tasks(base, _) => Some(*base),
                Listed::One(_) => None,
            });
            let base = folded.unwrap_or_else(|| panic!("{version}: no folded row"));
            let state = |task| {
                let job = JobId {
                    base,
                    task: Some(task),
                    before: 0,
                };
                index.row(job, Some("array")).map(|row| row.state.as_str())
            };
            assert_eq!(state(3), Some("FAILED"), "{version}");
            assert_eq!(state(5), Some("CANCELLED by 0"), "{version}");
            assert_eq!(state(6), None, "{version}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "(?s).{0,200}") {
            parse(&text);
        }

        #[test]
        fn any_columns_are_read_or_not(columns in prop::collection::vec("[^|\n]{0,12}", 0..12)) {
            for row in parse(&columns.join("|")) {
                state::of(&row);
            }
        }
    }
}
