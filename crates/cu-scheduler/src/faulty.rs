//! A wrapper that loses, repeats and delays answers, but still keeps the contract.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::chance::Chance;
use crate::{
    Cancel, Capabilities, ClusterJobId, ClusterState, Error, Found, Observation, Scheduler,
    Submission, SubmissionName, SubmitError,
};

/// How soon [`Scheduler::changed`] returns after an outdated answer.
const ANOTHER_LOOK: Duration = Duration::from_millis(20);

/// The probability of each fault, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faults {
    /// The cluster accepts a submission, but its answer is lost: [`SubmitError::Uncertain`].
    pub submit_answer_lost: f64,
    /// A submission never reaches the cluster: [`SubmitError::Uncertain`].
    pub submit_lost: f64,
    /// `observe` or `find` fails.
    pub unavailable: f64,
    /// The observation of a job is the previous one, or [`ClusterState::Unknown`].
    pub outdated: f64,
    /// `cancel` fails, having reached the cluster in half of the cases.
    pub cancel_uncertain: f64,
    /// `changed` returns although nothing has changed.
    pub false_alarm: f64,
}

impl Faults {
    /// All faults with the same probability.
    #[must_use]
    pub const fn all(probability: f64) -> Self {
        Self {
            submit_answer_lost: probability,
            submit_lost: probability,
            unavailable: probability,
            outdated: probability,
            cancel_uncertain: probability,
            false_alarm: probability,
        }
    }
}

/// A scheduler whose answers are lost, repeated and delayed, by a seeded generator.
///
/// A real scheduler may do the same: the wrapper never submits twice, never reports an outage as an
/// end, and never withdraws an end that it has reported.
///
/// ```
/// # use std::sync::Arc;
/// # use cu_scheduler::{Faults, Faulty, Scheduler};
/// fn unreliable(cluster: Arc<dyn Scheduler>) -> Arc<dyn Scheduler> {
///     Arc::new(Faulty::new(cluster, Faults::all(0.1), 42))
/// }
/// ```
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn Scheduler>,
    faults: Faults,
    luck: Mutex<Luck>,
}

#[derive(Debug)]
struct Luck {
    chance: Chance,
    reported: HashMap<ClusterJobId, Observation>,
    /// Whether an answer was outdated, so that the caller should look again although nothing will
    /// change.
    outdated: bool,
}

impl Faulty {
    /// Wraps `inner` with `faults`. The same seed and the same calls give the same faults.
    pub fn new(inner: Arc<dyn Scheduler>, faults: Faults, seed: u64) -> Self {
        let luck = Luck {
            chance: Chance::seeded(seed),
            reported: HashMap::new(),
            outdated: false,
        };
        Self {
            inner,
            faults,
            luck: Mutex::new(luck),
        }
    }

    fn luck(&self) -> MutexGuard<'_, Luck> {
        self.luck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn happens(&self, probability: f64) -> bool {
        self.luck().chance.happens(probability)
    }

    fn unavailable(&self, what: &str) -> Error {
        Error::Unavailable {
            scheduler: self.to_string(),
            reason: format!("the answer to {what} was lost"),
        }
    }

    /// Returns an outdated observation instead of `now`.
    fn tell(&self, now: Observation) -> Observation {
        let mut luck = self.luck();
        let before = luck.reported.get(&now.job).cloned();
        let final_word = |reported: &Observation| reported.state.is_over();
        let reported = if before.as_ref().is_some_and(final_word) {
            now
        } else if luck.chance.happens(self.faults.outdated) {
            luck.outdated = true;
            before.unwrap_or_else(|| Observation {
                state: ClusterState::Unknown {
                    reason: "no answer for this one".into(),
                },
                host: None,
                restarts: None,
                ..now
            })
        } else {
            now
        };
        luck.reported.insert(reported.job.clone(), reported.clone());
        reported
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} behind an unreliable line", self.inner)
    }
}

#[async_trait]
impl Scheduler for Faulty {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        let lost: Vec<bool> = batch
            .iter()
            .map(|_| self.happens(self.faults.submit_lost))
            .collect();
        let arriving: Vec<Submission> = batch
            .iter()
            .zip(&lost)
            .filter(|(_, lost)| !**lost)
            .map(|(submission, _)| submission.clone())
            .collect();
        let mut answers = self.inner.submit(&arriving).await.into_iter();
        let mut reported = Vec::new();
        for (submission, lost) in batch.iter().zip(lost) {
            let uncertain = |reason: &str| {
                Err(SubmitError::Uncertain {
                    name: submission.name.clone(),
                    reason: reason.into(),
                })
            };
            let answer = if lost { None } else { answers.next() };
            reported.push(match answer {
                None => uncertain("no answer came"),
                Some(Ok(_)) if self.happens(self.faults.submit_answer_lost) => {
                    uncertain("the answer was lost")
                }
                Some(answer) => answer,
            });
        }
        reported
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        if !jobs.is_empty() && self.happens(self.faults.unavailable) {
            self.luck().outdated = true;
            return Err(self.unavailable("observe"));
        }
        let observations = self.inner.observe(jobs).await?;
        Ok(observations.into_iter().map(|now| self.tell(now)).collect())
    }

    async fn changed(&self) {
        let outdated = self.luck().outdated;
        if outdated || self.happens(self.faults.false_alarm) {
            tokio::select! {
                () = tokio::time::sleep(ANOTHER_LOOK) => {}
                () = self.inner.changed() => {}
            }
            self.luck().outdated = false;
        } else {
            self.inner.changed().await;
        }
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        if !names.is_empty() && self.happens(self.faults.unavailable) {
            return Err(self.unavailable("find"));
        }
        self.inner.find(names).await
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        if !self.happens(self.faults.cancel_uncertain) {
            return self.inner.cancel(jobs, how).await;
        }
        if self.happens(0.5) {
            self.inner.cancel(jobs, how).await?;
        }
        Err(self.unavailable("cancel"))
    }
}
