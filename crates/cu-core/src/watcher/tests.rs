//! When the scheduler is asked, and how often, under virtual time.

use std::collections::{BTreeMap, VecDeque};

use cu_protocol::Timestamp;
use cu_scheduler::simulated::{Simulated, SimulatedOptions};
use cu_scheduler::{Cancel, EndCause, Resources, Submission};

use self::remote::{Calls, Remote};
use super::*;
use crate::clock::Clock;
use crate::inbox::{GATHERING, Inbox, Patience};
use crate::machine::Stage;

#[path = "../../tests/support/remote.rs"]
mod remote;

const RUN: RunId = RunId([7; 16]);
/// How often it may be asked by itself.
const INTERVAL: Duration = Duration::from_secs(30);
/// From the end of a job's last process to the scheduler's saying so.
const COMPLETING: Duration = Duration::from_secs(20);

struct World {
    cluster: Arc<Remote>,
    watched: Arc<Watched>,
    _watching: JoinSet<()>,
    inbox: Inbox,
    told: VecDeque<ClusterState>,
    start: Instant,
}

impl World {
    /// In which `jobs` jobs run, each in its first attempt, and have been looked at.
    async fn new(jobs: u32) -> Self {
        let options = SimulatedOptions {
            cpus: jobs,
            ..SimulatedOptions::default()
        };
        let inner = Simulated::new(options, |run| async move {
            run.listen();
            std::future::pending().await
        });
        let cluster = Arc::new(Remote::new(inner, Calls::Every(INTERVAL)));
        let (sender, inbox) = Inbox::new(Clock::start(Timestamp::from_millis(0)));
        let mut watching = JoinSet::new();
        let watched = start(RUN, cluster.clone(), sender, &mut watching);
        let mut world = Self {
            cluster,
            watched,
            _watching: watching,
            inbox,
            told: VecDeque::new(),
            start: Instant::now(),
        };
        let submissions: Vec<_> = (0..jobs).map(submission).collect();
        let ids = world.cluster.submit(&submissions).await;
        for (job, id) in (0..).zip(ids) {
            let id = id.expect("it was submitted");
            world.set(job, 0, id);
        }
        world
            .until(|state| matches!(state, ClusterState::Running { .. }))
            .await;
        sleep(INTERVAL / 2).await;
        world.start = Instant::now();
        world.cluster.forget_looks();
        world
    }

    fn set(&self, job: u32, attempt: u32, cluster_job: ClusterJobId) {
        let mut active = Active::intended(Attempt(attempt), Timestamp::from_millis(0));
        active.stage = Stage::Submitted(cluster_job);
        self.watched.set(JobId(job), Some(&active));
    }

    /// Waits for such a report of the scheduler, and returns how long that took.
    async fn until(&mut self, fits: impl Fn(&ClusterState) -> bool) -> Duration {
        loop {
            while let Some(state) = self.told.pop_front() {
                if fits(&state) {
                    return self.start.elapsed();
                }
            }
            let batch = self.inbox.wait(None, Patience::NONE).await;
            self.told.extend(batch.items.into_iter().filter_map(state));
        }
    }

    fn ask_until_over(&self, job: u32) {
        self.watched.ask_until_over(JobId(job), Attempt(0));
    }

    async fn kill(&self, job: u32) {
        let name = submission(job).name;
        let found = self.cluster.find(&[name]).await.expect("it answers");
        let id = found[0].observation.job.clone();
        let killed = self.cluster.cancel(&[id], Cancel::Kill).await;
        killed.expect("it answers");
    }
}

fn state(item: Item) -> Option<ClusterState> {
    match item {
        Item::Happened {
            event: Event::Observed { observation, .. },
            ..
        } => Some(observation.state),
        _ => None,
    }
}

fn submission(job: u32) -> Submission {
    Submission {
        name: submission_name(RUN, JobId(job), Attempt(0)),
        command: vec!["/bin/true".to_owned()],
        environment: BTreeMap::new(),
        working_directory: "/".into(),
        directory: "/".into(),
        resources: Resources::default(),
        previous: None,
        avoid_hosts: Vec::new(),
    }
}

fn is_cancelled(state: &ClusterState) -> bool {
    matches!(state, ClusterState::Ended(end) if end.cause == EndCause::Cancelled)
}

#[tokio::test(start_paused = true)]
async fn a_silent_scheduler_can_not_tell_why_an_attempt_is_over() {
    let mut world = World::new(2).await;
    world.cluster.inner.set_unavailable(true);
    world.ask_until_over(0);
    world
        .until(|state| matches!(state, ClusterState::Unknown { .. }))
        .await;
    sleep(INTERVAL).await;
    world.cluster.inner.set_unavailable(false);
    // The other one seems to live, so nobody asked about it.
    let took = world
        .until(|state| match state {
            ClusterState::Unknown { .. } => panic!("{state:?}"),
            state => matches!(state, ClusterState::Running { .. }),
        })
        .await;
    assert!(took > INTERVAL, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_is_looked_for_at_once() {
    let mut world = World::new(1).await;
    world.kill(0).await;
    world.ask_until_over(0);
    let took = world.until(is_cancelled).await;
    assert!(took <= GATHERING, "{took:?}");
    assert_eq!(world.cluster.looks(), 1);
    // It is known now.
    sleep(INTERVAL / 3).await;
    assert_eq!(world.cluster.looks(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_report_of_an_end_is_asked_for_again() {
    let mut world = World::new(1).await;
    world.ask_until_over(0);
    let kill = async {
        sleep(COMPLETING).await;
        world.kill(0).await;
    };
    kill.await;
    let took = world.until(is_cancelled).await;
    assert!(took < COMPLETING + INTERVAL / 3, "{took:?}");
    assert!(world.cluster.looks() < 8, "{}", world.cluster.looks());
}

#[tokio::test(start_paused = true)]
async fn thousands_of_ends_at_once_are_few_looks() {
    let mut world = World::new(2000).await;
    for job in 0..2000 {
        world.kill(job).await;
        world.ask_until_over(job);
        sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..2000 {
        world.until(is_cancelled).await;
    }
    assert!(world.cluster.looks() <= 3, "{}", world.cluster.looks());
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_reconnects_stops_the_search() {
    let world = World::new(1).await;
    world.ask_until_over(0);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.cluster.looks(), 1);
    world.watched.stop_asking(JobId(0), Attempt(0));
    sleep(INTERVAL / 3).await;
    assert_eq!(world.cluster.looks(), 1);
    // A change of another attempt means nothing for the running one.
    world.watched.ask_until_over(JobId(0), Attempt(1));
    sleep(INTERVAL / 10).await;
    assert_eq!(world.cluster.looks(), 1);
}

#[tokio::test(start_paused = true)]
async fn new_jobs_wait_for_the_interval() {
    let mut world = World::new(3).await;
    for job in 0..3 {
        let id = ClusterJobId(format!("unknown-{job}"));
        world.set(job, 1, id);
        sleep(Duration::from_secs(1)).await;
    }
    world.until(|state| *state == ClusterState::Gone).await;
    assert_eq!(world.cluster.looks(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_another_job_with_the_same_id_is_ignored() {
    let mut world = World::new(2).await;
    let name = submission(1).name;
    let found = world.cluster.find(&[name]).await.expect("it answers");
    world.kill(1).await;
    world.ask_until_over(1);
    world.until(is_cancelled).await;
    world.set(0, 1, found[0].observation.job.clone());
    let is_gone = |state: &ClusterState| {
        assert!(!is_cancelled(state), "job 0 received the end of job 1");
        *state == ClusterState::Gone
    };
    let told = tokio::time::timeout(INTERVAL * 10, world.until(is_gone)).await;
    told.expect("attempt 1 of job 0 is gone");
}

#[tokio::test(start_paused = true)]
async fn an_ended_attempt_is_watched_until_it_left_the_queue() {
    let mut world = World::new(1).await;
    // Its own record has decided.
    world.watched.set(JobId(0), None);
    world.kill(0).await;
    let left = tokio::time::timeout(INTERVAL * 10, world.watched.nothing_is_left());
    left.await.expect("the scheduler reports its end");
    world.until(is_cancelled).await;
}
