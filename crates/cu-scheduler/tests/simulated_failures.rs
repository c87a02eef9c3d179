//! A simulated cluster on demand: failures, also by chance, outages, long days.
#![cfg(feature = "simulated")]
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use cu_scheduler::simulated::{Failures, Simulated, SimulatedOptions, Stop};
use cu_scheduler::{
    Cancel, ClusterJobId, ClusterState, EndCause, Error, Resources, Scheduler, Signal, Submission,
    SubmissionName, SubmitError, Warning,
};
use tokio::time::Instant;

const HOUR: Duration = Duration::from_secs(3600);

fn submission(job: u32) -> Submission {
    Submission {
        name: SubmissionName::new("simulated", job, 0).unwrap(),
        command: vec!["/bin/true".into()],
        environment: Default::default(),
        working_directory: PathBuf::from("/"),
        directory: PathBuf::from("/"),
        resources: Resources::default(),
        previous: None,
        avoid_hosts: Vec::new(),
    }
}

/// Jobs of one hour.
fn hourly(options: SimulatedOptions) -> Simulated {
    Simulated::new(options, |_run| async {
        tokio::time::sleep(HOUR).await;
        EndCause::Exited(0)
    })
}

async fn state_of(cluster: &Simulated, job: &ClusterJobId) -> ClusterState {
    let observed = cluster.observe(std::slice::from_ref(job)).await.unwrap();
    observed.into_iter().next().unwrap().state
}

/// Returns why it ended; `None` if the cluster lost it.
async fn end_of(cluster: &Simulated, job: &ClusterJobId) -> Option<EndCause> {
    loop {
        match state_of(cluster, job).await {
            ClusterState::Ended(end) => return Some(end.cause),
            ClusterState::Gone => return None,
            _ => cluster.changed().await,
        }
    }
}

async fn submit(cluster: &Simulated, submission: Submission) -> ClusterJobId {
    cluster.submit(&[submission]).await.remove(0).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_stop_is_reported_with_its_cause() {
    for (stop, cause) in [
        (Stop::Preempted, Some(EndCause::Preempted)),
        (Stop::NodeFailure, Some(EndCause::NodeFailure)),
        (Stop::OutOfMemory, Some(EndCause::OutOfMemory)),
        (Stop::Lost, None),
    ] {
        let cluster = hourly(SimulatedOptions::default());
        let job = submit(&cluster, submission(0)).await;
        assert!(cluster.stop(&job, stop));
        assert_eq!(end_of(&cluster, &job).await, cause);
        assert!(
            !cluster.stop(&job, stop),
            "a job that is over can't be stopped"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_requeued_job_keeps_its_id_and_counts_its_restarts() {
    let options = SimulatedOptions {
        requeues: true,
        queue_delay: Duration::from_secs(120),
        ..SimulatedOptions::default()
    };
    let cluster = hourly(options);
    let job = submit(&cluster, submission(0)).await;
    cluster.changed().await;
    assert!(cluster.stop(&job, Stop::NodeFailure));
    assert_eq!(end_of(&cluster, &job).await, Some(EndCause::Exited(0)));
    let observed = cluster.observe(std::slice::from_ref(&job)).await.unwrap();
    assert_eq!(observed[0].restarts, Some(1));
    let starts = cluster.starts();
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[0].ended, Some(Duration::from_secs(120)));
    assert_eq!(starts[1].at, Duration::from_secs(240));
    assert_eq!(starts[1].ended, Some(Duration::from_secs(240) + HOUR));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_an_error_and_not_an_end() {
    let cluster = hourly(SimulatedOptions::default());
    let job = submit(&cluster, submission(0)).await;
    cluster.set_unavailable(true);
    let asked = std::slice::from_ref(&job);
    let answer = cluster.observe(asked).await;
    assert!(matches!(answer, Err(Error::Unavailable { .. })));
    let answer = cluster.cancel(asked, Cancel::Kill).await;
    assert!(matches!(answer, Err(Error::Unavailable { .. })));
    let answer = cluster.submit(&[submission(1)]).await.remove(0);
    assert!(matches!(answer, Err(SubmitError::Unavailable { .. })));
    cluster.set_unavailable(false);
    let names = [0, 1].map(|job| submission(job).name);
    assert_eq!(cluster.find(&names).await.unwrap().len(), 1);
    assert_eq!(end_of(&cluster, &job).await, Some(EndCause::Exited(0)));
}

#[tokio::test(start_paused = true)]
async fn limits_and_warnings_come_to_the_second() {
    let cluster = Simulated::new(SimulatedOptions::default(), |mut run| async move {
        let begun = Instant::now();
        assert_eq!(run.signal().await, Signal::Usr2);
        assert_eq!(begun.elapsed(), Duration::from_secs(3000));
        assert_eq!(run.signal().await, Signal::Term);
        assert_eq!(begun.elapsed(), HOUR);
        std::future::pending().await
    });
    let mut asked = submission(0);
    asked.resources.time_limit = Some(HOUR);
    asked.resources.warning = Some(Warning {
        signal: Signal::Usr2,
        before_limit: Duration::from_secs(600),
    });
    let job = submit(&cluster, asked).await;
    assert_eq!(end_of(&cluster, &job).await, Some(EndCause::TimeLimit));
    let grace = SimulatedOptions::default().grace;
    assert_eq!(cluster.starts()[0].ended, Some(HOUR + grace));
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_a_program_that_does_not_listen() {
    let cluster = hourly(SimulatedOptions::default());
    let mut asked = submission(0);
    asked.resources.time_limit = Some(HOUR);
    asked.resources.warning = Some(Warning {
        signal: Signal::Usr1,
        before_limit: Duration::from_secs(600),
    });
    let job = submit(&cluster, asked).await;
    assert_eq!(end_of(&cluster, &job).await, Some(EndCause::Signaled(10)));
}

/// Runs a thousand jobs of an hour, many of which fail.
async fn day(seed: u64) -> Vec<Option<EndCause>> {
    let cluster = hourly(SimulatedOptions {
        cpus: 40,
        seed,
        failures: Failures {
            preempted: 0.1,
            node_failure: 0.1,
            out_of_memory: 0.1,
            lost: 0.1,
            within: HOUR,
        },
        ..SimulatedOptions::default()
    });
    let batch: Vec<_> = (0..1000).map(submission).collect();
    let mut ends = Vec::new();
    for job in cluster.submit(&batch).await {
        ends.push(end_of(&cluster, &job.unwrap()).await);
    }
    ends
}

#[tokio::test(start_paused = true)]
async fn one_seed_gives_one_day_with_failures_as_frequent_as_asked() {
    let ends = day(1).await;
    assert_eq!(ends, day(1).await);
    assert_ne!(ends, day(2).await);
    for cause in [
        Some(EndCause::Preempted),
        Some(EndCause::NodeFailure),
        Some(EndCause::OutOfMemory),
        None,
    ] {
        let count = ends.iter().filter(|end| **end == cause).count();
        assert!((60..140).contains(&count), "{cause:?}: {count} of 1000");
    }
}
