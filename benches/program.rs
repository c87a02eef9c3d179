//! What the client costs a program: the time to its first step, with a checkpoint to look for, and from
//! `exit_for_resume` to its end, compared with the same program without the client; and the size of both.
//!
//! `cargo bench -p cu-benches --bench program -- [STARTS] [ROUNDS]`

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cu_benches::statistics::{median, quantile, seconds, three_digits};
use cu_benches::{built, note_everything, number, scratch};
use cu_client::RESUME_EXIT_CODE;

fn main() -> Result<()> {
    let starts = number(0, 50)?;
    let rounds = number(1, 11)?;
    let program = built("two_steps")?;
    let scratch = scratch()?;
    let settings = scratch.path().join("settings.json");
    std::fs::write(&settings, "{}")?;
    note_everything(UnixListener::bind(scratch.path().join("socket"))?);
    let mut without = Times::default();
    let mut with = Times::default();
    for round in 0..=rounds {
        for (is_with, times) in [(false, &mut without), (true, &mut with)] {
            for _ in 0..starts {
                let measured = start(&program, scratch.path(), is_with)?;
                // The first round warms up the caches.
                if round > 0 {
                    times.add(measured);
                }
            }
        }
    }
    println!("| | to the first step | from there to the end | 10 % to 90 % of both | ratio |");
    println!("| --- | --- | --- | --- | --- |");
    let known = |value: Option<f64>| value.context("there is at least one round");
    let base = known(median(&without.both))?;
    for (name, times) in [("without the client", &without), ("with it", &with)] {
        println!(
            "| {name} | {} | {} | {} to {} | {} |",
            seconds(known(median(&times.to_step))?),
            seconds(known(median(&times.to_end))?),
            seconds(known(quantile(&times.both, 0.1))?),
            seconds(known(quantile(&times.both, 0.9))?),
            three_digits(known(median(&times.both))? / base),
        );
    }
    sizes(&program)
}

#[derive(Default)]
struct Times {
    to_step: Vec<f64>,
    to_end: Vec<f64>,
    both: Vec<f64>,
}

impl Times {
    fn add(&mut self, (to_step, to_end): (Duration, Duration)) {
        self.to_step.push(to_step.as_secs_f64());
        self.to_end.push(to_end.as_secs_f64());
        self.both.push((to_step + to_end).as_secs_f64());
    }
}

fn start(program: &Path, place: &Path, is_with: bool) -> Result<(Duration, Duration)> {
    let mut command = Command::new(program);
    command
        .args((!is_with).then_some("without"))
        .env("CU_OUTPUT_DIR", place)
        .env("CU_SETTINGS", place.join("settings.json"))
        .env("CU_SOCKET", place.join("socket"))
        .env("CU_ATTEMPT", "0")
        .env("CU_JOB_ID", "0")
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let mut said = child.stdout.take().context("its output is a pipe")?;
    said.read_exact(&mut [0])?;
    let to_step = begun.elapsed();
    let exit = child.wait()?;
    let to_end = begun.elapsed() - to_step;
    ensure!(exit.code() == Some(RESUME_EXIT_CODE), "the program: {exit}");
    Ok((to_step, to_end))
}

fn sizes(program: &Path) -> Result<()> {
    let size = |path: &Path| anyhow::Ok(path.metadata()?.len());
    let (with, without) = (size(program)?, size(&built("without_client")?)?);
    println!("\n| | kB, stripped |");
    println!("| --- | --- |");
    println!("| a program without the client | {} |", without / 1000);
    println!("| with the client | {} |", with / 1000);
    println!("| the client | {} |", with.saturating_sub(without) / 1000);
    Ok(())
}
