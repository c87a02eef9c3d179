//! The question to squeue, and the reader of its answer.

use super::job_id::Listed;
use super::row::{Exit, Row, time, told};

/// The arguments that give one row for each job and task of ours, ended ones too as long as
/// Slurm's controller knows them.
pub(super) const ARGUMENTS: [&str; 7] = [
    "--me",
    NO_HEADING,
    "--array",
    "--states=all",
    "--Format",
    // The text behind the colon stands behind the column, which has then no width.
    "JobArrayID:|,State:|,exit_code:|,RestartCnt:|,SubmitTime:|,StartTime:|,EndTime:|,NodeList:|,\
     Reason:|,Name:|",
    "--sort=i",
];

const NO_HEADING: &str = "--noheader";

/// The same with the heading of the table, which stands there even if no job does.
pub(super) fn with_heading() -> impl Iterator<Item = &'static str> {
    ARGUMENTS.into_iter().filter(|it| *it != NO_HEADING)
}

/// Whether a table is in an answer [with its heading](with_heading): a line of all columns that is
/// not about a job.
pub(super) fn has_heading(answer: &str) -> bool {
    let is_heading = |line: &str| {
        let (first, rest) = line.split_once('|').unwrap_or_default();
        let is_word =
            !first.is_empty() && first.chars().all(|it| it.is_ascii_uppercase() || it == '_');
        is_word && rest.matches('|').count() == 9
    };
    answer.lines().any(is_heading)
}

/// Reads the rows, and skips other lines.
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
        name: Some(next()?.strip_suffix('|')?.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::recorded::recorded;
    use super::*;

    const RECORDED: [(&str, &str); 4] = recorded!("squeue.txt");

    #[test]
    fn each_version_is_understood() {
        for (version, recorded) in RECORDED {
            let rows = parse(recorded);
            assert_eq!(rows.len(), recorded.lines().count(), "{version}");
            let row = |name: &str| {
                let row = rows.iter().find(|row| row.name.as_deref() == Some(name));
                row.unwrap_or_else(|| panic!("{version}: no {name}"))
            };
            let failed = row("digits:run/3/0:3");
            assert_eq!(failed.state, "FAILED", "{version}");
            assert_eq!(failed.exit, Some(Exit { code: 3, signal: 0 }), "{version}");
            assert!(failed.started <= failed.ended && failed.ended.is_some());
            let killed = row("digits:run/4/0:4");
            assert_eq!(killed.exit, Some(Exit { code: 0, signal: 9 }), "{version}");
            let held = row("digits:run/5/0:5");
            assert_eq!(held.reason.as_deref(), Some("JobHeldUser"), "{version}");
            assert_eq!((held.started, held.host.as_deref()), (None, None));
            assert_eq!(row("digits:run/6/0:6").state, "RUNNING", "{version}");
            let again = row("digits:run/7/0:7");
            assert_eq!(again.restarts, Some(1), "{version}");
            let of_array = rows
                .iter()
                .filter(|row| row.name.as_deref() == Some("digits:run/array:8"));
            assert_eq!(of_array.count(), 3, "{version}: a row for each task");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "(?s).{0,200}") {
            parse(&text);
        }

        #[test]
        fn any_columns_are_read_or_not(columns in prop::collection::vec("[^|\n]{0,12}", 0..12)) {
            parse(&columns.join("|"));
        }

        #[test]
        fn each_field_of_a_row_is_read(base: u32, task: Option<u32>, code in 0..256_i32, at in 1_u32.., name in "[a-z:/0-9]{1,40}", restarts: u32) {
            let job = super::super::job_id::JobId { base, task, before: 0 };
            let line = format!("{job}|FAILED|{code}:0|{restarts}|{at}|{at}|{at}|n1|NonZeroExitCode|{name}|");
            let rows = parse(&line);
            prop_assert_eq!(rows.len(), 1);
            prop_assert_eq!(&rows[0].listed, &Listed::One(job));
            prop_assert_eq!(rows[0].exit, Some(Exit { code, signal: 0 }));
            prop_assert_eq!(rows[0].restarts, Some(restarts));
            prop_assert_eq!(rows[0].name.as_deref(), Some(&*name));
            prop_assert!(rows[0].submitted.is_some() && rows[0].submitted == rows[0].ended);
        }
    }
}
