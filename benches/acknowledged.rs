//! Messages a second that a main process acknowledges, each durable before that, from 1, 64 and 1,000
//! supervisors; and what a thousand of them cost that say nothing.
//!
//! `cargo bench -p cu-benches --bench acknowledged -- [SECONDS] [ROUNDS]`

use std::time::Duration;

use anyhow::{Context, Result};
use cu_benches::cluster::Attempts;
use cu_benches::hosted::{MainProcess, make_run, serve_if_asked};
use cu_benches::statistics::{median, quantile, seconds, three_digits};
use cu_benches::{number, scratch, supervisors, usage};

/// The number of supervisors.
const COUNTS: [u32; 3] = [1, 64, 1000];
/// How many say nothing.
const SILENT: u32 = 1000;

fn main() -> Result<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let time = Duration::from_secs(number(0, 2)?);
    let rounds = number(1, 3)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        messages(time, rounds).await?;
        silence(time.max(Duration::from_secs(5))).await
    })
}

async fn messages(time: Duration, rounds: u64) -> Result<()> {
    println!(
        "| supervisors | messages a second | 10 % to 90 % | processor time of the main process, each |"
    );
    println!("| --- | --- | --- | --- |");
    let scratch = scratch()?;
    let mut lines = vec![(Vec::new(), Vec::new()); COUNTS.len()];
    for round in 0..=rounds {
        for (count, (rates, costs)) in COUNTS.into_iter().zip(&mut lines) {
            let run = make_run(&scratch.path().join(format!("{count}-{round}")), count)?;
            let main_process = MainProcess::start(&run, Attempts::Run)?;
            let mut all = supervisors::start(&run, count).await?;
            let before = usage::of_its_threads(main_process.pid())?;
            let (said, took) = supervisors::talk(&mut all, time).await?;
            let used = usage::of_its_threads(main_process.pid())? - before;
            // The first round warms up the caches.
            if round > 0 {
                rates.push(said as f64 / took.as_secs_f64());
                costs.push(used.as_secs_f64() / said as f64);
            }
        }
    }
    for (count, (rates, costs)) in COUNTS.into_iter().zip(&lines) {
        let known = |value: Option<f64>| value.context("there is at least one round");
        println!(
            "| {count} | {} | {} to {} | {} |",
            three_digits(known(median(rates))?),
            three_digits(known(quantile(rates, 0.1))?),
            three_digits(known(quantile(rates, 0.9))?),
            seconds(known(median(costs))?),
        );
    }
    println!();
    Ok(())
}

async fn silence(time: Duration) -> Result<()> {
    let scratch = scratch()?;
    let run = make_run(&scratch.path().join("silent"), SILENT)?;
    let main_process = MainProcess::start(&run, Attempts::Run)?;
    let _silent = supervisors::start(&run, SILENT).await?;
    // What they said at their start is recorded by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = usage::of_its_threads(main_process.pid())?;
    tokio::time::sleep(time).await;
    let used = usage::of_its_threads(main_process.pid())? - before;
    println!("| attempts that say nothing | processor time of the main process | of a processor |");
    println!("| --- | --- | --- |");
    println!(
        "| {SILENT}, for {} | {} | {:.3} % |",
        seconds(time.as_secs_f64()),
        seconds(used.as_secs_f64()),
        100.0 * used.as_secs_f64() / time.as_secs_f64()
    );
    Ok(())
}
