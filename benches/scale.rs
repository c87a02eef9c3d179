//! Many jobs: how long a run takes to be made, to be opened and to be read, and what its main process needs,
//! over a cluster in memory; the cost of a decision and of recording it among 100 and many jobs; how long each
//! command takes to read a run of many jobs.
//!
//! `cargo bench -p cu-benches --bench scale -- [JOBS] [RESUMES] [KNOWN]`: 10,000, 3 and JOBS. JOBS really run, in the
//! files of the run; KNOWN only happen to machine and store. The goals are for 100,000, 3 and 1,000,000.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cu_benches::bare::{START, finish, life, resume, submitted};
use cu_benches::cluster::Attempts;
use cu_benches::hosted::{MainProcess, make_run, serve_if_asked};
use cu_benches::statistics::three_digits;
use cu_benches::{Contest, cu, number, scratch, usage};
use cu_core::machine::{Effects, Job, Machine};
use cu_core::{BareRun, ExitRules, Policy, RunDir};
use cu_protocol::{Attempt, JobId};

/// How often the memory of the main process is read.
const LOOK: Duration = Duration::from_millis(100);
/// How often the memory of a command is read.
const GLANCE: Duration = Duration::from_millis(2);
/// The jobs whose resumes are decided in one turn.
const TURN: u32 = 100;
const ROUNDS: usize = 11;

fn main() -> Result<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let jobs = u32::try_from(number(0, 10_000)?)?;
    let resumes = u32::try_from(number(1, 3)?)?;
    let known = u32::try_from(number(2, jobs.into())?)?;
    if jobs > 0 {
        println!("{jobs} jobs with {resumes} resumes each\n");
        whole_run(jobs, resumes)?;
    }
    decisions(known)?;
    recorded(known)
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
fn status(cu: &Path, run: &RunDir) -> Result<f64> {
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
    for known in [100, jobs / 100, jobs] {
        let mut machine = machine(known.max(TURN));
        let mut attempt = 0;
        contest = contest.with(format!("{} jobs", known.max(TURN)), move || {
            let begun = Instant::now();
            for job in 0..TURN {
                decide(&mut machine, JobId(job), Attempt(attempt))?;
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

/// Submitted, started, asked for, ended, due again.
fn decide(machine: &mut Machine, job: JobId, attempt: Attempt) -> Result<()> {
    let mut effects = Effects::default();
    for event in &life(attempt, 3) {
        let is_news = machine.step(START, job, event, &mut effects);
        ensure!(is_news, "{job}, {attempt}: {event:?} changes nothing");
    }
    machine.pass_time(START, &mut effects);
    black_box(effects);
    Ok(())
}

/// Measures the processor time of a resume that is decided and recorded, by the number of jobs that the run has; then
/// the commands that read the largest of these runs. Nine of ten jobs have ended by then.
fn recorded(jobs: u32) -> Result<()> {
    let scratch = scratch()?;
    let mut contest = Contest::new();
    let mut largest = None;
    for known in [100, jobs / 100, jobs] {
        let known = known.max(TURN);
        let begun = Instant::now();
        let run = make_run(&scratch.path().join(known.to_string()), known)?;
        let made = begun.elapsed();
        // Fewer are all submitted at once, and would all end.
        if known >= 10_000 {
            finish(&run, known / 10 * 9, 0)?;
        }
        let begun = Instant::now();
        let mut bare = BareRun::open(&run)?;
        eprintln!(
            "{known} jobs made in {} s, opened in {} s with {} MB",
            three_digits(made.as_secs_f64()),
            three_digits(begun.elapsed().as_secs_f64()),
            three_digits(usage::memory(std::process::id())? as f64 / 1e6),
        );
        largest = Some(run);
        let mut attempts = submitted(&bare, TURN as usize);
        contest = contest.with(format!("{known} jobs"), move || {
            let before = usage::of_its_threads(std::process::id())?;
            attempts = resume(&mut bare, &attempts)?;
            let used = usage::of_its_threads(std::process::id())? - before;
            ensure!(attempts.len() == TURN as usize, "not all are due again");
            Ok(used.as_secs_f64() / f64::from(TURN))
        });
    }
    contest.run("processor time of a resume decided and recorded", ROUNDS)?;
    match largest {
        Some(run) => commands(&run, jobs),
        None => Ok(()),
    }
}

/// Measures the commands that read a run.
fn commands(run: &RunDir, jobs: u32) -> Result<()> {
    let cu = cu()?;
    println!("| a run of {jobs} jobs | s | MB |");
    println!("| --- | --- | --- |");
    for command in [
        "status",
        "status --json",
        "list",
        "show 5",
        "jobs --first 10",
        "jobs --failed",
        "jobs --json",
        "jobs --csv",
        "events",
        "report",
    ] {
        let (took, most) = command_of(&cu, command, run)?;
        println!(
            "| `cu {command}` | {} | {} |",
            three_digits(took.as_secs_f64()),
            three_digits(most as f64 / 1e6)
        );
    }
    println!();
    Ok(())
}

/// How long a command takes, and the most memory that it was seen to have.
fn command_of(cu: &Path, command: &str, run: &RunDir) -> Result<(Duration, u64)> {
    let mut process = Command::new(cu);
    process.args(command.split(' ')).stdin(Stdio::null());
    match command {
        "list" => process.arg("--results-dir").args(run.path().parent()),
        _ => process.arg(run.path()),
    };
    let begun = Instant::now();
    let mut child = process
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut most = 0;
    let exit = loop {
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        most = usage::peak_memory(child.id()).unwrap_or(most);
        sleep(GLANCE);
    };
    let took = begun.elapsed();
    ensure!(exit.success(), "cu {command}: {exit:?}");
    Ok((took, most))
}
