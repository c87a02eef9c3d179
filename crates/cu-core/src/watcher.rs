//! Watches the scheduler: asks about all attempts at once, when there is a reason to, and passes changes
//! on.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cu_protocol::{Attempt, JobId, RunId};
use cu_scheduler::{ClusterJobId, ClusterState, Observation, Reach, Scheduler, SubmissionName};
use cu_system::causes::in_one_line;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::context::submission_name;
use crate::inbox::{Item, Reply, Sender};
use crate::machine::{Active, Event, is_over, one_line};

/// The least time between two looks, so that a thousand changes are seen at once.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The longest time between two looks at attempts that seem to be over.
const LONGEST_URGENT_WAIT: Duration = Duration::from_secs(60);

/// How long the scheduler may be unable to tell what became of an attempt before people read of it: accounting
/// learns of an end some seconds late.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// How soon after a look there may be another one, though the scheduler did not call for it.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Because an attempt seems to be over. Clusters call it running for a while, so the wait doubles
    /// until they report its end.
    urgent: Duration,
    /// Because there is a cluster job that was never observed.
    new: Duration,
}

impl Pace {
    /// Asking this machine costs nothing; asking a cluster's controller disturbs everybody on it.
    const fn of(reach: Reach) -> Self {
        match reach {
            Reach::ThisMachine => Self {
                urgent: BETWEEN_LOOKS,
                new: BETWEEN_LOOKS,
            },
            Reach::OtherMachines => Self {
                urgent: Duration::from_secs(3),
                new: Duration::from_secs(30),
            },
        }
    }
}

/// The watched cluster jobs, and the attempts that they are.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    watches: Mutex<Watches>,
    news: Notify,
    /// An ended attempt has left the cluster.
    gone: Notify,
}

#[derive(Debug, Default)]
struct Watches {
    of: HashMap<JobId, Watch>,
    /// The cluster jobs of ended attempts that the scheduler may still have, for example held. A backend
    /// frees what it is asked about.
    left: HashMap<ClusterJobId, (JobId, Attempt)>,
    /// One is new since the last look.
    has_new: bool,
    /// An attempt has begun to seem over since the last look.
    has_new_urgent: bool,
    /// The main process waits for what is left, and then ends.
    awaits_the_last: bool,
    /// The scheduler has no room for a job until one of ours has left it.
    awaits_room: bool,
}

#[derive(Clone, Debug)]
struct Watch {
    attempt: Attempt,
    cluster_job: ClusterJobId,
    /// The attempt seems to be over, and the scheduler has not reported it.
    is_urgent: bool,
    /// The scheduler has reported its end.
    is_over: bool,
    /// Its end is known, and only the scheduler may still have it.
    is_left: bool,
}

impl Watch {
    /// Returns whether that is new.
    fn make_urgent(&mut self) -> bool {
        !std::mem::replace(&mut self.is_urgent, true)
    }
}

impl Watched {
    /// Watches the cluster job of the attempt that `job` has with the scheduler, or nothing; and what it had
    /// before until that has left the scheduler.
    pub fn set(&self, job: JobId, active: Option<&Active>) {
        let mut watches = self.lock();
        let active = active.and_then(|it| Some((it, it.cluster_job()?)));
        let known = watches.of.get(&job);
        if let (Some(known), Some((active, cluster_job))) = (known, active)
            && known.attempt == active.attempt
            && known.cluster_job == *cluster_job
        {
            return;
        }
        if let Some(ended) = watches.of.remove(&job).filter(|watch| !watch.is_over) {
            watches.left.insert(ended.cluster_job, (job, ended.attempt));
            watches.has_new_urgent |= watches.awaits_room;
            self.news.notify_one();
        }
        let Some((active, cluster_job)) = active else {
            return;
        };
        // The scheduler goes on with the same cluster job.
        watches.left.remove(cluster_job);
        let watch = Watch {
            attempt: active.attempt,
            cluster_job: cluster_job.clone(),
            is_urgent: false,
            is_over: false,
            is_left: false,
        };
        watches.of.insert(job, watch);
        watches.has_new = true;
        self.news.notify_one();
    }

    /// The attempt seems to be over: asks the scheduler until it reports that, or the attempt shows that
    /// it lives.
    pub fn ask_until_over(&self, job: JobId, attempt: Attempt) {
        let mut watches = self.lock();
        let watch = watches.of.get_mut(&job);
        let watch = watch.filter(|watch| watch.attempt == attempt);
        watches.has_new_urgent |= watch.is_some_and(Watch::make_urgent);
        self.news.notify_one();
    }

    /// As [`ask_until_over`](Self::ask_until_over), for those of these cluster jobs that are watched.
    pub fn ask_until_all_over(&self, cluster_jobs: &[ClusterJobId]) {
        let cluster_jobs: HashSet<_> = cluster_jobs.iter().collect();
        let mut watches = self.lock();
        let mut has_new_urgent = watches.has_new_urgent;
        for watch in watches.of.values_mut() {
            has_new_urgent |= cluster_jobs.contains(&watch.cluster_job) && watch.make_urgent();
        }
        watches.has_new_urgent = has_new_urgent;
        self.news.notify_one();
    }

    /// The attempt has shown that it lives, or its end is known.
    pub fn stop_asking(&self, job: JobId, attempt: Attempt) {
        if let Some(watch) = self.lock().of.get_mut(&job)
            && watch.attempt == attempt
        {
            watch.is_urgent = false;
            self.news.notify_one();
        }
    }

    /// The scheduler has, or no longer has, room for all jobs that could be submitted. Without room, what has
    /// ended is looked at until it has left the scheduler.
    pub fn await_room(&self, awaits: bool) {
        let mut watches = self.lock();
        if std::mem::replace(&mut watches.awaits_room, awaits) != awaits {
            watches.has_new_urgent |= awaits && !watches.left.is_empty();
            self.news.notify_one();
        }
    }

    /// The scheduler has reported the end of this cluster job. Returns whether that is new.
    fn is_over(&self, job: JobId, cluster_job: &ClusterJobId) -> bool {
        let mut watches = self.lock();
        let mut is_new = watches.left.remove(cluster_job).is_some();
        if let Some(watch) = watches.of.get_mut(&job)
            && watch.cluster_job == *cluster_job
        {
            is_new |= !watch.is_over;
            (watch.is_urgent, watch.is_over) = (false, true);
        }
        self.news.notify_one();
        self.gone.notify_one();
        is_new
    }

    /// Waits until the scheduler has nothing of ended attempts any more, and has it asked for that.
    pub async fn nothing_is_left(&self) {
        loop {
            {
                let mut watches = self.lock();
                if watches.left.is_empty() {
                    return;
                }
                watches.awaits_the_last = true;
            }
            self.news.notify_one();
            self.gone.notified().await;
        }
    }

    /// All that is to be observed now, and whether something urgent among it is new. Nothing is new
    /// afterwards.
    fn look(&self) -> (Vec<(JobId, Watch)>, bool) {
        let mut watches = self.lock();
        watches.has_new = false;
        let has_new_urgent = std::mem::take(&mut watches.has_new_urgent);
        let watched = watches.of.iter();
        let watched = watched.map(|(job, watch)| (*job, watch.clone()));
        let left = watches.left.iter().map(|(cluster_job, (job, attempt))| {
            let watch = Watch {
                attempt: *attempt,
                cluster_job: cluster_job.clone(),
                is_urgent: false,
                is_over: false,
                is_left: true,
            };
            (*job, watch)
        });
        (watched.chain(left).collect(), has_new_urgent)
    }

    fn lock(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        doubt: None,
        last: None,
        again: Backoff::new(pace.urgent, LONGEST_URGENT_WAIT),
    };
    tasks.spawn(looking.go_on());
    watched
}

/// The scheduler answers, but can't tell what became of some attempt.
struct Doubt {
    since: Instant,
    is_told: bool,
}

/// The task that observes.
struct Looking {
    run: RunId,
    scheduler: Arc<dyn Scheduler>,
    watched: Arc<Watched>,
    sender: Sender,
    pace: Pace,
    seen: HashMap<ClusterJobId, ClusterState>,
    doubt: Option<Doubt>,
    /// When it last looked.
    last: Option<Instant>,
    /// How long after that to look again at what is urgent.
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

    /// Waits until there is a reason to look.
    async fn wait(&self, again: Duration) {
        let changed = async {
            self.scheduler.changed().await;
            if let Some(last) = self.last {
                sleep_until(last + BETWEEN_LOOKS).await;
            }
        };
        // One future for all turns: if the scheduler is only asked at intervals, a new future would begin
        // a new interval.
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

    /// When to look although the scheduler did not call for it, if there is a reason to.
    fn due(&self, again: Duration) -> Option<Instant> {
        let watches = self.watched.lock();
        let any_urgent = || {
            let awaits_what_is_left = watches.awaits_room && !watches.left.is_empty();
            let is_any = || watches.of.values().any(|watch| watch.is_urgent);
            watches.awaits_the_last || awaits_what_is_left || is_any()
        };
        let urgent = match watches.has_new_urgent {
            true => Some(self.pace.urgent),
            false => any_urgent().then_some(again),
        };
        let new = watches.has_new.then_some(self.pace.new);
        let wait = [urgent, new].into_iter().flatten().min()?;
        Some(self.last.map_or_else(Instant::now, |last| last + wait))
    }

    /// Asks until the scheduler answers.
    async fn look(&mut self) {
        let mut silence = Backoff::SILENCE;
        loop {
            let (asked, has_new_urgent) = self.watched.look();
            if has_new_urgent {
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
                    self.cant_tell(&asked, &error);
                    sleep(silence.wait()).await;
                }
            }
        }
    }

    /// Passes on that the scheduler can't tell why attempts that seem to be over have ended.
    fn cant_tell(&mut self, asked: &[(JobId, Watch)], error: &cu_scheduler::Error) {
        let reason = in_one_line(error);
        for (job, watch) in asked.iter().filter(|(_, watch)| watch.is_urgent) {
            let state = ClusterState::Unknown {
                reason: reason.clone(),
            };
            let known = self.seen.insert(watch.cluster_job.clone(), state.clone());
            if matches!(known, Some(ClusterState::Unknown { .. })) {
                continue;
            }
            let observation = Observation::new(watch.cluster_job.clone(), state);
            self.send(*job, watch.attempt, observation);
        }
    }

    fn send(&self, job: JobId, attempt: Attempt, observation: Observation) {
        let _ = self.sender.send(Item::Happened {
            job,
            event: Event::Observed {
                attempt,
                observation,
            },
            reply: Reply::Nobody,
        });
    }

    /// The other submission that an observation is about, if it is not about this attempt: a scheduler that
    /// has lost its state may reuse an id.
    fn other_submission<'a>(
        &self,
        job: JobId,
        attempt: Attempt,
        observation: &'a Observation,
    ) -> Option<&'a SubmissionName> {
        let ours = submission_name(self.run, job, attempt);
        observation.name.as_ref().filter(|name| **name != ours)
    }

    /// Has people read in `main.log` that the scheduler can't tell what became of an attempt, though it answers,
    /// as when its accounting is away; and when that is over.
    fn tell_of_doubt(&mut self, in_doubt: &[(JobId, Attempt, String)]) {
        let now = Instant::now();
        match (in_doubt, &mut self.doubt) {
            ([], Some(doubt)) => {
                if doubt.is_told {
                    tracing::info!("the scheduler can tell the state of each attempt again");
                }
                self.doubt = None;
            }
            ([], None) => {}
            (_, None) => {
                let (since, is_told) = (now, false);
                self.doubt = Some(Doubt { since, is_told });
            }
            ([(job, attempt, reason), more @ ..], Some(doubt)) => {
                if doubt.is_told || now - doubt.since < TOLD_AFTER {
                    return;
                }
                doubt.is_told = true;
                let more = match more.len() {
                    0 => String::new(),
                    more => format!(", and of {more} more"),
                };
                tracing::warn!(
                    "the scheduler can't tell the state of attempt {attempt} of job {job}{more}: {}; it is \
                     asked again and again",
                    one_line(reason)
                );
            }
        }
    }

    /// Passes on what has changed since the last look.
    fn pass_on(&mut self, asked: Vec<(JobId, Watch)>, observations: Vec<Observation>) {
        let before = std::mem::take(&mut self.seen);
        let mut places = 0;
        let mut in_doubt = Vec::new();
        for ((job, watch), mut observation) in asked.into_iter().zip(observations) {
            let Watch {
                attempt,
                cluster_job,
                is_left,
                ..
            } = watch;
            if let Some(other) = self.other_submission(job, attempt, &observation) {
                if before.get(&cluster_job) != Some(&ClusterState::Gone) {
                    tracing::warn!(
                        "job {job}: {cluster_job} is now the id of {other}; the scheduler no longer has \
                         attempt {attempt}"
                    );
                }
                observation.state = ClusterState::Gone;
                observation.host = None;
            }
            if is_over(&observation.state) && self.watched.is_over(job, &cluster_job) {
                places += 1;
            }
            if let ClusterState::Unknown { reason } = &observation.state
                && !is_left
            {
                in_doubt.push((job, attempt, reason.clone()));
            }
            let known = before.get(&cluster_job) == Some(&observation.state);
            self.seen.insert(cluster_job, observation.state.clone());
            if known {
                continue;
            }
            self.send(job, attempt, observation);
        }
        self.tell_of_doubt(&in_doubt);
        if places > 0 {
            let _ = self.sender.send(Item::RoomMade { places });
        }
    }
}

#[cfg(test)]
mod tests;
