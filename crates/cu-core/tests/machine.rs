//! Any order, loss and repetition of events keeps the promise; and whatever has happened, an honest
//! world brings every job to an end.

use std::num::NonZeroU32;
use std::time::Duration;

use cu_core::machine::{Action, Effects, Event, Job, Machine, Order, Phase, Stage, invariants};
use cu_core::{JobState, Policy};
use cu_protocol::{
    Attempt, ExitRecord, Failure, Fraction, Generation, JobId, Message, Metrics, ProgramEnd,
    ResumeRequest, Sequence, Started, StopCause, Timestamp,
};
use cu_scheduler::{ClusterEnd, ClusterJobId, ClusterState, EndCause, Observation};
use proptest::prelude::*;

const JOBS: u32 = 3;

fn policy() -> Policy {
    Policy {
        failure_retries: 1,
        losses: 2,
        time_limits: 2,
        max_submitted: NonZeroU32::new(2),
        submissions_per_hour: NonZeroU32::new(20).expect("20 is not 0"),
        ..Policy::default()
    }
}

fn machine(policy: Policy) -> Machine {
    let jobs = (0..JOBS).map(|id| Job::new(JobId(id), 3)).collect();
    Machine::new(jobs, policy)
}

fn attempts() -> impl Strategy<Value = Attempt> {
    (0..4_u32).prop_map(Attempt)
}

fn generations() -> impl Strategy<Value = Option<Generation>> {
    prop::option::of(
        (attempts(), 0..3_u64).prop_map(|(attempt, counter)| Generation { attempt, counter }),
    )
}

fn records() -> impl Strategy<Value = ExitRecord> {
    let ends = prop_oneof![
        Just(ProgramEnd::Exited(0)),
        Just(ProgramEnd::Exited(1)),
        Just(ProgramEnd::Exited(3)),
        Just(ProgramEnd::Signaled(9)),
        Just(ProgramEnd::Fenced("attempt 1 lives".to_owned())),
        Just(ProgramEnd::NotStarted("no such file".to_owned())),
    ];
    let stops = prop::option::of(prop_oneof![
        Just(StopCause::TimeLimit),
        Just(StopCause::TimeBudget),
        Just(StopCause::Signal(15)),
        Just(StopCause::Cancel),
    ]);
    (ends, stops, generations(), any::<bool>()).prop_map(
        |(end, stop, checkpoint, output_changed)| ExitRecord {
            end,
            stop,
            host: "n1".to_owned(),
            started: None,
            ended: Timestamp(0),
            peak_memory_bytes: None,
            checkpoint,
            output_changed,
        },
    )
}

fn messages() -> impl Strategy<Value = Message> {
    let started = Started {
        host: "n1".to_owned(),
        supervisor: 1,
        program: 2,
        at: Timestamp(0),
        checkpoint: None,
    };
    prop_oneof![
        Just(Message::Started(started)),
        (0.0..=1.0).prop_map(|part| Message::Progress(Fraction::new(part).expect("a part"))),
        Just(Message::EarlyMetrics(Metrics::new())),
        Just(Message::Results(Metrics::new())),
        generations().prop_map(|checkpoint| Message::ResumeRequest(ResumeRequest { checkpoint })),
        Just(Message::Failed(Failure {
            text: "oh".to_owned()
        })),
        records().prop_map(Message::Ended),
    ]
}

fn cluster_states() -> impl Strategy<Value = ClusterState> {
    let causes = prop_oneof![
        Just(EndCause::Exited(0)),
        Just(EndCause::Exited(3)),
        Just(EndCause::Signaled(9)),
        Just(EndCause::TimeLimit),
        Just(EndCause::Preempted),
        Just(EndCause::Cancelled),
        Just(EndCause::Unknown),
    ];
    prop_oneof![
        Just(ClusterState::Queued { reason: None }),
        Just(ClusterState::Running { since: None }),
        Just(ClusterState::Gone),
        Just(ClusterState::Unknown {
            reason: String::new()
        }),
        causes.prop_map(|cause| ClusterState::Ended(ClusterEnd {
            cause,
            at: None,
            text: String::new()
        })),
    ]
}

fn cluster_job(attempt: Attempt) -> ClusterJobId {
    ClusterJobId(format!("c-{attempt}"))
}

fn events() -> impl Strategy<Value = Event> {
    let said =
        (attempts(), 1..6_u64, messages()).prop_map(|(attempt, sequence, message)| Event::Said {
            attempt,
            sequence: Sequence(sequence),
            message,
        });
    let observed = (attempts(), cluster_states()).prop_map(|(attempt, state)| Event::Observed {
        attempt,
        observation: Observation {
            job: cluster_job(attempt),
            state,
            host: None,
            restarts: None,
        },
    });
    prop_oneof![
        4 => said,
        2 => observed,
        1 => (attempts(), records())
            .prop_map(|(attempt, record)| Event::RecordFound { attempt, record }),
        4 => attempts().prop_map(|attempt| Event::Submitted {
            attempt,
            cluster_job: cluster_job(attempt)
        }),
        1 => attempts().prop_map(|attempt| Event::SubmitRejected {
            attempt,
            reason: "no such partition".to_owned()
        }),
        1 => attempts().prop_map(|attempt| Event::SubmitDelayed {
            attempt,
            reason: "too many".to_owned(),
            retry_after: None
        }),
        1 => attempts().prop_map(|attempt| Event::SubmitUncertain {
            attempt,
            reason: "timed out".to_owned()
        }),
        1 => attempts().prop_map(|attempt| Event::NotFound { attempt }),
        1 => prop_oneof![
            Just(Order::Stop),
            Just(Order::Pause),
            Just(Order::Continue),
            Just(Order::Checkpoint)
        ]
        .prop_map(Event::Ordered),
    ]
}

#[derive(Clone, Debug)]
enum Move {
    Happens(JobId, Event),
    TimePasses(Duration),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let happens = (0..JOBS, events()).prop_map(|(job, event)| Move::Happens(JobId(job), event));
    let passes = (0..20_000_u64).prop_map(|ms| Move::TimePasses(Duration::from_millis(ms)));
    prop::collection::vec(prop_oneof![3 => happens, 2 => passes], 0..80)
}

/// A machine in a world that moves as it is told, each step checked.
struct World {
    machine: Machine,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        Self::with(policy())
    }

    /// In which no job waits for another.
    fn with_room() -> Self {
        Self::with(Policy {
            max_submitted: None,
            ..policy()
        })
    }

    fn with(policy: Policy) -> Self {
        let mut world = Self {
            machine: machine(policy),
            now: Timestamp(1_700_000_000_000),
        };
        world.pass(Duration::ZERO);
        world
    }

    fn happens(&mut self, job: JobId, event: &Event) -> Vec<Action> {
        self.checked(|machine, now, effects| {
            machine.step(now, job, event, effects);
        })
    }

    fn pass(&mut self, duration: Duration) -> Vec<Action> {
        self.now = self.now.after(duration);
        self.checked(|machine, now, effects| {
            machine.pass_time(now, effects);
        })
    }

    fn checked(&mut self, step: impl FnOnce(&mut Machine, Timestamp, &mut Effects)) -> Vec<Action> {
        let before = self.machine.jobs().to_vec();
        let mut effects = Effects::default();
        step(&mut self.machine, self.now, &mut effects);
        for (before, after) in before.iter().zip(self.machine.jobs()) {
            if let Err(violation) = invariants::check(before, after, &effects) {
                panic!("{violation}\nbefore: {before:#?}\nafter: {after:#?}");
            }
        }
        let counts = self.machine.tally().counts;
        let mut recount = cu_core::Counts::default();
        for job in self.machine.jobs() {
            recount.add(job.state());
        }
        assert_eq!(counts, recount, "the sum is not that of the jobs");
        let most = self.machine.policy().max_submitted;
        let most = most.map_or(JOBS, NonZeroU32::get);
        assert!(
            counts.queued + counts.running <= most,
            "more submitted than allowed"
        );
        let due = self.machine.next_deadline();
        let none_before = self.machine.jobs().iter().any(|job| {
            matches!(job.phase, Phase::Waiting { until, .. } if until <= self.now)
                && job.window.submissions < 20
                && job.wanted == cu_core::machine::Wanted::Run
        });
        if none_before && counts.queued + counts.running < most {
            assert!(due.is_some(), "a job is due and nothing is waited for");
        }
        effects.actions
    }

    /// From here on nothing is lost, late or wrong, and every attempt completes its job.
    fn is_honest_from_now_on(&mut self) {
        let ids: Vec<_> = self.machine.jobs().iter().map(|job| job.id).collect();
        for id in &ids {
            self.happens(*id, &Event::Ordered(Order::Continue));
        }
        for _ in 0..200 {
            if self.machine.is_settled() {
                return;
            }
            for id in &ids {
                self.tell_the_truth(*id);
            }
            let wait = self.machine.next_deadline().map(|due| due.since(self.now));
            self.pass(wait.unwrap_or_default());
        }
        panic!("not settled: {:#?}", self.machine.jobs());
    }

    fn tell_the_truth(&mut self, id: JobId) {
        let Some(active) = self.machine.job(id).and_then(Job::active).cloned() else {
            return;
        };
        let attempt = active.attempt;
        if !matches!(active.stage, Stage::Submitted(_)) {
            self.happens(
                id,
                &Event::Submitted {
                    attempt,
                    cluster_job: cluster_job(attempt),
                },
            );
        }
        let record = ExitRecord {
            end: ProgramEnd::Exited(0),
            stop: None,
            host: "n1".to_owned(),
            started: None,
            ended: self.now,
            peak_memory_bytes: None,
            checkpoint: None,
            output_changed: true,
        };
        self.happens(id, &Event::RecordFound { attempt, record });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 20_000 }))]

    #[test]
    fn any_events_in_any_order_keep_the_promise(moves in moves()) {
        let mut world = World::new();
        for next in &moves {
            match next {
                Move::Happens(job, event) => {
                    world.happens(*job, event);
                }
                Move::TimePasses(duration) => {
                    world.pass(*duration);
                }
            }
        }
        world.is_honest_from_now_on();
    }

    #[test]
    fn the_same_events_give_the_same_run(moves in moves()) {
        let run = || {
            let mut world = World::new();
            let mut actions = Vec::new();
            for next in &moves {
                actions.extend(match next {
                    Move::Happens(job, event) => world.happens(*job, event),
                    Move::TimePasses(duration) => world.pass(*duration),
                });
            }
            (actions, world.machine.jobs().to_vec())
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_job_survives_being_stored(moves in moves()) {
        let mut world = World::new();
        for next in &moves {
            match next {
                Move::Happens(job, event) => {
                    let stored = serde_json::to_string(event).expect("an event is plain data");
                    let event: Event = serde_json::from_str(&stored).expect("what we wrote");
                    world.happens(*job, &event);
                }
                Move::TimePasses(duration) => {
                    world.pass(*duration);
                }
            }
        }
        for job in world.machine.jobs() {
            let stored = serde_json::to_string(job).expect("a job is plain data");
            prop_assert_eq!(job, &serde_json::from_str::<Job>(&stored).expect("what we wrote"));
        }
    }
}

fn started(world: &mut World, id: JobId) -> Attempt {
    let active = world.machine.job(id).and_then(Job::active);
    let attempt = active.expect("an attempt is with the scheduler").attempt;
    let cluster_job = cluster_job(attempt);
    world.happens(
        id,
        &Event::Submitted {
            attempt,
            cluster_job,
        },
    );
    attempt
}

fn exits(world: &mut World, id: JobId, attempt: Attempt, code: i32, output_changed: bool) {
    let record = ExitRecord {
        end: ProgramEnd::Exited(code),
        stop: None,
        host: "n1".to_owned(),
        started: None,
        ended: world.now,
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed,
    };
    world.happens(id, &Event::RecordFound { attempt, record });
}

#[test]
fn a_resume_needs_the_request_and_the_end() {
    let mut world = World::with_room();
    let id = JobId(0);
    let attempt = started(&mut world, id);
    let request = Event::Said {
        attempt,
        sequence: Sequence(1),
        message: Message::ResumeRequest(ResumeRequest::default()),
    };
    world.happens(id, &request);
    world.pass(Duration::from_secs(3600));
    assert_eq!(
        world
            .machine
            .job(id)
            .expect("job 0")
            .active()
            .expect("it runs")
            .attempt,
        attempt
    );
    exits(&mut world, id, attempt, 3, true);
    let actions = world.pass(Duration::ZERO);
    let submitted = actions.iter().any(
        |action| matches!(action, Action::Submit { job, attempt, .. } if *job == id && attempt.0 == 1),
    );
    assert!(submitted, "{actions:?}");
}

#[test]
fn resumes_without_progress_end_after_three() {
    let mut world = World::with_room();
    let id = JobId(0);
    for number in 0..3 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        assert_eq!(attempt, Attempt(number));
        exits(&mut world, id, attempt, 3, false);
    }
    let job = world.machine.job(id).expect("job 0");
    assert_eq!(job.state(), JobState::Failed);
    let Phase::Settled { why, .. } = &job.phase else {
        panic!("it has failed")
    };
    assert!(why.contains("without any progress"), "{why}");
}

#[test]
fn resumes_with_progress_never_end() {
    let mut world = World::with_room();
    let id = JobId(0);
    for number in 0..200 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        assert_eq!(attempt, Attempt(number));
        exits(&mut world, id, attempt, 3, true);
    }
    assert_eq!(
        world.machine.job(id).expect("job 0").state(),
        JobState::Waiting
    );
}

#[test]
fn the_cap_of_an_hour_holds_even_with_progress() {
    let mut world = World::with_room();
    let id = JobId(0);
    for _ in 0..20 {
        world.pass(Duration::ZERO);
        let attempt = started(&mut world, id);
        exits(&mut world, id, attempt, 3, true);
    }
    let actions = world.pass(Duration::from_secs(3000));
    let submits = |actions: &[Action]| {
        actions
            .iter()
            .any(|action| matches!(action, Action::Submit { job, .. } if *job == id))
    };
    assert!(!submits(&actions), "the 21st of the hour was submitted");
    assert!(submits(&world.pass(Duration::from_secs(700))));
}

#[test]
fn a_late_success_beats_an_early_guess() {
    let mut world = World::with_room();
    let id = JobId(0);
    let attempt = started(&mut world, id);
    let gone = Event::Observed {
        attempt,
        observation: Observation {
            job: cluster_job(attempt),
            state: ClusterState::Gone,
            host: None,
            restarts: None,
        },
    };
    world.happens(id, &gone);
    world.pass(Duration::from_secs(5)); // Lost, as far as anybody knows.
    world.pass(Duration::from_secs(600));
    let next = started(&mut world, id);
    assert_eq!(next, Attempt(1));
    let late = Event::Said {
        attempt,
        sequence: Sequence(9),
        message: Message::Results(Metrics::new()),
    };
    let actions = world.happens(id, &late);
    assert_eq!(
        world.machine.job(id).expect("job 0").state(),
        JobState::Completed
    );
    let cancelled = Action::Cancel {
        cluster_job: cluster_job(next),
    };
    assert!(actions.contains(&cancelled), "{actions:?}");
}

#[test]
fn a_cancellation_by_a_person_ends_the_chain() {
    let mut world = World::with_room();
    let id = JobId(0);
    let attempt = started(&mut world, id);
    let cancelled = Event::Observed {
        attempt,
        observation: Observation {
            job: cluster_job(attempt),
            state: ClusterState::Ended(ClusterEnd {
                cause: EndCause::Cancelled,
                at: None,
                text: "CANCELLED by 1000".to_owned(),
            }),
            host: None,
            restarts: None,
        },
    };
    world.happens(id, &cancelled);
    world.pass(Duration::from_secs(5));
    assert_eq!(
        world.machine.job(id).expect("job 0").state(),
        JobState::Cancelled
    );
}

#[test]
fn a_retry_gives_a_failed_job_fresh_budgets() {
    let mut world = World::with_room();
    let id = JobId(0);
    for _ in 0..2 {
        world.pass(Duration::from_secs(600));
        let attempt = started(&mut world, id);
        exits(&mut world, id, attempt, 1, false);
    }
    assert_eq!(
        world.machine.job(id).expect("job 0").state(),
        JobState::Failed
    );
    world.happens(id, &Event::Ordered(Order::Retry));
    world.pass(Duration::ZERO);
    let attempt = started(&mut world, id);
    assert_eq!(attempt, Attempt(2), "numbers go on");
    exits(&mut world, id, attempt, 0, false);
    assert_eq!(
        world.machine.job(id).expect("job 0").state(),
        JobState::Completed
    );
}
