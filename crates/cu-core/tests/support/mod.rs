//! Shared by the tests of the whole loop: a run in a scratch directory, and a loop over it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod attempt;
pub mod lives;
pub mod remote;
pub mod stuck;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use cu_core::machine::{Effects, Job, Machine};
use cu_core::{
    Error, Finish, JobPlan, LoopOptions, Policy, Reader, ResumeLoop, RunDir, RunPlan, Status,
    create_run,
};
use cu_scheduler::simulated::{Run, Simulated, SimulatedOptions};
use cu_scheduler::{EndCause, Scheduler};
use tokio::time::{sleep, timeout};

pub struct Scratch {
    pub run: RunDir,
    _directory: tempfile::TempDir,
}

impl Scratch {
    /// With the run that `make` makes.
    pub fn of(make: impl FnOnce(&RunDir) -> Result<(), Error>) -> Self {
        // In memory where that can be had: what the disk does is not the subject.
        let shm = std::path::Path::new("/dev/shm");
        let directory = if shm.is_dir() {
            tempfile::tempdir_in(shm)
        } else {
            tempfile::tempdir()
        };
        let directory = directory.expect("a temporary directory");
        let run = RunDir::new(directory.path().join("run"));
        make(&run).expect("a new run");
        Self {
            run,
            _directory: directory,
        }
    }
}

pub fn scratch(policy: Policy, jobs: u32) -> Scratch {
    let job = JobPlan::new(vec!["/bin/true".to_owned()]);
    let plan = RunPlan::new("simulated".to_owned(), policy, vec![job; jobs as usize]);
    Scratch::of(|run| create_run(run, &plan).map(drop))
}

/// Budgets that no test of this file is to exhaust.
pub fn patient() -> Policy {
    Policy::default().with(|policy| {
        policy.stuck_after = NonZeroU32::MAX;
        policy.removals = u32::MAX;
        policy.losses = u32::MAX;
        policy.preemptions = u32::MAX;
        policy.node_failures = u32::MAX;
        policy.out_of_memory_retries = u32::MAX;
        policy.failure_retries = u32::MAX;
    })
}

pub async fn open(scratch: &Scratch, scheduler: Arc<dyn Scheduler>) -> ResumeLoop {
    open_run(&scratch.run, scheduler).await
}

pub async fn open_run(run: &RunDir, scheduler: Arc<dyn Scheduler>) -> ResumeLoop {
    let supervisor = vec!["/bin/true".to_owned()];
    let options = LoopOptions::new(supervisor, IpAddr::V4(Ipv4Addr::LOCALHOST));
    loop {
        match ResumeLoop::open(run.clone(), scheduler.clone(), options.clone()).await {
            // Its predecessor was dropped in the middle of a commit, which goes on.
            Err(Error::InUse { .. }) => sleep(Duration::from_millis(1)).await,
            opened => return opened.expect("the run can be opened"),
        }
    }
}

/// Asserts that the stored jobs follow from the history alone.
pub fn assert_folded_from_events(run: &RunDir) {
    let store = rusqlite::Connection::open(run.store()).expect("a database");
    let texts = |sql: &str| -> Vec<String> {
        let mut query = store.prepare(sql).expect("a query");
        let rows = query.query_map([], |row| row.get(0)).expect("an answer");
        rows.map(|row| row.expect("a text")).collect()
    };
    let policy = texts("SELECT value FROM facts WHERE name = 'policy'").remove(0);
    let bodies = texts("SELECT body FROM jobs ORDER BY job");
    let stored = bodies
        .iter()
        .map(|body| serde_json::from_str(body).expect("a job"));
    let mut stored: Vec<Job> = stored.collect();
    let reports = Reader::open(run).and_then(|reader| reader.jobs());
    for (job, report) in stored.iter_mut().zip(reports.expect("a readable run")) {
        job.metrics = report.metrics.into();
    }
    let new = |job: &Job| Job::new(job.id, job.exit_rules.clone());
    let policy = serde_json::from_str(&policy).expect("a policy");
    let mut machine = Machine::new(stored.iter().map(new).collect(), policy);
    let events = Reader::open(run).and_then(|reader| reader.events());
    for recorded in events.expect("a readable run") {
        let mut effects = Effects::default();
        machine.step(recorded.at, recorded.job, &recorded.event, &mut effects);
    }
    assert_eq!(machine.jobs(), stored);
}

pub fn settled(finish: Finish) -> Status {
    match finish {
        Finish::Settled(status) => status,
        Finish::Detached(_) => panic!("no operator detached it"),
    }
}

pub fn assert_one_at_a_time(cluster: &Simulated) {
    let mut last: BTreeMap<u32, (u32, Option<Duration>)> = BTreeMap::new();
    for start in cluster.starts() {
        let job = start.name.job();
        let attempt = start.name.attempt();
        if let Some((before, ended)) = last.insert(job, (attempt, start.ended)) {
            assert!(
                attempt > before,
                "job {job}: attempt {attempt} after {before}"
            );
            let ended = ended.expect("it had ended before the next one started");
            assert!(
                ended <= start.at,
                "job {job}: {before} and {attempt} overlap"
            );
        }
    }
}

/// No test takes longer, by its own clock.
pub const BOUND: Duration = Duration::from_secs(60);

/// Waits for something that is only seen by looking.
pub async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let look = async {
        while !happened() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let seen = timeout(BOUND, look).await;
    seen.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// On which every attempt runs until it is ended.
pub fn endless() -> Simulated {
    Simulated::new(SimulatedOptions::default(), |mut run| async move {
        run.signal().await;
        program_exits(&run, 143)
    })
}

/// The end of a run whose supervisor has started a program, and exits as it did.
pub fn program_exits(run: &Run, code: i32) -> EndCause {
    let started = run.submission.directory.join("started.json");
    std::fs::write(started, "{}").expect("the directory of the attempt is there");
    EndCause::Exited(code)
}

pub fn on_a_paused_clock<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(test)
}
