//! What an HTCondor pool does to jobs behind the backend's back, and how attempts follow each other.

use std::time::Duration;

use cu_cluster_tests::{CondorPool, wait};
use cu_scheduler::htcondor::{Htcondor, HtcondorOptions, Resume};
use cu_scheduler::{
    Cancel, ClusterJobId, ClusterState, EndCause, Error, Observation, Scheduler, SubmitError,
};

use crate::htcondor::{
    self, Bed, POOL, STARTED, ask, attempt, commands_with, end, files, is_queued, lines, observe,
    on_the_pool, submit, until, until_exists, until_held, until_left, until_running,
};

const SAME_SLOT: Resume = Resume::Checkpoint {
    max_restarts: None,
    wait: Duration::from_secs(60),
};

/// An eviction is an end, and the job is not started again.
#[test]
fn an_evicted_attempt_has_ended() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let files = files(bed.directory());
        let job = submit(&pool, &attempt(bed.directory(), 0, STARTED)).await;
        until_exists(&files.started);
        ask("condor_vacate_job", &[&job.0]);
        let end = end(&pool, &job).await;
        assert_eq!(end.cause, EndCause::Preempted, "{}", end.text);
        // Nothing is kept of it: whoever looks for it in the queue finds that.
        until_left(&job);
        assert_eq!(self::end(&pool, &job).await.cause, EndCause::Preempted);
        assert_eq!(lines(&files.started).len(), 1);
    });
}

/// HTCondor would start it again beside the first copy.
#[test]
fn a_job_whose_shadow_died_is_not_started_again() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let files = files(bed.directory());
        let job = submit(&pool, &attempt(bed.directory(), 0, STARTED)).await;
        until_exists(&files.started);
        until_running(&pool, &job).await;
        POOL.kill_shadow(&job.0);
        let end = end(&pool, &job).await;
        assert_eq!(end.cause, EndCause::NodeFailure, "{}", end.text);
        until_left(&job);
        assert_eq!(lines(&files.started).len(), 1);
    });
}

/// A person's hold waits for that person, and a release lets the job go on that had not begun.
#[test]
fn a_held_job_waits_for_a_person() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let mut waits = attempt(bed.directory(), 0, STARTED);
        waits.resources.cpus = 4; // More than a lane has.
        let job = submit(&pool, &waits).await;
        ask("condor_hold", &["-reason", "let us see", &job.0]);
        let reason = until_held(&pool, &job).await;
        let said = "let us see (by user cu), hold code 1, subcode 0; `condor_release ";
        assert!(reason.starts_with(said), "{reason}");
        // The command that it names is the one.
        let mut words = reason.split('`').nth(1).expect("a command").split(' ');
        let (command, id) = (words.next(), words.next().expect("an id"));
        assert_eq!((command, id), (Some("condor_release"), job.0.as_str()));
        ask("condor_release", &[id]);
        let queued = |state: &ClusterState| matches!(state, ClusterState::Queued { .. });
        until(&pool, &job, "queued", queued).await;
        ask("condor_rm", &["-reason", "enough", &job.0]);
        let end = end(&pool, &job).await;
        assert_eq!(end.cause, EndCause::Cancelled);
        assert!(end.text.contains("enough"), "{}", end.text);
    });
}

/// What ran when a person held it ends with the release, as with an eviction.
#[test]
fn a_running_job_that_is_held_and_released_has_ended() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let files = files(bed.directory());
        let job = submit(&pool, &attempt(bed.directory(), 0, STARTED)).await;
        until_exists(&files.started);
        ask("condor_hold", &[&job.0]);
        until_held(&pool, &job).await;
        ask("condor_release", &[&job.0]);
        let end = end(&pool, &job).await;
        assert_eq!(end.cause, EndCause::Preempted, "{}", end.text);
        assert_eq!(lines(&files.started).len(), 1);
    });
}

/// Too much memory is told as such, and the held job is removed.
#[test]
fn too_much_memory_is_an_end() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        // The shell collects what it reads.
        let script = "x=$(head -c 400000000 /dev/zero | tr '\\0' x); echo ${#x}";
        let mut submission = attempt(bed.directory(), 0, script);
        submission.resources.memory_bytes = Some(64 << 20);
        let job = submit(&pool, &submission).await;
        let end = end(&pool, &job).await;
        assert_eq!(end.cause, EndCause::OutOfMemory, "{}", end.text);
        until_left(&job);
    });
}

/// A job that HTCondor can't even start is over.
#[test]
fn a_job_that_cannot_start_is_over() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let mut waits = attempt(bed.directory(), 0, STARTED);
        waits.resources.cpus = 4;
        let job = submit(&pool, &waits).await;
        std::fs::remove_file(bed.directory().join("state/start")).expect("it is there");
        ask("condor_qedit", &[&job.0, "RequestCpus", "1"]);
        let end = end(&pool, &job).await;
        assert_eq!(end.cause, EndCause::NotStarted, "{}", end.text);
        until_left(&job);
    });
}

/// Attempts of one job in one cluster job; `numbers` are their exit codes.
async fn chain(bed: &Bed, pool: &Htcondor, codes: &[u8]) -> Vec<(ClusterJobId, Observation)> {
    let mut seen = Vec::new();
    let mut previous = None;
    for (number, code) in (0..).zip(codes) {
        let script = format!("echo {number} $_CONDOR_SCRATCH_DIR >>started; exit {code}");
        let mut submission = attempt(bed.directory(), number, &script);
        submission.previous = previous.take();
        let job = submit(pool, &submission).await;
        let end = end(pool, &job).await;
        assert_eq!(end.cause, EndCause::Exited((*code).into()), "{}", end.text);
        seen.push((job.clone(), observe(pool, &job).await));
        previous = Some(job);
    }
    seen
}

fn ids(seen: &[(ClusterJobId, Observation)]) -> Vec<&str> {
    seen.iter().map(|(job, _)| job.0.as_str()).collect()
}

#[test]
fn a_new_submission_is_a_new_job() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let seen = chain(bed, &pool, &[3, 0]).await;
        let ids = ids(&seen);
        assert_ne!(ids[0], ids[1]);
        assert_eq!(lines(&bed.directory().join("started")).len(), 2);
    });
}

/// A requeued job keeps its id; each start of it is an attempt of its own, and each attempt's output
/// goes where it belongs.
#[test]
fn a_requeue_keeps_the_job() {
    on_the_pool(Resume::Requeue, async |bed, pool| {
        let seen = chain(bed, &pool, &[3, 3, 0]).await;
        let ids = ids(&seen);
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let restarts: Vec<_> = seen.iter().map(|(_, it)| it.restarts).collect();
        assert_eq!(restarts, [Some(0), Some(1), Some(2)]);
        let started = lines(&bed.directory().join("started"));
        let numbers: Vec<&str> = started.iter().map(|it| &it[..1]).collect();
        assert_eq!(numbers, ["0", "1", "2"]);
        until_left(&seen[0].0);
    });
}

/// In the same slot nothing but the attempt changes, the scratch directory not either.
#[test]
fn a_checkpoint_keeps_the_slot() {
    on_the_pool(SAME_SLOT, async |bed, pool| {
        let seen = chain(bed, &pool, &[3, 3, 0]).await;
        let ids = ids(&seen);
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let started = lines(&bed.directory().join("started"));
        let slots: Vec<&str> = started.iter().map(|it| &it[2..]).collect();
        assert_eq!(slots, [slots[0]; 3]);
        until_left(&seen[0].0);
    });
}

/// After so many restarts in one slot the next attempt has to find a slot anew.
#[test]
fn restarts_in_one_slot_can_be_limited() {
    let resume = Resume::Checkpoint {
        max_restarts: Some(1),
        wait: Duration::from_secs(60),
    };
    on_the_pool(resume, async |bed, pool| {
        let seen = chain(bed, &pool, &[3, 3, 3, 0]).await;
        let ids = ids(&seen);
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let started = lines(&bed.directory().join("started"));
        let slots: Vec<&str> = started.iter().map(|it| &it[2..]).collect();
        assert_eq!(slots[0], slots[1]);
        assert_ne!(slots[1], slots[2]);
        assert_eq!(slots[2], slots[3]);
    });
}

/// A slot is not kept for ever for an attempt that does not come; the end stays the same, and the
/// job goes on elsewhere when it comes.
#[test]
fn a_slot_is_given_up_in_time() {
    let resume = Resume::Checkpoint {
        max_restarts: None,
        wait: Duration::from_secs(1),
    };
    on_the_pool(resume, async |bed, pool| {
        let first = attempt(bed.directory(), 0, "exit 3");
        let job = submit(&pool, &first).await;
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(3));
        let status = || ask("condor_q", &[&job.0, "-af", "JobStatus", "JobRunCount"]);
        wait::until("the slot to be given up", wait::BOUND, || {
            (status() == "1 1\n").then_some(())
        });
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(3));
        let mut second = attempt(bed.directory(), 1, "exit 0");
        second.previous = Some(job.clone());
        assert_eq!(submit(&pool, &second).await, job);
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(0));
    });
}

/// An evicted job is put back as well, after the main process was killed, too.
#[test]
fn an_evicted_job_goes_on_under_its_id() {
    on_the_pool(Resume::Requeue, async |bed, pool| {
        let files = files(bed.directory());
        let job = submit(&pool, &attempt(bed.directory(), 0, STARTED)).await;
        until_exists(&files.started);
        ask("condor_vacate_job", &[&job.0]);
        assert_eq!(end(&pool, &job).await.cause, EndCause::Preempted);
        drop(pool);
        let pool = bed.open(Resume::Requeue).await;
        assert_eq!(end(&pool, &job).await.cause, EndCause::Preempted);
        let mut second = attempt(bed.directory(), 1, STARTED);
        second.previous = Some(job.clone());
        assert_eq!(submit(&pool, &second).await, job);
        until_running(&pool, &job).await;
        drop(pool);
        let pool = bed.open(Resume::Requeue).await;
        until_running(&pool, &job).await;
        let found = pool.find(std::slice::from_ref(&second.name)).await;
        let found = found.expect("the pool answers");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].observation.job, job);
        std::fs::write(&files.go, "").expect("the directory is the user's");
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(0));
        assert_eq!(lines(&files.started).len(), 2);
    });
}

/// An attempt that is over before the queue shows that it was put back is not submitted again.
#[test]
fn an_attempt_that_is_over_at_once_was_put_back() {
    htcondor::runtime().block_on(async {
        let bed = Bed::new();
        let edited = bed.directory().join("edited");
        let edited = edited.to_str().expect("UTF-8");
        // From the edit on the queue answers once the job has left it.
        let qedit = format!("$REAL \"$@\" && touch {edited}");
        let queue = format!(
            "if [ -e {edited} ]; then while [ -n \"$($REAL $(cat {edited}.job) -af ClusterId)\" ]; do \
             sleep 0.1; done; fi\n$REAL \"$@\""
        );
        let mut options = bed.options(Resume::Requeue);
        options.commands = Some(commands_with(
            &POOL,
            bed.directory(),
            &[("condor_qedit", &qedit), ("condor_q", &queue)],
        ));
        let pool = Htcondor::open(options).await.expect("its commands are there");
        let job = submit(&pool, &attempt(bed.directory(), 0, "exit 3")).await;
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(3));
        std::fs::write(format!("{edited}.job"), &job.0).expect("the directory is the user's");
        let mut second = attempt(bed.directory(), 1, "echo >>started; exit 5");
        second.previous = Some(job.clone());
        assert_eq!(submit(&pool, &second).await, job);
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(5));
        let started = lines(&bed.directory().join("started"));
        assert_eq!(started.len(), 1);
    });
}

/// HTCondor may report the end of a predecessor late. The successor waits for that, and the report is
/// about the predecessor, for the next main process, too.
#[test]
fn a_late_event_of_a_predecessor_ends_no_successor() {
    on_the_pool(Resume::Requeue, async |bed, pool| {
        let files = files(bed.directory());
        let script = format!("{STARTED}; exit 3");
        let job = submit(&pool, &attempt(bed.directory(), 0, &script)).await;
        until_exists(&files.started);
        until_running(&pool, &job).await;
        // It ends while the next attempt is being submitted.
        let mut second = attempt(bed.directory(), 1, "while [ -d . ]; do sleep 0.1; done");
        second.previous = Some(job.clone());
        std::fs::write(&files.go, "").expect("the directory is the user's");
        assert_eq!(submit(&pool, &second).await, job);
        drop(pool);
        let pool = bed.open(Resume::Requeue).await;
        until_running(&pool, &job).await;
        let found = pool.find(std::slice::from_ref(&second.name)).await;
        assert_eq!(found.expect("the pool answers").len(), 1);
    });
}

/// What needs something else than its predecessor can't go on in its job, which is freed.
#[test]
fn other_needs_are_another_job() {
    on_the_pool(Resume::Requeue, async |bed, pool| {
        let first = submit(&pool, &attempt(bed.directory(), 0, "exit 3")).await;
        assert_eq!(end(&pool, &first).await.cause, EndCause::Exited(3));
        let mut second = attempt(bed.directory(), 1, "exit 0");
        second.resources.cpus = 2;
        second.previous = Some(first.clone());
        let job = submit(&pool, &second).await;
        assert_ne!(job, first);
        until_left(&first);
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(0));
        assert_eq!(end(&pool, &first).await.cause, EndCause::Exited(3));
    });
}

/// HTCondor goes on writing into a log that has no name any more. Then the queue and the history
/// tell, and later jobs are in the new log.
#[test]
fn a_deleted_log_costs_no_more_than_time() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let files = files(bed.directory());
        let script = format!("{STARTED}; exit 6");
        let job = submit(&pool, &attempt(bed.directory(), 0, &script)).await;
        until_exists(&files.started);
        until_running(&pool, &job).await;
        std::fs::remove_file(bed.directory().join("state/events.log")).expect("it is there");
        std::fs::write(&files.go, "").expect("the directory is the user's");
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(6));
        let later = submit(&pool, &attempt(bed.directory(), 1, "exit 7")).await;
        assert_eq!(end(&pool, &later).await.cause, EndCause::Exited(7));
    });
}

/// What was kept of an ended job is freed by cancelling it, and its end stays what it was.
#[test]
fn cancelling_frees_a_kept_job() {
    on_the_pool(Resume::Requeue, async |bed, pool| {
        let job = submit(&pool, &attempt(bed.directory(), 0, "exit 3")).await;
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(3));
        assert!(is_queued(&job), "it is kept for the next attempt");
        let cancelled = pool.cancel(std::slice::from_ref(&job), Cancel::Terminate);
        cancelled.await.expect("the pool answers");
        until_left(&job);
        assert_eq!(end(&pool, &job).await.cause, EndCause::Exited(3));
    });
}

/// The state directory lost with all that is in it: names are still found, ends still told.
#[test]
fn names_and_ends_are_found_without_the_state_directory() {
    on_the_pool(Resume::Submit, async |bed, pool| {
        let files = files(bed.directory());
        let (runs, ended) = (
            attempt(bed.directory(), 0, STARTED),
            attempt(bed.directory(), 1, "exit 5"),
        );
        let running = submit(&pool, &runs).await;
        let over = submit(&pool, &ended).await;
        assert_eq!(end(&pool, &over).await.cause, EndCause::Exited(5));
        until_exists(&files.started);
        drop(pool);
        std::fs::remove_dir_all(bed.directory().join("state")).expect("it is the user's");
        let pool = bed.open(Resume::Submit).await;
        let names = [runs.name, attempt(bed.directory(), 2, "").name, ended.name];
        let found = pool.find(&names).await.expect("the pool answers");
        let jobs: Vec<&ClusterJobId> = found.iter().map(|it| &it.observation.job).collect();
        assert_eq!(jobs, [&running, &over]);
        until_running(&pool, &running).await;
        std::fs::write(&files.go, "").expect("the directory is the user's");
        assert_eq!(end(&pool, &running).await.cause, EndCause::Exited(0));
        assert_eq!(end(&pool, &over).await.cause, EndCause::Exited(5));
    });
}

/// Silence of a schedd is neither an end nor a lost job: what was under way is found afterwards,
/// or is not there, and nothing is submitted twice.
#[test]
fn a_schedd_that_hangs_loses_nothing() {
    let own = CondorPool::own("");
    let directory = own.work_directory();
    htcondor::runtime().block_on(async {
        let mut options = HtcondorOptions::new(directory.path().join("state"));
        options.poll = Duration::from_secs(1);
        options.commands = Some(own.commands());
        let pool = Htcondor::open(options)
            .await
            .expect("its commands are there");
        let files = files(directory.path());
        let runs = attempt(directory.path(), 0, STARTED);
        let job = submit(&pool, &runs).await;
        until_exists(&files.started);
        own.pause("schedd");
        let stranger = [ClusterJobId("99999.0".into())];
        let asked = pool.observe(&stranger).await;
        assert!(matches!(asked, Err(Error::Unavailable { .. })), "{asked:?}");
        let cancelled = pool.cancel(&stranger, Cancel::Terminate).await;
        assert!(
            matches!(cancelled, Err(Error::Unavailable { .. })),
            "{cancelled:?}"
        );
        let uncertain = attempt(directory.path(), 1, STARTED);
        let answer = pool
            .submit(std::slice::from_ref(&uncertain))
            .await
            .remove(0);
        assert!(
            matches!(answer, Err(SubmitError::Uncertain { .. })),
            "{answer:?}"
        );
        own.start("schedd");
        let found = pool.find(std::slice::from_ref(&uncertain.name)).await;
        let found = found.expect("the schedd answers");
        let second = match found.into_iter().next() {
            Some(found) => found.observation.job,
            None => submit(&pool, &uncertain).await,
        };
        std::fs::write(&files.go, "").expect("the directory is the user's");
        for job in [&job, &second] {
            assert_eq!(end(&pool, job).await.cause, EndCause::Exited(0));
        }
        assert_eq!(lines(&files.started).len(), 2);
    });
}
