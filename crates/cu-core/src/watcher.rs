//! Watches the scheduler: asks for all attempts at once, when it is worth it, and passes on what
//! has changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use cu_scheduler::{ClusterJobId, ClusterState, Scheduler};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::inbox::{Item, Reply, Sender};
use crate::machine::Event;

/// The least time between two looks, so that a thousand changes are seen at once.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The cluster jobs that are watched, and whose attempts they are.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    jobs: Mutex<HashMap<JobId, (Attempt, ClusterJobId)>>,
    news: Notify,
}

impl Watched {
    /// Watches `cluster_job` for `job`, or nothing any more.
    pub fn set(&self, job: JobId, cluster_job: Option<(Attempt, ClusterJobId)>) {
        let mut jobs = self.lock();
        match cluster_job {
            Some(cluster_job) => {
                if jobs.insert(job, cluster_job.clone()) != Some(cluster_job) {
                    self.news.notify_one();
                }
            }
            None => {
                jobs.remove(&job);
            }
        }
    }

    /// The attempts whose cluster jobs are watched.
    pub fn attempts(&self) -> Vec<(JobId, Attempt)> {
        let jobs = self.lock();
        jobs.iter()
            .map(|(job, (attempt, _))| (*job, *attempt))
            .collect()
    }

    fn snapshot(&self) -> Vec<(JobId, Attempt, ClusterJobId)> {
        let jobs = self.lock();
        let watched = jobs.iter();
        watched
            .map(|(job, (attempt, cluster_job))| (*job, *attempt, cluster_job.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, (Attempt, ClusterJobId)>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    watched: Arc<Watched>,
    task: JoinHandle<()>,
}

impl Watcher {
    pub fn start(scheduler: Arc<dyn Scheduler>, sender: Sender) -> Self {
        let watched = Arc::new(Watched::default());
        let task = tokio::spawn(watch(scheduler, watched.clone(), sender));
        Self { watched, task }
    }

    pub fn watched(&self) -> Arc<Watched> {
        self.watched.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(scheduler: Arc<dyn Scheduler>, watched: Arc<Watched>, sender: Sender) {
    let mut seen: HashMap<ClusterJobId, ClusterState> = HashMap::new();
    let mut silence = Backoff::SILENCE;
    loop {
        tokio::select! {
            () = scheduler.changed() => {}
            () = watched.news.notified() => {}
        }
        loop {
            let asked = watched.snapshot();
            let ids: Vec<_> = asked.iter().map(|(_, _, id)| id.clone()).collect();
            if ids.is_empty() {
                seen.clear();
                break;
            }
            match scheduler.observe(&ids).await {
                Ok(observations) => {
                    let _ = sender.send(Item::Answered);
                    silence.reset();
                    let before = std::mem::take(&mut seen);
                    for ((job, attempt, id), observation) in asked.into_iter().zip(observations) {
                        let known = before.get(&id) == Some(&observation.state);
                        seen.insert(id, observation.state.clone());
                        if known {
                            continue;
                        }
                        let _ = sender.send(Item::Happened {
                            job,
                            event: Event::Observed {
                                attempt,
                                observation,
                            },
                            reply: Reply::Nobody,
                        });
                    }
                    break;
                }
                Err(error) => {
                    let _ = sender.send(Item::Silent {
                        reason: error.to_string(),
                    });
                    sleep(silence.wait()).await;
                }
            }
        }
        sleep(BETWEEN_LOOKS).await;
    }
}
