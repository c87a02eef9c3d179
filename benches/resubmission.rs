//! The number of attempts a second of `cu run`, compared with a bare loop that starts the same program as often
//! and as many at a time; and the processor time of the main process.
//!
//! `cargo bench -p cu-benches --bench resubmission -- [ROUNDS] [JOBS]`: only the works with so many jobs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cu_benches::local::{Work, bare_loop, cu_run};
use cu_benches::statistics::{median, quantile, seconds, three_digits};
use cu_benches::{built, cu, number, scratch};
use nix::sys::resource::{UsageWho, getrusage};

/// The number of attempts that run at a time.
const AT_A_TIME: usize = 2;

/// What each attempt does.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    /// It loads, saves 4 KiB durably, and asks to be resumed.
    SaveALittle,
    /// It makes an empty file and exits.
    Nothing,
}

/// The works: what an attempt does, the number of jobs, and that of resumes.
const WORKS: [(Does, usize, usize); 5] = [
    (Does::SaveALittle, 4, 64),
    (Does::SaveALittle, 64, 7),
    (Does::SaveALittle, 1000, 1),
    (Does::Nothing, 4, 64),
    (Does::Nothing, 64, 7),
];

fn main() -> Result<()> {
    let rounds = number(0, 3)?;
    let chosen = number(1, 0)?;
    let place = Place {
        scratch: scratch()?,
        cu: cu()?,
        saves: built("smallest_job")?,
        nothing: built("nothing")?,
    };
    println!("{AT_A_TIME} attempts at a time, {rounds} rounds in turns\n");
    println!(
        "| | attempts a second | 10 % to 90 % | ratio | processor time of an attempt | of it, the main process |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (does, jobs, resumes) in WORKS {
        if chosen == 0 || chosen == jobs as u64 {
            contest(&place, does, (jobs, resumes), rounds)?;
        }
    }
    Ok(())
}

fn contest(place: &Place, does: Does, (jobs, resumes): (usize, usize), rounds: u64) -> Result<()> {
    let work = Work {
        program: match does {
            Does::SaveALittle => &place.saves,
            Does::Nothing => &place.nothing,
        },
        jobs,
        resumes,
        at_a_time: AT_A_TIME,
    };
    let (mut bare, mut run) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let of_loop = |scratch: &Path| bare_loop(work, scratch).map(|()| Duration::ZERO);
        let turn = (
            measured(work, of_loop, place)?,
            measured(work, |scratch| cu_run(&place.cu, work, scratch), place)?,
        );
        // The first round warms up the caches.
        if round > 0 {
            bare.push(turn.0);
            run.push(turn.1);
        }
    }
    let does = match does {
        Does::SaveALittle => "save 4 KiB",
        Does::Nothing => "do nothing",
    };
    for (name, turns) in [("bare loop", &bare), ("`cu run`", &run)] {
        let rates: Vec<_> = turns.iter().map(Turn::rate).collect();
        let ratios: Vec<_> = turns
            .iter()
            .zip(&bare)
            .map(|(own, bare)| own.rate() / bare.rate())
            .collect();
        let each = |time: fn(&Turn) -> Duration| {
            let times: Vec<_> = turns
                .iter()
                .map(|turn| time(turn).as_secs_f64() / turn.attempts as f64)
                .collect();
            median(&times)
        };
        let known = |value: Option<f64>| value.context("there is at least one round");
        println!(
            "| {jobs} jobs × {resumes} resumes that {does}, {name} | {} | {} to {} | {} | {} | {} |",
            three_digits(known(median(&rates))?),
            three_digits(known(quantile(&rates, 0.1))?),
            three_digits(known(quantile(&rates, 0.9))?),
            three_digits(known(median(&ratios))?),
            seconds(known(each(|turn| turn.processor))?),
            seconds(known(each(|turn| turn.of_main_process))?),
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

/// The times of all attempts together.
struct Turn {
    attempts: usize,
    wall: Duration,
    /// User and system time of the attempts and of the processes that start and watch them.
    processor: Duration,
    /// The processor time of the main process alone.
    of_main_process: Duration,
}

impl Turn {
    /// Attempts a second.
    fn rate(&self) -> f64 {
        self.attempts as f64 / self.wall.as_secs_f64()
    }
}

fn measured(
    work: Work<'_>,
    does: impl FnOnce(&Path) -> Result<Duration>,
    place: &Place,
) -> Result<Turn> {
    // Deleted with all others at the end: ext4 without a journal looks at each file that was deleted lately whenever
    // one is made.
    let scratch = tempfile::tempdir_in(place.scratch.path())?.keep();
    let before = processor_time()?;
    let begun = Instant::now();
    let of_main_process = does(&scratch)?;
    Ok(Turn {
        attempts: work.attempts(),
        wall: begun.elapsed(),
        processor: processor_time()? - before,
        of_main_process,
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
