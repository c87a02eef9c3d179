//! A second witness: HTCondor's own reader of event logs, of a newer version, makes of them what
//! ours does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cu_scheduler::htcondor::{Resume, read_events};
use cu_scheduler::{EndCause, SubmissionName};
use serde_json::Value;

use crate::htcondor::{
    POOL, STARTED, ask, attempt, end, files, on_the_pool, submit, until_exists, until_held,
};

/// Up to this length a log is cut at every byte.
const SMALL: usize = 600;
/// A longer one at every so many, beside its critical ones. No divisor of anything.
const STRIDE: usize = 61;

/// What `log` is cut to: all of it, and where cuts may matter.
fn lengths(log: &[u8]) -> Vec<usize> {
    let ends = (0..log.len()).filter(|at| log[*at..].starts_with(b"\n...\n"));
    let critical: Vec<usize> = ends.flat_map(|end| end..end + 10).collect();
    let is_chosen = |length: &usize| {
        log.len() <= SMALL || length.is_multiple_of(STRIDE) || critical.contains(length)
    };
    let cut = (1..log.len()).filter(is_chosen);
    cut.chain([log.len()]).collect()
}

/// What HTCondor's reader makes of each of these logs, by its length.
fn read_by_htcondor(logs: &[PathBuf]) -> BTreeMap<(PathBuf, usize), Vec<Value>> {
    let work = POOL.work_directory();
    let task = |log: &PathBuf| {
        let content = std::fs::read(log).expect("it is there");
        format!("{}\n", serde_json::json!([log, lengths(&content)]))
    };
    let tasks: String = logs.iter().map(task).collect();
    let program = include_str!("htcondor/read_logs.py");
    let said = POOL.newer_python(work.path(), program, tasks.as_bytes());
    let line = |line: &str| {
        let mut told: Value = serde_json::from_str(line).expect("JSON");
        let path = PathBuf::from(told["log"].as_str().expect("a path"));
        let length = told["length"].as_u64().expect("a length");
        let Value::Array(events) = told["events"].take() else {
            panic!("no events in {line}");
        };
        let length = usize::try_from(length).expect("it is ours");
        ((path, length), events.into_iter().map(named).collect())
    };
    said.lines().map(line).collect()
}

/// A note is a name if it reads like one.
fn named(mut event: Value) -> Value {
    let name = event["name"].as_str().map(str::parse::<SubmissionName>);
    if matches!(name, Some(Err(_)))
        && let Some(event) = event.as_object_mut()
    {
        event.remove("name");
    }
    event
}

/// What both make of the logs is the same, wherever they are cut; how many times each event was seen
/// in a whole one is returned.
fn compare(logs: &[PathBuf]) -> BTreeMap<u64, usize> {
    let theirs = read_by_htcondor(logs);
    let mut seen = BTreeMap::new();
    for log in logs {
        let content = std::fs::read(log).expect("it is there");
        let at = |length: usize| &theirs[&(log.clone(), length)];
        for length in lengths(&content) {
            let place = format!("{} cut to {length} bytes", log.display());
            let part = &content[..length];
            let ours = read_events([part]);
            let theirs = at(length);
            // An event ends with a line, which HTCondor takes at times before its line break.
            let early = usize::from(part.ends_with(b"\n..."));
            let complete = ours.len()..=ours.len() + early;
            assert!(
                complete.contains(&theirs.len()),
                "{place}: {ours:?}, {theirs:?}"
            );
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert_same(ours, theirs, &place);
            }
            // What follows a cut is read all the same.
            assert_eq!(
                read_events([part, &content[length..]]),
                read_events([&*content]),
                "{place}"
            );
        }
        for event in at(content.len()) {
            *seen
                .entry(event["type"].as_u64().expect("a number"))
                .or_default() += 1;
        }
    }
    seen
}

fn assert_same(ours: &Value, theirs: &Value, place: &str) {
    let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
    // The job's own end and the event: one may be a second later.
    let at = |event: &mut Value| event.as_object_mut()?.remove("at")?.as_i64();
    if let (Some(ours), Some(theirs)) = (at(&mut ours), at(&mut theirs)) {
        assert!((ours - theirs).abs() <= 2, "{place}: at {ours}, {theirs}");
    }
    assert_eq!(ours, theirs, "{place}");
}

/// All logs that were recorded, which hold every event that is made use of.
#[test]
fn recorded_logs_are_read_alike_wherever_they_are_cut() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../crates/cu-scheduler/tests/recorded/htcondor");
    let work = POOL.work_directory();
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(directory).expect("it is there") {
        let from = entry.expect("it can be read").path();
        if from.extension().is_some_and(|it| it == "log") {
            // Where the pool's root sees it.
            let log = work.path().join(from.file_name().expect("a name"));
            std::fs::copy(&from, &log).expect("/tmp can be written");
            logs.push(log);
        }
    }
    let seen = compare(&logs);
    for number in [0, 1, 4, 5, 6, 9, 10, 11, 12, 13, 21, 22, 23, 24, 28, 40] {
        assert!(seen.contains_key(&number), "no event {number} in {seen:?}");
    }
}

/// And what the pool writes for the backend just now: an end, a resume, an eviction, a hold and a
/// removal.
#[test]
fn a_log_of_the_pool_is_read_alike() {
    on_the_pool(Resume::Requeue, async |bed, pool| {
        let done = submit(&pool, &attempt(bed.directory(), 0, "exit 3")).await;
        assert_eq!(end(&pool, &done).await.cause, EndCause::Exited(3));
        let killed = submit(&pool, &attempt(bed.directory(), 1, "kill -9 $$")).await;
        assert_eq!(end(&pool, &killed).await.cause, EndCause::Signaled(9));
        let evicted = submit(&pool, &attempt(bed.directory(), 2, STARTED)).await;
        until_exists(&files(bed.directory()).started);
        ask("condor_vacate_job", &[&evicted.0]);
        assert_eq!(end(&pool, &evicted).await.cause, EndCause::Preempted);
        let mut waits = attempt(bed.directory(), 3, STARTED);
        waits.resources.cpus = 4;
        let held = submit(&pool, &waits).await;
        ask("condor_hold", &["-reason", "let us see", &held.0]);
        until_held(&pool, &held).await;
        ask("condor_rm", &[&held.0]);
        assert_eq!(end(&pool, &held).await.cause, EndCause::Cancelled);
        let log = bed.directory().join("events.log");
        std::fs::copy(bed.directory().join("state/events.log"), &log).expect("it is there");
        let seen = compare(&[log]);
        for number in [0, 1, 4, 5, 9, 12] {
            assert!(seen.contains_key(&number), "no event {number} in {seen:?}");
        }
    });
}
