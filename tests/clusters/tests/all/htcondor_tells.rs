//! What people and programs are told on a real HTCondor pool: why a job waits, and how long it is
//! from SIGTERM to SIGKILL.

use std::path::Path;
use std::time::Duration;

use cu_cluster_tests::{CondorPool, wait};
use cu_scheduler::htcondor::{Htcondor, HtcondorOptions, Resume};
use cu_scheduler::{Cancel, ClusterJobId, ClusterState, EndCause, Scheduler, Submission};

use crate::htcondor::{
    self, Bed, STARTED, attempt, end, files, lines, on_the_pool, submit, until, until_exists,
};

/// Why it is queued, once that is told in these words.
async fn until_queued(pool: &Htcondor, job: &ClusterJobId, words: &str) -> String {
    let told = |state: &ClusterState| match state {
        ClusterState::Queued { reason } => reason.as_ref().is_some_and(|it| it.contains(words)),
        _ => false,
    };
    match until(pool, job, words, told).await {
        ClusterState::Queued { reason } => reason.expect("it has one"),
        other => unreachable!("`until` waits for a reason, not {other:?}"),
    }
}

async fn cancel(pool: &Htcondor, job: &ClusterJobId) {
    let cancelled = pool.cancel(std::slice::from_ref(job), Cancel::Terminate);
    cancelled.await.expect("the pool answers");
}

#[test]
fn a_job_that_no_machine_can_run_says_so_and_why() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let mut too_large = attempt(bed.directory(), 0, STARTED);
        too_large.resources.cpus = 100;
        let job = submit(&pool, &too_large).await;
        let reason = until_queued(&pool, &job, "no machine of the pool can run it").await;
        assert!(
            reason.contains("`TARGET.Cpus >= RequestCpus` (RequestCpus = 100)"),
            "{reason}"
        );
        let hint = format!("`condor_q -better-analyze {job}` shows more");
        assert!(reason.ends_with(&hint), "{reason}");
        cancel(&pool, &job).await;
    });
}

#[test]
fn a_requirement_that_holds_nowhere_is_named() {
    htcondor::runtime().block_on(async {
        let bed = Bed::new();
        let mut options = bed.options(Resume::Submit);
        options.requirements = Some("TARGET.Colour == \"green\"".into());
        let pool = Htcondor::open(options).await.expect("they can be right");
        let job = submit(&pool, &attempt(bed.directory(), 0, STARTED)).await;
        let reason = until_queued(&pool, &job, "no machine of the pool can run it").await;
        assert!(
            reason.contains("no slot meets `TARGET.Colour == \"green\"`"),
            "{reason}"
        );
        cancel(&pool, &job).await;
    });
}

/// A job whose machine is full is not told to be one that nobody can run.
#[test]
fn a_job_that_waits_for_room_says_so() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let files = files(bed.directory());
        let mut whole_lane = attempt(bed.directory(), 0, STARTED);
        whole_lane.resources.cpus = bed.lane.slots();
        let runs = submit(&pool, &whole_lane).await;
        until_exists(&files.started);
        let waits = submit(&pool, &attempt(bed.directory(), 1, "exit 0")).await;
        let reason = until_queued(&pool, &waits, "1 of the pool's 9 slots can run it").await;
        assert!(reason.contains("once there is room"), "{reason}");
        std::fs::write(&files.go, "").expect("the directory is the user's");
        for job in [&runs, &waits] {
            assert_eq!(end(&pool, job).await.cause, EndCause::Exited(0));
        }
    });
}

/// A script that writes how long it is to SIGKILL, and then notes each tenth of a second of it.
const SURVIVES_SIGTERM: &str = "echo $CU_KILL_WAIT >told; : >term; \
    trap 'trap : TERM; while [ -d . ]; do echo >>term; sleep 0.1; done' TERM; \
    echo >started; while [ -d . ]; do sleep 0.1; done";

/// How long it was told to be from SIGTERM to SIGKILL, in seconds. It went on for about that long, too:
/// neither the pool's clocks nor this look at them are exact.
async fn kill_wait(pool: &Htcondor, directory: &Path, job: Submission) -> f64 {
    let job = submit(pool, &job).await;
    until_exists(&directory.join("started"));
    cancel(pool, &job).await;
    until_exists_with_text(&directory.join("term"));
    let term = std::time::Instant::now();
    let mut lived = Duration::ZERO;
    let mut tenths = 0;
    let mut looked = term;
    wait::until("the last sign of life", wait::BOUND, || {
        let now = lines(&directory.join("term")).len();
        if now > tenths {
            (tenths, looked, lived) = (now, std::time::Instant::now(), term.elapsed());
        }
        (looked.elapsed() > Duration::from_secs(1)).then_some(())
    });
    assert_eq!(end(pool, &job).await.cause, EndCause::Cancelled);
    let told = std::fs::read_to_string(directory.join("told")).expect("it is there");
    let told: f64 = told.trim().parse().expect("a number of seconds");
    let about = told / 4.0..told * 5.0;
    assert!(
        about.contains(&lived.as_secs_f64()),
        "{lived:?}, told {told} s"
    );
    told
}

fn until_exists_with_text(path: &Path) {
    let what = format!("{} to be written", path.display());
    wait::until(&what, wait::BOUND, || {
        (!lines(path).is_empty()).then_some(())
    });
}

#[test]
fn a_job_is_told_how_long_it_is_from_sigterm_to_sigkill() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let job = attempt(bed.directory(), 0, SURVIVES_SIGTERM);
        let told = kill_wait(&pool, bed.directory(), job).await;
        assert_eq!(told, 2.0, "the grace of the test's bed");
    });
}

/// A machine that allows less time than the job asks for has its way, and the job is told.
#[test]
fn a_machine_that_allows_less_time_is_believed() {
    let own = CondorPool::own("MachineMaxVacateTime = 2 * 3\n");
    let work = own.work_directory();
    htcondor::runtime().block_on(async {
        let mut options = HtcondorOptions::new(work.path().join("state"));
        options.grace = Duration::from_secs(60);
        options.poll = Duration::from_secs(1);
        options.commands = Some(own.commands());
        let pool = Htcondor::open(options).await;
        let pool = pool.expect("its commands are there");
        let job = attempt(work.path(), 0, SURVIVES_SIGTERM);
        let told = kill_wait(&pool, work.path(), job).await;
        assert_eq!(told, 6.0, "of the 60 it asks for");
    });
}
