//! What a step of the machine costs, in allocations: times are noise on a shared machine, and these are
//! not.
#![cfg(feature = "unstable")]

#[path = "support/world.rs"]
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::num::NonZeroU32;

use cu_core::machine::{Action, Effects, Event, Machine};
use cu_core::{BareRun, JobPlan, Policy, Reader, RunDir, RunPlan, create_run};
use cu_protocol::{
    Attempt, ExitRecord, JobId, Message, Noticed, OutputChange, ProgramEnd, ResumeRequest,
    Sequence, Timestamp,
};
use world::{START, cluster_job, machine};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: it is the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What happens to an attempt that asks to be resumed.
fn life(attempt: Attempt, at: Timestamp) -> [Event; 3] {
    let ended = ExitRecord {
        end: ProgramEnd::Exited(3),
        stop: None,
        host: "n1".to_owned(),
        started: None,
        ended: at,
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed: OutputChange::Changed,
        condition: None,
        noticed: Noticed::default(),
    };
    [
        Event::Submitted {
            attempt,
            cluster_job: cluster_job(attempt),
        },
        Event::Said {
            attempt,
            sequence: Sequence(1),
            message: Message::ResumeRequest(ResumeRequest::default()),
        },
        Event::Said {
            attempt,
            sequence: Sequence(2),
            message: Message::Ended(ended),
        },
    ]
}

/// The allocations of one resume of `job`: submitted, asked for, ended, due again.
fn of_a_resume(machine: &mut Machine, job: JobId, attempt: Attempt, at: Timestamp) -> u64 {
    let mut effects = Effects::default();
    let events = life(attempt, at);
    let before = ALLOCATIONS.with(Cell::get);
    for event in &events {
        assert!(machine.step(at, job, event, &mut effects), "{event:?}");
    }
    machine.pass_time(at, &mut effects);
    let count = ALLOCATIONS.with(Cell::get) - before;
    let is_due = |action: &Action| matches!(action, Action::Submit { attempt: next, .. } if next.0 == attempt.0 + 1);
    assert!(effects.actions.iter().any(is_due), "{:?}", effects.actions);
    count
}

/// A machine of so many jobs, of which the first is submitted.
fn with(jobs: u32) -> Machine {
    let policy = Policy::default().with(|policy| {
        policy.submissions_per_hour = NonZeroU32::MAX;
    });
    let mut machine = machine(jobs, policy);
    while !machine.pass_time(START, &mut Effects::default()).is_empty() {}
    machine
}

#[test]
fn jobs_without_room_cost_nothing_each_time() {
    let [few, many] = [20, 20_000].map(|jobs| {
        let policy = Policy::default().with(|policy| {
            policy.max_submitted = NonZeroU32::new(10);
        });
        let mut machine = machine(jobs, policy);
        machine.pass_time(START, &mut Effects::default());
        let before = ALLOCATIONS.with(Cell::get);
        machine.pass_time(START, &mut Effects::default());
        assert_eq!(machine.next_deadline(), None, "there is no room");
        ALLOCATIONS.with(Cell::get) - before
    });
    assert!(many <= few, "{many} allocations beside {few}");
}

#[test]
fn a_resume_costs_as_much_among_ten_thousand_jobs_as_among_ten() {
    let [few, many] = [10, 10_000].map(|jobs| {
        let mut machine = with(jobs);
        let each =
            (0..20).map(|attempt| of_a_resume(&mut machine, JobId(0), Attempt(attempt), START));
        each.max().expect("20 of them")
    });
    assert!(few <= 45, "{few} allocations");
    assert!(many <= few + 10, "{many} allocations beside {few}");
}

/// A run of so many jobs, a few of which are submitted.
fn run(jobs: u32) -> (tempfile::TempDir, RunDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let run = RunDir::new(directory.path().join("run"));
    let policy = Policy::default().with(|policy| {
        policy.submissions_per_hour = NonZeroU32::MAX;
        policy.max_submitted = NonZeroU32::new(10);
    });
    let job = JobPlan::new(vec!["/bin/true".to_owned()]);
    let plan = RunPlan::new("costs".to_owned(), policy, vec![job; jobs as usize]);
    create_run(&run, &plan).expect("a new run");
    (directory, run)
}

#[test]
fn a_recorded_resume_costs_the_same_among_many_jobs() {
    let [few, many] = [20, 20_000].map(|jobs| {
        let (_directory, run) = run(jobs);
        let mut run = BareRun::open(&run).expect("it opens");
        run.turn(START, Vec::new()).expect("recorded");
        let happened = life(Attempt(0), START).map(|event| (JobId(3), event));
        let before = ALLOCATIONS.with(Cell::get);
        let due = run.turn(START, happened.into()).expect("recorded");
        assert!(!due.is_empty(), "another job takes its place");
        ALLOCATIONS.with(Cell::get) - before
    });
    assert!(few <= 400, "{few} allocations");
    assert!(many <= few + 20, "{many} allocations beside {few}");
}

#[test]
fn the_status_of_many_jobs_is_read_like_that_of_few() {
    let [few, many] = [20, 20_000].map(|jobs| {
        let (_directory, run) = run(jobs);
        let reader = Reader::open(&run).expect("it is read");
        let before = ALLOCATIONS.with(Cell::get);
        let status = reader.status().expect("a status");
        assert_eq!(status.jobs.waiting, jobs);
        ALLOCATIONS.with(Cell::get) - before
    });
    assert!(many <= few + 10, "{many} allocations beside {few}");
}
