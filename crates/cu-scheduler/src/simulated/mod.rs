//! A cluster in memory: jobs are futures, time is tokio's, and chance comes from a seed.
//!
//! Under `tokio::time::pause` a day passes in milliseconds, and the same seed gives the same day. A
//! job's program is an async function of its [`Run`]. A clone is the same cluster, as another
//! process sees it; dropping one leaves the jobs alone.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! use std::time::Duration;
//! use cu_scheduler::simulated::{Simulated, SimulatedOptions};
//! use cu_scheduler::{EndCause, Scheduler};
//!
//! let cluster = Simulated::new(SimulatedOptions::default(), |_run| async {
//!     tokio::time::sleep(Duration::from_secs(3600)).await;
//!     EndCause::Exited(0)
//! });
//! assert_eq!(cluster.to_string(), "a simulated cluster (4 CPUs)");
//! # });
//! ```

mod attempt;
mod run;
mod world;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{
    Cancel, Capabilities, ClusterJobId, EndCause, Error, ExitCodes, Found, Observation, Reach,
    Scheduler, Submission, SubmissionName, SubmitError, TimeLimits,
};

use run::Program;
pub use run::Run;
use world::World;
pub use world::{Start, Stop};

/// The options of a simulated cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedOptions {
    /// Processors.
    pub cpus: u32,
    /// The shortest wait of a job, even if processors are free.
    pub queue_delay: Duration,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// The limit of jobs that ask for none.
    pub default_time_limit: Option<Duration>,
    /// The failures of running jobs.
    pub failures: Failures,
    /// Whether a preempted job, or one whose node fails, is queued again under the same id.
    pub requeues: bool,
    /// The seed of chance.
    pub seed: u64,
}

impl Default for SimulatedOptions {
    /// Four processors, no delay, no failures, 30 s of grace.
    fn default() -> Self {
        Self {
            cpus: 4,
            queue_delay: Duration::ZERO,
            grace: Duration::from_secs(30),
            default_time_limit: None,
            failures: Failures::default(),
            requeues: false,
            seed: 0,
        }
    }
}

/// The probability of each failure for one start, from 0 to 1; the sum is at most 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Failures {
    /// It is preempted: SIGTERM, and SIGKILL after the grace time.
    pub preempted: f64,
    /// Its node is lost, and it is dead at once.
    pub node_failure: f64,
    /// It uses too much memory and is dead at once.
    pub out_of_memory: f64,
    /// It is dead at once, and the cluster has forgotten it.
    pub lost: f64,
    /// The longest time from a start to its failure, if the job still runs then.
    pub within: Duration,
}

/// A cluster in memory.
#[derive(Clone)]
pub struct Simulated {
    shared: Arc<Shared>,
    /// The last change that `changed` of this clone has reported.
    reported: Arc<AtomicU64>,
}

/// The state that all clones and all jobs share.
struct Shared {
    options: SimulatedOptions,
    program: Program,
    world: Mutex<World>,
    changes: watch::Sender<u64>,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Simulated {
    /// Makes a cluster on which every job runs `program` with its [`Run`]. The return value is the
    /// end of the job, unless the cluster ends it before.
    pub fn new<F>(
        options: SimulatedOptions,
        program: impl Fn(Run) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = EndCause> + Send + 'static,
    {
        let world = World::new(&options);
        let shared = Shared {
            options,
            program: Box::new(move |run| Box::pin(program(run))),
            world: Mutex::new(world),
            changes: watch::Sender::new(0),
        };
        Self {
            shared: Arc::new(shared),
            reported: Arc::default(),
        }
    }

    /// The same cluster, as a new process sees it.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            reported: Arc::default(),
        }
    }

    /// Begins or ends an outage. During an outage every call fails, and jobs continue.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.shared.world().unavailable = unavailable;
        self.shared.announce();
    }

    /// Makes a running job fail as by chance. Returns `false` if it does not run.
    pub fn stop(&self, job: &ClusterJobId, stop: Stop) -> bool {
        self.shared.world().stop(job, stop)
    }

    /// All starts so far, in order, for a checker of "at most one at a time".
    #[must_use]
    pub fn starts(&self) -> Vec<Start> {
        self.shared.world().starts.clone()
    }

    fn available(&self) -> Result<MutexGuard<'_, World>, Error> {
        let world = self.shared.world();
        if world.unavailable {
            return Err(Error::Unavailable {
                scheduler: self.to_string(),
                reason: "the test has begun an outage".into(),
            });
        }
        Ok(world)
    }
}

impl fmt::Display for Simulated {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "a simulated cluster ({} CPUs)",
            self.shared.options.cpus
        )
    }
}

impl fmt::Debug for Simulated {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Simulated")
            .field("options", &self.shared.options)
            .field("world", &*self.shared.world())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Scheduler for Simulated {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(1000, TimeLimits::Exact, ExitCodes::Kept, Reach::ThisMachine)
    }

    async fn submit(&self, batch: &[Submission]) -> Vec<Result<ClusterJobId, SubmitError>> {
        let answers = {
            let mut world = self.shared.world();
            batch
                .iter()
                .map(|submission| world.submit(submission))
                .collect()
        };
        attempt::start_what_fits(&self.shared);
        let delay = self.shared.options.queue_delay;
        if !batch.is_empty() && !delay.is_zero() {
            let shared = self.shared.clone();
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                attempt::start_what_fits(&shared);
            });
        }
        answers
    }

    async fn observe(&self, jobs: &[ClusterJobId]) -> Result<Vec<Observation>, Error> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let world = self.available()?;
        Ok(jobs.iter().map(|job| world.observe(job)).collect())
    }

    async fn changed(&self) {
        let reported = self.reported.load(Ordering::Acquire);
        let mut changes = self.shared.changes.subscribe();
        if let Ok(now) = changes.wait_for(|count| *count > reported).await {
            self.reported.fetch_max(*now, Ordering::AcqRel);
        }
    }

    async fn find(&self, names: &[SubmissionName]) -> Result<Vec<Found>, Error> {
        let world = self.available()?;
        Ok(names.iter().filter_map(|name| world.find(name)).collect())
    }

    async fn cancel(&self, jobs: &[ClusterJobId], how: Cancel) -> Result<(), Error> {
        let cancelled = {
            let mut world = self.available()?;
            jobs.iter().filter(|job| world.cancel(job, how)).count()
        };
        if cancelled > 0 {
            self.shared.announce();
        }
        Ok(())
    }
}
