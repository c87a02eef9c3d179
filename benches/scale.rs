//! Many jobs: how long a run takes to be made, to be opened and to be read, and what its main process needs,
//! over a cluster in memory; the cost of a decision among 100 and many jobs.
//!
//! `cargo bench -p cu-benches --bench scale -- [JOBS] [RESUMES]`: 10,000 and 3; the goals are for 100,000 and 3.

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cu_benches::cluster::Attempts;
use cu_benches::hosted::{MainProcess, make_run, serve_if_asked};
use cu_benches::statistics::three_digits;
use cu_benches::{Contest, cu, number, scratch, usage};
use cu_core::machine::{Effects, Event, Job, Machine};
use cu_core::{ExitRules, Policy, RunDir};
use cu_protocol::{
    Attempt, ExitRecord, JobId, Message, Noticed, OutputChange, ProgramEnd, ResumeRequest,
    Sequence, Timestamp,
};
use cu_scheduler::ClusterJobId;

/// How often the memory of the main process is read.
const LOOK: Duration = Duration::from_millis(100);
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// The jobs whose resumes are decided in one turn.
const TURN: u32 = 100;
const ROUNDS: usize = 11;

fn main() -> Result<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let jobs = u32::try_from(number(0, 10_000)?)?;
    let resumes = u32::try_from(number(1, 3)?)?;
    println!("{jobs} jobs with {resumes} resumes each\n");
    whole_run(jobs, resumes)?;
    decisions(jobs)
}

fn whole_run(jobs: u32, resumes: u32) -> Result<()> {
    let cu = cu()?;
    let scratch = scratch()?;
    let begun = Instant::now();
    let run = make_run(&scratch.path().join("run"), jobs)?;
    let made = begun.elapsed();
    let begun = Instant::now();
    let first = MainProcess::start(&run, Attempts::Run)?;
    let opened = begun.elapsed();
    // As if it had been killed.
    drop(first);
    let begun = Instant::now();
    let mut main_process = MainProcess::start(&run, Attempts::ResumeUntil(resumes))?;
    let reopened = begun.elapsed();
    let status = status(&cu, &run)?;
    let mut most = 0;
    while !main_process.has_ended()? {
        most = usage::peak_memory(main_process.pid()).unwrap_or(most);
        sleep(LOOK);
    }
    let all = begun.elapsed();
    let size = run.store().metadata()?.len();
    let attempts = f64::from(jobs) * f64::from(resumes + 1);
    let milliseconds = |time: Duration| three_digits(time.as_secs_f64() * 1000.0);
    let megabytes = |bytes: u64| three_digits(bytes as f64 / 1e6);
    println!(
        "| jobs | made, ms | at work after, ms | opened again after, ms | `cu status`, ms | memory, MB | store, MB | all attempts, s |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    println!(
        "| {jobs} | {} | {} | {} | {} | {} | {} | {} |\n",
        milliseconds(made),
        milliseconds(opened),
        milliseconds(reopened),
        three_digits(status * 1000.0),
        megabytes(most),
        megabytes(size),
        three_digits(all.as_secs_f64()),
    );
    println!(
        "{} jobs a second made, {} attempts a second\n",
        three_digits(f64::from(jobs) / made.as_secs_f64()),
        three_digits(attempts / all.as_secs_f64())
    );
    Ok(())
}

/// The seconds of the quickest of five `cu status`, while the run goes on.
fn status(cu: &std::path::Path, run: &RunDir) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let begun = Instant::now();
        let exit = Command::new(cu)
            .arg("status")
            .arg(run.path())
            .stdin(Stdio::null())
            .output()?;
        ensure!(exit.status.success(), "cu status: {exit:?}");
        best = best.min(begun.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Measures the cost of a resume for the machine, by the number of jobs that it knows.
fn decisions(jobs: u32) -> Result<()> {
    let mut contest = Contest::new();
    for known in [100, jobs / 10, jobs] {
        let mut machine = machine(known.max(TURN));
        let mut attempt = 0;
        contest = contest.with(format!("{} jobs", known.max(TURN)), move || {
            let begun = Instant::now();
            for job in 0..TURN {
                resume(&mut machine, JobId(job), Attempt(attempt))?;
            }
            attempt += 1;
            Ok(begun.elapsed().as_secs_f64() / f64::from(TURN))
        });
    }
    contest.run("a resume decided", ROUNDS)
}

/// All of whose jobs are submitted.
fn machine(jobs: u32) -> Machine {
    let policy = Policy::default().with(|policy| {
        policy.submissions_per_hour = std::num::NonZeroU32::MAX;
        policy.max_submitted = None;
    });
    let jobs = (0..jobs).map(|id| Job::new(JobId(id), ExitRules::default()));
    let mut machine = Machine::new(jobs.collect(), policy);
    while !machine.pass_time(START, &mut Effects::default()).is_empty() {}
    machine
}

/// Submitted, asked for, ended, due again.
fn resume(machine: &mut Machine, job: JobId, attempt: Attempt) -> Result<()> {
    let mut effects = Effects::default();
    let ended = ExitRecord {
        end: ProgramEnd::Exited(3),
        stop: None,
        host: "n1".to_owned(),
        started: None,
        ended: START,
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed: OutputChange::Changed,
        condition: None,
        noticed: Noticed::default(),
    };
    let said = |number, message| Event::Said {
        attempt,
        sequence: Sequence(number),
        message,
    };
    let events = [
        Event::Submitted {
            attempt,
            cluster_job: ClusterJobId(format!("c-{attempt}")),
        },
        said(1, Message::ResumeRequest(ResumeRequest::default())),
        said(2, Message::Ended(ended)),
    ];
    for event in &events {
        let is_news = machine.step(START, job, event, &mut effects);
        ensure!(is_news, "{job}, {attempt}: {event:?} changes nothing");
    }
    machine.pass_time(START, &mut effects);
    black_box(effects);
    Ok(())
}
