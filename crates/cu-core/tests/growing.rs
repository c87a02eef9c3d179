//! Runs whose jobs come one after another, on a simulated cluster under virtual time. However often their main process
//! ends in the middle, each job is decided once, by what had happened before.
#![cfg(feature = "unstable")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cu_core::machine::{Effects, Event, Job, Machine};
use cu_core::{
    Happened, History, JobPlan, JobSource, JobState, Policy, Reader, ResumeLoop, RunDir, RunPlan,
    RunState, What, create_run,
};
use cu_protocol::{Attempt, JobId, Message, Metrics, OperatorRequest, Selection};
use cu_scheduler::simulated::{Failures, Simulated, SimulatedOptions};
use proptest::prelude::*;
use proptest::test_runner::Config;
use support::attempt::{JOB, connect_as_a_supervisor};
use support::lives::{live, lives};
use support::{
    Scratch, assert_folded_from_events, assert_one_at_a_time, endless, eventually,
    on_a_paused_clock, open, patient, program_exits, settled,
};
use tokio::time::{sleep, timeout};

const ALL: u32 = 17;
const AT_ONCE: u32 = 3;

/// Keeps `at_once` jobs open. The settings of each say how many ends it had heard of when it was decided.
#[derive(Clone, Debug)]
struct Source {
    at_once: u32,
    jobs: u32,
    heard: Vec<JobId>,
    /// How many jobs there may be before it says that no more come.
    most: Option<u32>,
    /// What it heard in all its lives.
    shared: Arc<Mutex<Vec<(JobId, JobState)>>>,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            at_once: AT_ONCE,
            jobs: 0,
            heard: Vec::new(),
            most: None,
            shared: Arc::default(),
        }
    }
}

fn plan(number: u32, heard: usize) -> JobPlan {
    let mut plan = JobPlan::new(vec!["/bin/true".to_owned()]);
    plan.settings.insert("number".to_owned(), number.into());
    plan.settings.insert("heard".to_owned(), heard.into());
    plan
}

impl JobSource for Source {
    fn added(&mut self, job: JobId, plan: &JobPlan) -> Result<(), String> {
        assert_eq!(job.0, self.jobs);
        assert_eq!(plan.settings["number"], self.jobs);
        assert_eq!(plan.settings["heard"], self.heard.len());
        self.jobs += 1;
        Ok(())
    }

    fn settled(&mut self, job: JobId, state: JobState, _: &Metrics) {
        assert!(job.0 < self.jobs, "it ended before it was decided");
        self.heard.push(job);
        self.shared.lock().expect("no panic").push((job, state));
    }

    fn next(&mut self, open: u32, to_come: u32) -> Option<Vec<JobPlan>> {
        if self.most.is_some_and(|most| self.jobs >= most) {
            return None;
        }
        let more = self.at_once.saturating_sub(open).min(to_come);
        let plans = (self.jobs..self.jobs + more).map(|number| plan(number, self.heard.len()));
        self.jobs += more;
        Some(plans.collect())
    }
}

fn scratch(policy: Policy) -> Scratch {
    let first = (0..AT_ONCE).map(|number| plan(number, 0)).collect();
    let mut run = RunPlan::new("growing".to_owned(), policy, first);
    run.to_come = ALL - AT_ONCE;
    Scratch::of(|directory| create_run(directory, &run).map(drop))
}

/// On which each job takes its time and succeeds.
fn cluster(failures: Failures, seed: u64) -> Simulated {
    let options = SimulatedOptions {
        cpus: 8,
        failures,
        seed,
        ..SimulatedOptions::default()
    };
    Simulated::new(options, |run| async move {
        sleep(Duration::from_secs(
            100 + u64::from(run.submission.name.job()) % 3,
        ))
        .await;
        program_exits(&run, 0)
    })
}

async fn opened(scratch: &Scratch, cluster: &Simulated, source: &Source) -> ResumeLoop {
    let resume_loop = open(scratch, Arc::new(cluster.reopened())).await;
    let source = Box::new(source.clone());
    resume_loop.with_source(source).expect("a readable run")
}

fn counts(run: &RunDir) -> cu_core::Counts {
    let reader = Reader::open(run).expect("a run");
    reader.status().expect("a status").jobs
}

/// Checks in the recorded events that each job was decided by all that was recorded before it, and by nothing else.
fn assert_decided_by_what_was_recorded(run: &RunDir) {
    let reader = Reader::open(run).expect("a run");
    let store = rusqlite::Connection::open(run.store()).expect("a database");
    let mut plans = store
        .prepare("SELECT plan FROM jobs ORDER BY job")
        .expect("a query");
    let plans = plans.query_map([], |row| row.get::<_, String>(0));
    let plans: Vec<JobPlan> = plans
        .expect("plans")
        .map(|plan| serde_json::from_str(&plan.expect("a text")).expect("a plan"))
        .collect();
    let of = |job: JobId| Job::new(job, plans[job.0 as usize].exit_rules.clone());
    let mut machine = Machine::new((0..AT_ONCE).map(|job| of(JobId(job))).collect(), patient());
    let mut heard = 0;
    for recorded in reader.events().expect("events") {
        let mut effects = Effects::default();
        if recorded.event == Event::Added {
            let plan = &plans[recorded.job.0 as usize];
            assert_eq!(machine.add(plan.exit_rules.clone()), recorded.job);
            assert_eq!(plan.settings["number"], recorded.job.0);
            assert_eq!(plan.settings["heard"], heard, "{}", recorded.job);
        }
        machine.step(recorded.at, recorded.job, &recorded.event, &mut effects);
        heard += effects.settled.len();
        let counts = machine.tally().counts;
        assert!(counts.known() - counts.settled() <= AT_ONCE);
    }
    assert_eq!(machine.jobs().len(), plans.len());
}

proptest! {
    #![proptest_config(Config::with_cases(if cfg!(debug_assertions) { 24 } else { 400 }))]

    #[test]
    fn killed_at_any_moment_each_job_is_decided_once(
        seed in any::<u64>(),
        chance in 0.0..0.2_f64,
        lives in prop::collection::vec(lives(), 0..12),
    ) {
        on_a_paused_clock(async {
            let scratch = scratch(patient());
            let failures = Failures {
                preempted: chance,
                lost: chance,
                within: Duration::from_secs(120),
                ..Failures::default()
            };
            let cluster = cluster(failures, seed);
            let source = Source::default();
            for life in lives {
                live(life, opened(&scratch, &cluster, &source).await).await;
            }
            let last = opened(&scratch, &cluster, &source).await;
            let status = settled(last.run().await.expect("it ends"));
            assert_eq!((status.jobs.completed, status.jobs.total), (ALL, ALL));
            assert_eq!(status.jobs.to_come, 0);
            assert_one_at_a_time(&cluster);
            assert_folded_from_events(&scratch.run);
            assert_decided_by_what_was_recorded(&scratch.run);
        });
    }
}

#[test]
fn a_run_knows_from_its_beginning_how_many_jobs_it_will_have() {
    on_a_paused_clock(async {
        let scratch = scratch(patient());
        let jobs = counts(&scratch.run);
        assert_eq!(
            (jobs.total, jobs.known(), jobs.waiting),
            (ALL, AT_ONCE, ALL)
        );
        let cluster = cluster(Failures::default(), 1);
        let resume_loop = opened(&scratch, &cluster, &Source::default()).await;
        let status = resume_loop.status();
        let _ = timeout(Duration::from_secs(350), resume_loop.run()).await;
        let live = status.borrow().clone();
        assert_eq!((live.jobs.total, live.state), (ALL, RunState::Running));
        assert!((1..ALL).contains(&live.jobs.completed), "{:?}", live.jobs);
        assert_eq!(counts(&scratch.run), live.jobs, "as it is recorded");
        assert!((1..999).contains(&live.done_per_mille));
    });
}

fn all_news(history: &mut History, reader: &Reader) -> Vec<Happened> {
    let news = std::iter::from_fn(|| history.news(reader).expect("news"));
    news.flatten().collect()
}

#[test]
fn history_reports_each_job_and_one_end_of_the_run() {
    on_a_paused_clock(async {
        let scratch = scratch(patient());
        let cluster = cluster(Failures::default(), 1);
        let reader = Reader::open(&scratch.run).expect("a run");
        let mut history = History::of(&reader).expect("a history");
        // Each time all jobs have ended, one more comes.
        let source = Source {
            at_once: 1,
            ..Source::default()
        };
        let resume_loop = opened(&scratch, &cluster, &source).await;
        let mut run = Box::pin(resume_loop.run());
        let mut happened = Vec::new();
        while timeout(Duration::from_secs(60), &mut run).await.is_err() {
            happened.extend(all_news(&mut history, &reader));
        }
        happened.extend(all_news(&mut history, &reader));
        let of = |what: fn(&What) -> bool| happened.iter().filter(move |it| what(&it.what)).count();
        assert_eq!(of(|it| matches!(it, What::JobEnded { .. })), ALL as usize);
        assert_eq!(of(|it| matches!(it, What::RunEnded { .. })), 1);
        let last = &happened.last().expect("an end").what;
        assert!(matches!(last, What::RunEnded { .. }), "{last:?}");
        // The same from its end.
        let mut again = History::of(&reader).expect("a history");
        assert_eq!(all_news(&mut again, &reader), happened);
    });
}

#[test]
fn a_source_that_knows_no_more_ends_the_run_early() {
    on_a_paused_clock(async {
        let scratch = scratch(patient());
        let source = Source {
            most: Some(5),
            ..Source::default()
        };
        let cluster = cluster(Failures::default(), 1);
        let resume_loop = opened(&scratch, &cluster, &source).await;
        let status = settled(resume_loop.run().await.expect("it ends"));
        assert_eq!(status.state, RunState::Completed);
        assert!((5..8).contains(&status.jobs.total), "{:?}", status.jobs);
        assert_eq!(status.jobs.completed, status.jobs.total);
        assert_eq!(counts(&scratch.run), status.jobs);
    });
}

#[test]
fn a_stopped_run_gets_no_more_jobs() {
    on_a_paused_clock(async {
        let scratch = scratch(patient());
        let resume_loop = opened(&scratch, &endless(), &Source::default()).await;
        let operator = resume_loop.operator();
        let main_process = tokio::spawn(resume_loop.run());
        operator.ask(OperatorRequest::Stop(Selection::All)).await;
        let ended = main_process.await.expect("no panic");
        let status = settled(ended.expect("it ends"));
        assert_eq!(status.state, RunState::Stopped);
        assert_eq!(
            (status.jobs.cancelled, status.jobs.total),
            (AT_ONCE, AT_ONCE)
        );
        assert_eq!(counts(&scratch.run), status.jobs);
    });
}

#[test]
fn a_run_that_is_stopped_when_it_is_opened_gets_no_more_jobs() {
    on_a_paused_clock(async {
        let scratch = scratch(patient());
        let source = Source {
            at_once: AT_ONCE + 2,
            ..Source::default()
        };
        let cluster = endless();
        let resume_loop = opened(&scratch, &cluster, &source).await;
        let stopped = resume_loop
            .operator()
            .ask(OperatorRequest::Stop(Selection::All));
        let status = settled(resume_loop.run().await.expect("it ends"));
        stopped.await;
        assert_eq!(status.jobs.total, AT_ONCE, "{:?}", status.jobs);
        assert!(cluster.starts().is_empty());
    });
}

#[test]
fn a_run_that_is_given_up_gets_no_more_jobs() {
    on_a_paused_clock(async {
        let policy = Policy::default().with(|policy| {
            policy.max_failures = std::num::NonZeroU32::new(2);
        });
        let scratch = scratch(policy);
        let cluster = Simulated::new(SimulatedOptions::default(), |run| async move {
            sleep(Duration::from_secs(
                u64::from(run.submission.name.job()) * 10,
            ))
            .await;
            program_exits(&run, 1)
        });
        let resume_loop = opened(&scratch, &cluster, &Source::default()).await;
        let status = settled(resume_loop.run().await.expect("it ends"));
        assert_eq!(status.state, RunState::Failed);
        assert!(status.jobs.total < 6, "{:?}", status.jobs);
        assert_eq!(status.jobs.settled(), status.jobs.total);
    });
}

#[test]
fn jobs_in_the_place_of_paused_ones_are_paused() {
    on_a_paused_clock(async {
        let scratch = scratch(patient());
        let cluster = cluster(Failures::default(), 1);
        let resume_loop = opened(&scratch, &cluster, &Source::default()).await;
        let operator = resume_loop.operator();
        let main_process = tokio::spawn(resume_loop.run());
        eventually("a start", || cluster.starts().len() == AT_ONCE as usize).await;
        operator.ask(OperatorRequest::Pause(Selection::All)).await;
        // They complete all the same.
        sleep(Duration::from_secs(200)).await;
        let all_wait = || {
            let jobs = counts(&scratch.run);
            jobs.completed == AT_ONCE && jobs.paused == AT_ONCE
        };
        eventually("jobs that wait", all_wait).await;
        sleep(Duration::from_secs(600)).await;
        assert_eq!(cluster.starts().len() as u32, AT_ONCE);
        operator
            .ask(OperatorRequest::Continue(Selection::All))
            .await;
        let ended = main_process.await.expect("no panic");
        let status = settled(ended.expect("it ends"));
        assert_eq!(status.jobs.completed, ALL);
    });
}

#[test]
fn a_job_that_is_retried_is_heard_of_again() {
    on_a_paused_clock(async {
        let scratch = scratch(Policy::default());
        let fails = Arc::new(Mutex::new(true));
        let cluster = Simulated::new(SimulatedOptions::default(), move |run| {
            let fails = fails.clone();
            async move {
                sleep(Duration::from_secs(100)).await;
                let mut fails = fails.lock().expect("no panic");
                let is_first = run.submission.name.job() == 0 && std::mem::take(&mut *fails);
                program_exits(&run, i32::from(is_first))
            }
        });
        let source = Source::default();
        let resume_loop = opened(&scratch, &cluster, &source).await;
        let operator = resume_loop.operator();
        let main_process = tokio::spawn(resume_loop.run());
        sleep(Duration::from_secs(99)).await;
        eventually("a failure", || counts(&scratch.run).failed == 1).await;
        operator.ask(OperatorRequest::Retry(Selection::All)).await;
        let ended = main_process.await.expect("no panic");
        assert_eq!(settled(ended.expect("it ends")).jobs.completed, ALL);
        let heard = source.shared.lock().expect("no panic").clone();
        let of_first = heard.iter().filter(|(job, _)| job.0 == 0);
        let states: Vec<_> = of_first.map(|(_, state)| *state).collect();
        assert_eq!(states, [JobState::Failed, JobState::Completed]);
    });
}

#[test]
fn a_job_that_is_ended_early_counts_with_what_it_announced() {
    on_a_paused_clock(async {
        let scratch = scratch(patient());
        let source = Source {
            most: Some(AT_ONCE),
            ..Source::default()
        };
        let cluster = endless();
        let resume_loop = opened(&scratch, &cluster, &source).await;
        let operator = resume_loop.operator();
        let main_process = tokio::spawn(resume_loop.run());
        eventually("a start", || cluster.starts().len() == AT_ONCE as usize).await;
        let (mut sender, mut receiver) = connect_as_a_supervisor(&scratch.run, Attempt(0)).await;
        let announced = Metrics::from([("loss".to_owned(), 0.5.into())]);
        let envelope = cu_protocol::Envelope {
            job: JOB,
            attempt: Attempt(0),
            sequence: cu_protocol::Sequence(1),
            message: Message::EarlyMetrics(announced.clone()),
        };
        let message = cu_protocol::ToServer::Message(envelope);
        sender.send(&message).await.expect("sent");
        receiver.receive().await.expect("an answer");
        operator.end_early(vec![JOB]);
        let job = || Reader::open(&scratch.run).and_then(|reader| reader.job(JOB));
        let is_over = || job().expect("a job").state.is_settled();
        eventually("its end", is_over).await;
        let job = job().expect("a job");
        assert_eq!((job.state, job.metrics), (JobState::Completed, announced));
        assert!(job.why.contains("early stopping ended it"), "{}", job.why);
        drop(main_process);
    });
}

#[test]
fn without_a_source_jobs_that_are_to_come_are_an_error() {
    on_a_paused_clock(async {
        let scratch = scratch(patient());
        let resume_loop = open(&scratch, Arc::new(endless())).await;
        let error = resume_loop.run().await.expect_err("nobody knows");
        assert!(
            error.to_string().contains("14 jobs are still to come"),
            "{error}"
        );
    });
}
