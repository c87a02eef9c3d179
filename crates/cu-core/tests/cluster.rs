//! The loop on a cluster that is far away: few calls, however much happens; and what a cluster does
//! behind our back.
#![cfg(feature = "unstable")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cu_core::{AttemptEnd, Finish, JobState, Policy, Reader};
use cu_protocol::{Attempt, JobId, OperatorAnswer, OperatorRequest, Selection};
use cu_scheduler::EndCause;
use cu_scheduler::simulated::{Simulated, SimulatedOptions, Stop};
use support::attempt::connect_as_a_supervisor;
use support::remote::{Calls, Remote};
use support::{
    BOUND, endless, eventually, on_a_paused_clock, open, patient, program_exits, scratch, settled,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

const INTERVAL: Duration = Duration::from_secs(30);

/// A cluster with room for all, on which job `n` works ten minutes and `n` times `apart`, asks to be
/// resumed once, and then is done.
fn staggered(jobs: u32, apart: Duration) -> Simulated {
    let options = SimulatedOptions {
        cpus: jobs,
        ..SimulatedOptions::default()
    };
    Simulated::new(options, move |run| async move {
        let name = &run.submission.name;
        sleep(Duration::from_secs(600) + apart * name.job()).await;
        program_exits(&run, if name.attempt() == 0 { 3 } else { 0 })
    })
}

#[test]
fn resumes_that_are_due_together_are_few_calls() {
    on_a_paused_clock(async {
        const JOBS: u32 = 200;
        let scratch = scratch(patient(), JOBS);
        // Over four seconds; each end is reported at once.
        let apart = Duration::from_millis(20);
        let cluster = Arc::new(Remote::new(staggered(JOBS, apart), Calls::AtOnce));
        let resume_loop = open(&scratch, cluster.clone()).await;
        let status = settled(resume_loop.run().await.expect("it ends"));
        assert_eq!(status.jobs.completed, JOBS);
        let batches = cluster.batches();
        assert_eq!(batches[0], JOBS as usize);
        assert_eq!(batches.iter().sum::<usize>(), 2 * JOBS as usize);
        // At most six evenly, and eight that were saved.
        assert!(batches.len() <= 6 + 8, "{batches:?}");
    });
}

#[test]
fn jobs_that_were_submitted_together_stay_together() {
    on_a_paused_clock(async {
        const JOBS: u32 = 60;
        const RESUMES: u32 = 10;
        let scratch = scratch(patient(), JOBS);
        let options = SimulatedOptions {
            cpus: JOBS,
            ..SimulatedOptions::default()
        };
        // They end within 0.3 s.
        let cluster = Simulated::new(options, |run| async move {
            let name = &run.submission.name;
            sleep(Duration::from_secs(12) + Duration::from_millis(5) * name.job()).await;
            program_exits(&run, if name.attempt() < RESUMES { 3 } else { 0 })
        });
        let cluster = Arc::new(Remote::new(cluster, Calls::AtOnce));
        let resume_loop = open(&scratch, cluster.clone()).await;
        let status = settled(resume_loop.run().await.expect("it ends"));
        assert_eq!(status.jobs.completed, JOBS);
        // A call for the first one that ends would split them, in each round anew.
        let rounds = RESUMES as usize + 1;
        assert_eq!(cluster.batches(), vec![JOBS as usize; rounds]);
    });
}

#[test]
fn a_resume_that_is_alone_waits_for_no_other() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), 1);
        let cluster = Arc::new(Remote::new(staggered(1, Duration::ZERO), Calls::AtOnce));
        let resume_loop = open(&scratch, cluster.clone()).await;
        settled(resume_loop.run().await.expect("it ends"));
        let starts = cluster.inner.starts();
        let ended = starts[0].ended.expect("it has");
        // The grace for a record, which no attempt here writes, and a moment.
        let grace = Policy::default().record_grace + Duration::from_millis(500);
        assert!(starts[1].at - ended < grace, "{starts:?}");
    });
}

#[test]
fn a_limit_is_waited_for_and_told() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), 2);
        let cluster = Arc::new(Remote::new(staggered(2, Duration::ZERO), Calls::AtOnce));
        let wait = Duration::from_secs(600);
        cluster.set_limit(Some(("QOSMaxSubmitJobPerUserLimit", Some(wait))));
        let mut resume_loop = open(&scratch, cluster.clone()).await;
        let mut notices = resume_loop.notices();
        let limit = async {
            // Longer than the patience with a scheduler that does not answer: this one does. And
            // in the middle of a wait.
            sleep(2 * Policy::default().scheduler_patience + wait / 2).await;
            let reader = Reader::open(&scratch.run).expect("a readable run");
            let job = reader.job(JobId(1)).expect("a job");
            assert_eq!(job.state, JobState::Waiting);
            let expected = "attempt 0 can't be submitted now: QOSMaxSubmitJobPerUserLimit; attempt 0 \
                            is submitted after ";
            assert!(job.why.starts_with(expected), "{}", job.why);
            cluster.set_limit(None);
            std::future::pending::<()>().await;
        };
        let status = tokio::select! {
            finish = resume_loop.run() => settled(finish.expect("it ends")),
            () = limit => unreachable!("it never ends"),
        };
        assert_eq!(status.jobs.completed, 2);
        // Once for each job, however often it was tried.
        let mut told = Vec::new();
        while let Ok(notice) = notices.try_recv() {
            told.push(notice.to_string());
        }
        let text =
            "attempt 0 can't be submitted now: QOSMaxSubmitJobPerUserLimit; it is tried again";
        assert_eq!(told, [0, 1].map(|job| format!("job {job}: {text}")));
    });
}

#[test]
fn the_end_of_an_own_job_ends_the_wait_for_room() {
    on_a_paused_clock(async {
        const JOBS: u32 = 6;
        let scratch = scratch(patient(), JOBS);
        let cluster = Arc::new(Remote::new(
            staggered(JOBS, Duration::from_secs(60)),
            Calls::Every(INTERVAL),
        ));
        // A wait of that length would show in the time taken below.
        cluster.set_room(2, Duration::from_secs(1_000_000));
        let begun = tokio::time::Instant::now();
        let resume_loop = open(&scratch, cluster.clone()).await;
        let status = settled(resume_loop.run().await.expect("it ends"));
        assert_eq!(status.jobs.completed, JOBS);
        // Two at a time, two attempts each, of 10 to 15 minutes.
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(100 * 60), "{took:?}");
    });
}

#[test]
fn an_attempt_requeued_by_the_cluster_is_resumed() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), 1);
        let options = SimulatedOptions {
            requeues: true,
            queue_delay: Duration::from_secs(121),
            ..SimulatedOptions::default()
        };
        let inner = Simulated::new(options, |run| async move {
            if run.restarts > 0 {
                // The exit code of a supervisor that must not start its program again.
                return EndCause::Exited(200);
            }
            sleep(Duration::from_secs(600)).await;
            program_exits(&run, 0)
        });
        let cluster = Arc::new(Remote::new(inner, Calls::Every(INTERVAL)));
        let mut resume_loop = open(&scratch, cluster.clone()).await;
        let mut notices = resume_loop.notices();
        let requeue = async {
            sleep(Duration::from_secs(300)).await;
            let first = &cluster.inner.starts()[0];
            assert!(cluster.inner.stop(&first.job, Stop::Preempted));
            sleep(2 * INTERVAL).await;
            let reader = Reader::open(&scratch.run).expect("a readable run");
            let job = reader.job(JobId(0)).expect("a job");
            assert_eq!(job.state, JobState::Queued);
            assert!(job.why.contains("back into the queue"), "{}", job.why);
            std::future::pending::<()>().await;
        };
        let status = tokio::select! {
            finish = resume_loop.run() => settled(finish.expect("it ends")),
            () = requeue => unreachable!("it never ends"),
        };
        assert_eq!(status.jobs.completed, 1);
        let reader = Reader::open(&scratch.run).expect("a readable run");
        let job = reader.job(JobId(0)).expect("a job");
        let ends: Vec<_> = job.attempts.iter().map(|attempt| attempt.end).collect();
        assert_eq!(
            ends,
            [Some(AttemptEnd::Preempted), Some(AttemptEnd::Completed)]
        );
        let mut told = Vec::new();
        while let Ok(notice) = notices.try_recv() {
            told.push(notice.text);
        }
        assert!(
            told.iter().any(|text| text.contains("back into the queue")),
            "{told:?}"
        );
    });
}

#[test]
fn a_main_process_that_is_detached_submits_nothing_more() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), 1);
        let cluster = Arc::new(Remote::new(endless(), Calls::Never));
        let resume_loop = open(&scratch, cluster.clone()).await;
        drop(resume_loop.operator().ask(OperatorRequest::Detach));
        let finish = resume_loop.run().await.expect("it ends");
        assert!(matches!(finish, Finish::Detached(_)), "{finish:?}");
        assert_eq!(cluster.batches(), [0; 0]);
        let reader = Reader::open(&scratch.run).expect("a readable run");
        let job = reader.job(JobId(0)).expect("a job");
        assert_eq!(job.state, JobState::Waiting);
        assert_eq!(job.attempts, []);
    });
}

#[test]
fn submissions_of_a_detached_main_process_are_recorded() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), 2);
        let cluster = Arc::new(Remote::new(endless(), Calls::Never));
        cluster.set_answers_after(Duration::from_secs(20));
        let resume_loop = open(&scratch, cluster.clone()).await;
        let operator = resume_loop.operator();
        let detach = async {
            while cluster.batches().is_empty() {
                sleep(Duration::from_millis(2)).await;
            }
            let stop = OperatorRequest::Stop(Selection::Jobs(vec![JobId(1)]));
            drop(operator.ask(stop));
            operator.ask(OperatorRequest::Detach).await;
            // It would not be carried out.
            let late = operator.ask(OperatorRequest::Pause(Selection::All)).await;
            assert!(matches!(late, OperatorAnswer::Refused(_)), "{late:?}");
        };
        let (finish, ()) = tokio::join!(resume_loop.run(), detach);
        let finish = finish.expect("it ends");
        assert!(matches!(finish, Finish::Detached(_)), "{finish:?}");
        let reader = Reader::open(&scratch.run).expect("a readable run");
        let jobs = reader.jobs().expect("jobs");
        for job in jobs {
            assert!(job.attempts[0].cluster_job_id.is_some(), "{job:?}");
        }
        let starts = cluster.inner.starts();
        let told_to_end = |job| {
            starts
                .iter()
                .any(|it| it.name.job() == job && it.ended.is_some())
        };
        assert!(
            told_to_end(1),
            "cancelled as soon as it had a name: {starts:?}"
        );
        assert!(!told_to_end(0), "{starts:?}");
    });
}

#[tokio::test]
async fn a_replaced_connection_ends() {
    let scratch = scratch(patient(), 1);
    let cluster = endless();
    let main_process = tokio::spawn(open(&scratch, Arc::new(cluster.clone())).await.run());
    eventually("a start", || cluster.starts().len() == 1).await;
    // Its network goes silent, so that its end is not reported.
    let (_sender, mut old) = connect_as_a_supervisor(&scratch.run, Attempt(0)).await;
    let (_sender, mut new) = connect_as_a_supervisor(&scratch.run, Attempt(0)).await;
    let end = timeout(BOUND, old.receive()).await.expect("it is closed");
    assert!(matches!(end, Err(cu_protocol::Error::Closed)), "{end:?}");
    main_process.abort();
    let end = timeout(BOUND, new.receive()).await.expect("it is closed");
    assert!(matches!(end, Err(cu_protocol::Error::Closed)), "{end:?}");
}

#[tokio::test]
async fn the_end_of_a_connection_is_a_reason_to_look() {
    let policy = patient().with(|policy| {
        policy.record_grace = Duration::ZERO;
    });
    let scratch = scratch(policy, 1);
    let killed = Arc::new(Notify::new());
    let kill = killed.clone();
    let inner = Simulated::new(SimulatedOptions::default(), move |run| {
        let killed = killed.clone();
        async move {
            killed.notified().await;
            program_exits(&run, 0)
        }
    });
    let cluster = Arc::new(Remote::new(inner, Calls::Never));
    let resume_loop = open(&scratch, cluster.clone()).await;
    let running = tokio::spawn(resume_loop.run());
    let reader = Reader::open(&scratch.run).expect("a readable run");
    eventually("a cluster job id", || {
        let attempts = reader.job(JobId(0)).expect("a job").attempts;
        attempts.iter().any(|it| it.cluster_job_id.is_some())
    })
    .await;
    eventually("the first look", || cluster.looks() == 1).await;

    let supervisor = connect_as_a_supervisor(&scratch.run, Attempt(0)).await;
    kill.notify_one();
    eventually("the end", || {
        let starts = cluster.inner.starts();
        starts.iter().all(|start| start.ended.is_some())
    })
    .await;
    drop(supervisor);
    let finish = timeout(BOUND, running).await.expect("it ends");
    let finish = finish.expect("no panic").expect("no error");
    assert_eq!(settled(finish).jobs.completed, 1);
    assert_eq!(cluster.looks(), 2);
}
