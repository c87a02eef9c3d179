//! The time from the end of an attempt to the start of the next, by the program's own clock: one job on this
//! machine, compared with a bare loop that starts the same program again.
//!
//! `cargo bench -p cu-benches --bench turnaround -- [RESUMES] [ROUNDS]`

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use cu_benches::local::{Work, bare_loop, cu_run};
use cu_benches::statistics::{median, quantile, seconds, three_digits};
use cu_benches::{built, cu, number, scratch};

fn main() -> Result<()> {
    let resumes = usize::try_from(number(0, 200)?)?;
    let rounds = number(1, 3)?;
    let (cu, program) = (cu()?, built("clocked")?);
    let scratch = scratch()?;
    let work = Work {
        program: &program,
        jobs: 1,
        resumes,
        at_a_time: 1,
    };
    let (mut bare, mut run, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let directory = scratch.path().join(format!("bare-{round}"));
        fs::create_dir(&directory)?;
        bare_loop(work, &directory)?;
        let loop_times = turnarounds(&directory.join("0/times"))?;
        let directory = scratch.path().join(format!("run-{round}"));
        fs::create_dir(&directory)?;
        cu_run(&cu, work, &directory)?;
        let run_times = turnarounds(&directory.join("run/working_directories/0/times"))?;
        // The first round warms up the caches.
        if round > 0 {
            let middle = |times: &[f64]| median(times).context("the job was resumed");
            ratios.push(middle(&run_times)? / middle(&loop_times)?);
            bare.extend(loop_times);
            run.extend(run_times);
        }
    }
    println!("one job with {resumes} resumes, {rounds} rounds in turns\n");
    println!("| from an end to the next start | 50 % | 90 % | 99 % | ratio |");
    println!("| --- | --- | --- | --- | --- |");
    let known = |value: Option<f64>| value.context("there is at least one round");
    let ratio = known(median(&ratios))?;
    for (name, times, ratio) in [("bare loop", &bare, 1.0), ("`cu run`", &run, ratio)] {
        let part = |part| known(quantile(times, part)).map(seconds);
        let [half, most, nearly_all] = [part(0.5)?, part(0.9)?, part(0.99)?];
        let ratio = three_digits(ratio);
        println!("| {name} | {half} | {most} | {nearly_all} | {ratio} |");
    }
    Ok(())
}

/// From each end to the next start, in seconds.
fn turnarounds(times: &Path) -> Result<Vec<f64>> {
    let text = fs::read_to_string(times).with_context(|| times.display().to_string())?;
    let mut last: Option<u128> = None;
    let mut all = Vec::new();
    for line in text.lines() {
        let (begun, ended) = line.split_once(' ').context("two times a line")?;
        let begun: u128 = begun.parse()?;
        all.extend(last.map(|last| begun.saturating_sub(last) as f64 / 1e9));
        last = Some(ended.parse()?);
    }
    Ok(all)
}
