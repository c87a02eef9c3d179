//! The state of a simulated cluster: its jobs, its queue, its free processors, and all starts.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::{Failures, SimulatedOptions};
use crate::chance::Chance;
use crate::{
    Cancel, ClusterEnd, ClusterJobId, ClusterState, EndCause, Found, Observation, Submission,
    SubmissionName, SubmitError,
};

/// The node on which everything runs.
const NODE: &str = "simulated";

/// The failures of a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stop {
    /// It is preempted: SIGTERM, and SIGKILL after the grace time.
    Preempted,
    /// Its node is lost.
    NodeFailure,
    /// It uses too much memory.
    OutOfMemory,
    /// It is dead, and the cluster has forgotten it.
    Lost,
}

/// One start of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The submission.
    pub name: SubmissionName,
    /// Its id.
    pub job: ClusterJobId,
    /// When it began, since the cluster was made.
    pub at: Duration,
    /// When it had ended, since the cluster was made; `None` while it runs.
    pub ended: Option<Duration>,
}

/// An order of the cluster to a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Cancel(Cancel),
    Stop(Stop),
}

#[derive(Debug)]
pub(super) struct World {
    pub unavailable: bool,
    pub starts: Vec<Start>,
    pub chance: Chance,
    jobs: HashMap<ClusterJobId, Job>,
    names: HashMap<SubmissionName, ClusterJobId>,
    queue: VecDeque<(Instant, ClusterJobId)>,
    cpus: u32,
    free_cpus: u32,
    queue_delay: Duration,
    failures: Failures,
    submitted: u64,
    made: Instant,
    made_at: SystemTime,
}

#[derive(Debug)]
struct Job {
    submission: Submission,
    state: State,
    restarts: u32,
}

#[derive(Debug)]
enum State {
    Queued,
    Running {
        since: Instant,
        start: usize,
        orders: UnboundedSender<Order>,
    },
    Ended(ClusterEnd),
    Lost,
}

/// A job that may start now.
#[derive(Debug)]
pub(super) struct Ready {
    pub job: ClusterJobId,
    pub submission: Submission,
    pub restarts: u32,
    pub failure: Option<(Duration, Stop)>,
}

impl World {
    pub fn new(options: &SimulatedOptions) -> Self {
        Self {
            unavailable: false,
            starts: Vec::new(),
            chance: Chance::seeded(options.seed),
            jobs: HashMap::new(),
            names: HashMap::new(),
            queue: VecDeque::new(),
            cpus: options.cpus,
            free_cpus: options.cpus,
            queue_delay: options.queue_delay,
            failures: options.failures,
            submitted: 0,
            made: Instant::now(),
            // Any moment, as long as it is the same in every run.
            made_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    pub fn submit(&mut self, submission: &Submission) -> Result<ClusterJobId, SubmitError> {
        let name = submission.name.clone();
        if self.unavailable {
            return Err(SubmitError::Unavailable {
                name,
                reason: "the test has begun an outage".into(),
                retry_after: None,
            });
        }
        if self.names.contains_key(&name) {
            let reason = "this name was submitted before".into();
            return Err(SubmitError::Uncertain { name, reason });
        }
        if let Some(reason) = self.refusal(submission) {
            return Err(SubmitError::Rejected { name, reason });
        }
        self.submitted += 1;
        let id = ClusterJobId(format!("simulated-{}", self.submitted));
        let job = Job {
            submission: submission.clone(),
            state: State::Queued,
            restarts: 0,
        };
        self.names.insert(name, id.clone());
        self.jobs.insert(id.clone(), job);
        self.queue
            .push_back((Instant::now() + self.queue_delay, id.clone()));
        Ok(id)
    }

    fn refusal(&self, submission: &Submission) -> Option<String> {
        let program = submission.command.first().map_or("", String::as_str);
        if !program.starts_with('/') {
            Some(format!("the program {program:?} is not an absolute path"))
        } else if !(1..=self.cpus).contains(&submission.resources.cpus) {
            let asked = submission.resources.cpus;
            Some(format!(
                "it asks for {asked} CPUs, but the cluster has {}",
                self.cpus
            ))
        } else {
            None
        }
    }

    /// Takes the next job whose turn it is, and its processors. It gets its orders by `orders` from
    /// now on.
    pub fn start_next(&mut self, orders: UnboundedSender<Order>) -> Option<Ready> {
        let (ready_at, id) = self.queue.front()?;
        let job = self.jobs.get_mut(id)?;
        let cpus = job.submission.resources.cpus;
        if *ready_at > Instant::now() || cpus > self.free_cpus {
            return None;
        }
        let (_, id) = self.queue.pop_front()?;
        self.free_cpus -= cpus;
        let ready = Ready {
            job: id.clone(),
            submission: job.submission.clone(),
            restarts: job.restarts,
            failure: draw(&mut self.chance, &self.failures),
        };
        job.state = State::Running {
            since: Instant::now(),
            start: self.starts.len(),
            orders,
        };
        self.starts.push(Start {
            name: job.submission.name.clone(),
            job: id,
            at: self.made.elapsed(),
            ended: None,
        });
        Some(ready)
    }

    /// Notes that a running job is dead: it ended by `cause`, is queued again, or is lost.
    pub fn end(&mut self, id: &ClusterJobId, cause: Option<EndCause>, requeue: bool) {
        let at = self.clock(Instant::now());
        let Some(job) = self.jobs.get_mut(id) else {
            return;
        };
        if let State::Running { start, .. } = job.state {
            self.free_cpus += job.submission.resources.cpus;
            self.starts[start].ended = Some(self.made.elapsed());
        }
        job.state = match cause {
            Some(_) if requeue => {
                job.restarts += 1;
                let ready_at = Instant::now() + self.queue_delay;
                self.queue.push_back((ready_at, id.clone()));
                State::Queued
            }
            Some(cause) => State::Ended(ClusterEnd {
                cause,
                at: Some(at),
                text: format!("{cause:?}"),
            }),
            None => {
                self.names.remove(&job.submission.name);
                State::Lost
            }
        };
    }

    /// Returns whether any job was cancelled.
    pub fn cancel(&mut self, id: &ClusterJobId, how: Cancel) -> bool {
        let Some(job) = self.jobs.get(id) else {
            return false;
        };
        match &job.state {
            State::Running { orders, .. } => orders.send(Order::Cancel(how)).is_ok(),
            State::Queued => {
                self.queue.retain(|(_, queued)| queued != id);
                self.end(id, Some(EndCause::Cancelled), false);
                true
            }
            State::Ended(_) | State::Lost => false,
        }
    }

    pub fn stop(&mut self, id: &ClusterJobId, stop: Stop) -> bool {
        match self.jobs.get(id).map(|job| &job.state) {
            Some(State::Running { orders, .. }) => orders.send(Order::Stop(stop)).is_ok(),
            _ => false,
        }
    }

    pub fn observe(&self, id: &ClusterJobId) -> Observation {
        let job = self.jobs.get(id);
        let state = match job.map(|job| &job.state) {
            Some(State::Queued) => ClusterState::Queued {
                reason: Some("Resources".into()),
            },
            Some(State::Running { since, .. }) => ClusterState::Running {
                since: Some(self.clock(*since)),
            },
            Some(State::Ended(end)) => ClusterState::Ended(end.clone()),
            Some(State::Lost) | None => ClusterState::Gone,
        };
        let placed = matches!(state, ClusterState::Running { .. } | ClusterState::Ended(_));
        Observation {
            job: id.clone(),
            name: job.map(|job| job.submission.name.clone()),
            state,
            host: placed.then(|| NODE.into()),
            restarts: job.map(|job| job.restarts),
        }
    }

    pub fn find(&self, name: &SubmissionName) -> Option<Found> {
        let id = self.names.get(name)?;
        Some(Found {
            name: name.clone(),
            observation: self.observe(id),
        })
    }

    fn clock(&self, at: Instant) -> SystemTime {
        self.made_at + at.duration_since(self.made)
    }
}

/// Draws the failure of a start and its time, if there is one.
fn draw(chance: &mut Chance, failures: &Failures) -> Option<(Duration, Stop)> {
    let mut drawn = chance.fraction();
    let after = chance.up_to(failures.within);
    [
        (failures.preempted, Stop::Preempted),
        (failures.node_failure, Stop::NodeFailure),
        (failures.out_of_memory, Stop::OutOfMemory),
        (failures.lost, Stop::Lost),
    ]
    .into_iter()
    .find(|(probability, _)| {
        drawn -= probability;
        drawn < 0.0
    })
    .map(|(_, stop)| (after, stop))
}
