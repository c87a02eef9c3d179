//! Cases on watching jobs: ends with their cause, and answers in the promised form.

use super::{Case, Program, Step, Testbed};
use crate::{ClusterJobId, ClusterState, EndCause};

/// An exit code is reported unchanged.
pub async fn an_exit_code_is_told<B: Testbed>(case: Case<B>) {
    let job = case.submit(&Program::new([Step::Exit(37)])).await;
    assert_eq!(case.end(&job).await.cause, EndCause::Exited(37));
}

/// A death by a signal is not reported as an exit code.
pub async fn a_killing_signal_is_told<B: Testbed>(case: Case<B>) {
    let job = case.submit(&Program::new([Step::KillItself])).await;
    assert_eq!(case.end(&job).await.cause, EndCause::Signaled(9));
}

/// A job without its program ends. It neither waits for ever nor succeeds.
pub async fn a_missing_program_is_an_end<B: Testbed>(case: Case<B>) {
    let mut submission = case.submission(&Program::default());
    submission.command = vec!["/nonexistent/program".into()];
    let job = case.hand_over(submission).await;
    let end = case.end(&job).await;
    let told = matches!(
        end.cause,
        EndCause::NotStarted | EndCause::Exited(126 | 127)
    );
    assert!(told, "{end:?}");
}

/// *Unknown is unknown.* A job that the cluster never had is gone, not unknown and not ended.
pub async fn an_unknown_job_is_gone<B: Testbed>(case: Case<B>) {
    let job = case.submit(&Program::default()).await;
    case.end(&job).await;
    // It has the form of a real id, so that no backend recognises it by that.
    let digits = job.0.trim_end_matches(|last: char| last.is_ascii_digit());
    let stranger = ClusterJobId(format!("{digits}99999999"));
    let state = case.until(&stranger, "is gone", |state| *state == ClusterState::Gone);
    state.await;
}

/// An empty list asks about no job, and certainly not about all.
pub async fn nothing_asked_is_nothing_answered<B: Testbed>(case: Case<B>) {
    let job = case.submit(&Program::default()).await;
    assert_eq!(case.observe(&[]).await, []);
    assert_eq!(case.find(&[]).await, []);
    assert_eq!(case.try_hand_over(Vec::new()).await, []);
    case.end(&job).await;
}

/// Returns one observation for each job, in the order of the question, also with an unknown job
/// among them.
pub async fn answers_stand_in_the_order_of_the_question<B: Testbed>(case: Case<B>) {
    let go = case.path("go");
    let waits = Program::new([Step::Await(go.clone())]);
    let runs = case.submit(&waits).await;
    let ends = case.submit(&Program::new([Step::Exit(5)])).await;
    case.until_running(&runs).await;
    case.end(&ends).await;
    let digits = runs.0.trim_end_matches(|last: char| last.is_ascii_digit());
    let stranger = ClusterJobId(format!("{digits}99999999"));
    // `observe` of the case compares the ids with the question.
    let question = [ends.clone(), stranger, runs.clone(), ends.clone()];
    let states: Vec<_> = case.observe(&question).await;
    for ended in [&states[0].state, &states[3].state] {
        assert!(matches!(ended, ClusterState::Ended(end) if end.cause == EndCause::Exited(5)));
    }
    case.touch(&go);
    assert_eq!(case.end(&runs).await.cause, EndCause::Exited(0));
}

/// [`changed`](crate::Scheduler::changed) returns after an end, for callers that waited before it
/// and for callers that begin to wait after it. Dropping a call loses nothing.
pub async fn a_change_wakes_who_waits<B: Testbed>(case: Case<B>) {
    let go = case.path("go");
    let job = case.submit(&Program::new([Step::Await(go.clone())])).await;
    case.until_running(&job).await;
    drop(case.scheduler().changed());
    let waiting = case.bounded("`changed` returns", case.scheduler().changed());
    let ending = async { case.touch(&go) };
    tokio::join!(waiting, ending);
    assert_eq!(case.end(&job).await.cause, EndCause::Exited(0));
}

/// *One id, one submission.* An observation names its own submission or none.
pub async fn an_observation_names_no_other_submission<B: Testbed>(mut case: Case<B>) {
    let submissions = [
        case.submission(&Program::default()),
        case.submission(&Program::default()),
    ];
    let names = submissions.clone().map(|submission| submission.name);
    let jobs = case.hand_over_all(submissions.to_vec()).await;
    for job in &jobs {
        case.end(job).await;
    }
    for _ in 0..2 {
        let observed = case.bounded("the cluster answers", async {
            loop {
                if let Ok(observed) = case.scheduler().observe(&jobs).await {
                    return observed;
                }
                case.scheduler().changed().await;
            }
        });
        for (name, observation) in names.iter().zip(observed.await) {
            assert!(observation.name.is_none_or(|told| told == *name));
        }
        case.reopen(async |_: &Case<B>| {}).await;
    }
}
