//! What is made of logs and ads that HTCondor 23.9 wrote.

use std::time::{Duration, SystemTime};

use super::state::rules;
use crate::htcondor::ad::{self, Ad};
use crate::htcondor::event::Id;
use crate::htcondor::event_log::Decoder;
use crate::htcondor::state::{Verdict, Word, judge};
use crate::htcondor::table::Table;
use crate::htcondor::ticket::Tickets;
use crate::{ClusterState, EndCause, SubmissionName};

/// All logs, each with what the first job in it is told to be, and how often it was started.
pub const LOGS: [(&str, &str, u32); 20] = [
    (recorded!("exit-3.log"), "exited 3", 1),
    (recorded!("signal.log"), "killed by 11", 1),
    (recorded!("removed-running.log"), "cancelled", 1),
    (recorded!("removed-idle.log"), "cancelled", 0),
    (recorded!("periodic-remove.log"), "removed", 1),
    (recorded!("held-released.log"), "exited 0", 2),
    (recorded!("vacated.log"), "cancelled", 2),
    (recorded!("out-of-memory.log"), "out of memory", 1),
    (recorded!("executable-removed.log"), "not started", 1),
    (recorded!("initialdir-removed.log"), "not started", 0),
    (recorded!("allowed-job-duration.log"), "time limit", 1),
    (recorded!("starter-killed.log"), "exited 0", 2),
    (recorded!("shadow-killed.log"), "exited 0", 2),
    (recorded!("schedd-killed.log"), "exited 0", 1),
    (recorded!("suspend.log"), "exited 0", 1),
    (recorded!("late-materialization.log"), "exited 0", 1),
    (recorded!("file-transfer.log"), "exited 0", 1),
    (recorded!("submit-event-notes.log"), "exited 0", 1),
    (recorded!("requeued.log"), "exited 0", 3),
    (recorded!("container-does-not-start.log"), "not started", 1),
];

/// What three jobs behind a gate went through: evicted, put back, requeued by themselves.
pub const GATE: &str = recorded!("gate.log");

/// The table after `log`, in which all jobs are taken for ours.
fn table(log: &str) -> (Table, Vec<Id>) {
    let mut events = Vec::new();
    Decoder::default().feed(log.as_bytes(), &mut events);
    let directory = tempfile::tempdir().unwrap();
    let mut table = Table::new(Tickets::new(directory.path()));
    let mut ids = Vec::new();
    for event in events {
        if !ids.contains(&event.id) {
            ids.push(event.id);
        }
        let attempt = event.id.cluster;
        let before = table.job(event.id).is_some();
        let id = event.id;
        table.apply(event);
        if !before {
            table.note(id, SubmissionName::new("run", 0, attempt).unwrap());
        }
    }
    (table, ids)
}

fn told(verdict: &Verdict) -> String {
    let Verdict::State(ClusterState::Ended(end)) = verdict else {
        return format!("{verdict:?}");
    };
    match end.cause {
        EndCause::Exited(code) => format!("exited {code}"),
        EndCause::Signaled(signal) => format!("killed by {signal}"),
        EndCause::TimeLimit => "time limit".into(),
        EndCause::OutOfMemory => "out of memory".into(),
        EndCause::Cancelled => "cancelled".into(),
        EndCause::Removed => "removed".into(),
        EndCause::NotStarted => "not started".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn each_log_ends_as_its_job_did() {
    for (log, expected, starts) in LOGS {
        let (table, ids) = table(log);
        let job = table.job(ids[0]).unwrap();
        let verdict = judge(ids[0], Some(job), false, Word::NotAsked, &rules());
        assert_eq!(told(&verdict), expected, "{log}");
        assert_eq!(job.starts, starts, "{log}");
    }
}

#[test]
fn an_end_by_itself_has_its_time() {
    let (table, ids) = table(LOGS[0].0);
    let verdict = judge(ids[0], table.job(ids[0]), false, Word::NotAsked, &rules());
    let Verdict::State(ClusterState::Ended(end)) = verdict else {
        panic!("{verdict:?}")
    };
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_536_372);
    assert_eq!(end.at, Some(at));
}

#[test]
fn jobs_behind_their_gates_are_told_apart_by_their_events() {
    let (table, ids) = table(GATE);
    assert_eq!(ids.len(), 3);
    let names: Vec<_> = ids
        .iter()
        .map(|id| table.job(*id).unwrap().first.clone())
        .collect();
    let expected = ["run/1/0", "run/2/0", "run/3/0"].map(|name| Some(name.parse().unwrap()));
    assert_eq!(names, expected, "their notes name them");
    let verdicts = ids
        .iter()
        .map(|id| judge(*id, table.job(*id), false, Word::NotAsked, &rules()));
    let verdicts: Vec<_> = verdicts.collect();
    assert_eq!(told(&verdicts[0]), "cancelled");
    assert_eq!(
        verdicts[1],
        Verdict::State(ClusterState::Running { since: None })
    );
    assert_eq!(told(&verdicts[2]), "exited 7");
}

fn ads() -> Vec<Ad> {
    ad::parse(recorded!("ads.json")).unwrap()
}

#[test]
fn ads_of_the_history_tell_the_end() {
    let ads = ads();
    let past = |at: usize| {
        told(&judge(
            ads[at].id,
            None,
            false,
            Word::History(&ads[at]),
            &rules(),
        ))
    };
    assert_eq!(past(3), "exited 3");
    assert_eq!(past(4), "killed by 10");
    // Its exit code is that of a job that was told to stop.
    assert_eq!(past(5), "cancelled");
    assert_eq!(past(7), "removed");
}

#[test]
fn an_ad_of_a_held_job_tells_its_hold() {
    let ads = ads();
    let told_of = |at: usize| {
        told(&judge(
            ads[at].id,
            None,
            false,
            Word::Queue(&ads[at]),
            &rules(),
        ))
    };
    assert_eq!(told_of(0), "time limit");
    let running = judge(ads[2].id, None, false, Word::Queue(&ads[2]), &rules());
    let is_running = matches!(
        running,
        Verdict::State(ClusterState::Running { since: Some(_) })
    );
    assert!(is_running, "{running:?}");
}

#[test]
fn only_an_empty_answer_is_an_empty_queue() {
    assert_eq!(ad::parse("\n"), Ok(Vec::new()));
    assert_eq!(ad::parse("[\n]\n"), Ok(Vec::new()));
    let banner = "[NOTE] drained on Monday\n\n";
    assert_eq!(ad::parse(&format!("{banner}[\n]\n")), Ok(Vec::new()));
    let headed = format!("{banner}{}", recorded!("ads.json"));
    assert_eq!(ad::parse(&headed), Ok(ads()));
    assert!(ad::parse(banner).is_err());
    for other in [
        "-- Failed to fetch ads",
        "[{\"ClusterId\": 1}]",
        "[1]",
        "{}",
    ] {
        assert!(ad::parse(other).is_err(), "{other}");
    }
}
