//! Attempts of the local backend that are copies of a program that is loaded already: killed servers,
//! killed copies, and the owner's end.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs::read_to_string;
use std::path::Path;

use common::{
    WAITS, end_of, kill, lines, name, open, open_warm, open_warm_with, parent_of, runs, server,
    standbys, state_of, submission, submit, until, warm_up,
};
use cu_scheduler::local::Local;
use cu_scheduler::{ClusterState, EndCause, Scheduler, Submission};
use tempfile::TempDir;

/// An attempt that marks its start with its number, and ends when `go` appears.
fn waiting(directory: &Path, attempt: u32) -> Submission {
    submission(
        directory,
        attempt,
        &format!("echo $$ > \"$1/pid\"\n{WAITS}"),
    )
}

fn started(directory: &Path) -> u32 {
    until("it has started", || lines(&directory.join("started")) == 1);
    let pid = read_to_string(directory.join("pid")).unwrap();
    pid.trim().parse().unwrap()
}

fn is_gone(pid: u32) -> bool {
    cu_system::process::Stat::of(pid).is_none_or(|stat| stat.has_ended)
}

fn go(directory: &Path) {
    std::fs::write(directory.join("go"), "").unwrap();
}

async fn is_over_once(cluster: &Local, directory: &Path, job: &cu_scheduler::ClusterJobId) {
    go(directory);
    end_of(cluster, job).await;
    assert_eq!(lines(&directory.join("started")), 1);
}

#[tokio::test]
async fn an_attempt_that_is_a_copy_has_all_that_another_has() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm(directory);
    warm_up(&cluster, directory, 0).await;
    let by = server(directory).unwrap();
    let script = "echo $PPID $A $CU_SUBMISSION $(pwd); echo error >&2; cat; exit 7";
    let mut asked = submission(directory, 1, script);
    asked.environment.insert("A".into(), "b c".into());
    let job = submit(&cluster, asked.clone()).await;
    let end = end_of(&cluster, &job).await;
    assert_eq!(end.cause, EndCause::Exited(7));
    let stdout = read_to_string(asked.directory.join("stdout")).unwrap();
    let working_directory = directory.canonicalize().unwrap();
    let expected = format!("{by} b c {} {}\n", name(1), working_directory.display());
    assert_eq!(stdout, expected);
    let stderr = read_to_string(asked.directory.join("stderr")).unwrap();
    assert_eq!(stderr, "error\n");
}

#[tokio::test]
async fn a_working_directory_that_is_gone_is_named() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm(directory);
    warm_up(&cluster, directory, 0).await;
    let mut asked = submission(directory, 1, "exit 0");
    asked.working_directory = directory.join("gone");
    let job = submit(&cluster, asked).await;
    let end = end_of(&cluster, &job).await;
    assert_eq!(end.cause, EndCause::NotStarted);
    assert!(end.text.contains("gone"), "{}", end.text);
}

#[tokio::test]
async fn a_killed_server_costs_neither_this_attempt_nor_the_next() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm(directory);
    warm_up(&cluster, directory, 0).await;
    let job = submit(&cluster, waiting(directory, 1)).await;
    let pid = started(directory);
    assert_eq!(parent_of(pid), server(directory), "it is a copy");
    kill(server(directory).unwrap());
    until("the server is gone", || server(directory).is_none());
    // The next one begins, with or without a copy, while the other runs.
    let next = submit(
        &cluster,
        submission(directory, 2, "echo x >> \"$1/next\"; exit 5"),
    )
    .await;
    assert_eq!(end_of(&cluster, &next).await.cause, EndCause::Exited(5));
    assert_eq!(lines(&directory.join("next")), 1);
    let state = state_of(&cluster, &job).await;
    assert!(matches!(state, ClusterState::Running { .. }), "{state:?}");
    is_over_once(&cluster, directory, &job).await;
}

#[tokio::test]
async fn a_copy_killed_as_it_stands_by_costs_its_attempt_nothing() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm(directory);
    for round in 0..10 {
        warm_up(&cluster, directory, round * 2).await;
        let mark = directory.join(format!("mark-{round}"));
        let script = format!("echo x >> {}; exit 4", mark.display());
        let next = submission(directory, round * 2 + 1, &script);
        let killed = standbys(directory);
        killed.iter().for_each(|pid| kill(*pid));
        // One that has only been sent the signal may still get an order, and dies as if that did it.
        until("they are dead", || killed.iter().all(|pid| is_gone(*pid)));
        let job = submit(&cluster, next).await;
        assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(4));
        assert_eq!(lines(&mark), 1);
    }
}

#[tokio::test]
async fn one_that_is_done_gives_its_processor_to_the_next_once() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm_with(directory, 1);
    warm_up(&cluster, directory, 0).await;
    let waits = |attempt, go: &str| {
        let script = format!("while [ -d \"$1\" ] && [ ! -e \"$1/{go}\" ]; do sleep 0.02; done");
        submission(directory, attempt, &script)
    };
    let mut done = waits(1, "end-1");
    done.environment.insert("DONE".into(), "1".into());
    let jobs = [done, waits(2, "end-2"), waits(3, "end-3")];
    let [first, second, third] = [0, 1, 2].map(|place: usize| jobs[place].clone());
    let first = submit(&cluster, first).await;
    let second = submit(&cluster, second).await;
    let third = submit(&cluster, third).await;
    let end = |number: u32| std::fs::write(directory.join(format!("end-{number}")), "").unwrap();
    runs(&cluster, &second).await;
    let state = state_of(&cluster, &first).await;
    assert!(matches!(state, ClusterState::Running { .. }), "{state:?}");
    // The end of the first gives nothing back: the second has it.
    end(1);
    end_of(&cluster, &first).await;
    let state = state_of(&cluster, &third).await;
    assert!(matches!(state, ClusterState::Queued { .. }), "{state:?}");
    end(2);
    runs(&cluster, &third).await;
    end(3);
    end_of(&cluster, &third).await;
}

#[tokio::test]
async fn a_killed_copy_is_an_attempt_that_a_signal_killed() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm(directory);
    warm_up(&cluster, directory, 0).await;
    let job = submit(&cluster, waiting(directory, 1)).await;
    kill(started(directory));
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Signaled(9));
}

#[tokio::test]
async fn processes_that_a_copy_leaves_behind_are_ended() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm(directory);
    warm_up(&cluster, directory, 0).await;
    let script = "sleep 1000 & echo $! > \"$1/in-group\"
        setsid sleep 1000 & echo $! > \"$1/in-session\"; kill -KILL $$";
    let job = submit(&cluster, submission(directory, 1, script)).await;
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Signaled(9));
    for left in ["in-group", "in-session"] {
        let pid = read_to_string(directory.join(left)).unwrap();
        assert!(is_gone(pid.trim().parse().unwrap()), "{left} lives");
    }
}

#[tokio::test]
async fn a_copy_outlives_its_owner_and_is_found_by_the_next() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm(directory);
    warm_up(&cluster, directory, 0).await;
    let job = submit(&cluster, waiting(directory, 1)).await;
    let pid = started(directory);
    let (by, idle) = (server(directory).unwrap(), standbys(directory));
    assert_eq!(parent_of(pid), Some(by), "it is a copy");
    drop(cluster);
    until("the server ends", || is_gone(by));
    until("nobody stands by", || idle.iter().all(|pid| is_gone(*pid)));
    let cluster = open(directory);
    let state = state_of(&cluster, &job).await;
    assert!(matches!(state, ClusterState::Running { .. }), "{state:?}");
    is_over_once(&cluster, directory, &job).await;
}

#[tokio::test]
async fn when_nothing_is_started_for_a_while_the_server_goes() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm(directory);
    warm_up(&cluster, directory, 0).await;
    let job = submit(&cluster, waiting(directory, 1)).await;
    let pid = started(directory);
    until("nobody stands by", || standbys(directory).is_empty());
    assert_eq!(
        parent_of(pid),
        server(directory),
        "its attempt has a parent"
    );
    is_over_once(&cluster, directory, &job).await;
    until("the server ends", || server(directory).is_none());
    let again = submission(directory, 2, "exit 3");
    let job = submit(&cluster, again).await;
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(3));
}

#[tokio::test]
async fn many_attempts_at_once_each_run_once() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm(directory);
    let script = "echo x >> \"$1/mark-$N\"; exit 6";
    let numbered = |attempt: u32| {
        let mut asked = submission(directory, attempt, script);
        asked.environment.insert("N".into(), attempt.to_string());
        asked
    };
    let batch: Vec<_> = (0..200).map(numbered).collect();
    for job in cluster.submit(&batch).await {
        let end = end_of(&cluster, &job.unwrap()).await;
        assert_eq!(end.cause, EndCause::Exited(6));
    }
    for attempt in 0..200 {
        assert_eq!(lines(&directory.join(format!("mark-{attempt}"))), 1);
    }
}

/// An attempt after which its copy stands by again.
fn resident(directory: &Path, attempt: u32, script: &str) -> Submission {
    let mut asked = submission(directory, attempt, script);
    asked.environment.insert("RESIDENT".into(), "1".into());
    asked
}

#[tokio::test]
async fn a_copy_serves_one_attempt_after_another() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm_with(directory, 1);
    for attempt in 0..20 {
        let script = "echo $PPID >> \"$1/by\"; exit 7";
        let job = submit(&cluster, resident(directory, attempt, script)).await;
        assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(7));
    }
    let text = read_to_string(directory.join("by")).unwrap();
    let copies: BTreeSet<&str> = text.lines().collect();
    // One at a time, and the one that was last used is used first.
    assert_eq!((text.lines().count(), copies.len()), (20, 1), "{text}");
}

#[tokio::test]
async fn a_copy_killed_between_two_attempts_costs_nothing() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm_with(directory, 1);
    for round in 0..10 {
        let script = "echo x >> \"$1/mark\"; echo $PPID > \"$1/by\"; exit 7";
        let job = submit(&cluster, resident(directory, round, script)).await;
        assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(7));
        let by = read_to_string(directory.join("by")).unwrap();
        let by = by.trim().parse().unwrap();
        kill(by);
        until("it is dead", || is_gone(by));
    }
    assert_eq!(lines(&directory.join("mark")), 10);
}

#[tokio::test]
async fn a_copy_killed_in_its_second_attempt_is_that_ones_end() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm_with(directory, 1);
    let first = submit(&cluster, resident(directory, 1, "exit 7")).await;
    assert_eq!(end_of(&cluster, &first).await.cause, EndCause::Exited(7));
    let script = "echo $PPID > \"$1/by.new\"; mv \"$1/by.new\" \"$1/by\"; sleep 1000";
    let second = submit(&cluster, resident(directory, 2, script)).await;
    until("it runs", || directory.join("by").exists());
    let by = read_to_string(directory.join("by")).unwrap();
    kill(by.trim().parse().unwrap());
    assert_eq!(end_of(&cluster, &second).await.cause, EndCause::Signaled(9));
    let ended = state_of(&cluster, &first).await;
    assert!(matches!(ended, ClusterState::Ended(end) if end.cause == EndCause::Exited(7)));
}

#[tokio::test]
async fn a_killed_server_leaves_an_attempt_its_exit_code() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm_with(directory, 1);
    let script = format!("echo $PPID > \"$1/pid\"\n{WAITS}\nexit 7");
    let job = submit(&cluster, resident(directory, 1, &script)).await;
    let copy = started(directory);
    kill(server(directory).unwrap());
    until("the server is gone", || server(directory).is_none());
    go(directory);
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(7));
    // Nobody would report its end, so it does not stand by for another.
    until("it is gone", || is_gone(copy));
}

#[tokio::test]
async fn an_attempt_of_a_resident_outlives_the_owner() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_warm_with(directory, 1);
    let first = submit(&cluster, resident(directory, 1, "exit 7")).await;
    end_of(&cluster, &first).await;
    let script = format!("echo $PPID > \"$1/pid\"\n{WAITS}");
    let second = submit(&cluster, resident(directory, 2, &script)).await;
    let copy = started(directory);
    drop(cluster);
    let cluster = open(directory);
    // Both were attempts of this process; only the second still is.
    let ended = state_of(&cluster, &first).await;
    assert!(matches!(ended, ClusterState::Ended(end) if end.cause == EndCause::Exited(7)));
    let state = state_of(&cluster, &second).await;
    assert!(matches!(state, ClusterState::Running { .. }), "{state:?}");
    is_over_once(&cluster, directory, &second).await;
    until("it ends with its owner", || is_gone(copy));
}
