//! Cases on cancelling jobs: queued or running, willing or not, with all their processes.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::{Case, Program, Step, Testbed};
use crate::{Cancel, ClusterJobId, ClusterState, EndCause, Signal};

/// A queued job that is cancelled is over without having run.
pub async fn a_queued_job_never_starts<B: Testbed>(case: Case<B>) {
    let (started, go, late) = (case.path("started"), case.path("go"), case.path("late"));
    let jobs = case.fill_slots(&started, &go).await;
    let queued = case.submit(&Program::new([Step::Mark(late.clone())])).await;
    let after = case.path("after");
    let last = case
        .submit(&Program::new([Step::Mark(after.clone())]))
        .await;
    case.cancel(std::slice::from_ref(&queued), Cancel::Terminate)
        .await;
    let state = case.until(&queued, "is over", ClusterState::is_over).await;
    if let ClusterState::Ended(end) = state {
        assert_eq!(end.cause, EndCause::Cancelled);
    }
    case.touch(&go);
    for job in jobs.iter().chain([&last]) {
        assert_eq!(case.end(job).await.cause, EndCause::Exited(0));
    }
    // The job behind it in the queue has run, so this one would have run, too.
    assert_eq!((case.marks(&late), case.marks(&after)), (0, 1));
}

/// A running job gets SIGTERM and may act on it. It counts as cancelled all the same.
pub async fn a_running_job_gets_a_signal_it_can_act_on<B: Testbed>(case: Case<B>) {
    let (ready, told) = (case.path("ready"), case.path("told"));
    let job = case
        .submit(&Program::new([
            Step::Note(Signal::Term, told.clone()),
            Step::Mark(ready.clone()),
            Step::Await(told.clone()),
        ]))
        .await;
    case.until_exists(&ready).await;
    case.cancel(std::slice::from_ref(&job), Cancel::Terminate)
        .await;
    assert_eq!(case.end(&job).await.cause, EndCause::Cancelled);
    assert!(told.exists(), "SIGTERM came before SIGKILL");
}

/// A job that ignores SIGTERM is killed after the grace time.
pub async fn who_ignores_the_signal_is_killed<B: Testbed>(case: Case<B>) {
    let job = stubborn(&case).await;
    case.cancel(std::slice::from_ref(&job), Cancel::Terminate)
        .await;
    assert_eq!(case.end(&job).await.cause, EndCause::Cancelled);
}

/// [`Cancel::Kill`] also ends a job that ignores SIGTERM.
pub async fn a_kill_is_a_kill<B: Testbed>(case: Case<B>) {
    let job = stubborn(&case).await;
    case.cancel(std::slice::from_ref(&job), Cancel::Kill).await;
    assert_eq!(case.end(&job).await.cause, EndCause::Cancelled);
}

/// Starts a job that ignores SIGTERM and waits for a file that never appears.
async fn stubborn<B: Testbed>(case: &Case<B>) -> ClusterJobId {
    let (ready, never) = (case.path("ready"), case.path("never"));
    let job = case
        .submit(&Program::new([
            Step::IgnoreTerminate,
            Step::Mark(ready.clone()),
            Step::Await(never),
        ]))
        .await;
    case.until_exists(&ready).await;
    job
}

/// A child of a command ends with it, willing or not.
pub async fn children_end_with_it<B: Testbed>(case: Case<B>) {
    let (fifo, never) = (case.path("fifo"), case.path("never"));
    let reader = open_fifo(&fifo);
    let steps = [Step::Child(fifo), Step::Await(never)];
    let job = case.submit(&Program::new(steps)).await;
    case.until_true("the child opens its pipe", || is_held_open(&reader))
        .await;
    case.cancel(std::slice::from_ref(&job), Cancel::Terminate)
        .await;
    assert_eq!(case.end(&job).await.cause, EndCause::Cancelled);
    // Only the death of the last process that has it open closes a pipe.
    case.until_true("the child is dead", || !is_held_open(&reader))
        .await;
}

fn open_fifo(path: &Path) -> File {
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::Fifo, mode, 0)
        .expect("the file system of the directory has FIFOs");
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .expect("a FIFO opens for reading without a writer")
}

/// Returns whether a process has the other end open.
fn is_held_open(mut reader: &File) -> bool {
    match reader.read(&mut [0]) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Cancelling an unknown or ended job is not an error, and the others are cancelled all the same.
pub async fn unknown_and_ended_jobs_are_no_error<B: Testbed>(case: Case<B>) {
    let (ready, never) = (case.path("ready"), case.path("never"));
    let ended = case.submit(&Program::new([Step::Exit(2)])).await;
    let told = case.end(&ended).await;
    let steps = [Step::Mark(ready.clone()), Step::Await(never)];
    let running = case.submit(&Program::new(steps)).await;
    case.until_exists(&ready).await;
    let digits = ended.0.trim_end_matches(|last: char| last.is_ascii_digit());
    let stranger = ClusterJobId(format!("{digits}99999999"));
    case.cancel(&[], Cancel::Terminate).await;
    case.cancel(std::slice::from_ref(&ended), Cancel::Terminate)
        .await;
    let all = [stranger, ended.clone(), running.clone()];
    case.cancel(&all, Cancel::Terminate).await;
    assert_eq!(case.end(&running).await.cause, EndCause::Cancelled);
    let after = case.end(&ended).await.cause;
    assert_eq!(after, told.cause, "a cancel does not change an end");
}

/// *One id, one submission.* A job that another program submitted has an id of the cluster, too. It is not
/// taken for one of ours, and a cancel does not touch it.
pub async fn a_strangers_job_is_left_alone<B: Testbed>(case: Case<B>) {
    let (started, go, done) = (case.path("started"), case.path("go"), case.path("done"));
    let program = Program::new([
        Step::Mark(started.clone()),
        Step::Await(go.clone()),
        Step::Mark(done.clone()),
    ]);
    let Some(stranger) = case.bed.stranger(&case.bed.command(&program, &[])).await else {
        return; // Nobody else can have an id of this cluster.
    };
    case.until_exists(&started).await;
    let (ready, never) = (case.path("ready"), case.path("never"));
    let steps = [Step::Mark(ready.clone()), Step::Await(never)];
    let ours = case.submit(&Program::new(steps)).await;
    case.until_exists(&ready).await;
    let both = [stranger.clone(), ours.clone()];
    let seen = case.observe(&both).await.remove(0);
    assert!(
        matches!(
            seen.state,
            ClusterState::Gone | ClusterState::Unknown { .. }
        ),
        "it is not ours: {seen:?}"
    );
    case.cancel(&both, Cancel::Kill).await;
    assert_eq!(case.end(&ours).await.cause, EndCause::Cancelled);
    case.cancel(&[stranger], Cancel::Kill).await;
    case.touch(&go);
    case.until_exists(&done).await;
}
