//! Cases on recovery: the process that held the backend is gone, but its jobs are not.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Case, Program, Step, Testbed};
use crate::{ClusterState, EndCause, ExitCodes, SubmissionName};

/// *Names*, when the caller gives up at any moment of a submission, or dies. The name is found, or it never
/// comes: a caller that looks before it submits again starts nothing twice.
pub async fn a_lost_answer_starts_nothing_twice<B: Testbed>(mut case: Case<B>) {
    let file = |case: &Case<B>, number: usize| case.path(&format!("started-{number}"));
    let patience = [0, 1, 5, 20, 80, 320, 1280].map(Duration::from_millis);
    for (number, patience) in patience.into_iter().enumerate() {
        let started = file(&case, number);
        let submission = case.submission(&Program::new([Step::Mark(started.clone())]));
        let batch = std::slice::from_ref(&submission);
        let answer = tokio::time::timeout(patience, case.scheduler().submit(batch)).await;
        let had_answer = answer.is_ok();
        if number % 2 == 1 {
            case.reopen(async |_: &Case<B>| {}).await;
        }
        let mut found = case.find(std::slice::from_ref(&submission.name)).await;
        assert!(found.len() <= 1, "found more than once: {found:?}");
        let job = match found.pop() {
            Some(found) => found.observation.job,
            None => case.hand_over(submission).await,
        };
        case.until(&job, "is over", ClusterState::is_over).await;
        let what = format!("after {patience:?}, answered: {had_answer}");
        assert_eq!(case.marks(&started), 1, "{what}");
    }
    // What came late would have started before this one.
    let last = case.submit(&Program::default()).await;
    case.until(&last, "is over", ClusterState::is_over).await;
    for (number, patience) in patience.into_iter().enumerate() {
        assert_eq!(case.marks(&file(&case, number)), 1, "after {patience:?}");
    }
}

/// *Jobs outlive us.* A running job continues, is observed as running, and its end is reported.
pub async fn what_runs_goes_on_without_us<B: Testbed>(mut case: Case<B>) {
    let (started, go, done) = (case.path("started"), case.path("go"), case.path("done"));
    let job = case
        .submit(&Program::new([
            Step::Mark(started.clone()),
            Step::Await(go.clone()),
            Step::Mark(done.clone()),
        ]))
        .await;
    case.until_running(&job).await;
    case.until_exists(&started).await;
    case.reopen(async |_: &Case<B>| {}).await;
    case.until_running(&job).await;
    case.touch(&go);
    let end = case.end(&job).await;
    if case.scheduler().capabilities().exit_codes == ExitCodes::Kept {
        assert_eq!(end.cause, EndCause::Exited(0));
    }
    assert_eq!((case.marks(&started), case.marks(&done)), (1, 1));
}

/// *Jobs outlive us.* A queued job is started once, later.
pub async fn what_waits_still_gets_its_turn<B: Testbed>(mut case: Case<B>) {
    let (started, go, late) = (case.path("started"), case.path("go"), case.path("late"));
    case.fill_slots(&started, &go).await;
    let queued = case.submit(&Program::new([Step::Mark(late.clone())])).await;
    case.reopen(async |_: &Case<B>| {}).await;
    case.stay_queued(std::slice::from_ref(&queued)).await;
    assert_eq!(case.marks(&late), 0, "the slots are still taken");
    case.touch(&go);
    assert_eq!(case.end(&queued).await.cause, EndCause::Exited(0));
    assert_eq!(case.marks(&late), 1);
}

/// A job that ended unseen has ended or is gone. It never still runs.
pub async fn an_end_meanwhile_is_an_end<B: Testbed>(mut case: Case<B>) {
    let (started, go, done) = (case.path("started"), case.path("go"), case.path("done"));
    let job = case
        .submit(&Program::new([
            Step::Mark(started.clone()),
            Step::Await(go.clone()),
            Step::Mark(done.clone()),
            Step::Exit(4),
        ]))
        .await;
    case.until_exists(&started).await;
    case.reopen(async |case: &Case<B>| {
        case.touch(&go);
        case.until_exists(&done).await;
    })
    .await;
    let state = case.until(&job, "is over", ClusterState::is_over).await;
    if case.scheduler().capabilities().exit_codes == ExitCodes::Kept {
        assert!(matches!(state, ClusterState::Ended(end) if end.cause == EndCause::Exited(4)));
    }
    assert_eq!(case.marks(&started), 1);
}

/// *An end is final*, also for the next process.
pub async fn an_end_told_before_is_not_taken_back<B: Testbed>(mut case: Case<B>) {
    let job = case.submit(&Program::new([Step::Exit(6)])).await;
    case.end(&job).await;
    case.reopen(async |_: &Case<B>| {}).await;
    let known = |state: &ClusterState| !matches!(state, ClusterState::Unknown { .. });
    let state = case.until(&job, "is known", known).await;
    assert!(state.is_over(), "{state:?}");
}

/// An id is never given to a second job.
pub async fn no_cluster_job_id_is_given_twice<B: Testbed>(mut case: Case<B>) {
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        for _ in 0..2 {
            let job = case.submit(&Program::default()).await;
            case.end(&job).await;
            assert!(ids.insert(job.clone()), "{job} was given before");
        }
        case.reopen(async |_: &Case<B>| {}).await;
    }
}

/// *Names.* Queued and running submissions are found by name, under their ids; others are not.
pub async fn names_are_found_queued_running_and_absent<B: Testbed>(case: Case<B>) {
    let (started, go) = (case.path("started"), case.path("go"));
    case.fill_slots(&started, &go).await;
    // The first name of the case belongs to the first of these.
    let running = case.name_of(0);
    let waits = case.submission(&Program::default());
    let queued = waits.name.clone();
    let id = case.hand_over(waits).await;
    let absent = case.name();
    let found = case
        .find(&[running.clone(), absent.clone(), queued.clone()])
        .await;
    let by_name = |name: &SubmissionName| found.iter().find(|found| found.name == *name);
    let state = by_name(&running).map(|found| &found.observation.state);
    assert!(
        matches!(state, Some(ClusterState::Running { .. })),
        "{found:?}"
    );
    let state = by_name(&queued).map(|found| (&found.observation.job, &found.observation.state));
    assert!(
        matches!(state, Some((job, ClusterState::Queued { .. })) if *job == id),
        "{found:?}"
    );
    assert_eq!(by_name(&absent), None);
    assert_eq!(found.len(), 2, "each name is found once: {found:?}");
    case.touch(&go);
    case.end(&id).await;
}

/// *Names*, for another process too.
pub async fn names_are_found_after_reopening<B: Testbed>(mut case: Case<B>) {
    let (started, go) = (case.path("started"), case.path("go"));
    let program = Program::new([Step::Mark(started.clone()), Step::Await(go.clone())]);
    let submission = case.submission(&program);
    let name = submission.name.clone();
    let job = case.hand_over(submission).await;
    case.until_exists(&started).await;
    case.reopen(async |_: &Case<B>| {}).await;
    let found = case.find(std::slice::from_ref(&name)).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((&found[0].name, &found[0].observation.job), (&name, &job));
    case.touch(&go);
    case.end(&job).await;
    assert_eq!(case.marks(&started), 1);
}

/// *Names*, of jobs that ended before anybody asked: a name finds its ended job or nothing. A
/// cluster may forget a job. But a name never finds another job, or a job that waits or runs, and a
/// name that found nothing never finds a job later.
pub async fn an_ended_name_is_found_as_over_or_not_at_all<B: Testbed>(mut case: Case<B>) {
    let done = case.path("done");
    let submission = case.submission(&Program::new([Step::Mark(done.clone()), Step::Exit(5)]));
    let name = submission.name.clone();
    let job = case.hand_over(submission).await;
    case.end(&job).await;
    case.reopen(async |_: &Case<B>| {}).await;
    let known = async || {
        loop {
            let found = case.find(std::slice::from_ref(&name)).await;
            let state = found.first().map(|found| &found.observation.state);
            if !matches!(state, Some(ClusterState::Unknown { .. })) {
                return found;
            }
            case.scheduler().changed().await;
        }
    };
    let mut was_missing = false;
    for _ in 0..2 {
        let found = case.bounded("the name is found or not", known()).await;
        for found in &found {
            assert_eq!((&found.name, &found.observation.job), (&name, &job));
            let state = &found.observation.state;
            let over = state.is_over();
            assert!(over, "it has ended: {state:?}");
        }
        assert!(found.len() <= 1, "found more than once: {found:?}");
        assert!(
            !was_missing || found.is_empty(),
            "it was missing: {found:?}"
        );
        was_missing = found.is_empty();
    }
    assert_eq!(case.marks(&done), 1, "started once");
}
