//! Jobs that Slurm puts back in the queue by itself, where each resume goes on with the same job.

use cu_scheduler::slurm::{Resume, Slurm};
use cu_scheduler::{ClusterState, EndCause, Scheduler, Submission, SubmitError};

use crate::cluster::Stubs;

async fn requeueing(stubs: &Stubs) -> Slurm {
    let mut options = stubs.options();
    options.resume = Resume::Requeue;
    Slurm::open(options).await.unwrap()
}

async fn state(slurm: &Slurm, submission: &Submission) -> ClusterState {
    let previous = submission.previous.clone().unwrap();
    let seen = slurm.observe(&[previous]).await.unwrap();
    seen.into_iter().next().unwrap().state
}

/// A job that runs, and the attempt that is to follow.
async fn running(stubs: &Stubs, slurm: &Slurm) -> Submission {
    let first = slurm.submit(&[stubs.submission(0)]).await;
    let mut second = stubs.submission(1);
    second.previous = Some(first[0].as_ref().unwrap().clone());
    stubs.becomes(
        "PENDING|0:0|0|1|N/A|N/A||Priority",
        "RUNNING|0:0|0|1|2|N/A|n1|None",
    );
    second
}

const BACK: &str = "PENDING|0:0|1|3|N/A|N/A||BeginTime";

#[tokio::test]
async fn a_preempted_job_becomes_the_next_attempt_while_it_waits() {
    let stubs = Stubs::new();
    let slurm = requeueing(&stubs).await;
    let second = running(&stubs, &slurm).await;
    assert!(matches!(
        state(&slurm, &second).await,
        ClusterState::Running { .. }
    ));
    stubs.becomes("RUNNING|0:0|0|1|2|N/A|n1|None", BACK);
    let ClusterState::Ended(end) = state(&slurm, &second).await else {
        panic!("the first attempt has ended");
    };
    assert_eq!(end.cause, EndCause::Preempted);
    assert_eq!(end.text, "requeued, now PENDING");

    let answers = slurm.submit(std::slice::from_ref(&second)).await;
    assert_eq!(answers[0].as_ref().ok(), second.previous.as_ref());
    assert_eq!(stubs.calls("sbatch"), 1);
    assert!(!stubs.read("scontrol.calls").contains("requeue"));
    let start = std::fs::read_to_string(second.directory.join("start.sh")).unwrap();
    assert!(start.contains("Attempt 1"), "{start}");
    // It waits as that one, also for the next main process.
    let waits = |state| matches!(state, ClusterState::Queued { .. });
    assert!(waits(state(&slurm, &second).await));
    drop(slurm);
    assert!(waits(state(&requeueing(&stubs).await, &second).await));
}

#[tokio::test]
async fn a_job_that_was_put_back_and_held_becomes_the_next_attempt() {
    let stubs = Stubs::new();
    let slurm = requeueing(&stubs).await;
    let second = running(&stubs, &slurm).await;
    stubs.becomes(
        "RUNNING|0:0|0|1|2|N/A|n1|None",
        "PENDING|0:0|1|3|N/A|N/A||job requeued in held state",
    );
    // It is a person's hold as long as that lasts.
    assert!(matches!(
        state(&slurm, &second).await,
        ClusterState::Held { .. }
    ));
    let answers = slurm.submit(std::slice::from_ref(&second)).await;
    assert_eq!(answers[0].as_ref().ok(), second.previous.as_ref());
}

#[tokio::test]
async fn a_job_that_has_started_again_is_left_to_end() {
    let stubs = Stubs::new();
    let slurm = requeueing(&stubs).await;
    let second = running(&stubs, &slurm).await;
    stubs.becomes("RUNNING|0:0|0", "RUNNING|0:0|1");
    let answers = slurm.submit(std::slice::from_ref(&second)).await;
    let Err(SubmitError::Unavailable { reason, .. }) = &answers[0] else {
        panic!("{answers:?}");
    };
    assert!(reason.contains("is RUNNING"), "{reason}");
}

#[tokio::test]
async fn a_job_that_completes_for_ever_is_not_waited_for() {
    let stubs = Stubs::new();
    let slurm = requeueing(&stubs).await;
    let second = running(&stubs, &slurm).await;
    stubs.becomes("RUNNING|0:0|0|1|2|N/A", "COMPLETING|0:9|0|1|2|3");
    let submit = async || {
        let answers = slurm.submit(std::slice::from_ref(&second)).await;
        answers.into_iter().next().unwrap()
    };
    let delayed = submit().await.unwrap_err();
    assert!(delayed.to_string().contains("COMPLETING"), "{delayed}");
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(90)).await;
    tokio::time::resume();
    assert_eq!(submit().await.unwrap().0, "102");
}
