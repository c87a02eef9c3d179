//! The programs that the tests of processes start: `cu-client-programs NAME` runs one of them.
//!
//! A binary of its own, so that it is built whenever a test that starts it is. It is not published.
#![allow(
    clippy::unwrap_used,
    reason = "a program of a test ends where it cannot go on"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::ControlFlow::{Break, Continue};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cu_client::{Job, Settings, StopCause, shell::ShellJob};
use cu_protocol::lines::to_line;
use cu_protocol::{Attempt, ProgramAnswer};

/// How long a program waits before it ends by itself, in case the test that started it was killed.
const BOUND: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    match name.as_str() {
        "says_everything" => says_everything(),
        "steps_until_it_should_exit" => steps_until_it_should_exit(),
        "saves_until_it_may_go_on" => saves_until_it_may_go_on(),
        "never_asks" => never_asks(),
        "goes_on_after_its_end" => goes_on_after_its_end(),
        "handles_term_itself" => handles_term_itself(),
        "panics" => panics(),
        "catches_its_panics" => catches_its_panics(),
        "returns_an_error" => return returns_an_error(),
        "wants_other_settings" => return wants_other_settings(),
        "counts_to_ten" => return counts_to_ten(),
        "outlives_its_supervisor" => outlives_its_supervisor(),
        "is_a_script" => is_a_script(),
        "confirms_every_message" => confirms_every_message(),
        "saves_a_directory" => saves_a_directory(),
        "loads_a_directory" => loads_a_directory(),
        _ => {
            eprintln!("there is no program `{name}`");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Acts as a supervisor that confirms every message.
fn confirms_every_message() {
    let listener = UnixListener::bind(std::env::args().nth(2).unwrap()).unwrap();
    println!("listening");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        while let Ok(1..) = stream.read(&mut [0; 4096]) {
            println!("heard something");
            stream.write_all(&to_line(&ProgramAnswer::Noted)).unwrap();
        }
    }
}

/// As `cu job checkpoint save`: a directory with the name of who saved it.
fn saves_a_directory() {
    let source = Path::new("of_the_shell");
    std::fs::create_dir_all(source.join("empty")).unwrap();
    std::fs::create_dir_all(source.join("model")).unwrap();
    std::fs::write(source.join("model/weights ä"), "shell").unwrap();
    ShellJob::open().unwrap().save_checkpoint(source).unwrap();
}

/// As `cu job checkpoint load`: compares the name with the one that is expected.
fn loads_a_directory() {
    let target = Path::new("loaded");
    let door = ShellJob::open().unwrap();
    door.load_checkpoint(target).unwrap().unwrap();
    let saved = std::fs::read_to_string(target.join("model/weights ä")).unwrap();
    assert_eq!(saved, std::fs::read_to_string("expected").unwrap());
    assert!(target.join("empty").is_dir());
}

/// Sends every kind of message, then ends.
fn says_everything() {
    let mut job = Job::<Settings>::initialize().unwrap();
    assert_eq!(job.id().map(|id| id.0), Some(7));
    assert_eq!(job.attempt(), Attempt(3));
    for step in 0..=1000 {
        job.announce_fraction_finished(f64::from(step) / 1000.0);
    }
    job.announce_fraction_finished(f64::NAN);
    job.announce_early_results(&BTreeMap::from([("loss", 0.5)]));
    job.announce_early_results(&1.5);
    let metrics = BTreeMap::from([("accuracy", 0.925), ("loss", f64::NAN)]);
    job.finalize(&metrics).unwrap();
}

/// Steps until it should exit, and leaves the reason in the output directory.
fn steps_until_it_should_exit() {
    let mut job = Job::<Settings>::initialize().unwrap();
    if let Ok(millis) = job.setting("after_millis") {
        job.exit_after(Duration::from_millis(millis));
    }
    job.announce_early_results(&BTreeMap::from([("ready", true)]));
    let begun = Instant::now();
    let mut step = job.load::<u64>().unwrap().unwrap_or(0);
    while !job.should_exit() {
        step += 1;
        assert!(begun.elapsed() < BOUND, "it was never asked to stop");
        std::thread::yield_now();
    }
    let reason = serde_json::to_string(&job.exit_reason()).unwrap();
    std::fs::write(job.output_dir().join("reason"), reason).unwrap();
    job.save(&step).unwrap();
    job.exit_for_resume();
}

/// Saves slowly once it should exit: until the file `go` is there.
fn saves_until_it_may_go_on() {
    let mut job = Job::<Settings>::initialize().unwrap();
    std::fs::write("ready", "").unwrap();
    until(|| job.should_exit());
    std::fs::write("saving", "").unwrap();
    until(|| Path::new("go").exists());
    job.save(&1).unwrap();
    job.exit_for_resume();
}

/// A job that never asks whether it should exit.
fn never_asks() {
    let _job = Job::<Settings>::initialize().unwrap();
    std::fs::write("ready", "").unwrap();
    park();
}

/// Its job has ended, and it has not.
fn goes_on_after_its_end() {
    // A job before, whose end must not count for the next one.
    drop(Job::<Settings>::initialize().unwrap());
    let job = Job::<Settings>::initialize().unwrap();
    std::fs::write("ready", "").unwrap();
    until(|| Path::new("go").exists());
    job.finalize(&BTreeMap::from([("steps", 1)])).unwrap();
    std::fs::write("finished", "").unwrap();
    park();
}

/// Its own handler of TERM was there before the job, and counts after it.
fn handles_term_itself() {
    let came = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, came.clone()).unwrap();
    drop(Job::<Settings>::initialize().unwrap());
    std::fs::write("ready", "").unwrap();
    until(|| came.load(Ordering::Relaxed));
    std::fs::write("handled", "").unwrap();
}

/// Waits until a condition holds.
fn until(mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < BOUND, "waited in vain");
        std::thread::yield_now();
    }
}

/// Waits for a signal that ends the process.
fn park() {
    let begun = Instant::now();
    while begun.elapsed() < BOUND {
        std::thread::park_timeout(BOUND);
    }
}

fn panics() {
    let job = Job::<Settings>::initialize().unwrap();
    // A caught panic does not fail the program, but may be the cause of a failure.
    let caught = std::panic::catch_unwind(|| panic!("the cause"));
    assert!(caught.is_err());
    let limit: Vec<u8> = Vec::new();
    assert!(limit.len() > 3, "the limit is {}", limit.len());
    drop(job);
}

fn catches_its_panics() {
    let job = Job::<Settings>::initialize().unwrap();
    assert!(std::panic::catch_unwind(|| panic!("caught")).is_err());
    assert!(std::thread::spawn(|| panic!("joined")).join().is_err());
    job.finalize(&BTreeMap::from([("fine", true)])).unwrap();
}

fn returns_an_error() -> ExitCode {
    cu_client::run(|job: Job<Settings>| {
        std::fs::read(job.output_dir().join("absent"))?;
        Ok(())
    })
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // The settings in the test have another key.
struct Training {
    seed: u64,
}

fn wants_other_settings() -> ExitCode {
    cu_client::run(|_: Job<Training>| Ok(()))
}

/// Three steps an attempt, ten in all.
fn counts_to_ten() -> ExitCode {
    cu_client::run(|mut job: Job<Settings>| {
        job.exit_after_steps(3);
        let start = |_: &Job<Settings>| Ok(0_u64);
        job.run_steps(start, |_, count| {
            *count += 1;
            let is_done = *count == 10;
            let metrics = BTreeMap::from([("count", *count)]);
            Ok(if is_done {
                Break(metrics)
            } else {
                Continue(())
            })
        })
    })
}

/// Continues to its end whatever happens to its supervisor, and records the outcome.
fn outlives_its_supervisor() {
    let mut job = Job::<Settings>::initialize().unwrap();
    for step in 0..3 {
        job.announce_early_results(&BTreeMap::from([("step", step)]));
        let begun = Instant::now();
        while begun.elapsed() < 2 * cu_client_look() {
            assert!(!job.should_exit());
        }
    }
    let output_dir = job.output_dir().to_owned();
    let outcome = job.finalize(&BTreeMap::from([("done", true)]));
    let text = outcome.map_or_else(|error| error.to_string(), |()| "noted".to_owned());
    std::fs::write(output_dir.join("outcome"), text).unwrap();
}

fn cu_client_look() -> Duration {
    Duration::from_millis(100)
}

fn is_a_script() {
    let job = || ShellJob::open().unwrap();
    let start = job().started().unwrap();
    assert_eq!((start.attempt, start.checkpoint), (Attempt(3), None));
    job().progress(0.5).unwrap();
    job().metrics(&["loss=0.5"]).unwrap();
    assert_eq!(job().should_exit(Duration::ZERO), Some(StopCause::Operator));
    std::fs::write("state", "1").unwrap();
    job().save_checkpoint(Path::new("state")).unwrap();
    std::process::exit(job().exit_for_resume());
}
