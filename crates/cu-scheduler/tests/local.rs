//! Promises of the local backend only, about living jobs: the queue, the environment, whole process
//! groups.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, SystemTime};

use common::{WAITS, end_of, lines, name, open, state, state_of, submission, submit, until};
use cu_scheduler::local::{Local, LocalOptions};
use cu_scheduler::{Cancel, ClusterState, EndCause, Error, Scheduler, SubmitError};
use tempfile::TempDir;

#[tokio::test]
async fn an_attempt_knows_its_submission_and_its_deadline() {
    let directory = TempDir::new().unwrap();
    let cluster = open(directory.path());
    let mut asked = submission(
        directory.path(),
        3,
        r#"echo "$CU_SUBMISSION $CU_KILL_WAIT $CU_DEADLINE""#,
    );
    let limit = Duration::from_secs(1000);
    asked.resources.time_limit = Some(limit);
    let unix = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    let earliest = unix(SystemTime::now() + limit);
    let job = submit(&cluster, asked).await;
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(0));
    let latest = unix(SystemTime::now() + limit);
    let said = std::fs::read_to_string(directory.path().join("attempt-3/stdout")).unwrap();
    let said: Vec<_> = said.split_whitespace().collect();
    let [name, kill_wait, deadline] = said[..] else {
        panic!("{said:?}");
    };
    assert_eq!((name, kill_wait), ("local/1/3", "0.2"));
    assert!((earliest..=latest).contains(&deadline.parse().unwrap()));
}

#[tokio::test]
async fn a_time_limit_that_no_clock_reaches_is_ignored() {
    let directory = TempDir::new().unwrap();
    let mut options = LocalOptions::new(state(directory.path()));
    options.grace = Duration::MAX;
    let cluster = Local::open(options).unwrap();
    let script = format!(r#"echo "<$CU_DEADLINE>"; {WAITS}"#);
    let mut asked = submission(directory.path(), 0, &script);
    asked.resources.time_limit = Some(Duration::MAX);
    let job = submit(&cluster, asked).await;
    until("it runs", || lines(&directory.path().join("started")) == 1);
    let said = std::fs::read_to_string(directory.path().join("attempt-0/stdout")).unwrap();
    assert_eq!(said, "<>\n");
    let job = std::slice::from_ref(&job);
    cluster.cancel(job, Cancel::Terminate).await.unwrap();
    let end = end_of(&cluster, &job[0]).await;
    assert_eq!(end.cause, EndCause::Cancelled);
}

#[tokio::test]
async fn a_second_attempt_in_the_same_directory_appends_its_output() {
    let directory = TempDir::new().unwrap();
    let cluster = open(directory.path());
    for attempt in 0..2 {
        let mut asked = submission(directory.path(), attempt, "echo line");
        asked.directory = directory.path().to_path_buf();
        let job = submit(&cluster, asked).await;
        end_of(&cluster, &job).await;
    }
    assert_eq!(lines(&directory.path().join("stdout")), 2);
}

#[tokio::test]
async fn too_many_processors_are_rejected_with_both_numbers() {
    let directory = TempDir::new().unwrap();
    let cluster = open(directory.path());
    let mut asked = submission(directory.path(), 0, "true");
    asked.resources.cpus = 65;
    match cluster.submit(&[asked]).await.remove(0) {
        Err(SubmitError::Rejected { reason, .. }) => {
            assert!(reason.contains("65") && reason.contains("64"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.find(&[name(0)]).await.unwrap(), []);
}

#[tokio::test]
async fn a_name_is_accepted_only_once() {
    let directory = TempDir::new().unwrap();
    let cluster = open(directory.path());
    let asked = submission(directory.path(), 0, "echo x >> started");
    let mut answers = cluster.submit(&[asked.clone(), asked.clone()]).await;
    answers.extend(cluster.submit(&[asked]).await);
    let job = answers.remove(0).unwrap();
    for answer in answers {
        assert!(
            matches!(answer, Err(SubmitError::Uncertain { .. })),
            "{answer:?}"
        );
    }
    let found = cluster.find(&[name(0)]).await.unwrap();
    assert_eq!(found[0].observation.job, job);
    end_of(&cluster, &job).await;
    assert_eq!(lines(&directory.path().join("started")), 1);
}

#[tokio::test]
async fn a_large_job_is_not_overtaken() {
    let directory = TempDir::new().unwrap();
    let cluster = open(directory.path());
    let first = submit(&cluster, submission(directory.path(), 1, WAITS)).await;
    let mut large = submission(directory.path(), 2, "true");
    large.resources.cpus = 64;
    let large = submit(&cluster, large).await;
    let small = submit(&cluster, submission(directory.path(), 3, "true")).await;
    until("the first runs", || {
        lines(&directory.path().join("started")) == 1
    });
    for waiting in [&large, &small] {
        let state = state_of(&cluster, waiting).await;
        assert!(matches!(state, ClusterState::Queued { .. }), "{state:?}");
    }
    std::fs::write(directory.path().join("go"), "").unwrap();
    for job in [&first, &large, &small] {
        assert_eq!(end_of(&cluster, job).await.cause, EndCause::Exited(0));
    }
}

/// A killed supervisor can't end the process group that it made, so the backend does it.
#[tokio::test]
async fn a_child_in_a_session_of_its_own_dies_with_a_killed_leader() {
    let directory = TempDir::new().unwrap();
    let cluster = open(directory.path());
    let script = r#"setsid /bin/sh -c 'echo $$ > "$1/child.part"; mv "$1/child.part" "$1/child"
        while [ -d "$1" ]; do sleep 0.1; done' sh "$1" &
        wait"#;
    let job = submit(&cluster, submission(directory.path(), 0, script)).await;
    let child = directory.path().join("child");
    until("the child runs", || child.exists());
    let pid = std::fs::read_to_string(&child).unwrap();
    let alive = || {
        // A zombie that waits for a slow reaper counts as dead.
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
            .is_ok_and(|stat| !stat.contains(") Z "))
    };
    assert!(alive());
    cluster
        .cancel(std::slice::from_ref(&job), Cancel::Kill)
        .await
        .unwrap();
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Cancelled);
    assert!(!alive(), "the attempt ended while a process of it lived");
}

/// An attempt that ends by itself leaves no process of its group either.
#[tokio::test]
async fn an_end_by_itself_ends_the_whole_group() {
    let directory = TempDir::new().unwrap();
    let cluster = open(directory.path());
    let script = r#"(trap '' TERM HUP; while [ -d "$1" ]; do sleep 0.1; done) & echo $! > child"#;
    let job = submit(&cluster, submission(directory.path(), 0, script)).await;
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(0));
    let pid = std::fs::read_to_string(directory.path().join("child")).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    assert!(stat.is_err() || stat.unwrap().contains(") Z "));
}

#[tokio::test]
async fn a_state_directory_in_use_is_an_error_that_names_the_process() {
    let directory = TempDir::new().unwrap();
    let first = open(directory.path());
    match Local::open(LocalOptions::new(state(directory.path()))) {
        Err(error @ Error::InUse { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&std::process::id().to_string()), "{text}");
        }
        other => panic!("{other:?}"),
    }
    drop(first);
    open(directory.path());
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_made_is_named() {
    let directory = TempDir::new().unwrap();
    std::fs::write(state(directory.path()), "a file, not a directory").unwrap();
    let error = Local::open(LocalOptions::new(state(directory.path()))).unwrap_err();
    assert!(matches!(error, Error::State { .. }), "{error:?}");
    assert!(error.to_string().contains("state"), "{error}");
}
