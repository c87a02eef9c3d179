//! Kills real processes, which save again and again, with SIGKILL at random moments. After each
//! kill the last acknowledged checkpoint loads, or a newer one, and it is whole.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "support/numbered.rs"]
mod numbered;

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use cu_checkpoint::{Checkpoints, Generation};
use numbered::content;

const KILLS: u32 = 120;
/// How long a process may live after its first acknowledgement.
const LONGEST_LIFE: Duration = Duration::from_millis(12);
/// The test fails if a process does not get this far.
const PATIENCE: Duration = Duration::from_secs(60);

fn load(form: &str, checkpoints: &Checkpoints) -> Option<(Generation, Vec<u8>)> {
    match form {
        "value" => checkpoints.load::<Vec<u8>>().unwrap().map(|found| {
            assert!(found.skipped.is_empty(), "{:?}", found.skipped);
            (found.generation, found.value)
        }),
        "stream" => checkpoints.reader().unwrap().map(|mut found| {
            assert!(found.skipped.is_empty(), "{:?}", found.skipped);
            let mut content = Vec::new();
            found.value.read_to_end(&mut content).unwrap();
            (found.generation, content)
        }),
        _ => checkpoints.load_directory().unwrap().map(|found| {
            assert!(found.skipped.is_empty(), "{:?}", found.skipped);
            let mut content = fs::read(found.value.join("first")).unwrap();
            content.extend(fs::read(found.value.join("sub/second")).unwrap());
            (found.generation, content)
        }),
    }
}

/// Kills and reaps the victim, also if the test panics.
struct Victim(Child);

impl Victim {
    fn start(form: &str, directory: &Path, attempt: u32) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_cu-checkpoint-programs"))
            .args(["save-without-end", form])
            .arg(directory)
            .arg(attempt.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets a victim save, kills it at a random moment, and returns its last acknowledgement.
fn kill_at_random(form: &str, directory: &Path, attempt: u32) -> Generation {
    let mut victim = Victim::start(form, directory, attempt);
    let output = BufReader::new(victim.0.stdout.take().unwrap());
    let (sender, acknowledged) = mpsc::channel();
    let listener = thread::spawn(move || {
        for line in output.lines() {
            // A line that the kill cut off is not an acknowledgement, and may not parse.
            let Ok(line) = line else { return };
            if let Some(generation) = line.strip_prefix("saved ")
                && let Ok(generation) = generation.parse::<Generation>()
            {
                let _ = sender.send(generation);
            }
        }
    });
    let mut last = acknowledged
        .recv_timeout(PATIENCE)
        .expect("the victim saves");
    let span = u64::try_from(LONGEST_LIFE.as_nanos()).unwrap();
    let moment =
        Instant::now() + Duration::from_nanos(RandomState::new().build_hasher().finish() % span);
    loop {
        match acknowledged.recv_timeout(moment.saturating_duration_since(Instant::now())) {
            Ok(generation) => last = generation,
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("the victim ended by itself"),
        }
    }
    drop(victim);
    // This reads to the end of the pipe, since no other process writes to it.
    listener.join().unwrap();
    acknowledged.try_iter().last().unwrap_or(last)
}

fn kill_often(form: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let directory: PathBuf = scratch.path().join("checkpoints");
    let mut kills_in_the_middle = 0;
    for kill in 0..KILLS {
        let attempt = kill / 4;
        let last = kill_at_random(form, &directory, attempt);
        assert_eq!(last.attempt(), attempt);
        let checkpoints = Checkpoints::open(&directory).unwrap();
        let (generation, loaded) = load(form, &checkpoints).expect("something was saved");
        assert!(
            generation >= last,
            "kill {kill}: {last} was acknowledged, {generation} loads"
        );
        assert!(
            loaded == content(generation),
            "kill {kill}: {generation} is a mixture"
        );
        let has_litter = fs::read_dir(&directory).unwrap().any(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(".cu-tmp-")
        });
        kills_in_the_middle += u32::from(has_litter);
    }
    assert!(
        kills_in_the_middle > KILLS / 10,
        "only {kills_in_the_middle} saves were interrupted"
    );
    Checkpoints::open(&directory)
        .unwrap()
        .for_attempt(KILLS)
        .save(&())
        .unwrap();
    let left = fs::read_dir(&directory).unwrap().count();
    assert_eq!(left, 2, "the killed processes have left files");
}

#[test]
fn a_value_survives_the_kill() {
    kill_often("value");
}

#[test]
fn a_stream_survives_the_kill() {
    kill_often("stream");
}

#[test]
fn a_directory_survives_the_kill() {
    kill_often("directory");
}
