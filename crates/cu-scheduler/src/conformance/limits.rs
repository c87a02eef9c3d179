//! Cases on time limits: the warning before the limit, and the end at it, also for unwilling
//! commands.

use super::{Case, Program, Step, Testbed};
use crate::{EndCause, Signal, TimeLimits, Warning};

/// The warning reaches the command's own process, early enough for it to end before the limit.
pub async fn a_warning_comes_before_the_limit<B: Testbed>(case: Case<B>) {
    let warned = case.path("warned");
    let mut submission = case.submission(&Program::new([
        Step::Note(Signal::Usr1, warned.clone()),
        Step::Await(warned.clone()),
        Step::Exit(5),
    ]));
    // A cluster that checks periodically may send the warning early by one period.
    let limit = match case.scheduler().capabilities().time_limits {
        TimeLimits::Exact => case.bed.shortest_time_limit(),
        TimeLimits::Coarse => case.bed.shortest_time_limit() * 2,
    };
    submission.resources.time_limit = Some(limit);
    submission.resources.warning = Some(Warning {
        signal: Signal::Usr1,
        before_limit: limit / 2,
    });
    let job = case.hand_over(submission).await;
    assert_eq!(case.end(&job).await.cause, EndCause::Exited(5));
}

/// A command that runs into the limit is ended, and the cause is the limit.
pub async fn the_time_limit_ends_it<B: Testbed>(case: Case<B>) {
    ends_at_the_limit(&case, Program::default()).await;
}

/// A command that ignores SIGTERM is ended, too.
pub async fn the_time_limit_ends_who_ignores_it<B: Testbed>(case: Case<B>) {
    ends_at_the_limit(&case, Program::new([Step::IgnoreTerminate])).await;
}

async fn ends_at_the_limit<B: Testbed>(case: &Case<B>, mut program: Program) {
    let never = case.path("never");
    program.steps.push(Step::Await(never));
    let mut submission = case.submission(&program);
    submission.resources.time_limit = Some(case.bed.shortest_time_limit());
    let job = case.hand_over(submission).await;
    assert_eq!(case.end(&job).await.cause, EndCause::TimeLimit);
}
