//! Slurm's job ids as its commands print them: `123`, `123_4`, `123_[0-6,8-9%1]`.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use crate::ClusterJobId;

/// One job, or one task of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct JobId {
    /// The number that sbatch answers with; all tasks of an array have it in common.
    pub base: u32,
    /// The task in the array.
    pub task: Option<u32>,
    /// How many jobs of ours had the same id before: a controller that crashed may count anew.
    pub before: u32,
}

/// The first column of squeue and sacct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// A job, a task, or what is left of an array whose tasks all have rows of their own.
    One(JobId),
    /// Tasks of an array that share one row.
    Tasks(u32, Vec<Steps>),
}

/// Tasks of equal distance: all of `0-6`, every second of `1-9:2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    range: RangeInclusive<u32>,
    step: NonZeroU32,
}

impl JobId {
    /// Reads what [`to_cluster`](Self::to_cluster) wrote.
    pub fn parse(id: &ClusterJobId) -> Option<Self> {
        let (at_slurm, nth) = id.0.split_once('#').unwrap_or((&id.0, "1"));
        let before = nth.parse::<u32>().ok()?.checked_sub(1)?;
        let parsed = Self {
            before,
            ..Self::read(at_slurm)?
        };
        (parsed.to_cluster() == *id).then_some(parsed)
    }

    fn read(text: &str) -> Option<Self> {
        let (base, task) = match text.split_once('_') {
            Some((base, task)) => (base, Some(task.parse().ok()?)),
            None => (text, None),
        };
        let base = base.parse().ok()?;
        Some(Self {
            base,
            task,
            before: 0,
        })
    }

    /// The id that no other job of ours has: `123_4`, and `123_4#2` for the second job of this id.
    pub fn to_cluster(self) -> ClusterJobId {
        ClusterJobId(match self.before {
            0 => self.to_string(),
            before => format!("{self}#{}", u64::from(before) + 1),
        })
    }

    /// The id as rows of Slurm show it, which know nothing of jobs before.
    pub fn at_slurm(self) -> Self {
        Self { before: 0, ..self }
    }
}

/// As Slurm knows it.
impl fmt::Display for JobId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task {
            Some(task) => write!(out, "{}_{task}", self.base),
            None => write!(out, "{}", self.base),
        }
    }
}

impl Listed {
    /// `None` for the rows of steps, of parts of heterogeneous jobs, and for all we don't know.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((base, tasks)) = text.split_once("_[") else {
            return JobId::read(text).map(Self::One);
        };
        let tasks = match tasks.strip_suffix(']') {
            Some(tasks) => tasks.split('%').next()?,
            // Version 20.11 cuts the column: the last of them may be there in part.
            None => tasks.rsplit_once(',').map_or("", |(whole, _)| whole),
        };
        let tasks = tasks.split(',').filter(|task| !task.is_empty());
        let steps = tasks.map(Steps::parse).collect::<Option<_>>()?;
        Some(Self::Tasks(base.parse().ok()?, steps))
    }

    /// The number that all jobs of the row share.
    pub fn base(&self) -> u32 {
        match self {
            Self::One(job) => job.base,
            Self::Tasks(base, _) => *base,
        }
    }

    /// Whether the row is about `job`. A row of an array as a whole is about none of its tasks.
    pub fn includes(&self, job: JobId) -> bool {
        match self {
            Self::One(listed) => *listed == job,
            Self::Tasks(base, steps) => {
                *base == job.base
                    && job
                        .task
                        .is_some_and(|task| steps.iter().any(|steps| steps.include(task)))
            }
        }
    }
}

impl Steps {
    /// Reads `4`, `0-6` or `1-9:2`.
    fn parse(text: &str) -> Option<Self> {
        let (range, step) = text.split_once(':').unwrap_or((text, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(Self {
            range: first.parse().ok()?..=last.parse().ok()?,
            step: step.parse().ok()?,
        })
    }

    fn include(&self, task: u32) -> bool {
        self.range.contains(&task) && (task - self.range.start()) % self.step == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> Option<JobId> {
        JobId::parse(&ClusterJobId(text.into()))
    }

    #[test]
    fn only_what_slurm_prints_is_an_id() {
        assert_eq!(
            id("17"),
            Some(JobId {
                base: 17,
                task: None,
                before: 0,
            })
        );
        assert_eq!(
            id("17_3"),
            Some(JobId {
                base: 17,
                task: Some(3),
                before: 0,
            })
        );
        for other in [
            "", "local-17", "017", "17#1", "17#0", "17#", "17#02", "17_", "17_03", "17.batch",
            "-1", "17_[1-2]", "17 ",
        ] {
            assert_eq!(id(other), None, "{other}");
        }
    }

    #[test]
    fn folded_tasks_are_unfolded() {
        let listed = Listed::parse("122_[0-6,8-9%1]").unwrap();
        let task = |task| JobId {
            base: 122,
            task: Some(task),
            before: 0,
        };
        assert!(
            [0, 6, 8, 9]
                .into_iter()
                .all(|number| listed.includes(task(number)))
        );
        assert!(
            ![7, 10]
                .into_iter()
                .any(|number| listed.includes(task(number)))
        );
        assert!(!listed.includes(JobId {
            base: 122,
            task: None,
            before: 0,
        }));
        let odd = Listed::parse("122_[1-9:2,20]").unwrap();
        let included = (0..30).filter(|number| odd.includes(task(*number)));
        assert_eq!(included.collect::<Vec<u32>>(), [1, 3, 5, 7, 9, 20]);
        // A long list as sacct of version 20.11 prints it.
        let cut = Listed::parse("122_[1,3,6,8,11,14,16,19,22,24,27,3").unwrap();
        assert_eq!(cut.base(), 122);
        assert!(cut.includes(task(27)) && !cut.includes(task(30)));
        assert!(Listed::parse("122_[0-10").is_some_and(|cut| !cut.includes(task(1))));
        assert_eq!(Listed::parse("77.batch"), None);
        assert_eq!(Listed::parse("1+0"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in ".{0,40}") {
            let _ = Listed::parse(&text);
            let _ = id(&text);
        }

        #[test]
        fn each_printed_job_id_is_read(base: u32, task: Option<u32>, before in 0..u32::MAX) {
            let job = JobId { base, task, before };
            prop_assert_eq!(JobId::parse(&job.to_cluster()), Some(job));
            prop_assert_eq!(Listed::parse(&job.to_string()), Some(Listed::One(job.at_slurm())));
        }
    }
}
