//! The number of attempts a second of `cu run`, compared with a bare loop that starts the same
//! program as often and as many at a time, but does not watch, record or resume it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cu_benches::statistics::{median, quantile, seconds, three_digits};
use cu_benches::{cu, scratch, smallest_job};
use cu_client::RESUME_EXIT_CODE;
use nix::sys::resource::{UsageWho, getrusage};

const JOBS: usize = 20;
const RESUMES: usize = 24;
/// The number of attempts that run at a time.
const AT_A_TIME: usize = 2;
const ROUNDS: usize = 7;

const ATTEMPTS: usize = JOBS * (RESUMES + 1);

fn main() -> Result<()> {
    let place = Place {
        scratch: scratch()?,
        cu: cu()?,
        program: smallest_job()?,
    };
    let (mut bare, mut run) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let turn = (
            measured(|| bare_loop(&place, round))?,
            measured(|| cu_run(&place, round))?,
        );
        // The first round warms up the caches.
        if round > 0 {
            bare.push(turn.0);
            run.push(turn.1);
        }
    }
    println!(
        "{JOBS} jobs with {RESUMES} resumes each, {AT_A_TIME} at a time, {ROUNDS} rounds in turns\n"
    );
    println!(
        "| {ATTEMPTS} attempts | attempts a second | 10 % to 90 % | ratio | processor time of an attempt |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (name, turns) in [("bare loop", &bare), ("`cu run`", &run)] {
        let rates: Vec<_> = turns.iter().map(Turn::rate).collect();
        let ratios: Vec<_> = turns
            .iter()
            .zip(&bare)
            .map(|(own, bare)| own.rate() / bare.rate())
            .collect();
        let processor: Vec<_> = turns.iter().map(Turn::processor_seconds).collect();
        let known = |value: Option<f64>| value.context("there is at least one round");
        println!(
            "| {name} | {} | {} to {} | {} | {} |",
            three_digits(known(median(&rates))?),
            three_digits(known(quantile(&rates, 0.1))?),
            three_digits(known(quantile(&rates, 0.9))?),
            three_digits(known(median(&ratios))?),
            seconds(known(median(&processor))?),
        );
    }
    Ok(())
}

struct Place {
    scratch: tempfile::TempDir,
    cu: PathBuf,
    program: PathBuf,
}

/// The times of all attempts together.
struct Turn {
    wall: Duration,
    processor: Duration,
}

impl Turn {
    /// Attempts a second.
    fn rate(&self) -> f64 {
        ATTEMPTS as f64 / self.wall.as_secs_f64()
    }

    /// User and system time of one attempt and of the processes that start and watch it, in
    /// seconds.
    fn processor_seconds(&self) -> f64 {
        self.processor.as_secs_f64() / ATTEMPTS as f64
    }
}

fn measured(work: impl FnOnce() -> Result<()>) -> Result<Turn> {
    let before = processor_time()?;
    let begun = Instant::now();
    work()?;
    Ok(Turn {
        wall: begun.elapsed(),
        processor: processor_time()? - before,
    })
}

/// User and system time of this process and of all its descendants that have ended.
fn processor_time() -> Result<Duration> {
    let mut micros = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        for time in [usage.user_time(), usage.system_time()] {
            micros += time.tv_sec() * 1_000_000 + time.tv_usec();
        }
    }
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// Each of a few threads takes the next job and starts its program until it is done.
fn bare_loop(place: &Place, round: usize) -> Result<()> {
    let directory = place.scratch.path().join(format!("bare-{round}"));
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= JOBS {
                return Ok(());
            }
            bare_job(&place.program, &directory.join(job.to_string()))?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker returns its errors"))
    })
}

fn bare_job(program: &Path, output_dir: &Path) -> Result<()> {
    fs::create_dir_all(output_dir)?;
    let settings = output_dir.join("settings.json");
    fs::write(&settings, format!("{{\"resumes\": {RESUMES}}}"))?;
    for resumes in 0..=RESUMES {
        let status = Command::new(program)
            .env("CU_SETTINGS", &settings)
            .env("CU_OUTPUT_DIR", output_dir)
            .current_dir(output_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        match status.code() {
            Some(0) if resumes == RESUMES => return Ok(()),
            Some(RESUME_EXIT_CODE) => {}
            _ => bail!(
                "{} ended with {status} after {resumes} resumes",
                program.display()
            ),
        }
    }
    bail!(
        "{} asked for more than {RESUMES} resumes",
        program.display()
    )
}

fn cu_run(place: &Place, round: usize) -> Result<()> {
    let config = place.scratch.path().join(format!("run-{round}.toml"));
    let jobs: Vec<_> = (0..JOBS).collect();
    fs::write(
        &config,
        format!(
            "name = \"run-{round}\"\n\
             results_dir = {:?}\n\
             command = [{:?}]\n\
             settings.resumes = {RESUMES}\n\
             grid.job = {jobs:?}\n\
             resume.submissions_per_hour = 1000000\n\
             backend.kind = \"local\"\n\
             backend.local.cpus = {AT_A_TIME}\n",
            place.scratch.path(),
            place.program,
        ),
    )?;
    let ended = Command::new(&place.cu)
        .arg("run")
        .arg(&config)
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        ended.status.success(),
        "cu run: {}\n{}",
        ended.status,
        String::from_utf8_lossy(&ended.stderr)
    );
    Ok(())
}
