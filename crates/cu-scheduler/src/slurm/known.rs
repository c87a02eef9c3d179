//! All known calls of sbatch, folded from the lines of the journal.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::job_id::JobId;
use crate::SubmissionName;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// The first line.
    Header { version: u32 },
    /// Submissions are about to be handed over.
    Call(Call),
    /// Slurm took them under this id.
    Accepted { call: u64, id: u32 },
    /// Slurm does not have them: it refused them, or never got them.
    Void { call: u64 },
    /// A job is about to be put back in the queue.
    Requeue(Requeue),
    /// It was put back.
    Requeued { name: String },
    /// It was not.
    NotRequeued { name: String },
    /// We are about to send SIGKILL.
    Kill { at_unix_s: u64, jobs: Vec<String> },
    /// We are about to cancel a held job, because its hold counts as an end.
    EndHold { job: String, reason: String },
}

/// One call of sbatch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Call {
    /// Greater than that of each call before.
    pub number: u64,
    pub at_unix_s: u64,
    /// The name of its job at Slurm, which no other job of any user has.
    pub job_name: String,
    /// Its batch script, beside which lies what belongs to it.
    pub script: PathBuf,
    /// Its submissions, by task if it is an array.
    pub names: Vec<String>,
    pub array: bool,
}

/// One job put back in the queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Requeue {
    /// The submission for which it starts again.
    pub name: String,
    pub job: String,
    /// How often it had been started anew before.
    pub restarts: u32,
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Not known: sbatch gave no clear answer, or we were killed meanwhile.
    Open,
    Accepted(u32),
    Void,
}

/// The place of a submission, as far as we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In this call, which is open.
    Open {
        call: u64,
        task: Option<u32>,
    },
    At(JobId),
    /// To be put back as this job, if that was done.
    Requeue {
        job: JobId,
        restarts: u32,
    },
}

/// All that is known.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Known {
    calls: HashMap<u64, (Call, Outcome)>,
    /// The calls that made jobs of an id, in their order: the controller may give an id again.
    of_id: HashMap<u32, Vec<u64>>,
    places: HashMap<SubmissionName, Where>,
    killed: HashMap<JobId, u64>,
    /// The reasons of holds that count as an end.
    ended_holds: HashMap<JobId, String>,
    /// How often a job that we have put back had been started anew by its newest submission.
    restarts: HashMap<JobId, u32>,
    newest: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Where {
    Call { call: u64, task: Option<u32> },
    Requeue { job: JobId, restarts: u32 },
    Requeued { job: JobId },
}

impl Known {
    /// Adds what a line says.
    pub fn apply(&mut self, line: Line) {
        match line {
            Line::Header { .. } => {}
            Line::Call(call) => {
                self.newest = self.newest.max(call.number);
                for (task, name) in (0..).zip(&call.names) {
                    if let Ok(name) = name.parse() {
                        let task = call.array.then_some(task);
                        let call = call.number;
                        self.places.insert(name, Where::Call { call, task });
                    }
                }
                self.calls.insert(call.number, (call, Outcome::Open));
            }
            Line::Accepted { call, id } => {
                if let Some((_, outcome)) = self.calls.get_mut(&call) {
                    *outcome = Outcome::Accepted(id);
                    let calls = self.of_id.entry(id).or_default();
                    if !calls.contains(&call) {
                        calls.push(call);
                    }
                }
            }
            Line::Void { call } => {
                let call = self.calls.get_mut(&call);
                if let Some((_, outcome)) = call {
                    *outcome = Outcome::Void;
                }
            }
            Line::Requeue(requeue) => {
                if let (Ok(name), Some(job)) = (requeue.name.parse(), id(&requeue.job)) {
                    let restarts = requeue.restarts;
                    self.places.insert(name, Where::Requeue { job, restarts });
                }
            }
            Line::Requeued { name } => self.settle(&name, true),
            Line::NotRequeued { name } => self.settle(&name, false),
            Line::Kill { at_unix_s, jobs } => {
                let jobs = jobs.iter().filter_map(|job| id(job));
                self.killed.extend(jobs.map(|job| (job, at_unix_s)));
            }
            Line::EndHold { job, reason } => {
                self.ended_holds.extend(id(&job).map(|job| (job, reason)));
            }
        }
    }

    fn settle(&mut self, name: &str, requeued: bool) {
        let Ok(name) = name.parse() else { return };
        if let Some(Where::Requeue { job, restarts }) = self.places.get(&name) {
            let (job, restarts) = (*job, *restarts);
            if requeued {
                self.restarts.insert(job, restarts.saturating_add(1));
                self.places.insert(name, Where::Requeued { job });
            } else {
                self.places.remove(&name);
            }
        }
    }

    /// The place of a submission; `None` if it was never handed over, or is known not to have arrived.
    pub fn place(&self, name: &SubmissionName) -> Option<Place> {
        match self.places.get(name)? {
            Where::Requeue { job, restarts } => Some(Place::Requeue {
                job: *job,
                restarts: *restarts,
            }),
            Where::Requeued { job } => Some(Place::At(*job)),
            Where::Call { call, task } => match self.calls.get(call)?.1 {
                Outcome::Void => None,
                Outcome::Accepted(base) => Some(Place::At(self.job(*call, base, *task))),
                Outcome::Open => Some(Place::Open {
                    call: *call,
                    task: *task,
                }),
            },
        }
    }

    /// A call by its number.
    pub fn call(&self, number: u64) -> Option<&Call> {
        self.calls.get(&number).map(|(call, _)| call)
    }

    /// The call that made a job.
    pub fn call_of(&self, job: JobId) -> Option<&Call> {
        let calls = self.of_id.get(&job.base)?;
        self.call(*calls.get(usize::try_from(job.before).ok()?)?)
    }

    /// The job that `call` made under the id `base`, or one of its tasks.
    pub fn job(&self, call: u64, base: u32, task: Option<u32>) -> JobId {
        let calls = self.of_id.get(&base).map_or(&[][..], Vec::as_slice);
        let before = calls.iter().position(|it| *it == call).unwrap_or(0);
        JobId {
            base,
            task,
            before: u32::try_from(before).unwrap_or(u32::MAX),
        }
    }

    /// How often a job has been started anew for the submissions that it was. If Slurm counts more, it has
    /// put the job back by itself.
    pub fn restarts(&self, job: JobId) -> u32 {
        self.restarts.get(&job).copied().unwrap_or_default()
    }

    /// Why a job was held that we have cancelled because its hold counts as an end.
    pub fn ended_hold(&self, job: JobId) -> Option<&str> {
        self.ended_holds.get(&job).map(String::as_str)
    }

    /// When we last sent SIGKILL to a job.
    pub fn killed(&self, job: JobId) -> Option<SystemTime> {
        let at = Duration::from_secs(*self.killed.get(&job)?);
        SystemTime::UNIX_EPOCH.checked_add(at)
    }

    /// A number for a new call, which also is its time in milliseconds.
    pub fn next_call(&self, now: SystemTime) -> u64 {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        now.max(self.newest.saturating_add(1))
    }
}

fn id(text: &str) -> Option<JobId> {
    JobId::parse(&crate::ClusterJobId(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(job: u32) -> SubmissionName {
        SubmissionName::new("run", job, 0).unwrap()
    }

    fn call(number: u64, jobs: &[u32]) -> Line {
        Line::Call(Call {
            number,
            at_unix_s: 1,
            job_name: "x".into(),
            script: "/x".into(),
            names: jobs.iter().map(|job| name(*job).to_string()).collect(),
            array: jobs.len() > 1,
        })
    }

    fn known(lines: impl IntoIterator<Item = Line>) -> Known {
        let mut known = Known::default();
        lines.into_iter().for_each(|line| known.apply(line));
        known
    }

    #[test]
    fn a_damaged_journal_does_not_overflow_call_numbers() {
        let known = known([call(u64::MAX, &[1])]);
        assert_eq!(known.next_call(SystemTime::UNIX_EPOCH), u64::MAX);
    }

    #[test]
    fn the_newest_word_on_a_submission_counts() {
        let mut lines = vec![call(5, &[1, 2])];
        let open = Some(Place::Open {
            call: 5,
            task: Some(1),
        });
        assert_eq!(known(lines.clone()).place(&name(2)), open);
        lines.push(Line::Void { call: 5 });
        assert_eq!(known(lines.clone()).place(&name(2)), None);
        lines.extend([call(6, &[2]), Line::Accepted { call: 6, id: 77 }]);
        let known = known(lines);
        let at = JobId {
            base: 77,
            task: None,
            before: 0,
        };
        assert_eq!(known.place(&name(2)), Some(Place::At(at)));
        assert_eq!(known.place(&name(1)), None);
        assert_eq!(known.call_of(at).map(|call| call.number), Some(6));
    }

    #[test]
    fn a_requeue_is_one_only_once_it_is_known_to_be() {
        let requeue = Line::Requeue(Requeue {
            name: name(1).to_string(),
            job: "77_4".into(),
            restarts: 2,
        });
        let job = JobId {
            base: 77,
            task: Some(4),
            before: 0,
        };
        let asked = known([requeue.clone()]).place(&name(1));
        assert_eq!(asked, Some(Place::Requeue { job, restarts: 2 }));
        let text = name(1).to_string();
        let done = known([requeue.clone(), Line::Requeued { name: text.clone() }]);
        assert_eq!(done.place(&name(1)), Some(Place::At(job)));
        assert_eq!(done.restarts(job), 3);
        let refused = known([requeue, Line::NotRequeued { name: text }]);
        assert_eq!(refused.place(&name(1)), None);
    }

    #[test]
    fn a_job_keeps_its_call_though_its_id_is_given_again() {
        let lines = [
            call(5, &[1]),
            Line::Accepted { call: 5, id: 77 },
            call(6, &[2, 3]),
            Line::Accepted { call: 6, id: 77 },
        ];
        let known = known(lines);
        let job = |number| match known.place(&name(number)) {
            Some(Place::At(job)) => job,
            other => panic!("{other:?}"),
        };
        for (number, id, call) in [(1, "77", 5), (2, "77_0#2", 6), (3, "77_1#2", 6)] {
            assert_eq!(job(number).to_cluster().0, id);
            assert_eq!(known.call_of(job(number)).map(|it| it.number), Some(call));
        }
    }

    #[test]
    fn call_numbers_grow_though_the_clock_does_not() {
        let known = known([call(u64::MAX / 2, &[1])]);
        assert_eq!(known.next_call(SystemTime::now()), u64::MAX / 2 + 1);
    }
}
