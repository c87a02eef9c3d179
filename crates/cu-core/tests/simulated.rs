//! The whole loop on a simulated cluster under virtual time: failures, lost answers, outages, and
//! main processes that end in the middle. Whatever happens, each job runs at most once at a time and
//! comes to its end.
#![cfg(feature = "unstable")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cu_core::{JobState, Limit, Reader};
use cu_protocol::{Attempt, OperatorRequest, Selection};
use cu_scheduler::simulated::{Failures, Simulated, SimulatedOptions};
use cu_scheduler::{EndCause, Faults, Faulty};
use proptest::prelude::*;
use proptest::test_runner::Config;
use support::attempt::{JOB, write_exit_record};
use support::lives::{live, lives};
use support::{
    assert_folded_from_events, assert_one_at_a_time, endless, eventually, on_a_paused_clock, open,
    patient, program_exits, scratch, settled,
};
use tokio::time::{sleep, timeout};

const JOBS: u32 = 6;
/// How many times each job asks to be resumed.
const RESUMES: u32 = 3;

/// A cluster on which each job works ten minutes at a time, asks to be resumed `RESUMES` times, and
/// then is done.
fn cluster(failures: Failures, seed: u64) -> Simulated {
    let asked: Arc<Mutex<BTreeMap<u32, u32>>> = Arc::default();
    let options = SimulatedOptions {
        cpus: 3,
        queue_delay: Duration::from_secs(5),
        failures,
        seed,
        ..SimulatedOptions::default()
    };
    Simulated::new(options, move |run| {
        let asked = asked.clone();
        async move {
            sleep(Duration::from_secs(600)).await;
            let mut asked = asked.lock().expect("no other test panics here");
            let asked = asked.entry(run.submission.name.job()).or_default();
            if *asked == RESUMES {
                return program_exits(&run, 0);
            }
            *asked += 1;
            program_exits(&run, 3)
        }
    })
}

#[test]
fn a_quiet_cluster_resumes_each_job_as_often_as_it_asks() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), JOBS);
        let cluster = cluster(Failures::default(), 1);
        let resume_loop = open(&scratch, Arc::new(cluster.clone())).await;
        let status = settled(resume_loop.run().await.expect("it ends"));
        assert_eq!(status.jobs.completed, JOBS);
        assert_eq!(status.resumes, u64::from(JOBS * RESUMES));
        assert_eq!(cluster.starts().len() as u32, JOBS * (RESUMES + 1));
        assert_one_at_a_time(&cluster);
        let jobs = Reader::open(&scratch.run).and_then(|reader| reader.jobs());
        for job in jobs.expect("a readable run") {
            assert_eq!(job.attempts.len() as u32, RESUMES + 1);
            assert!(job.why.contains("completed"), "{}", job.why);
        }
    });
}

#[test]
fn an_outage_is_waited_for_and_ends_no_job() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), JOBS);
        let cluster = cluster(Failures::default(), 1);
        let resume_loop = open(&scratch, Arc::new(cluster.clone())).await;
        let outage = async {
            sleep(Duration::from_secs(100)).await;
            cluster.set_unavailable(true);
            sleep(Duration::from_secs(3 * 3600)).await;
            cluster.set_unavailable(false);
            std::future::pending::<()>().await;
        };
        let status = tokio::select! {
            finish = resume_loop.run() => settled(finish.expect("it ends")),
            () = outage => unreachable!("it never ends"),
        };
        assert_eq!(status.jobs.completed, JOBS);
        assert_one_at_a_time(&cluster);
    });
}

#[test]
fn a_lost_scheduler_ends_the_main_process_but_no_job() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), JOBS);
        let cluster = cluster(Failures::default(), 1);
        cluster.set_unavailable(true);
        let resume_loop = open(&scratch, Arc::new(cluster.clone())).await;
        let error = resume_loop.run().await.expect_err("patience ends");
        assert!(
            matches!(error, cu_core::Error::SchedulerUnreachable { .. }),
            "{error}"
        );
        cluster.set_unavailable(false);
        let resume_loop = open(&scratch, Arc::new(cluster.reopened())).await;
        let status = settled(resume_loop.run().await.expect("it ends"));
        assert_eq!(status.jobs.completed, JOBS);
        assert_one_at_a_time(&cluster);
    });
}

#[test]
fn a_paused_run_does_not_end_because_of_an_outage_long_ago() {
    on_a_paused_clock(async {
        let scratch = scratch(patient(), 1);
        let cluster = endless();
        let resume_loop = open(&scratch, Arc::new(cluster.clone())).await;
        let operator = resume_loop.operator();
        let main_process = tokio::spawn(resume_loop.run());
        eventually("a start", || cluster.starts().len() == 1).await;
        operator.ask(OperatorRequest::Pause(Selection::All)).await;
        // The attempt ends within the outage, and nothing more is asked of the scheduler.
        cluster.set_unavailable(true);
        write_exit_record(&scratch.run, Attempt(0), 3);
        let job = || Reader::open(&scratch.run).and_then(|reader| reader.job(JOB));
        let is_paused = || job().expect("a job").state == JobState::Waiting;
        eventually("the end of the attempt", is_paused).await;
        sleep(Duration::from_secs(120)).await; // The last look is given up.
        cluster.set_unavailable(false);
        let long = 2 * patient().scheduler_patience;
        let end = timeout(long, main_process).await;
        assert!(end.is_err(), "{end:?}");
    });
}

proptest! {
    #![proptest_config(Config::with_cases(if cfg!(debug_assertions) { 24 } else { 400 }))]

    #[test]
    fn whatever_fails_each_job_runs_once_at_a_time_and_completes(
        seed in any::<u64>(),
        chance in 0.0..0.2_f64,
        faults in 0.0..0.2_f64,
        lives in prop::collection::vec(lives(), 0..12),
    ) {
        on_a_paused_clock(async {
            let scratch = scratch(patient(), JOBS);
            let failures = Failures {
                preempted: chance,
                node_failure: chance,
                out_of_memory: chance,
                lost: chance,
                within: Duration::from_secs(700),
            };
            let cluster = cluster(failures, seed);
            let mut seed = seed;
            let mut main_process = || {
                seed = seed.wrapping_add(1);
                Arc::new(Faulty::new(Arc::new(cluster.reopened()), Faults::all(faults), seed))
            };
            for life in lives {
                let resume_loop = open(&scratch, main_process()).await;
                live(life, resume_loop).await;
            }
            let resume_loop = open(&scratch, main_process()).await;
            settled(resume_loop.run().await.expect("it ends"));
            let jobs = Reader::open(&scratch.run).and_then(|reader| reader.jobs());
            for job in jobs.expect("a readable run") {
                assert_eq!(job.state, JobState::Completed, "{}", job.why);
            }
            assert_folded_from_events(&scratch.run);
            assert_one_at_a_time(&cluster);
        });
    }
}

/// The first attempts of each job are ended by a wrapper, a loader, or a node without the file system,
/// before a supervisor ran.
#[test]
fn an_exit_code_does_not_count_if_nothing_started() {
    for code in [0, 1, 3, 126, 127] {
        on_a_paused_clock(async {
            let scratch = scratch(patient(), JOBS);
            let cluster = Simulated::new(SimulatedOptions::default(), move |run| async move {
                if run.submission.name.attempt() >= 3 {
                    return program_exits(&run, 0);
                }
                let stderr = run.submission.directory.join("stderr");
                let said = "cu: error while loading shared libraries\n\n";
                std::fs::write(stderr, said).expect("its directory is there");
                EndCause::Exited(code)
            });
            let resume_loop = open(&scratch, Arc::new(cluster.clone())).await;
            let status = settled(resume_loop.run().await.expect("it ends"));
            assert_eq!(status.jobs.completed, JOBS, "exit code {code}");
            assert_one_at_a_time(&cluster);
            let jobs = Reader::open(&scratch.run).and_then(|reader| reader.jobs());
            for job in jobs.expect("a readable run") {
                let ends: Vec<_> = job.attempts.iter().map(|it| it.end).collect();
                let lost = Some(cu_core::AttemptEnd::Lost);
                assert_eq!(
                    ends,
                    [lost, lost, lost, Some(cu_core::AttemptEnd::Completed)]
                );
                let detail = job.attempts[0].detail.clone().unwrap_or_default();
                for word in ["nothing shows", "loading shared libraries"] {
                    assert!(detail.contains(word), "{detail}");
                }
            }
        });
    }
}

#[test]
fn a_job_that_nothing_starts_fails_when_its_budget_is_spent() {
    on_a_paused_clock(async {
        let policy = patient().with(|policy| {
            policy.losses = 3;
        });
        let scratch = scratch(policy, 1);
        let cluster = Simulated::new(SimulatedOptions::default(), |_| async {
            EndCause::Exited(127)
        });
        let resume_loop = open(&scratch, Arc::new(cluster)).await;
        let status = settled(resume_loop.run().await.expect("it ends"));
        assert_eq!(status.jobs.failed, 1);
        let jobs = Reader::open(&scratch.run).and_then(|reader| reader.jobs());
        let job = &jobs.expect("a readable run")[0];
        assert_eq!(job.limit, Some(Limit::Losses(3)), "{}", job.why);
    });
}
