//! Watches the scheduler: asks for all attempts at once, when it is worth it, and passes on what
//! has changed.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cu_protocol::{Attempt, JobId, RunId};
use cu_scheduler::{ClusterJobId, ClusterState, Observation, Reach, Scheduler, SubmissionName};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::inbox::{Item, Reply, Sender};
use crate::machine::{Active, Event, is_over};

/// The least time between two looks, so that a thousand changes are seen at once.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The longest time between two looks at attempts that seem to be over.
const LONGEST_DOUBT: Duration = Duration::from_secs(60);

/// How soon after a look there may be another one, though the scheduler did not call for it.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Because an attempt seems to be over. Should it still be called running, as clusters do for
    /// a while, the wait doubles until its end is seen.
    doubt: Duration,
    /// Because there is a cluster job that was never looked at.
    new: Duration,
}

impl Pace {
    /// What is gentle: to ask this machine costs nothing, to ask a cluster's controller disturbs
    /// everybody on it.
    const fn of(reach: Reach) -> Self {
        match reach {
            Reach::ThisMachine => Self {
                doubt: BETWEEN_LOOKS,
                new: BETWEEN_LOOKS,
            },
            Reach::OtherMachines => Self {
                doubt: Duration::from_secs(3),
                new: Duration::from_secs(30),
            },
        }
    }
}

/// The cluster jobs that are watched, and whose attempts they are.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    watches: Mutex<Watches>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Watches {
    of: HashMap<JobId, Watch>,
    /// One is new since the last look.
    has_new: bool,
    /// An attempt has come to seem over since the last look.
    has_new_doubt: bool,
}

#[derive(Clone, Debug)]
struct Watch {
    attempt: Attempt,
    cluster_job: ClusterJobId,
    /// The attempt seems to be over, and the scheduler has not said so.
    is_in_doubt: bool,
}

impl Watch {
    /// Whether that is new.
    fn doubt(&mut self) -> bool {
        !std::mem::replace(&mut self.is_in_doubt, true)
    }
}

impl Watched {
    /// Watches the cluster job of the attempt that `job` has with the scheduler, or nothing.
    pub fn set(&self, job: JobId, active: Option<&Active>) {
        let mut watches = self.lock();
        let Some((active, cluster_job)) = active.and_then(|it| Some((it, it.cluster_job()?)))
        else {
            watches.of.remove(&job);
            return;
        };
        let known = watches.of.get(&job);
        if known.is_some_and(|it| it.attempt == active.attempt && it.cluster_job == *cluster_job) {
            return;
        }
        let watch = Watch {
            attempt: active.attempt,
            cluster_job: cluster_job.clone(),
            is_in_doubt: false,
        };
        watches.of.insert(job, watch);
        watches.has_new = true;
        self.news.notify_one();
    }

    /// The attempt seems to be over: the scheduler is asked until it says so.
    pub fn doubt(&self, job: JobId, attempt: Attempt) {
        let mut watches = self.lock();
        let watch = watches.of.get_mut(&job);
        let watch = watch.filter(|watch| watch.attempt == attempt);
        watches.has_new_doubt |= watch.is_some_and(Watch::doubt);
        self.news.notify_one();
    }

    /// As [`doubt`](Self::doubt), for those of these cluster jobs that are watched.
    pub fn doubt_all(&self, cluster_jobs: &[ClusterJobId]) {
        let cluster_jobs: HashSet<_> = cluster_jobs.iter().collect();
        let mut watches = self.lock();
        let mut has_new_doubt = watches.has_new_doubt;
        for watch in watches.of.values_mut() {
            has_new_doubt |= cluster_jobs.contains(&watch.cluster_job) && watch.doubt();
        }
        watches.has_new_doubt = has_new_doubt;
        self.news.notify_one();
    }

    /// The attempt has shown that it lives.
    pub fn trust(&self, job: JobId, attempt: Attempt) {
        if let Some(watch) = self.lock().of.get_mut(&job)
            && watch.attempt == attempt
        {
            watch.is_in_doubt = false;
            self.news.notify_one();
        }
    }

    /// All that is to be looked at now, and whether a doubt among it is new. Nothing of it is
    /// afterwards.
    fn look(&self) -> (Vec<(JobId, Watch)>, bool) {
        let mut watches = self.lock();
        watches.has_new = false;
        let has_new_doubt = std::mem::take(&mut watches.has_new_doubt);
        let watched = watches.of.iter();
        let watched = watched.map(|(job, watch)| (*job, watch.clone()));
        (watched.collect(), has_new_doubt)
    }

    fn lock(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an attempt is called at the scheduler.
pub(crate) fn submission_name(run: RunId, job: JobId, attempt: Attempt) -> SubmissionName {
    SubmissionName::new(run.to_string(), job.0, attempt.0)
        .expect("32 hexadecimal digits are letters and digits")
}

/// Starts to watch the attempts of `run`, as one of `tasks`.
pub(crate) fn start(
    run: RunId,
    scheduler: Arc<dyn Scheduler>,
    sender: Sender,
    tasks: &mut JoinSet<()>,
) -> Arc<Watched> {
    let watched = Arc::new(Watched::default());
    let pace = Pace::of(scheduler.capabilities().reach);
    let looking = Looking {
        run,
        scheduler,
        watched: watched.clone(),
        sender,
        pace,
        seen: HashMap::new(),
        last: None,
        again: Backoff::new(pace.doubt, LONGEST_DOUBT),
    };
    tasks.spawn(looking.go_on());
    watched
}

/// The one who looks.
struct Looking {
    run: RunId,
    scheduler: Arc<dyn Scheduler>,
    watched: Arc<Watched>,
    sender: Sender,
    pace: Pace,
    seen: HashMap<ClusterJobId, ClusterState>,
    /// When it looked last.
    last: Option<Instant>,
    /// How long after it to look again at what is in doubt.
    again: Backoff,
}

impl Looking {
    async fn go_on(mut self) {
        loop {
            let again = self.again.wait();
            self.wait(again).await;
            self.look().await;
            self.last = Some(Instant::now());
        }
    }

    /// Until there is a reason to look.
    async fn wait(&self, again: Duration) {
        let changed = async {
            self.scheduler.changed().await;
            if let Some(last) = self.last {
                sleep_until(last + BETWEEN_LOOKS).await;
            }
        };
        // One future for all turns: for a scheduler that is only asked at intervals, a new one
        // would begin a new interval.
        let mut changed = pin!(changed);
        loop {
            let due = async {
                match self.due(again) {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut changed => return,
                () = due => return,
                () = self.watched.news.notified() => {}
            }
        }
    }

    /// When it looks without the scheduler's call, if there is a reason to.
    fn due(&self, again: Duration) -> Option<Instant> {
        let watches = self.watched.lock();
        let in_doubt = || watches.of.values().any(|watch| watch.is_in_doubt);
        let doubt = match watches.has_new_doubt {
            true => Some(self.pace.doubt),
            false => in_doubt().then_some(again),
        };
        let new = watches.has_new.then_some(self.pace.new);
        let wait = [doubt, new].into_iter().flatten().min()?;
        Some(self.last.map_or_else(Instant::now, |last| last + wait))
    }

    /// Asks until the scheduler answers.
    async fn look(&mut self) {
        let mut silence = Backoff::SILENCE;
        loop {
            let (asked, has_new_doubt) = self.watched.look();
            if has_new_doubt {
                self.again.reset();
            }
            if asked.is_empty() {
                self.seen.clear();
                return;
            }
            let ids: Vec<_> = asked.iter().map(|(_, it)| it.cluster_job.clone()).collect();
            match self.scheduler.observe(&ids).await {
                Ok(observations) => {
                    let _ = self.sender.send(Item::Answered);
                    return self.pass_on(asked, observations);
                }
                Err(error) => {
                    let _ = self.sender.send(Item::from(&error));
                    sleep(silence.wait()).await;
                }
            }
        }
    }

    /// The submission that an observation is about, if it is not this attempt: a scheduler that has
    /// lost its state may give an id again.
    fn other_submission<'a>(
        &self,
        job: JobId,
        attempt: Attempt,
        observation: &'a Observation,
    ) -> Option<&'a SubmissionName> {
        let ours = submission_name(self.run, job, attempt);
        observation.name.as_ref().filter(|told| **told != ours)
    }

    /// Passes on what has changed since the look before.
    fn pass_on(&mut self, asked: Vec<(JobId, Watch)>, observations: Vec<Observation>) {
        let before = std::mem::take(&mut self.seen);
        for ((job, watch), mut observation) in asked.into_iter().zip(observations) {
            let Watch {
                attempt,
                cluster_job,
                ..
            } = watch;
            if let Some(other) = self.other_submission(job, attempt, &observation) {
                if before.get(&cluster_job) != Some(&ClusterState::Gone) {
                    tracing::warn!(
                        "job {job}: {cluster_job} is now the id of {other}: nothing follows from \
                         it for attempt {attempt}, which the scheduler has no longer"
                    );
                }
                observation.state = ClusterState::Gone;
                observation.host = None;
            }
            if is_over(&observation.state) {
                self.watched.trust(job, attempt);
            }
            let known = before.get(&cluster_job) == Some(&observation.state);
            self.seen.insert(cluster_job, observation.state.clone());
            if known {
                continue;
            }
            let _ = self.sender.send(Item::Happened {
                job,
                event: Event::Observed {
                    attempt,
                    observation,
                },
                reply: Reply::Nobody,
            });
        }
    }
}

#[cfg(test)]
mod tests;
