//! A machine in a world that moves as a test wants, each step checked; and any move there is.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::num::NonZeroU32;
use std::time::Duration;

use cu_core::Policy;
use cu_core::machine::{Action, Effects, Event, Job, Machine, Order, Phase, Stage, invariants};
use cu_protocol::{
    Attempt, ExitRecord, Failure, Fraction, Generation, JobId, LeftBehind, Message, Metrics,
    OutputChange, ProgramEnd, ResumeRequest, Sequence, Started, StopCause, Timestamp, Waiting,
};
use cu_scheduler::{ClusterEnd, ClusterJobId, ClusterState, EndCause, Observation};
use proptest::prelude::*;

pub const JOBS: u32 = 3;
const START: Timestamp = Timestamp(1_700_000_000_000);

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

pub fn machine(policy: Policy) -> Machine {
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
    let changes = prop_oneof![
        any::<bool>().prop_map(OutputChange::from),
        Just(OutputChange::Unknown("it is too large".to_owned())),
    ];
    (ends, stops, generations(), changes).prop_map(|(end, stop, checkpoint, output_changed)| {
        ExitRecord {
            end,
            stop,
            host: "n1".to_owned(),
            started: None,
            ended: Timestamp(0),
            peak_memory_bytes: None,
            checkpoint,
            output_changed,
        }
    })
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
        (0..2_u64).prop_map(|until| {
            Message::Waiting(Waiting {
                host: "n1".to_owned(),
                reason: "attempt 0 may still be running".to_owned(),
                until: Timestamp(until),
            })
        }),
        Just(Message::LeftBehind(LeftBehind {
            host: "n1".to_owned(),
            processes: "7 (sleep)".to_owned(),
        })),
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

pub fn cluster_job(attempt: Attempt) -> ClusterJobId {
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
        observation: Observation::new(cluster_job(attempt), state),
    });
    prop_oneof![
        4 => said,
        2 => observed,
        1 => (attempts(), records())
            .prop_map(|(attempt, record)| Event::RecordFound { attempt, record }),
        1 => (attempts(), 0..200_000_u64, any::<bool>()).prop_map(|(attempt, ms, started)| {
            Event::RecordsRead {
                attempt,
                begun: Timestamp(START.0 + ms),
                started,
                last_words: (!started).then(|| "no such library".to_owned()),
            }
        }),
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
        1 => attempts().prop_map(|attempt| Event::OutputRemade { attempt }),
        1 => prop_oneof![
            Just(Order::Stop),
            Just(Order::Pause),
            Just(Order::Continue),
            Just(Order::Checkpoint),
            Just(Order::Retry)
        ]
        .prop_map(Event::Ordered),
    ]
}

#[derive(Clone, Debug)]
pub enum Move {
    Happens(JobId, Event),
    TimePasses(Duration),
}

pub fn moves() -> impl Strategy<Value = Vec<Move>> {
    let happens = (0..JOBS, events()).prop_map(|(job, event)| Move::Happens(JobId(job), event));
    let passes = (0..20_000_u64).prop_map(|ms| Move::TimePasses(Duration::from_millis(ms)));
    prop::collection::vec(prop_oneof![3 => happens, 2 => passes], 0..80)
}

/// A machine in a world that moves as it is told, each step checked.
pub struct World {
    pub machine: Machine,
    pub now: Timestamp,
    /// What a store would have recorded.
    pub recorded: Vec<(Timestamp, JobId, Event)>,
}

impl World {
    pub fn new() -> Self {
        Self::with(policy())
    }

    /// In which no job waits for another.
    pub fn with_room() -> Self {
        Self::with(Policy {
            max_submitted: None,
            ..policy()
        })
    }

    pub fn with(policy: Policy) -> Self {
        let mut world = Self {
            machine: machine(policy),
            now: START,
            recorded: Vec::new(),
        };
        world.pass(Duration::ZERO);
        world
    }

    pub fn happens(&mut self, job: JobId, event: &Event) -> Vec<Action> {
        let before = self.job(job).active().cloned();
        let is_being_cancelled = self.job(job).is_being_cancelled();
        let actions = self.checked(|machine, now, effects| {
            let is_news = machine.step(now, job, event, effects);
            is_news.then(|| (job, event.clone())).into_iter().collect()
        });
        assert!(
            !is_being_cancelled
                || self.job(job).state().is_settled()
                || self.job(job).is_being_cancelled(),
            "a cancellation was taken back by {event:?}"
        );
        let of = match event {
            Event::Said { attempt, .. } => Some(*attempt),
            Event::Ordered(_) => None,
            _ => return actions,
        };
        if let Some(before) = before
            && before.evidence.record.is_none()
            && of != Some(before.attempt)
        {
            let after = self.job(job).active().map(|active| active.attempt);
            let attempt = before.attempt;
            assert_eq!(
                after,
                Some(attempt),
                "it may run, and was ended by {event:?}"
            );
        }
        actions
    }

    pub fn job(&self, id: JobId) -> &Job {
        self.machine.job(id).expect("there is such a job")
    }

    pub fn pass(&mut self, duration: Duration) -> Vec<Action> {
        self.now = self.now.after(duration);
        self.checked(|machine, now, effects| {
            let passed = machine.pass_time(now, effects).into_iter();
            passed.map(|job| (job, Event::TimePassed)).collect()
        })
    }

    fn checked(
        &mut self,
        step: impl FnOnce(&mut Machine, Timestamp, &mut Effects) -> Vec<(JobId, Event)>,
    ) -> Vec<Action> {
        let before = self.machine.jobs().to_vec();
        let mut effects = Effects::default();
        let news = step(&mut self.machine, self.now, &mut effects);
        let now = self.now;
        let news = news.into_iter().map(|(job, event)| (now, job, event));
        self.recorded.extend(news);
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
    pub fn is_honest_from_now_on(&mut self) {
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
            output_changed: OutputChange::Changed,
        };
        self.happens(id, &Event::RecordFound { attempt, record });
    }
}

pub fn started(world: &mut World, id: JobId) -> Attempt {
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

pub fn exits(
    world: &mut World,
    id: JobId,
    attempt: Attempt,
    code: i32,
    output_changed: impl Into<OutputChange>,
) -> Vec<Action> {
    let record = ExitRecord {
        end: ProgramEnd::Exited(code),
        stop: None,
        host: "n1".to_owned(),
        started: None,
        ended: world.now,
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed: output_changed.into(),
    };
    world.happens(id, &Event::RecordFound { attempt, record })
}
