//! The smallest real job: it loads, does a number of steps, saves and exits for resume every few
//! steps, and finalizes. It logs each step with its times, and misbehaves if its settings say so.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use cu_client::Job;
use cu_tests::steps::{Kind, StepLog, nanoseconds};
use serde::{Deserialize, Serialize};

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// The number of steps of the job.
    steps: u64,
    /// The number of steps after which an attempt asks to be resumed.
    steps_per_attempt: u64,
    /// The shortest duration of a step.
    step_milliseconds: u64,
    /// Whether attempts ask to be resumed without a step until a supervisor serves one that has served the job before.
    by_a_resident: bool,
    /// How it misbehaves.
    behaviour: Behaviour,
    /// The step at whose end it misbehaves. Only the first attempt that comes so far does, unless the behaviour
    /// says "always".
    at_step: u64,
    /// The file that [`Behaviour::Waits`] waits for; relative to the working directory.
    barrier: PathBuf,
    /// A setting that [`Behaviour::Reports`] writes to a file.
    parameter: serde_json::Value,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            steps: 8,
            steps_per_attempt: 2,
            step_milliseconds: 0,
            by_a_resident: false,
            behaviour: Behaviour::Works,
            at_step: 1,
            barrier: PathBuf::new(),
            parameter: serde_json::Value::Null,
        }
    }
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Behaviour {
    /// It does not misbehave.
    Works,
    /// Waits for the barrier, then continues.
    Waits,
    /// Saves, and sleeps until it is killed or asked to stop.
    Stays,
    /// Asks to be resumed over the supervisor's socket, and stays.
    AsksAndStays,
    /// Always asks to be resumed, without saving or changing a file.
    MakesNoProgress,
    /// Always panics.
    Panics,
    /// Writes its arguments and the setting `parameter` to files, then continues.
    Reports,
}

#[derive(Serialize)]
struct Metrics {
    steps: u64,
    sum: u64,
}

/// The sum of all steps so far. A step that is lost or done twice changes it.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct State {
    step: u64,
    sum: u64,
}

fn main() -> ExitCode {
    cu_client::run(|job: Job<Settings>| Ok(work(job)?))
}

fn work(mut job: Job<Settings>) -> Result<()> {
    let settings = job.settings().clone();
    if settings.behaviour == Behaviour::MakesNoProgress {
        job.exit_for_resume();
    }
    if settings.by_a_resident && !is_served_again(job.output_dir())? {
        job.exit_for_resume();
    }
    let begin = nanoseconds();
    let mut state: State = job.load()?.unwrap_or_default();
    let mut log = StepLog::open(job.output_dir(), job.attempt().0)?;
    log.note(Kind::Loaded, state.step, begin)?;
    let last_step = state.step + settings.steps_per_attempt;
    while state.step < settings.steps {
        let begin = nanoseconds();
        std::thread::sleep(Duration::from_millis(settings.step_milliseconds));
        state.step += 1;
        state.sum += state.step;
        log.note(Kind::Step, state.step, begin)?;
        job.announce_fraction_finished(state.step as f64 / settings.steps as f64);
        if state.step == settings.at_step {
            misbehave(&mut job, &settings, &mut log, state)?;
        }
        let should_exit = job.should_exit() || state.step == last_step;
        if should_exit && state.step < settings.steps {
            save(&mut job, &mut log, state)?;
            job.exit_for_resume();
        }
    }
    let begin = nanoseconds();
    job.finalize(&Metrics {
        steps: state.step,
        sum: state.sum,
    })?;
    log.note(Kind::Results, state.sum, begin)
}

/// Whether the supervisor of this attempt has had an earlier one. Notes that it has this one.
fn is_served_again(output_dir: &Path) -> Result<bool> {
    let mut seen = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(output_dir.join("supervisors"))?;
    let mut text = String::new();
    seen.read_to_string(&mut text)?;
    let own = std::os::unix::process::parent_id().to_string();
    writeln!(seen, "{own}")?;
    Ok(text.lines().any(|line| line == own))
}

fn save(job: &mut Job<Settings>, log: &mut StepLog, state: State) -> Result<()> {
    let begin = nanoseconds();
    job.save(&state)?;
    log.note(Kind::Saved, state.step, begin)
}

fn misbehave(
    job: &mut Job<Settings>,
    settings: &Settings,
    log: &mut StepLog,
    state: State,
) -> Result<()> {
    let output_dir = job.output_dir().to_owned();
    let is_first = !output_dir.join(HERE).exists();
    match settings.behaviour {
        Behaviour::Works | Behaviour::MakesNoProgress => {}
        Behaviour::Waits => {
            announce(&output_dir)?;
            sleep_until(|| settings.barrier.exists());
        }
        Behaviour::Stays if is_first => {
            save(job, log, state)?;
            announce(&output_dir)?;
            sleep_until(|| job.should_exit());
            // It does not stop at once, so an attempt that does not wait for it overlaps with it.
            std::thread::sleep(Duration::from_millis(settings.step_milliseconds));
        }
        Behaviour::AsksAndStays if is_first => {
            save(job, log, state)?;
            // As a shell script does it, since `Job::exit_for_resume` does not return.
            let _code = cu_client::shell::ShellJob::open()?.exit_for_resume();
            announce(&output_dir)?;
            sleep_until(|| false);
        }
        Behaviour::Stays | Behaviour::AsksAndStays => {}
        Behaviour::Panics => panic!("the weights are not finite"),
        Behaviour::Reports => {
            let arguments: Vec<_> = std::env::args().collect();
            let arguments = serde_json::to_vec(&arguments)?;
            std::fs::write(output_dir.join("arguments.json"), arguments)?;
            let parameter = serde_json::to_vec(&settings.parameter)?;
            std::fs::write(output_dir.join("parameter.json"), parameter)?;
        }
    }
    Ok(())
}

/// The file that says that an attempt has come to the point at which it misbehaves.
const HERE: &str = "here";

/// Writes its process id for the test.
fn announce(output_dir: &Path) -> Result<()> {
    let unfinished = output_dir.join("here.new");
    std::fs::write(&unfinished, std::process::id().to_string())?;
    Ok(std::fs::rename(unfinished, output_dir.join(HERE))?)
}

/// This sleep is the program's work. Tests wait for its files, not for a time.
fn sleep_until(mut is_over: impl FnMut() -> bool) {
    while !is_over() {
        std::thread::sleep(Duration::from_millis(5));
    }
}
