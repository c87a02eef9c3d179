//! A backend with bugs: whatever it does, nothing waits for ever, and nothing is submitted twice.
#![cfg(feature = "unstable")]

mod support;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cu_core::{Error, JobState, Reader};
use cu_scheduler::simulated::{Simulated, SimulatedOptions};
use cu_scheduler::{
    Cancel, Capabilities, ClusterJobId, Found, Observation, Scheduler, Submission, SubmissionName,
    SubmitError,
};
use support::{
    assert_one_at_a_time, on_a_paused_clock, open, patient, program_exits, scratch, settled,
};
use tokio::time::timeout;

const JOBS: u32 = 4;
const A_MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    PanicsAtSubmission,
    PanicsAtLook,
    /// Its own part that keeps the jobs is gone from the first submission on.
    Ends,
    /// Says nothing of the last in each batch.
    AnswersOneTooFew,
}

#[derive(Debug)]
struct Bad {
    inner: Simulated,
    bug: Bug,
}

impl fmt::Display for Bad {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, with a bug", self.inner)
    }
}

#[async_trait]
impl Scheduler for Bad {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        assert_ne!(self.bug, Bug::PanicsAtSubmission, "a bug in a backend");
        if self.bug == Bug::Ends {
            let uncertain = |it: &Submission| {
                Err(SubmitError::Uncertain {
                    name: it.name.clone(),
                    reason: "no answer".to_owned(),
                })
            };
            return batch.iter().map(uncertain).collect();
        }
        let mut answers = self.inner.submit(batch).await;
        if self.bug == Bug::AnswersOneTooFew {
            answers.pop();
        }
        answers
    }

    async fn observe(
        &self,
        jobs: &[ClusterJobId],
    ) -> Result<Vec<Observation>, cu_scheduler::Error> {
        assert_ne!(self.bug, Bug::PanicsAtLook, "a bug in a backend");
        self.inner.observe(jobs).await
    }

    async fn changed(&self) {
        self.inner.changed().await;
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, cu_scheduler::Error> {
        if self.bug == Bug::Ends {
            return Err(cu_scheduler::Error::Ended {
                scheduler: self.to_string(),
                reason: "its keeper is gone".to_owned(),
            });
        }
        self.inner.find(names).await
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), cu_scheduler::Error> {
        self.inner.cancel(jobs, how).await
    }
}

fn with(bug: Bug) -> Bad {
    let options = SimulatedOptions {
        cpus: JOBS,
        ..SimulatedOptions::default()
    };
    let inner = Simulated::new(options, |run| async move { program_exits(&run, 0) });
    Bad { inner, bug }
}

#[test]
fn a_panic_ends_the_main_process_but_no_job() {
    for bug in [Bug::PanicsAtSubmission, Bug::PanicsAtLook] {
        on_a_paused_clock(async {
            let scratch = scratch(patient(), JOBS);
            let resume_loop = open(&scratch, Arc::new(with(bug))).await;
            let end = timeout(A_MONTH, resume_loop.run()).await.expect("it ends");
            let error = end.expect_err("a part of it has died");
            assert!(matches!(error, Error::Died { .. }), "{error}");
            assert!(error.to_string().contains("a bug in a backend"), "{error}");
            let jobs = Reader::open(&scratch.run).and_then(|reader| reader.jobs());
            let settled = |job: &cu_core::JobReport| job.state.is_settled();
            assert!(!jobs.expect("a readable run").iter().any(settled));
        });
    }
}

#[test]
fn a_backend_that_has_ended_is_not_waited_for() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), JOBS);
        let resume_loop = open(&scratch, Arc::new(with(Bug::Ends))).await;
        let moments = Duration::from_secs(10);
        let end = timeout(moments, resume_loop.run()).await;
        let error = end.expect("it ends at once").expect_err("no answer");
        assert!(matches!(error, Error::BackendEnded { .. }), "{error}");
        assert!(error.to_string().contains("keeper is gone"), "{error}");
    });
}

#[test]
fn a_submission_without_an_answer_is_looked_up() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), JOBS);
        let cluster = with(Bug::AnswersOneTooFew);
        let inner = cluster.inner.clone();
        let resume_loop = open(&scratch, Arc::new(cluster)).await;
        let end = timeout(A_MONTH, resume_loop.run()).await.expect("it ends");
        settled(end.expect("no error"));
        let jobs = Reader::open(&scratch.run).and_then(|reader| reader.jobs());
        for job in jobs.expect("a readable run") {
            assert_eq!(job.state, JobState::Completed, "{}", job.why);
        }
        assert_eq!(inner.starts().len() as u32, JOBS);
        assert_one_at_a_time(&inner);
    });
}
