//! Reopens state directories with forged journals: recycled pids, lost records, other boots.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command};

use common::{WAITS, end_of, lines, name, open, state, state_of, submission, submit, until};
use cu_scheduler::local::{Local, LocalOptions};
use cu_scheduler::{Cancel, ClusterJobId, ClusterState, EndCause, Error, Scheduler};
use serde_json::Value;
use tempfile::TempDir;

/// Changes the journal line by line, and drops the lines for which `change` returns `false`.
fn forge(directory: &Path, mut change: impl FnMut(&mut Value) -> bool) {
    let path = state(directory).join("journal");
    let mut lines: Vec<Value> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.retain_mut(|line| change(line));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text).unwrap();
}

/// A directory with one running attempt, which ends when `go` appears. No process holds the
/// backend.
async fn abandoned() -> (TempDir, ClusterJobId) {
    let directory = TempDir::new().unwrap();
    let cluster = open(directory.path());
    let job = submit(&cluster, submission(directory.path(), 0, WAITS)).await;
    until("it runs", || lines(&directory.path().join("started")) == 1);
    (directory, job)
}

fn let_go(directory: &TempDir) {
    std::fs::write(directory.path().join("go"), "").unwrap();
}

/// A process that is not ours. It ends with the test, also if the test fails.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A stranger and its start time.
fn stranger() -> (Stranger, u64) {
    let child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    let start = fields.split_ascii_whitespace().nth(19).unwrap();
    (Stranger(child), start.parse().unwrap())
}

#[tokio::test]
async fn a_recycled_pid_is_not_the_attempt_and_is_left_alone() {
    let (directory, job) = abandoned().await;
    let_go(&directory);
    let (mut stranger, start) = stranger();
    forge(directory.path(), |line| {
        if let Some(running) = line.get_mut("running") {
            running["pid"] = stranger.0.id().into();
            running["start_ticks"] = (start + 1).into();
        }
        true
    });
    let cluster = open(directory.path());
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Unknown);
    cluster.cancel(&[job], Cancel::Kill).await.unwrap();
    drop(cluster);
    assert!(
        stranger.0.try_wait().unwrap().is_none(),
        "a stranger was killed"
    );
}

#[tokio::test]
async fn pid_and_start_time_together_are_the_attempt() {
    let (directory, job) = abandoned().await;
    let_go(&directory);
    let (stranger, start) = stranger();
    forge(directory.path(), |line| {
        if let Some(running) = line.get_mut("running") {
            running["pid"] = stranger.0.id().into();
            running["start_ticks"] = start.into();
        }
        true
    });
    let cluster = open(directory.path());
    let state = state_of(&cluster, &job).await;
    assert!(matches!(state, ClusterState::Running { .. }), "{state:?}");
    cluster
        .cancel(std::slice::from_ref(&job), Cancel::Kill)
        .await
        .unwrap();
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Cancelled);
}

#[tokio::test]
async fn a_start_without_a_record_is_found_by_its_mark() {
    let (directory, job) = abandoned().await;
    forge(directory.path(), |line| line.get("running").is_none());
    let cluster = open(directory.path());
    let state = state_of(&cluster, &job).await;
    assert!(matches!(state, ClusterState::Running { .. }), "{state:?}");
    let found = cluster.find(&[name(0)]).await.unwrap();
    assert_eq!(found[0].observation.job, job);
    let_go(&directory);
    end_of(&cluster, &job).await;
    assert_eq!(lines(&directory.path().join("started")), 1, "started once");
}

#[tokio::test]
async fn a_start_that_may_have_been_is_not_repeated() {
    let (directory, job) = abandoned().await;
    let_go(&directory);
    // It ended before its record was written.
    end_of(&open(directory.path()), &job).await;
    forge(directory.path(), |line| {
        line.get("running").is_none() && line.get("ended").is_none()
    });
    let cluster = open(directory.path());
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Unknown);
    assert_eq!(lines(&directory.path().join("started")), 1, "started once");
}

#[tokio::test]
async fn a_restart_of_the_machine_ends_all_and_reuses_no_id() {
    let (directory, job) = abandoned().await;
    let_go(&directory);
    forge(directory.path(), |line| {
        if let Some(header) = line.get_mut("header") {
            header["boot"] = "another".into();
        }
        // The last lines had not reached the disk.
        line.get("running").is_none() && line.get("starting").is_none()
    });
    let cluster = open(directory.path());
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Unknown);
    let next = submit(&cluster, submission(directory.path(), 1, "true")).await;
    let number = |job: &ClusterJobId| {
        let number = job.0.rsplit('-').next().unwrap();
        number.parse::<u64>().unwrap()
    };
    assert!(
        number(&next) > number(&job) + 1,
        "{next} may have been used before"
    );
}

#[tokio::test]
async fn attempts_of_another_machine_are_not_declared_dead() {
    let (directory, _) = abandoned().await;
    let_go(&directory);
    forge(directory.path(), |line| {
        if let Some(header) = line.get_mut("header") {
            header["boot"] = "another".into();
            header["host"] = "login9".into();
        }
        true
    });
    match Local::open(LocalOptions::new(state(directory.path()))) {
        Err(Error::Refused { reason, .. }) => assert!(reason.contains("login9"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_later_format_is_refused_not_misread() {
    let (directory, _) = abandoned().await;
    let_go(&directory);
    forge(directory.path(), |line| {
        if let Some(header) = line.get_mut("header") {
            header["version"] = 99.into();
        }
        true
    });
    let error = Local::open(LocalOptions::new(state(directory.path()))).unwrap_err();
    assert!(error.to_string().contains("99"), "{error}");
}

#[tokio::test]
async fn a_last_line_that_was_cut_off_is_ignored() {
    let (directory, job) = abandoned().await;
    let path = state(directory.path()).join("journal");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(r#"{"queued":{"number":2,"na"#);
    std::fs::write(&path, text).unwrap();
    let cluster = open(directory.path());
    let state = state_of(&cluster, &job).await;
    assert!(matches!(state, ClusterState::Running { .. }), "{state:?}");
    let_go(&directory);
    end_of(&cluster, &job).await;
}

#[tokio::test]
async fn a_limit_that_passed_while_nobody_watched_ends_it_at_once() {
    let directory = TempDir::new().unwrap();
    let cluster = open(directory.path());
    let mut asked = submission(directory.path(), 0, WAITS);
    asked.resources.time_limit = Some(std::time::Duration::from_secs(3600));
    let job = submit(&cluster, asked).await;
    until("it runs", || lines(&directory.path().join("started")) == 1);
    drop(cluster);
    forge(directory.path(), |line| {
        if let Some(starting) = line.get_mut("starting") {
            let at = starting["at_unix_ms"].as_u64().unwrap();
            starting["at_unix_ms"] = (at - 7_200_000).into();
        }
        true
    });
    let cluster = open(directory.path());
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::TimeLimit);
}

#[tokio::test]
async fn an_accepted_cancel_is_carried_out_after_a_crash() {
    let (directory, job) = abandoned().await;
    let path = state(directory.path()).join("journal");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"ending\":{\"number\":1,\"cause\":\"cancelled\"}}\n");
    std::fs::write(&path, text).unwrap();
    let cluster = open(directory.path());
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Cancelled);
}

/// Forges a journal of version 1, whose ids have no opening.
fn as_version_1(line: &mut Value) {
    if let Some(header) = line.get_mut("header") {
        header["version"] = 1.into();
    }
    for kind in ["queued", "ended"] {
        if let Some(job) = line.get_mut(kind) {
            job.as_object_mut().unwrap().remove("id");
        }
    }
}

#[tokio::test]
async fn a_journal_of_version_1_keeps_its_ids() {
    let (directory, job) = abandoned().await;
    forge(directory.path(), |line| {
        as_version_1(line);
        true
    });
    let old = ClusterJobId("local-1".into());
    for _ in 0..2 {
        let cluster = open(directory.path());
        assert_eq!(state_of(&cluster, &job).await, ClusterState::Gone);
        let observed = cluster.observe(std::slice::from_ref(&old)).await.unwrap();
        assert!(
            matches!(observed[0].state, ClusterState::Running { .. }),
            "{observed:?}"
        );
        assert_eq!(observed[0].name, Some(name(0)));
    }
    let cluster = open(directory.path());
    let next = submit(&cluster, submission(directory.path(), 1, "true")).await;
    assert!(next.0.ends_with("-2") && next.0 != "local-2", "{next}");
    let_go(&directory);
    end_of(&cluster, &old).await;
    drop(cluster);
    let cluster = open(directory.path());
    assert_eq!(end_of(&cluster, &old).await.cause, EndCause::Exited(0));
}

#[tokio::test]
async fn no_id_is_used_twice_though_the_journal_was_lost() {
    let damages: [fn(&Path); 4] = [
        |journal| std::fs::remove_file(journal).unwrap(),
        |journal| std::fs::write(journal, "").unwrap(),
        // Cuts off all but the header, then all but the reservation.
        |journal| cut(journal, 1),
        |journal| cut(journal, 2),
    ];
    let directory = TempDir::new().unwrap();
    let mut given = BTreeSet::new();
    for (damage, attempt) in damages.into_iter().zip(0..) {
        let cluster = open(directory.path());
        let job = submit(&cluster, submission(directory.path(), attempt, "exit 0")).await;
        end_of(&cluster, &job).await;
        drop(cluster);
        damage(&state(directory.path()).join("journal"));
        let cluster = open(directory.path());
        assert_eq!(state_of(&cluster, &job).await, ClusterState::Gone);
        let next = submit(&cluster, submission(directory.path(), attempt + 10, "true")).await;
        assert_eq!(state_of(&cluster, &job).await, ClusterState::Gone);
        assert!(given.insert(job) && given.insert(next));
    }
}

/// Truncates a journal to its first lines.
fn cut(journal: &Path, lines: usize) {
    let text = std::fs::read_to_string(journal).unwrap();
    let kept: Vec<_> = text.split_inclusive('\n').take(lines).collect();
    std::fs::write(journal, kept.concat()).unwrap();
}
