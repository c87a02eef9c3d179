//! Kills the process that holds the backend while it submits: every submission is found exactly
//! once, or was never started.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{end_of, lines, name, open, open_warm, submission, until};
use cu_scheduler::{ClusterState, Scheduler};
use tempfile::TempDir;

/// The test of this program, which is the victim in a process with [`DIRECTORY`] in its environment.
const THE_TEST: &str = "a_kill_at_any_moment_neither_loses_nor_repeats_a_submission";
/// The variable with the directory of the victim.
const DIRECTORY: &str = "CU_TEST_CRASH_DIRECTORY";
/// The variable with which its attempts are copies of a loaded program.
const WARM: &str = "CU_TEST_CRASH_WARM";
/// The greatest number of submissions of a victim.
const MOST: u32 = 60;
/// Jobs that mark their start and end when the file `go` appears, so that every started job lives
/// until then.
const SCRIPT: &str = r#"echo x >> "$1/started-$CU_SUBMISSION_NUMBER"
    while [ -d "$1" ] && [ ! -e "$1/go" ]; do sleep 0.05; done"#;

fn started(directory: &Path, attempt: u32) -> PathBuf {
    directory.join(format!("started-{attempt}"))
}

/// The program of the killed process. It records each accepted submission.
async fn be_the_victim(directory: &Path) {
    let cluster = match std::env::var_os(WARM) {
        Some(_) => open_warm(directory),
        None => open(directory),
    };
    let mut promised = std::fs::File::create(directory.join("promised")).unwrap();
    let batches = [1, 3, 16, 40];
    let mut next = 0;
    for size in batches {
        let batch: Vec<_> = (next..next + size)
            .map(|attempt| {
                let mut asked = submission(directory, attempt, SCRIPT);
                let number = attempt.to_string();
                asked
                    .environment
                    .insert("CU_SUBMISSION_NUMBER".into(), number);
                asked
            })
            .collect();
        for (attempt, answer) in (next..).zip(cluster.submit(&batch).await) {
            answer.unwrap();
            writeln!(promised, "{attempt}").unwrap();
        }
        next += size;
    }
    // It was not killed meanwhile, so it waits for that.
    std::fs::write(directory.join("all"), "").unwrap();
    std::future::pending::<()>().await;
}

/// Kills the victim as soon as `wanted` of its jobs have begun, and checks the rest.
async fn kill_after(wanted: usize, is_warm: bool) {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let mut victim = Command::new(std::env::current_exe().unwrap());
    victim
        .args(["--exact", THE_TEST])
        .env(DIRECTORY, path)
        .stdout(std::process::Stdio::null());
    if is_warm {
        victim.env(WARM, "1");
    }
    let mut victim = victim.spawn().unwrap();
    let begun = || (0..MOST).filter(|it| started(path, *it).exists()).count();
    until("enough of them began", || {
        begun() >= wanted || path.join("all").exists()
    });
    victim.kill().unwrap();
    victim.wait().unwrap();

    let cluster = open(path);
    let names: Vec<_> = (0..MOST).map(name).collect();
    let found = cluster.find(&names).await.unwrap();
    let state = |attempt: u32| {
        let mut mine = found.iter().filter(|it| it.name == name(attempt));
        let first = mine.next().map(|it| it.observation.clone());
        assert!(mine.next().is_none(), "{attempt} was found twice");
        first
    };
    // The kill may cut off the last line. The submission was accepted, but the record of it is
    // lost.
    let promised = std::fs::read_to_string(path.join("promised")).unwrap_or_default();
    for attempt in promised
        .split_inclusive('\n')
        .filter(|it| it.ends_with('\n'))
    {
        let attempt = attempt.trim().parse().unwrap();
        assert!(
            state(attempt).is_some(),
            "{attempt} was accepted, but is not found"
        );
    }
    std::fs::write(path.join("go"), "").unwrap();
    for attempt in 0..MOST {
        let marks = started(path, attempt);
        let Some(observation) = state(attempt) else {
            assert_eq!(lines(&marks), 0, "{attempt} runs, but is not found");
            continue;
        };
        end_of(&cluster, &observation.job).await;
        match observation.state {
            ClusterState::Queued { .. } | ClusterState::Running { .. } => {
                assert_eq!(lines(&marks), 1, "{attempt} was started once");
            }
            // It was about to be started. If it had been started, it would live.
            ClusterState::Ended(end) => assert_eq!(lines(&marks), 0, "{attempt}: {end:?}"),
            other => panic!("{attempt}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_neither_loses_nor_repeats_a_submission() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return be_the_victim(Path::new(&directory)).await;
    }
    for wanted in [0, 1, 2, 4, 5, 8, 13, 17, 20, 21, 25, 33, 41, 50, 57, 60] {
        kill_after(wanted, false).await;
        kill_after(wanted, true).await;
    }
}
