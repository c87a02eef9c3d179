//! A machine in a world that moves as a test wants, each step checked.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::num::NonZeroU32;
use std::time::Duration;

use cu_core::machine::{
    Action, Effects, Event, Job, Machine, Order, Phase, Stage, Wanted, invariants, why,
};
use cu_core::{AttemptReport, ExitRules, Level, Policy};
use cu_protocol::{
    Attempt, ExitRecord, JobId, Message, OutputChange, ProgramEnd, Sequence, Started, Timestamp,
};
use cu_scheduler::{ClusterEnd, ClusterJobId, ClusterState, EndCause, Observation};

pub const JOBS: u32 = 3;
/// The only job of a world of one.
pub const JOB: JobId = JobId(0);
/// Its first attempt.
pub const ATTEMPT: Attempt = Attempt(0);
pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn policy() -> Policy {
    Policy::default().with(|policy| {
        policy.failure_retries = 1;
        policy.losses = 2;
        policy.time_limits = 2;
        policy.max_submitted = NonZeroU32::new(2);
        policy.submissions_per_hour = NonZeroU32::new(20).expect("20 is not 0");
    })
}

pub fn machine(jobs: u32, policy: Policy) -> Machine {
    let jobs = (0..jobs)
        .map(|id| Job::new(JobId(id), ExitRules::default()))
        .collect();
    Machine::new(jobs, policy)
}

pub fn cluster_job(attempt: Attempt) -> ClusterJobId {
    ClusterJobId(format!("c-{attempt}"))
}

/// A machine in a world that moves as a test wants, each step checked.
pub struct World {
    pub machine: Machine,
    pub now: Timestamp,
    /// The events that a store would have recorded.
    pub recorded: Vec<(Timestamp, JobId, Event)>,
    /// The history of ended attempts.
    pub ended: Vec<AttemptReport>,
    /// How many messages [`ATTEMPT`] has sent.
    said: u64,
}

impl World {
    pub fn new() -> Self {
        Self::with(policy())
    }

    /// In which no job waits for another.
    pub fn with_room() -> Self {
        Self::with(policy().with(|policy| {
            policy.max_submitted = None;
        }))
    }

    pub fn with(policy: Policy) -> Self {
        Self::of(JOBS, policy)
    }

    fn of(jobs: u32, policy: Policy) -> Self {
        let mut world = Self {
            machine: machine(jobs, policy),
            now: START,
            recorded: Vec::new(),
            ended: Vec::new(),
            said: 0,
        };
        world.pass(Duration::ZERO);
        world
    }

    /// One job, whose first attempt is being submitted.
    pub fn submitting(policy: Policy) -> Self {
        Self::of(1, policy)
    }

    /// One job, whose first attempt the scheduler has.
    pub fn submitted() -> Self {
        let mut world = Self::submitting(Policy::default());
        world.hears(Event::Submitted {
            attempt: ATTEMPT,
            cluster_job: cluster_job(ATTEMPT),
        });
        world
    }

    /// Something happens to [`JOB`].
    pub fn hears(&mut self, event: Event) -> Vec<Action> {
        self.happens(JOB, &event)
    }

    /// [`ATTEMPT`] sends a message.
    pub fn says(&mut self, message: Message) -> Vec<Action> {
        self.said += 1;
        self.hears(Event::Said {
            attempt: ATTEMPT,
            sequence: Sequence(self.said),
            message,
        })
    }

    /// The program of [`ATTEMPT`] starts on `n1`.
    pub fn starts(&mut self) {
        self.says(Message::Started(Started {
            host: "n1".to_owned(),
            supervisor: 1,
            program: 2,
            at: self.now,
            checkpoint: None,
        }));
    }

    /// The scheduler reports the state of [`ATTEMPT`].
    pub fn is(&mut self, state: ClusterState) -> Vec<Action> {
        self.hears(observed(ATTEMPT, state))
    }

    /// The sentence that people read about [`JOB`].
    pub fn why(&self) -> String {
        why(self.job(JOB), self.machine.policy()).sentence
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
            recount.paused += u32::from(job.is_paused());
        }
        assert_eq!(counts, recount, "the sum is not that of the jobs");
        let policy = self.machine.policy();
        let most = policy.max_submitted.map_or(JOBS, NonZeroU32::get);
        assert!(
            counts.queued + counts.running <= most,
            "more submitted than allowed"
        );
        let due = self.machine.next_deadline();
        let none_before = self.machine.jobs().iter().any(|job| {
            matches!(job.phase, Phase::Waiting { until, .. } if until <= self.now)
                && job.window.submissions < policy.submissions_per_hour.get()
                && job.wanted == Wanted::Run
        });
        if none_before && counts.queued + counts.running < most {
            assert!(due.is_some(), "a job is due and there is no deadline");
        }
        let ended = effects.ended.into_iter().map(|(_, report)| report);
        self.ended.extend(ended);
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
            output_changed: OutputChange::Changed,
            ..record(self, ProgramEnd::Exited(0))
        };
        self.happens(id, &Event::RecordFound { attempt, record });
        // A scheduler that can't tell leaves a killed program undecided.
        self.happens(id, &observed(attempt, ended(EndCause::Unknown)));
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
        output_changed: output_changed.into(),
        ..record(world, ProgramEnd::Exited(code))
    };
    world.happens(id, &Event::RecordFound { attempt, record })
}

/// The record of an attempt that ended so, without any progress.
pub fn record(world: &World, end: ProgramEnd) -> ExitRecord {
    ExitRecord {
        end,
        stop: None,
        host: "n1".to_owned(),
        started: None,
        ended: world.now,
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed: OutputChange::Unchanged,
        condition: None,
        noticed: cu_protocol::Noticed::default(),
    }
}

/// The scheduler reports the state of an attempt.
pub fn observed(attempt: Attempt, state: ClusterState) -> Event {
    Event::Observed {
        attempt,
        observation: Observation::new(cluster_job(attempt), state),
    }
}

/// The end of an attempt as the scheduler reports it.
pub fn ended(cause: EndCause) -> ClusterState {
    ClusterState::Ended(ClusterEnd {
        cause,
        at: None,
        text: "in its own words".to_owned(),
    })
}

pub fn held() -> ClusterState {
    ClusterState::Held {
        reason: "JobHeldAdmin".to_owned(),
    }
}

pub fn queued() -> ClusterState {
    ClusterState::Queued {
        reason: Some("BeginTime".to_owned()),
    }
}

pub fn running() -> ClusterState {
    ClusterState::Running { since: None }
}

pub fn warns(actions: &[Action]) -> bool {
    let is_warning = |action: &Action| {
        let warning = Level::Warning;
        matches!(action, Action::Notify { level, .. } if *level == warning)
    };
    actions.iter().any(is_warning)
}
