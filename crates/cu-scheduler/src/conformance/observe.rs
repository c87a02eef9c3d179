//! Cases on watching jobs: ends with their cause, and answers in the promised form.

use std::os::unix::fs::PermissionsExt;

use super::{Case, Program, Step, Testbed};
use crate::{ClusterJobId, ClusterState, EndCause, Submission};

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

/// *Nothing started, nothing said.* A command that can't be started ends, and its end is not taken for the
/// command's own. The reason is told: by the end, or in the submission's stderr.
pub async fn what_cant_start_is_no_success<B: Testbed>(case: Case<B>) {
    let started = case.path("started");
    let program = Program::new([Step::Mark(started.clone())]);
    let with = |change: &dyn Fn(&mut Submission)| {
        let mut submission = case.submission(&program);
        change(&mut submission);
        submission
    };
    let script = |name: &str, first_line: &str, mode: u32| {
        let path = case.path(name);
        let text = format!("{first_line}\necho started >> {}\n", started.display());
        std::fs::write(&path, text).expect("the directory of the case can be written");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("it is ours");
        vec![path.to_str().expect("its path is UTF-8").to_owned()]
    };
    let may_not_run = script("may-not-run", "#!/bin/sh", 0o600);
    let lacks_its_shell = script("lacks-its-shell", "#!/nonexistent/shell", 0o700);
    let directory = vec![case.bed.directory().display().to_string()];
    let nowhere = case.path("nowhere");
    let batch = vec![
        with(&|it| it.command = may_not_run.clone()),
        with(&|it| it.command = lacks_its_shell.clone()),
        with(&|it| it.command = directory.clone()),
        with(&|it| it.working_directory.clone_from(&nowhere)),
    ];
    let stderr = |submission: &Submission| {
        std::fs::read_to_string(submission.directory.join("stderr")).unwrap_or_default()
    };
    for (submission, answer) in batch.iter().zip(case.try_hand_over(batch.clone()).await) {
        let Ok(job) = answer else {
            continue; // A backend may see it before.
        };
        let end = case.end(&job).await;
        let told = matches!(
            end.cause,
            EndCause::NotStarted | EndCause::Exited(126 | 127)
        );
        assert!(told, "{submission:?}: {end:?}");
        case.until_true("the reason is told", || {
            !end.text.is_empty() || !stderr(submission).is_empty()
        })
        .await;
    }
    assert_eq!(case.marks(&started), 0, "nothing was started");
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
