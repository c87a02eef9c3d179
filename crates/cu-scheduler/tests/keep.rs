//! Submissions that share allocations: how many there are, when they leave, and what becomes of an attempt whose
//! allocation is killed, warned, refused or never begins.
#![cfg(all(feature = "local", feature = "keep"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{PATIENCE, WAITS, kill, lines, submission, until};
use cu_scheduler::keep::{Keeping, Kept};
use cu_scheduler::local::{Local, LocalOptions};
use cu_scheduler::{
    Cancel, ClusterEnd, ClusterJobId, ClusterState, EndCause, Scheduler, Submission, SubmitError,
};
use tempfile::TempDir;

const SLOTS: u32 = 2;
const LONG: Duration = Duration::from_secs(3600);

fn keep(directory: &Path) -> PathBuf {
    directory.join("keep")
}

fn host() -> Vec<String> {
    vec![env!("CARGO_BIN_EXE_cu-scheduler-keep-host").to_owned()]
}

/// Allocations of this machine with two slots.
fn open_with(directory: &Path, keep_for: Option<Duration>, host: Vec<String>) -> Kept {
    let mut options = LocalOptions::new(common::state(directory));
    options.cpus = Some(SLOTS);
    options.grace = Duration::from_millis(200);
    let local = Local::open(options).unwrap();
    let directory = keep(directory);
    let keeping = Keeping {
        directory,
        keep: keep_for,
        host,
    };
    Kept::new(Arc::new(local), keeping).unwrap()
}

fn open(directory: &Path) -> Kept {
    open_with(directory, Some(LONG), host())
}

async fn submit(cluster: &Kept, submission: Submission) -> ClusterJobId {
    cluster.submit(&[submission]).await.remove(0).unwrap()
}

async fn end_of(cluster: &Kept, job: &ClusterJobId) -> ClusterEnd {
    let end = async {
        loop {
            let observed = cluster.observe(std::slice::from_ref(job)).await.unwrap();
            match &observed[0].state {
                ClusterState::Ended(end) => return end.clone(),
                ClusterState::Gone => panic!("{job} is gone"),
                _ => cluster.changed().await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.expect("it ends")
}

/// The number of allocations that were ever submitted.
fn allocations(directory: &Path) -> usize {
    let listed = std::fs::read_dir(keep(directory).join("allocations")).unwrap();
    listed.count()
}

/// The allocations that have this state, `wanted` or `begun`.
fn in_state(directory: &Path, state: &str) -> usize {
    let classes = std::fs::read_dir(keep(directory)).unwrap();
    let names = classes.map(|it| it.unwrap().path().join(state));
    let listed = names.filter_map(|it| std::fs::read_dir(it).ok());
    listed.map(Iterator::count).sum()
}

fn go(directory: &Path) {
    std::fs::write(directory.join("go"), "").unwrap();
}

/// An attempt that writes down its process and that of its allocation, and waits.
fn waiting(directory: &Path, attempt: u32) -> Submission {
    let script = format!("echo $$ > \"$1/pid\"; echo $PPID > \"$1/host\"\n{WAITS}");
    submission(directory, attempt, &script)
}

fn number(directory: &Path, name: &str) -> u32 {
    let text = read_to_string(directory.join(name)).unwrap();
    text.trim().parse().unwrap()
}

fn send(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[tokio::test]
async fn many_attempts_cost_few_allocations() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open(directory);
    let script = "echo x >> \"$1/started\"; echo $CU_SUBMISSION $A $(pwd); echo error >&2; exit $2";
    let batch: Vec<_> = (0..100)
        .map(|attempt| {
            let mut asked = submission(directory, attempt, script);
            asked.command.push((attempt % 5).to_string());
            asked
                .environment
                .insert("A".into(), format!("a b {attempt}"));
            asked.working_directory = asked.directory.clone();
            asked
        })
        .collect();
    let jobs = cluster.submit(&batch).await;
    for (attempt, (job, asked)) in jobs.into_iter().zip(&batch).enumerate() {
        let end = end_of(&cluster, &job.unwrap()).await;
        assert_eq!(end.cause, EndCause::Exited(attempt as i32 % 5));
        let here = asked.directory.canonicalize().unwrap();
        let said = format!("{} a b {attempt} {}\n", asked.name, here.display());
        assert_eq!(
            read_to_string(asked.directory.join("stdout")).unwrap(),
            said
        );
        let said = read_to_string(asked.directory.join("stderr")).unwrap();
        assert_eq!(said, "error\n");
    }
    assert_eq!(lines(&directory.join("started")), 100);
    let submitted = allocations(directory);
    assert!(submitted < 20, "{submitted}");
    // What waited for its start in vain is withdrawn.
    cluster
        .observe(&[ClusterJobId("kept-local.1.0".into())])
        .await
        .unwrap();
    assert_eq!(in_state(directory, "wanted"), 0);
}

#[tokio::test]
async fn a_killed_allocation_ends_its_attempt_alone() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open(directory);
    let job = submit(&cluster, waiting(directory, 1)).await;
    until("it has started", || lines(&directory.join("started")) == 1);
    kill(number(directory, "host"));
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Signaled(9));
    let next = submission(directory, 2, "echo x >> \"$1/next\"; exit 5");
    let next = submit(&cluster, next).await;
    assert_eq!(end_of(&cluster, &next).await.cause, EndCause::Exited(5));
    assert_eq!(lines(&directory.join("started")), 1);
    assert_eq!(lines(&directory.join("next")), 1);
    go(directory);
}

#[tokio::test]
async fn killed_between_two_attempts_it_takes_none_along() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open(directory);
    for attempt in 0..4 {
        let script = "echo $PPID > \"$1/host\"; echo x >> \"$1/started\"; exit 4";
        let job = submit(&cluster, submission(directory, attempt, script)).await;
        assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(4));
        // At any moment of its search for the next one.
        std::thread::sleep(Duration::from_millis(u64::from(attempt) * 37));
        kill(number(directory, "host"));
    }
    assert_eq!(lines(&directory.join("started")), 4);
    assert_eq!(allocations(directory), 4);
}

#[tokio::test]
async fn a_warned_allocation_passes_it_on_and_takes_nothing_more() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open(directory);
    let script = "trap 'exit 3' USR1; echo $PPID > \"$1/host\"; echo x >> \"$1/started\"\n\
                  while [ -d \"$1\" ]; do sleep 0.02; done";
    let job = submit(&cluster, submission(directory, 1, script)).await;
    until("it has started", || lines(&directory.join("started")) == 1);
    let warned = number(directory, "host");
    send(warned, rustix::process::Signal::USR1);
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Exited(3));
    let script = "echo $PPID > \"$1/next\"";
    let next = submit(&cluster, submission(directory, 2, script)).await;
    end_of(&cluster, &next).await;
    assert_ne!(number(directory, "next"), warned);
}

#[tokio::test]
async fn an_allocation_that_never_begins_takes_the_oldest_along() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_with(directory, Some(LONG), vec!["/bin/false".to_owned()]);
    for attempt in 0..2 {
        let job = submit(&cluster, submission(directory, attempt, "exit 0")).await;
        let end = end_of(&cluster, &job).await;
        assert_eq!(end.cause, EndCause::Exited(1), "{end:?}");
    }
    assert_eq!(allocations(directory), 2, "one for each, and no more");
}

#[tokio::test]
async fn an_attempt_that_fits_no_allocation_is_refused() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open(directory);
    let mut asked = submission(directory, 1, "exit 0");
    asked.resources.cpus = SLOTS + 1;
    let refused = cluster.submit(&[asked.clone()]).await.remove(0);
    assert!(
        matches!(refused, Err(SubmitError::Rejected { .. })),
        "{refused:?}"
    );
    let found = cluster.find(&[asked.name]).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
    let fits = submit(&cluster, submission(directory, 2, "exit 0")).await;
    assert_eq!(end_of(&cluster, &fits).await.cause, EndCause::Exited(0));
}

#[tokio::test]
async fn an_allocation_leaves_when_its_time_is_over() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_with(directory, Some(Duration::from_millis(1500)), host());
    let script = "echo $PPID >> \"$1/hosts\"; sleep 1";
    let batch: Vec<_> = (0..8).map(|it| submission(directory, it, script)).collect();
    for job in cluster.submit(&batch).await {
        assert_eq!(
            end_of(&cluster, &job.unwrap()).await.cause,
            EndCause::Exited(0)
        );
    }
    let hosts = read_to_string(directory.join("hosts")).unwrap();
    let mut hosts: Vec<_> = hosts.lines().collect();
    assert_eq!(hosts.len(), 8);
    hosts.sort_unstable();
    for of_one in hosts.chunk_by(|one, other| one == other) {
        assert!(of_one.len() <= 2, "it took attempts for longer: {hosts:?}");
    }
}

#[tokio::test]
async fn each_attempt_has_all_of_its_own_time() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open_with(directory, Some(Duration::from_secs(2)), host());
    let script = "echo $PPID $CU_DEADLINE $(date +%s) >> \"$1/hosts\"; sleep 0.7";
    let batch: Vec<_> = (0..6)
        .map(|it| {
            let mut asked = submission(directory, it, script);
            asked.resources.time_limit = Some(Duration::from_secs(30));
            asked
        })
        .collect();
    for job in cluster.submit(&batch).await {
        assert_eq!(
            end_of(&cluster, &job.unwrap()).await.cause,
            EndCause::Exited(0)
        );
    }
    let hosts = read_to_string(directory.join("hosts")).unwrap();
    for line in hosts.lines() {
        let words: Vec<u64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
        let left = words[1] - words[2];
        assert!((28..=31).contains(&left), "it has its own time: {hosts}");
    }
}

#[tokio::test]
async fn one_is_cancelled_and_its_allocation_goes_on() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open(directory);
    let job = submit(&cluster, waiting(directory, 1)).await;
    until("it has started", || lines(&directory.join("started")) == 1);
    cluster
        .cancel(std::slice::from_ref(&job), Cancel::Terminate)
        .await
        .unwrap();
    assert_eq!(end_of(&cluster, &job).await.cause, EndCause::Cancelled);
    let next = submission(directory, 2, "echo $PPID > \"$1/next\"");
    let next = submit(&cluster, next).await;
    end_of(&cluster, &next).await;
    assert_eq!(number(directory, "next"), number(directory, "host"));
}

#[tokio::test]
async fn without_keep_shared_attempts_are_still_watched() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let before = open(directory);
    let job = submit(&before, waiting(directory, 1)).await;
    until("it has started", || lines(&directory.join("started")) == 1);
    drop(before);
    let after = open_with(directory, None, host());
    let observed = after.observe(std::slice::from_ref(&job)).await.unwrap();
    assert!(
        matches!(observed[0].state, ClusterState::Running { .. }),
        "{observed:?}"
    );
    let alone = submit(&after, submission(directory, 2, "exit 6")).await;
    assert!(alone.0.starts_with("local-"), "{alone}");
    assert_eq!(end_of(&after, &alone).await.cause, EndCause::Exited(6));
    go(directory);
    assert_eq!(end_of(&after, &job).await.cause, EndCause::Exited(0));
    assert_eq!(Keeping::allocation_of(&keep(directory), &alone), None);
    let allocation = Keeping::allocation_of(&keep(directory), &job).unwrap();
    assert!(allocation.0.starts_with("local-"), "{allocation}");
}

#[tokio::test]
async fn an_attempt_that_avoids_hosts_gets_an_allocation_of_its_own() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path();
    let cluster = open(directory);
    let first = submit(&cluster, submission(directory, 0, "true")).await;
    assert!(Keeping::is_shared(&first));
    end_of(&cluster, &first).await;
    // The allocation is still there, perhaps on the very host.
    let mut next = submission(directory, 1, "true");
    next.avoid_hosts = vec!["n1".into()];
    let name = next.name.clone();
    let next = submit(&cluster, next).await;
    assert!(!Keeping::is_shared(&next), "{next}");
    let end = end_of(&cluster, &next).await;
    assert_eq!(end.cause, EndCause::Exited(0));
    let found = cluster.find(&[name]).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
}
