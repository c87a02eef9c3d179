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
use cu_benches::{cu, nothing, scratch, smallest_job};
use cu_client::RESUME_EXIT_CODE;
use nix::sys::resource::{UsageWho, getrusage};

/// The number of attempts that run at a time.
const AT_A_TIME: usize = 2;
const ROUNDS: usize = 5;

/// What is done in a round.
#[derive(Clone, Copy)]
struct Work {
    program: Program,
    jobs: usize,
    resumes: usize,
}

/// What each attempt does.
#[derive(Clone, Copy, PartialEq)]
enum Program {
    /// It loads, saves 4 KiB durably, and asks to be resumed.
    SavesALittle,
    /// It makes an empty file and exits.
    DoesNothing,
}

impl Work {
    const fn new(program: Program, jobs: usize, resumes: usize) -> Self {
        Self {
            program,
            jobs,
            resumes,
        }
    }

    fn attempts(&self) -> usize {
        self.jobs * (self.resumes + 1)
    }
}

const WORKS: [Work; 4] = [
    Work::new(Program::SavesALittle, 4, 124),
    Work::new(Program::SavesALittle, 64, 7),
    Work::new(Program::SavesALittle, 1000, 1),
    Work::new(Program::DoesNothing, 64, 7),
];

fn main() -> Result<()> {
    let place = Place {
        scratch: scratch()?,
        cu: cu()?,
        saves: smallest_job()?,
        nothing: nothing()?,
    };
    println!("{AT_A_TIME} attempts at a time, {ROUNDS} rounds in turns\n");
    println!(
        "| attempts | attempts a second | 10 % to 90 % | ratio | processor time of an attempt |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for work in WORKS {
        contest(&place, work)?;
    }
    Ok(())
}

fn contest(place: &Place, work: Work) -> Result<()> {
    let (mut bare, mut run) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let turn = (
            measured(work, |scratch| bare_loop(place, work, scratch), place)?,
            measured(work, |scratch| cu_run(place, work, scratch), place)?,
        );
        // The first round warms up the caches.
        if round > 0 {
            bare.push(turn.0);
            run.push(turn.1);
        }
    }
    let does = match work.program {
        Program::SavesALittle => "save 4 KiB",
        Program::DoesNothing => "do nothing",
    };
    let (jobs, resumes) = (work.jobs, work.resumes);
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
            "| {jobs} jobs × {resumes} resumes that {does}, {name} | {} | {} to {} | {} | {} |",
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
    saves: PathBuf,
    nothing: PathBuf,
}

impl Place {
    fn program(&self, work: Work) -> &Path {
        match work.program {
            Program::SavesALittle => &self.saves,
            Program::DoesNothing => &self.nothing,
        }
    }
}

/// The times of all attempts together.
struct Turn {
    attempts: usize,
    wall: Duration,
    processor: Duration,
}

impl Turn {
    /// Attempts a second.
    fn rate(&self) -> f64 {
        self.attempts as f64 / self.wall.as_secs_f64()
    }

    /// User and system time of one attempt and of the processes that start and watch it, in
    /// seconds.
    fn processor_seconds(&self) -> f64 {
        self.processor.as_secs_f64() / self.attempts as f64
    }
}

fn measured(work: Work, does: impl FnOnce(&Path) -> Result<()>, place: &Place) -> Result<Turn> {
    let scratch = tempfile::tempdir_in(place.scratch.path())?;
    let before = processor_time()?;
    let begun = Instant::now();
    does(scratch.path())?;
    Ok(Turn {
        attempts: work.attempts(),
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
fn bare_loop(place: &Place, work: Work, scratch: &Path) -> Result<()> {
    let next = AtomicUsize::new(0);
    let take_jobs = || -> Result<()> {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= work.jobs {
                return Ok(());
            }
            let directory = scratch.join(job.to_string());
            bare_job(place.program(work), work.resumes, &directory)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(take_jobs)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("a worker returns its errors"))
    })
}

fn bare_job(program: &Path, most: usize, output_dir: &Path) -> Result<()> {
    fs::create_dir_all(output_dir)?;
    let settings = output_dir.join("settings.json");
    fs::write(&settings, format!("{{\"resumes\": {most}}}"))?;
    for resumes in 0..=most {
        let status = Command::new(program)
            .env("CU_SETTINGS", &settings)
            .env("CU_OUTPUT_DIR", output_dir)
            .env("CU_ATTEMPT", resumes.to_string())
            .env("RESUMES", most.to_string())
            .current_dir(output_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        match status.code() {
            Some(0) if resumes == most => return Ok(()),
            Some(RESUME_EXIT_CODE) => {}
            _ => bail!(
                "{} ended with {status} after {resumes} resumes",
                program.display()
            ),
        }
    }
    bail!("{} asked for more than {most} resumes", program.display())
}

fn cu_run(place: &Place, work: Work, scratch: &Path) -> Result<()> {
    let config = scratch.join("run.toml");
    let jobs: Vec<_> = (0..work.jobs).collect();
    let resumes = work.resumes;
    fs::write(
        &config,
        format!(
            "name = \"run\"\n\
             results_dir = {:?}\n\
             command = [{:?}]\n\
             settings.resumes = {resumes}\n\
             environment.RESUMES = \"{resumes}\"\n\
             grid.job = {jobs:?}\n\
             resume.submissions_per_hour = 1000000\n\
             backend.kind = \"local\"\n\
             backend.local.cpus = {AT_A_TIME}\n",
            scratch,
            place.program(work),
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
