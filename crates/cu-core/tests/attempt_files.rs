//! What attempts leave in files is heard whole and in its order, however late and badly it can be
//! read.
#![cfg(feature = "unstable")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cu_core::machine::Event;
use cu_core::{AttemptEnd, JobState, Policy, Reader, RunDir};
use cu_protocol::{Attempt, Failure, JobId, Message, ResumeRequest, Sequence};
use cu_run_dir::JobSpec;
use cu_scheduler::simulated::Stop;
use cu_scheduler::{Cancel, ClusterState, Scheduler};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::attempt::{JOB, put_in_outbox, results, write_exit_record};
use support::remote::{Calls, Remote};
use support::stuck::Stuck;
use support::{BOUND, endless, eventually, on_a_paused_clock, open, patient, scratch, settled};
use tokio::time::{sleep, timeout};

const FIRST: Attempt = Attempt(0);

/// Longer than from one look at files to the next.
const TWO_LOOKS: Duration = Duration::from_secs(11);

/// The scheduler's word decides as soon as a reading has found no record.
fn without_grace() -> Policy {
    patient().with(|policy| {
        policy.record_grace = Duration::ZERO;
    })
}

#[tokio::test]
async fn an_existing_record_is_read_before_the_verdict() {
    let policy = |record_grace| {
        patient().with(|policy| {
            policy.record_grace = record_grace;
        })
    };
    let scratch = scratch(policy(Duration::from_secs(3600)), 1);
    let cluster = endless();
    let main_process = tokio::spawn(open(&scratch, Arc::new(cluster.clone())).await.run());
    eventually("a start", || cluster.starts().len() == 1).await;
    let first = cluster.starts()[0].job.clone();
    cluster
        .cancel(&[first], Cancel::Kill)
        .await
        .expect("killed");
    eventually("a record of the end", || is_seen_to_end(&scratch.run)).await;
    main_process.abort();
    let _ = main_process.await;
    // Meanwhile the grace passes, and the record comes.
    let policy = serde_json::to_string(&policy(Duration::ZERO)).expect("plain data");
    rusqlite::Connection::open(scratch.run.store())
        .and_then(|store| {
            store.execute(
                "UPDATE facts SET value = ?1 WHERE name = 'policy'",
                [policy],
            )
        })
        .expect("a policy");
    for number in 1..100 {
        let failure = Failure {
            text: "oh".to_owned(),
        };
        put_in_outbox(&scratch.run, FIRST, number, Message::Failed(failure));
    }
    write_exit_record(&scratch.run, FIRST, 0);
    let resume_loop = open(&scratch, Arc::new(cluster.reopened())).await;
    let finish = timeout(BOUND, resume_loop.run()).await.expect("it ends");
    let status = settled(finish.expect("no error"));
    assert_eq!((status.jobs.completed, status.attempts), (1, 1));
}

fn is_seen_to_end(run: &RunDir) -> bool {
    let events = Reader::open(run).and_then(|reader| reader.events());
    events.expect("a readable run").iter().any(|recorded| {
        matches!(&recorded.event, Event::Observed { observation, .. }
            if matches!(observation.state, ClusterState::Ended(_)))
    })
}

#[tokio::test]
async fn files_are_read_before_the_scheduler_is_asked() {
    let scratch = scratch(patient(), 1);
    let cluster = Remote::new(endless(), Calls::Never);
    cluster.set_answers_after(Duration::from_secs(3600));
    let cluster = Arc::new(cluster);
    let main_process = tokio::spawn(open(&scratch, cluster.clone()).await.run());
    eventually("a start", || cluster.inner.starts().len() == 1).await;
    main_process.abort();
    let _ = main_process.await;
    // It has long ended when there is a main process again. To read so much takes a while.
    for number in 1..3000 {
        let failure = Failure {
            text: "oh".to_owned(),
        };
        put_in_outbox(&scratch.run, FIRST, number, Message::Failed(failure));
    }
    let request = Message::ResumeRequest(ResumeRequest::default());
    put_in_outbox(&scratch.run, FIRST, 3000, request);
    write_exit_record(&scratch.run, FIRST, 0);
    let forgetful = endless();
    let main_process = tokio::spawn(open(&scratch, Arc::new(forgetful.clone())).await.run());
    eventually("a start", || forgetful.starts().len() == 1).await;
    let second = forgetful.starts()[0].name.attempt();
    main_process.abort();
    assert_eq!(second, 1, "the first was submitted again");
}

#[test]
fn an_unreadable_message_is_read_later_in_its_order() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), 1);
        let run = &scratch.run;
        let cluster = endless();
        let main_process = tokio::spawn(open(&scratch, Arc::new(cluster.clone())).await.run());
        eventually("a start", || cluster.starts().len() == 1).await;
        // The first can't be read now, as for want of file descriptors; the others can.
        let path = |number| run.outbox_message(JOB, FIRST, Sequence(number));
        std::fs::create_dir_all(run.outbox(JOB, FIRST)).expect("an outbox");
        std::os::unix::fs::symlink(path(1), path(1)).expect("a link to itself");
        let failure = Failure {
            text: "oh".to_owned(),
        };
        put_in_outbox(run, FIRST, 2, Message::Failed(failure));
        write_exit_record(run, FIRST, 0);
        sleep(TWO_LOOKS).await;
        assert!(path(2).exists(), "it was heard before message 1");
        let job = || {
            Reader::open(run)
                .and_then(|reader| reader.job(JOB))
                .expect("a job")
        };
        assert_eq!(
            job().state,
            JobState::Running,
            "the record was heard before them"
        );
        std::fs::remove_file(path(1)).expect("removed");
        put_in_outbox(run, FIRST, 1, results());
        let finish = timeout(BOUND, main_process).await.expect("it ends");
        let status = settled(finish.expect("no panic").expect("no error"));
        assert_eq!(status.jobs.completed, 1);
        assert!(job().metrics.contains_key("loss"), "{:?}", job().metrics);
        assert!(!path(1).exists() && !path(2).exists());
    });
}

#[tokio::test]
async fn messages_before_the_record_are_read_before_it() {
    let scratch = scratch(patient(), 1);
    let cluster = endless();
    let main_process = tokio::spawn(open(&scratch, Arc::new(cluster.clone())).await.run());
    eventually("a start", || cluster.starts().len() == 1).await;
    let run = scratch.run.clone();
    write_exit_record(&run, FIRST, 0);
    let Some(stuck) = Stuck::mark(&run.exit_record(JOB, FIRST), false) else {
        return;
    };
    let ending = tokio::task::spawn_blocking(move || {
        let readers = stuck.wait();
        put_in_outbox(&run, FIRST, 1, results());
        stuck.let_through(&readers);
    });
    let first = cluster.starts()[0].job.clone();
    cluster
        .cancel(&[first], Cancel::Kill)
        .await
        .expect("killed");
    timeout(BOUND, ending)
        .await
        .expect("read")
        .expect("no panic");
    let finish = timeout(BOUND, main_process).await.expect("it ends");
    let status = settled(finish.expect("no panic").expect("no error"));
    assert_eq!(status.jobs.completed, 1);
    let job = Reader::open(&scratch.run).and_then(|reader| reader.job(JOB));
    assert!(job.expect("a job").metrics.contains_key("loss"));
}

#[tokio::test]
async fn a_file_that_never_opens_blocks_no_other() {
    let scratch = scratch(patient(), 4);
    let cluster = endless();
    let main_process = tokio::spawn(open(&scratch, Arc::new(cluster.clone())).await.run());
    eventually("all starts", || cluster.starts().len() == 4).await;
    // For all jobs but the last, whatever their order.
    let mut stuck = Vec::new();
    for job in (0..3).map(JobId) {
        let record = scratch.run.exit_record(job, FIRST);
        std::fs::write(&record, "").expect("a record");
        let Some(marked) = Stuck::mark(&record, false) else {
            return;
        };
        stuck.push(marked);
    }
    let last = JobId(3);
    let envelope = serde_json::json!({"job": 3, "attempt": 0, "sequence": 1, "message": results()});
    let file = serde_json::json!({"version": 1, "envelope": envelope}).to_string();
    std::fs::create_dir_all(scratch.run.outbox(last, FIRST)).expect("an outbox");
    let path = scratch.run.outbox_message(last, FIRST, Sequence(1));
    std::fs::write(path, file).expect("a message");
    let is_heard = || {
        let job = Reader::open(&scratch.run).and_then(|reader| reader.job(last));
        job.is_ok_and(|job| job.metrics.contains_key("loss"))
    };
    eventually("the message of the last job", is_heard).await;
    main_process.abort();
    assert!(main_process.await.is_err_and(|error| error.is_cancelled()));
    drop(stuck);
}

#[tokio::test]
async fn a_record_that_is_not_a_file_ends_the_wait() {
    let scratch = scratch(without_grace(), 1);
    let cluster = endless();
    let main_process = tokio::spawn(open(&scratch, Arc::new(cluster.clone())).await.run());
    eventually("a start", || cluster.starts().len() == 1).await;
    let mode = Mode::RUSR | Mode::WUSR;
    let record = scratch.run.exit_record(JOB, FIRST);
    mknodat(CWD, &record, FileType::Fifo, mode, 0).expect("a pipe");
    std::fs::create_dir(scratch.run.outbox(JOB, FIRST)).expect("an outbox");
    let message = scratch.run.outbox_message(JOB, FIRST, Sequence(1));
    std::os::unix::fs::symlink("/dev/zero", message).expect("a link");
    let first = cluster.starts()[0].job.clone();
    cluster.stop(&first, Stop::NodeFailure);
    eventually("the next start", || cluster.starts().len() == 2).await;
    assert!(!main_process.is_finished());
}

#[tokio::test]
async fn a_damaged_job_file_is_rewritten() {
    let scratch = scratch(without_grace(), 1);
    let path = scratch.run.job_spec(JOB);
    let cluster = endless();
    let main_process = tokio::spawn(open(&scratch, Arc::new(cluster.clone())).await.run());
    eventually("a start", || cluster.starts().len() == 1).await;
    let told = JobSpec::read(&path).expect("as it was made");
    let end_and_await = async |starts: usize| {
        let last = cluster.starts().pop().expect("a start").job;
        cluster.stop(&last, Stop::NodeFailure);
        eventually("the next start", || cluster.starts().len() == starts).await;
        assert_eq!(JobSpec::read(&path).expect("whole"), told);
    };
    let text = std::fs::read_to_string(&path).expect("a text");
    std::fs::write(&path, &text[..text.len() / 2]).expect("cut");
    end_and_await(2).await;
    std::fs::write(&path, text.replace("/bin/true", "/bin/trae")).expect("another command");
    end_and_await(3).await;
    std::fs::remove_file(&path).expect("lost");
    end_and_await(4).await;
    assert!(!main_process.is_finished());
}

#[test]
fn the_outbox_of_a_given_up_attempt_is_read() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), 1);
        let cluster = endless();
        let main_process = tokio::spawn(open(&scratch, Arc::new(cluster.clone())).await.run());
        eventually("a start", || cluster.starts().len() == 1).await;
        let first = cluster.starts()[0].job.clone();
        cluster.stop(&first, Stop::NodeFailure);
        eventually("the next start", || cluster.starts().len() == 2).await;
        // Its node is behind a broken network, and shares the file system.
        put_in_outbox(&scratch.run, FIRST, 1, results());
        let finish = timeout(BOUND, main_process).await.expect("it ends");
        let status = settled(finish.expect("no panic").expect("no error"));
        assert_eq!(status.jobs.completed, 1);
        let job = Reader::open(&scratch.run).and_then(|reader| reader.job(JOB));
        assert!(job.expect("a job").metrics.contains_key("loss"));
        assert!(
            cluster.starts().iter().all(|start| start.ended.is_some()),
            "one runs on"
        );
    });
}

#[test]
fn a_record_that_nobody_can_believe_is_none() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), 1);
        let cluster = endless();
        let main_process = tokio::spawn(open(&scratch, Arc::new(cluster.clone())).await.run());
        eventually("a start", || cluster.starts().len() == 1).await;
        write_exit_record(&scratch.run, FIRST, 0);
        let path = scratch.run.exit_record(JOB, FIRST);
        let text = std::fs::read_to_string(&path).expect("a record");
        let beyond = format!("\"ended\":{}", u64::MAX);
        std::fs::write(&path, text.replace("\"ended\":2000", &beyond)).expect("a record");
        sleep(TWO_LOOKS).await;
        let job = || Reader::open(&scratch.run).and_then(|reader| reader.job(JOB));
        assert_eq!(job().expect("a job").state, JobState::Running);
        let first = cluster.starts()[0].job.clone();
        cluster.stop(&first, Stop::NodeFailure);
        eventually("the next start", || cluster.starts().len() == 2).await;
        assert!(!main_process.is_finished());
        let ends = job().expect("a job").attempts;
        assert_eq!(ends[0].end, Some(AttemptEnd::NodeFailure));
    });
}
