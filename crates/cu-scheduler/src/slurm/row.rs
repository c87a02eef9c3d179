//! One job as squeue or sacct reports it, and the texts that both share.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::job_id::{JobId, Listed};
use super::names;

/// A row about a job. A field that is missing, or that we can't read, is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub listed: Listed,
    /// `None` where Slurm lost it.
    pub name: Option<String>,
    /// In Slurm's words: `RUNNING`, `CANCELLED by 1000`.
    pub state: String,
    pub reason: Option<String>,
    pub exit: Option<Exit>,
    pub restarts: Option<u32>,
    pub submitted: Option<SystemTime>,
    /// For a job that waits: when Slurm expects to start it.
    pub started: Option<SystemTime>,
    pub ended: Option<SystemTime>,
    pub host: Option<String>,
}

/// How the batch script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub code: i32,
    pub signal: i32,
}

impl Exit {
    /// Reads `3:0`, or the wait status `768` of squeue in older versions.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((code, signal)) = text.split_once(':') {
            let (code, signal) = (code.parse().ok()?, signal.parse().ok()?);
            return Some(Self { code, signal });
        }
        let status: u32 = text.parse().ok()?;
        let low = |bits: u32| (bits & 0x7f).cast_signed();
        Some(Self {
            code: ((status >> 8) & 0xff).cast_signed(),
            signal: low(status),
        })
    }
}

/// The text of a column; `None` for the words that stand for an empty one.
pub(super) fn told(text: &str) -> Option<&str> {
    let text = text.trim();
    let nothing = [
        "",
        "N/A",
        "None",
        "Unknown",
        "(null)",
        "None assigned",
        "UNKNOWN",
    ];
    (!nothing.contains(&text)).then_some(text)
}

/// A time in Unix seconds, for which we ask by `SLURM_TIME_FORMAT`.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    let seconds = told(text)?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Rows by job, so that thousands of jobs are found in thousands of rows.
pub(super) struct Index<'a> {
    of_base: HashMap<u32, Vec<&'a Row>>,
}

impl<'a> Index<'a> {
    pub fn new(rows: &'a [Row]) -> Self {
        let mut of_base: HashMap<u32, Vec<&Row>> = HashMap::new();
        for row in rows {
            of_base.entry(row.listed.base()).or_default().push(row);
        }
        Self { of_base }
    }

    /// The row about one job: the last of its own rows, or else that of several tasks, or else
    /// that of its whole array. A row with a name other than `name` is about another job with the same
    /// number, from before Slurm began to count anew. Without a `name`, what is not called as a job of ours is
    /// a stranger's.
    pub fn row(&self, job: JobId, name: Option<&str>) -> Option<&'a Row> {
        let job = job.at_slurm();
        let rows = self.of_base.get(&job.base)?;
        let named = || {
            let rows = rows.iter().copied();
            rows.filter(|row| match (name, &row.name) {
                (Some(wanted), Some(name)) => name == wanted,
                (None, Some(name)) => names::is_ours(name),
                (_, None) => true,
            })
        };
        let is_own = |row: &&Row| row.listed == Listed::One(job);
        // When the waiting tasks of an array are cancelled, Slurm reports it in a row of the array.
        let whole = Listed::One(JobId {
            base: job.base,
            task: None,
            before: 0,
        });
        let is_rest = |row: &&Row| row.listed == whole && row.state.starts_with("CANCELLED");
        named()
            .rfind(is_own)
            .or_else(|| named().rfind(|row| row.listed.includes(job)))
            .or_else(|| named().rfind(is_rest))
    }

    /// Whether a row has the id of `job`, whoever's job that is.
    pub fn lists(&self, job: JobId) -> bool {
        let job = job.at_slurm();
        let rows = self.of_base.get(&job.base);
        rows.is_some_and(|rows| rows.iter().any(|row| row.listed.includes(job)))
    }

    /// Whether anything is said of the array `name` of which `job` is a task.
    pub fn knows_array(&self, job: JobId, name: &str) -> bool {
        let rows = self.of_base.get(&job.base).filter(|_| job.task.is_some());
        rows.is_some_and(|rows| rows.iter().any(|row| row.name.as_deref() == Some(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(listed: &str, name: &str, state: &str) -> Row {
        Row {
            listed: Listed::parse(listed).unwrap(),
            name: Some(name.into()),
            state: state.into(),
            reason: None,
            exit: None,
            restarts: None,
            submitted: None,
            started: None,
            ended: None,
            host: None,
        }
    }

    fn state(rows: &[Row], job: &str, name: Option<&str>) -> Option<String> {
        let job = JobId::parse(&crate::ClusterJobId(job.into())).unwrap();
        Index::new(rows).row(job, name).map(|row| row.state.clone())
    }

    #[test]
    fn the_nearest_row_of_a_task_counts() {
        let rows = [
            row("95_2", "a", "FAILED"),
            row("95_[2-5%2]", "a", "CANCELLED by 0"),
            row("96", "a", "CANCELLED"),
            row("96_1", "a", "COMPLETED"),
            row("97", "a", "RUNNING"),
        ];
        let state = |job| state(&rows, job, Some("a"));
        assert_eq!(state("95_2").as_deref(), Some("FAILED"));
        assert_eq!(state("95_4").as_deref(), Some("CANCELLED by 0"));
        assert_eq!(state("95_6"), None);
        assert_eq!(state("96_1").as_deref(), Some("COMPLETED"));
        assert_eq!(state("96_7").as_deref(), Some("CANCELLED"));
        // A job that runs is not an array, whatever was asked.
        assert_eq!(state("97_1"), None);
    }

    #[test]
    fn a_number_that_was_given_away_again_is_another_job() {
        let mut rows = vec![row("7", "ours", "COMPLETED"), row("7", "theirs", "RUNNING")];
        assert_eq!(
            state(&rows, "7", Some("ours")).as_deref(),
            Some("COMPLETED")
        );
        assert_eq!(state(&rows, "7", None), None);
        let ours = [row("7", "label:run/1/0:5", "RUNNING")];
        assert_eq!(state(&ours, "7", None).as_deref(), Some("RUNNING"));
        rows.remove(0);
        assert_eq!(state(&rows, "7", Some("ours")), None);
    }

    #[test]
    fn an_exit_is_read_in_both_forms() {
        assert_eq!(Exit::parse("3:0"), Some(Exit { code: 3, signal: 0 }));
        assert_eq!(Exit::parse("0:9"), Some(Exit { code: 0, signal: 9 }));
        assert_eq!(Exit::parse("768"), Some(Exit { code: 3, signal: 0 }));
        assert_eq!(Exit::parse("9"), Some(Exit { code: 0, signal: 9 }));
        assert_eq!(Exit::parse(""), None);
        assert_eq!(Exit::parse("a:b"), None);
    }
}
