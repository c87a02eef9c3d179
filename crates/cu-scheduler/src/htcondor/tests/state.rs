//! The table of states, row by row.

use crate::htcondor::ad::{Ad, Hold, Status};
use crate::htcondor::event::{Event, Exit, Id, Kind};
use crate::htcondor::options::HoldPolicy;
use crate::htcondor::remove::FREED;
use crate::htcondor::script::SLOT_GIVEN_UP;
use crate::htcondor::state::{Rules, Verdict, Word, judge};
use crate::htcondor::table::{Job, Table};
use crate::htcondor::ticket::{Ticket, Tickets};
use crate::{ClusterState, EndCause, SubmissionName};

const ID: Id = Id {
    cluster: 812,
    proc: 0,
};

pub fn rules() -> Rules {
    Rules {
        access_point: None,
        holds: HoldPolicy::default(),
        resume_exit_code: 3,
    }
}

fn name(attempt: u32) -> SubmissionName {
    SubmissionName::new("run", 7, attempt).unwrap()
}

/// A table in a directory of its own.
struct Log {
    table: Table,
    tickets: Tickets,
    _folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tickets = Tickets::new(directory.path());
        Self {
            table: Table::new(tickets.clone()),
            tickets,
            _folder: directory,
        }
    }

    fn of(kinds: impl IntoIterator<Item = Kind>) -> Self {
        let mut log = Self::new();
        log.add(Kind::Submitted {
            name: Some(name(0)),
        });
        kinds.into_iter().for_each(|kind| log.add(kind));
        log
    }

    fn add(&mut self, kind: Kind) {
        self.table.apply(Event { id: ID, kind });
    }

    fn job(&self) -> &Job {
        self.table.job(ID).unwrap()
    }

    fn judge(&self, word: Word) -> Verdict {
        judge(ID, self.table.job(ID), false, word, &rules())
    }

    fn cause(&self, word: Word) -> Option<EndCause> {
        match self.judge(word) {
            Verdict::State(ClusterState::Ended(end)) => Some(end.cause),
            _ => None,
        }
    }
}

fn executing() -> Kind {
    Kind::Executing { host: None }
}

fn evicted() -> Kind {
    Kind::Evicted { reason: None }
}

fn aborted(reason: &str) -> Kind {
    Kind::Aborted {
        reason: format!("{reason} (by user cu)"),
    }
}

fn held(code: i32) -> Kind {
    Kind::Held {
        reason: "a reason".into(),
        code,
        subcode: 0,
    }
}

/// An ad of a job that was started `run_count` times and may be once.
pub fn ad(status: Status, run_count: u32) -> Ad {
    Ad {
        id: ID,
        status,
        name: Some(name(0)),
        run_count,
        starts: Some(1),
        hold: None,
        last_hold: None,
        since: None,
        host: None,
        vacate_reason: None,
        vacate_code: None,
        exit: None,
        remove_reason: None,
        at: None,
        idle_since: None,
        reject_reason: None,
        rejected_at: None,
        matched: None,
        kind: None,
        found: None,
    }
}

#[test]
fn an_eviction_is_decided_by_the_queue() {
    let log = Log::of([executing(), evicted()]);
    assert_eq!(log.judge(Word::NotAsked), Verdict::Ask);
    let idle = ad(Status::Idle, 1);
    assert_eq!(log.cause(Word::Queue(&idle)), Some(EndCause::Preempted));
    // periodic_vacate writes the event while the job still runs.
    let running = ad(Status::Running, 1);
    let state = Verdict::State(ClusterState::Running { since: None });
    assert_eq!(log.judge(Word::Queue(&running)), state);
}

#[test]
fn a_lost_machine_is_no_eviction() {
    let lost = Kind::ReconnectFailed {
        reason: "Job not found at execution machine".into(),
    };
    let log = Log::of([executing(), lost, evicted()]);
    let idle = ad(Status::Idle, 1);
    assert_eq!(log.cause(Word::Queue(&idle)), Some(EndCause::NodeFailure));
}

#[test]
fn an_answer_the_log_does_not_explain_is_doubted() {
    let log = Log::of([executing()]);
    let idle = ad(Status::Idle, 1);
    let doubt = log.judge(Word::Queue(&idle));
    let Verdict::Doubt(ClusterState::Ended(end)) = doubt else {
        panic!("{doubt:?}")
    };
    assert_eq!(end.cause, EndCause::NodeFailure);
    assert_eq!(log.judge(Word::Nowhere), Verdict::Doubt(ClusterState::Gone));
    let stranger = judge(ID, None, false, Word::Nowhere, &rules());
    assert_eq!(stranger, Verdict::State(ClusterState::Gone));
}

#[test]
fn an_idle_job_before_its_start_is_queued() {
    let log = Log::of([]);
    let queued = Verdict::State(ClusterState::Queued { reason: None });
    assert_eq!(log.judge(Word::NotAsked), queued);
    let idle = ad(Status::Idle, 0);
    let asked = log.judge(Word::Queue(&idle));
    let has_reason = matches!(
        asked,
        Verdict::State(ClusterState::Queued { reason: Some(_) })
    );
    assert!(has_reason, "{asked:?}");
}

#[test]
fn a_removal_is_a_cancellation_unless_the_end_was_known() {
    let cause = |kinds: Vec<Kind>| Log::of(kinds).cause(Word::NotAsked);
    let by_person = || aborted("via condor_rm");
    let by_us = || aborted(FREED);
    let by_gate = || Kind::Aborted {
        reason: "The job attribute PeriodicRemove expression 'JobRunCount >= CuStarts' …".into(),
    };
    assert_eq!(cause(vec![by_person()]), Some(EndCause::Cancelled));
    assert_eq!(
        cause(vec![executing(), evicted(), by_person()]),
        Some(EndCause::Cancelled)
    );
    assert_eq!(
        cause(vec![executing(), evicted(), by_us()]),
        Some(EndCause::Preempted)
    );
    assert_eq!(
        cause(vec![executing(), evicted(), by_gate()]),
        Some(EndCause::Preempted)
    );
    assert_eq!(
        cause(vec![executing(), held(46), by_person()]),
        Some(EndCause::TimeLimit)
    );
    assert_eq!(
        cause(vec![executing(), held(1), by_person()]),
        Some(EndCause::Cancelled)
    );
    let requeued = Kind::Requeued {
        exit: Exit::Code(3),
    };
    let kept = cause(vec![executing(), requeued, by_person()]);
    assert_eq!(kept, Some(EndCause::Exited(3)));
}

#[test]
fn a_job_held_while_running_has_ended_once_released() {
    let idle = ad(Status::Idle, 1);
    let log = Log::of([executing(), evicted(), held(1), Kind::Released]);
    assert_eq!(log.cause(Word::Queue(&idle)), Some(EndCause::Preempted));
    let never_began = Log::of([held(1), Kind::Released]);
    let queued = Verdict::State(ClusterState::Queued { reason: None });
    assert_eq!(never_began.judge(Word::NotAsked), queued);
}

#[test]
fn the_history_knows_why_we_removed_it() {
    let mut removed = ad(Status::Removed, 1);
    removed.remove_reason = Some(format!("{FREED} (by user cu)"));
    let cause = |ad: &Ad| match judge(ID, None, false, Word::History(ad), &rules()) {
        Verdict::State(ClusterState::Ended(end)) => end.cause,
        other => panic!("{other:?}"),
    };
    assert_eq!(cause(&removed), EndCause::Preempted);
    removed.exit = Some(Exit::Code(3));
    assert_eq!(cause(&removed), EndCause::Exited(3));
    removed.last_hold = Some(Hold {
        reason: "too much".into(),
        code: 34,
        subcode: 0,
    });
    assert_eq!(cause(&removed), EndCause::OutOfMemory);
    removed.remove_reason = Some("via condor_rm (by user cu)".into());
    assert_eq!(cause(&removed), EndCause::Cancelled);
}

#[test]
fn a_given_up_slot_is_a_wish_to_be_resumed() {
    let exit = Exit::Code(SLOT_GIVEN_UP.into());
    let log = Log::of([executing(), Kind::Requeued { exit }]);
    assert_eq!(log.cause(Word::NotAsked), Some(EndCause::Exited(3)));
}

#[test]
fn a_job_that_waits_in_its_slot_has_ended() {
    let log = Log::of([executing()]);
    let waits = judge(ID, Some(log.job()), true, Word::NotAsked, &rules());
    let Verdict::State(ClusterState::Ended(end)) = waits else {
        panic!("{waits:?}")
    };
    assert_eq!(end.cause, EndCause::Exited(3));
}

#[test]
fn a_ticket_begins_a_new_attempt_for_this_process_and_the_next() {
    let ticket = Ticket {
        script: "/run.sh".into(),
        name: name(1),
        starts: 2,
        events: 3,
        in_slot: false,
        header_checksum: 0,
    };
    let requeued = || Kind::Requeued {
        exit: Exit::Code(3),
    };
    let mut log = Log::of([executing(), requeued()]);
    assert_eq!(log.cause(Word::NotAsked), Some(EndCause::Exited(3)));
    log.table.put_back(ID, &ticket);
    let queued = Verdict::State(ClusterState::Queued { reason: None });
    assert_eq!(log.judge(Word::NotAsked), queued);
    assert_eq!(log.table.id_of(&name(1)), Some(ID));

    // The next process finds log and tickets, and folds them to the same.
    let mut next = Log::new();
    next.tickets.write(&name(0), 2, &ticket).unwrap();
    for kind in [
        Kind::Submitted {
            name: Some(name(0)),
        },
        executing(),
        requeued(),
    ] {
        next.add(kind);
    }
    assert_eq!(next.judge(Word::NotAsked), queued);
    assert_eq!(
        (next.job().tickets, next.job().name.clone()),
        (2, Some(name(1)))
    );
    next.add(executing());
    next.add(Kind::Terminated {
        exit: Exit::Code(0),
        at: None,
    });
    assert_eq!(next.cause(Word::NotAsked), Some(EndCause::Exited(0)));
}

#[test]
fn an_id_that_begins_anew_is_another_job() {
    let mut log = Log::of([executing(), aborted("via condor_rm")]);
    log.add(Kind::Submitted {
        name: Some(name(5)),
    });
    let queued = Verdict::State(ClusterState::Queued { reason: None });
    assert_eq!(log.judge(Word::NotAsked), queued);
    assert_eq!(log.job().first, Some(name(5)));
}

#[test]
fn a_removal_that_names_no_person_is_the_pools() {
    let cause = |reason: &str| {
        let removed = Kind::Aborted {
            reason: reason.into(),
        };
        Log::of([executing(), evicted(), removed]).cause(Word::NotAsked)
    };
    let removed = Some(EndCause::Removed);
    let policy = "Job removed by SYSTEM_PERIODIC_REMOVE due to wall time exceeded allowed max.";
    assert_eq!(cause(policy), removed);
    assert_eq!(cause("via condor_rm (by user root)"), removed);
    assert_eq!(cause("via condor_rm (by user condor@pool)"), removed);
    let person = cause("after lunch (by user ada@pool)");
    assert_eq!(person, Some(EndCause::Cancelled));
}
