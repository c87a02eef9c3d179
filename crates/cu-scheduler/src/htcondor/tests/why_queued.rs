//! Why a job waits, from ads and from analyses that HTCondor 23.9 wrote.

use std::time::{Duration, SystemTime};

use super::state::{ad, rules};
use crate::ClusterState;
use crate::htcondor::ad::{Ad, Status};
use crate::htcondor::event::Id;
use crate::htcondor::state::{Verdict, Word, judge};
use crate::htcondor::why_queued::{Findings, found};

const TOO_MANY_CPUS: &str = recorded!("analysis-too-many-cpus.txt");
const NO_SUCH_MACHINE: &str = recorded!("analysis-no-such-machine.txt");
const NOT_ACCEPTED: &str = recorded!("analysis-not-accepted.txt");
const CONDITIONS_OF_CONDITIONS: &str = recorded!("analysis-conditions-of-conditions.txt");
const GPUS_BUSY: &str = recorded!("analysis-gpus-busy.txt");
const NO_SUCH_GPU: &str = recorded!("analysis-no-such-gpu.txt");
const BUSY: &str = recorded!("analysis-busy.txt");

#[test]
fn an_analysis_tells_whether_any_machine_will_do() {
    let found = |text: &str| found(text).expect("it is understood");
    assert_eq!(
        found(TOO_MANY_CPUS),
        "no machine of the pool can run it: none of its 9 slots meets the job's requirements; \
         no slot meets `TARGET.Cpus >= RequestCpus` (RequestCpus = 100)"
    );
    assert_eq!(
        found(NO_SUCH_MACHINE),
        "no machine of the pool can run it: none of its 9 slots meets the job's requirements; \
         no slot meets `TARGET.Foo == 5`, `Mips > 99999999`"
    );
    // One of two is enough for the first, and the gate is passed: neither decides.
    assert_eq!(
        found(CONDITIONS_OF_CONDITIONS),
        "no machine of the pool can run it: none of its 9 slots meets the job's requirements; \
         no slot meets `(TARGET.Machine ?: \"\") == \"x\" || \
         split(TARGET.Machine ?: \"\",\".\")[0] == \"x\"`, `TARGET.SlotID == 1 && TARGET.Cpus < 10`"
    );
    assert_eq!(
        found(NOT_ACCEPTED),
        "no machine of the pool can run it: none of its 9 slots accepts the job (START)"
    );
    // Its table says that no slot has as many processors: it counts those that are free.
    assert_eq!(
        found(BUSY),
        "1 of the pool's 9 slots can run it, once there is room"
    );
    // The answer is the same whether all GPUs are taken or there are none.
    assert_eq!(
        found(GPUS_BUSY),
        "at present no machine of the pool can run it: none of its 9 slots meets the job's \
         requirements"
    );
    assert_eq!(
        found(NO_SUCH_GPU),
        "at present no machine of the pool can run it: none of its 9 slots meets the job's \
         requirements; no slot meets \
         `countMatches(MY.RequireGPUs,TARGET.AvailableGPUs) >= RequestGPUs` (RequestGPUs = 1, \
         RequireGPUs = Capability >= 9.0)"
    );
    let both = TOO_MANY_CPUS
        .replace("9 are rejected", "4 are rejected")
        .replace("0 reject your", "5 reject your");
    let text = found(&both);
    assert!(
        text.contains(
            "4 of its 9 slots do not meet the job's requirements, and 5 do not accept the job"
        ),
        "{text}"
    );
}

#[test]
fn text_that_is_not_an_analysis_finds_nothing() {
    for length in 0..BUSY.trim_end().len() {
        if let Some(found) = found(&BUSY[..length]) {
            assert!(found.contains("1 of the pool's 9 slots"), "{found}");
        }
    }
    assert_eq!(found("-- Failed to fetch ads from: <…> : localhost"), None);
    let empty = BUSY.replace("Of 9 machines", "Of 0 machines");
    assert!(
        found(&empty)
            .expect("none is a number")
            .contains("no machine")
    );
}

fn at(seconds: u64) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn waits(proc: u32, kind: i64) -> Ad {
    let mut ad = ad(Status::Idle, 0);
    ad.id = Id { cluster: 812, proc };
    ad.idle_since = at(100);
    ad.kind = Some(kind);
    ad
}

fn rejected(proc: u32, kind: i64, reason: &str) -> Ad {
    let mut ad = waits(proc, kind);
    ad.reject_reason = Some(reason.into());
    ad.rejected_at = at(200);
    ad
}

fn reason(ad: &Ad) -> String {
    match judge(ad.id, None, false, Word::Queue(ad), &rules()) {
        Verdict::State(ClusterState::Queued { reason }) => reason.expect("there is one"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_negotiation_is_the_reason_for_a_wait() {
    let mut fresh = waits(0, 1);
    assert_eq!(reason(&fresh), "waiting for the next negotiation");
    // Said of an earlier start of the same job.
    fresh.reject_reason = Some("no match found".into());
    fresh.rejected_at = at(99);
    assert_eq!(reason(&fresh), "waiting for the next negotiation");
    let busy = rejected(0, 1, "no match found");
    let text = reason(&busy);
    assert!(text.contains("no free machine"), "{text}");
    assert!(
        text.ends_with("`condor_q -better-analyze 812.0` shows more"),
        "{text}"
    );
    let limited = reason(&rejected(0, 1, "concurrency limit licence reached"));
    assert!(
        limited.contains(": concurrency limit licence reached"),
        "{limited}"
    );
    let mut matched = busy;
    matched.matched = at(200);
    assert!(reason(&matched).contains("is being claimed"));
    matched.rejected_at = at(201);
    assert!(reason(&matched).contains("no free machine"));
}

#[test]
fn one_job_of_a_kind_is_analysed_and_rarely() {
    let mut findings = Findings::default();
    let limited = rejected(0, 1, "concurrency limit licence reached");
    let mut queue = [
        limited,
        rejected(2, 7, "no match found"),
        rejected(1, 7, "no match found"),
        rejected(3, 8, "no match found"),
        waits(4, 7),
    ];
    let chosen = findings
        .choose(queue.iter())
        .expect("one is to be analysed");
    assert_eq!(chosen.id.proc, 1);
    findings.note(&chosen, "it is so".into());
    findings.fill_in(queue.iter_mut());
    let found: Vec<u32> = queue
        .iter()
        .filter(|ad| reason(ad).starts_with("it is so; `condor_q -better-analyze 812."))
        .map(|ad| ad.id.proc)
        .collect();
    assert_eq!(found, [2, 1, 4], "all of its kind, and no other");
    assert_eq!(findings.choose(queue.iter()), None, "not so soon again");
}

/// Of many jobs that need the same HTCondor notes a failure at one, which may be another run's.
#[test]
fn a_long_wait_is_analysed_without_a_stated_reason() {
    let mut fresh = waits(0, 1);
    fresh.idle_since = Some(SystemTime::now());
    assert_eq!(Findings::default().choose([&fresh].into_iter()), None);
    let long = waits(1, 1);
    let mut behind_its_gate = waits(2, 1);
    behind_its_gate.run_count = 1;
    let mut running = waits(3, 1);
    running.status = Status::Running;
    for other in [behind_its_gate, running] {
        assert_eq!(Findings::default().choose([&other].into_iter()), None);
    }
    let chosen = Findings::default().choose([&long].into_iter());
    assert_eq!(chosen.map(|ad| ad.id), Some(long.id));
}
