//! What a cluster says of an attempt: what the machine makes of it, and what people are told.

mod shown;

use std::time::Duration;

use cu_protocol::{
    Attempt, ExitRecord, Failure, JobId, Message, OperatorRequest, OutputChange, ProgramEnd,
    Selection, Sequence, Started, Timestamp, Waiting, Wish,
};
use cu_scheduler::{ClusterEnd, ClusterJobId, ClusterState, EndCause, Observation};

use super::*;
use crate::decide::orders;
use crate::{JobState, Policy};

const JOB: JobId = JobId(0);
const ATTEMPT: Attempt = Attempt(0);

/// A job whose attempt the scheduler has.
struct World {
    machine: Machine,
    now: Timestamp,
    said: u64,
}

impl World {
    fn new() -> Self {
        let job = Job::new(JOB, 3);
        let mut world = Self {
            machine: Machine::new(vec![job], Policy::default()),
            now: Timestamp(1_700_000_000_000),
            said: 0,
        };
        let mut effects = Effects::default();
        world.machine.pass_time(world.now, &mut effects);
        world.happens(Event::Submitted {
            attempt: ATTEMPT,
            cluster_job: ClusterJobId("812.0".to_owned()),
        });
        world
    }

    fn happens(&mut self, event: Event) -> Vec<Action> {
        let mut effects = Effects::default();
        self.machine.step(self.now, JOB, &event, &mut effects);
        effects.actions
    }

    fn passes(&mut self, duration: Duration) -> Vec<Action> {
        self.now = self.now.after(duration);
        let mut effects = Effects::default();
        self.machine.pass_time(self.now, &mut effects);
        effects.actions
    }

    fn says(&mut self, message: Message) -> Vec<Action> {
        self.said += 1;
        self.happens(Event::Said {
            attempt: ATTEMPT,
            sequence: Sequence(self.said),
            message,
        })
    }

    fn starts(&mut self) {
        self.says(Message::Started(Started {
            host: "n1".to_owned(),
            supervisor: 1,
            program: 2,
            at: self.now,
            checkpoint: None,
        }));
    }

    fn is(&mut self, state: ClusterState) -> Vec<Action> {
        self.happens(Event::Observed {
            attempt: ATTEMPT,
            observation: Observation::new(ClusterJobId("812.0".to_owned()), state),
        })
    }

    fn job(&self) -> &Job {
        self.machine.job(JOB).expect("there is one")
    }

    fn why(&self) -> String {
        why(self.job(), self.machine.policy())
    }
}

fn held() -> ClusterState {
    ClusterState::Held {
        reason: "JobHeldAdmin".to_owned(),
    }
}

fn queued() -> ClusterState {
    ClusterState::Queued {
        reason: Some("BeginTime".to_owned()),
    }
}

fn running() -> ClusterState {
    ClusterState::Running { since: None }
}

fn warns(actions: &[Action]) -> bool {
    let is_warning = |action: &Action| {
        matches!(
            action,
            Action::Notify {
                level: Level::Warning,
                ..
            }
        )
    };
    actions.iter().any(is_warning)
}

#[test]
fn a_hold_is_told_before_the_start_and_after_it() {
    for runs_before in [false, true] {
        let mut world = World::new();
        if runs_before {
            world.starts();
            assert_eq!(world.job().state(), JobState::Running);
        }
        assert!(warns(&world.is(held())));
        assert_eq!(world.job().state(), JobState::Queued);
        let why = world.why();
        assert!(
            why.contains("held by the scheduler (JobHeldAdmin); release it"),
            "{why}"
        );
    }
}

#[test]
fn a_return_to_the_queue_is_told() {
    let mut world = World::new();
    world.starts();
    world.is(running());
    assert!(warns(&world.is(queued())));
    assert_eq!(world.job().state(), JobState::Queued);
    let why = world.why();
    assert!(
        why.contains("back into the queue by the scheduler (BeginTime)"),
        "{why}"
    );
    // A new reason is no new notice.
    assert!(!warns(&world.is(ClusterState::Queued { reason: None })));
}

#[test]
fn a_queue_that_was_seen_before_the_start_and_told_after_it_is_no_return() {
    let mut world = World::new();
    world.starts();
    assert!(!warns(&world.is(queued())));
    assert_eq!(world.job().state(), JobState::Running);
    assert!(world.why().contains("runs on n1"), "{}", world.why());
}

#[test]
fn a_state_that_is_unknown_is_told_and_changes_nothing_else() {
    let mut world = World::new();
    world.starts();
    let before = world.why();
    world.is(ClusterState::Unknown {
        reason: "SPECIAL_EXIT".to_owned(),
    });
    assert_eq!(world.job().state(), JobState::Running);
    let why = world.why();
    assert!(
        why.contains("can't tell") && why.contains("(SPECIAL_EXIT)"),
        "{why}"
    );
    world.passes(Duration::from_secs(1_000_000));
    assert_eq!(world.job().state(), JobState::Running);
    world.is(running());
    assert_eq!(world.why(), before);
}

fn killed(world: &World) -> ExitRecord {
    ExitRecord {
        end: ProgramEnd::Signaled(9),
        stop: None,
        host: "n1".to_owned(),
        started: Some(world.now),
        ended: world.now,
        peak_memory_bytes: None,
        checkpoint: None,
        output_changed: OutputChange::Unchanged,
    }
}

#[test]
fn of_a_program_that_was_killed_the_scheduler_is_asked_why() {
    let mut world = World::new();
    world.starts();
    let record = killed(&world);
    let actions = world.says(Message::Ended(record));
    let (job, attempt) = (JOB, ATTEMPT);
    assert!(
        actions.contains(&Action::Observe { job, attempt }),
        "{actions:?}"
    );
    assert!(
        world.why().contains("a better account of its end"),
        "{}",
        world.why()
    );
    world.is(ClusterState::Ended(ClusterEnd {
        cause: EndCause::Preempted,
        at: None,
        text: "PREEMPTED".to_owned(),
    }));
    assert_eq!(world.job().state(), JobState::Waiting);
}

#[test]
fn a_time_limit_without_a_record_is_no_lack_of_progress() {
    let mut world = World::new();
    for number in 0..10 {
        let attempt = Attempt(number);
        let cluster_job = ClusterJobId(format!("{number}"));
        world.happens(Event::Submitted {
            attempt,
            cluster_job: cluster_job.clone(),
        });
        world.happens(Event::Observed {
            attempt,
            observation: Observation::new(
                cluster_job,
                ClusterState::Ended(ClusterEnd {
                    cause: EndCause::TimeLimit,
                    at: None,
                    text: "TIMEOUT".to_owned(),
                }),
            ),
        });
        world.passes(Policy::default().record_grace);
        let begun = world.now;
        world.happens(Event::RecordsRead {
            attempt,
            begun,
            started: false,
            last_words: None,
        });
        world.passes(Policy::default().backoff_max);
        assert_eq!(
            world.job().next_attempt,
            Attempt(number + 2),
            "{}",
            world.why()
        );
    }
}

fn ended(cause: EndCause) -> ClusterState {
    ClusterState::Ended(ClusterEnd {
        cause,
        at: None,
        text: "in its own words".to_owned(),
    })
}

const READ: Action = Action::ReadRecords {
    job: JOB,
    attempt: ATTEMPT,
};

#[test]
fn the_record_is_looked_for_before_its_absence_counts() {
    let grace = Policy::default().record_grace;
    let mut world = World::new();
    world.starts();
    let before = world.now;
    assert!(world.is(ended(EndCause::NodeFailure)).contains(&READ));
    // Whatever has read them so far, and however late it is: they are read again.
    world.happens(Event::RecordsRead {
        attempt: ATTEMPT,
        begun: world.now,
        started: true,
        last_words: None,
    });
    assert!(
        world.why().contains("its files are read for it"),
        "{}",
        world.why()
    );
    assert!(world.passes(grace * 10).contains(&READ));
    assert!(world.why().contains("are being read"), "{}", world.why());
    world.happens(Event::RecordsRead {
        attempt: ATTEMPT,
        begun: before,
        started: true,
        last_words: None,
    });
    assert!(
        world.job().active().is_some(),
        "that reading began too early"
    );
    let mut record = killed(&world);
    record.end = ProgramEnd::Exited(0);
    world.happens(Event::RecordFound {
        attempt: ATTEMPT,
        record,
    });
    assert_eq!(world.job().state(), JobState::Completed);
}

#[test]
fn a_reading_that_never_comes_back_is_not_waited_for_for_ever() {
    let mut world = World::new();
    world.is(ended(EndCause::NodeFailure));
    world.passes(Policy::default().record_grace);
    world.passes(LONGEST_READING - Duration::from_millis(1));
    assert!(world.job().active().is_some());
    world.passes(Duration::from_millis(1));
    assert!(world.why().contains("lost its node"), "{}", world.why());
}

#[test]
fn of_a_traceback_the_sentence_has_the_last_line_and_the_history_all() {
    let mut world = World::new();
    world.starts();
    let text = "Traceback (most recent call last):\n  File \"train.py\", line 1\nValueError: no\n";
    world.says(Message::Failed(Failure {
        text: text.to_owned(),
    }));
    let mut effects = Effects::default();
    let record = Event::RecordFound {
        attempt: ATTEMPT,
        record: ExitRecord {
            end: ProgramEnd::Exited(1),
            stop: None,
            host: "n1".to_owned(),
            started: Some(world.now),
            ended: world.now,
            peak_memory_bytes: None,
            checkpoint: None,
            output_changed: OutputChange::Unchanged,
        },
    };
    world.machine.step(world.now, JOB, &record, &mut effects);
    let expected =
        "attempt 0 failed (its program exited with code 1, after it said: ValueError: no)";
    assert_eq!(world.why(), expected);
    let detail = effects.ended[0].1.detail.as_deref().expect("a detail");
    let whole = format!("after it said: {})", text.trim_end());
    assert!(detail.ends_with(&whole), "{detail}");
}

#[test]
fn a_refusal_of_several_lines_is_one_sentence() {
    let mut world = World {
        machine: Machine::new(vec![Job::new(JOB, 3)], Policy::default()),
        now: Timestamp(1_700_000_000_000),
        said: 0,
    };
    world.passes(Duration::ZERO);
    world.happens(Event::SubmitRejected {
        attempt: ATTEMPT,
        reason: "sbatch: error: no\n  sbatch: error: never\n".to_owned(),
    });
    let expected = "attempt 0: the scheduler refused it: sbatch: error: no / sbatch: error: never";
    assert_eq!(world.why(), expected);
}

#[test]
fn a_delay_is_told_once_and_after_a_submission_again() {
    let mut world = World {
        machine: Machine::new(vec![Job::new(JOB, 3)], Policy::default()),
        now: Timestamp(1_700_000_000_000),
        said: 0,
    };
    let delayed = |reason: &str| Event::SubmitDelayed {
        attempt: ATTEMPT,
        reason: reason.to_owned(),
        retry_after: None,
    };
    world.passes(Duration::ZERO);
    let told = Action::Notify {
        job: JOB,
        level: Level::Warning,
        text: "attempt 0 can't be submitted now: a; it is tried again".to_owned(),
    };
    assert_eq!(world.happens(delayed("a")), [told]);
    for _ in 0..3 {
        world.passes(Duration::from_secs(600));
        assert_eq!(world.happens(delayed("b")), []);
    }
    world.passes(Duration::from_secs(600));
    world.happens(Event::Submitted {
        attempt: ATTEMPT,
        cluster_job: ClusterJobId("812.0".to_owned()),
    });
    world.is(ClusterState::Ended(ClusterEnd {
        cause: EndCause::Preempted,
        text: "PREEMPTED".to_owned(),
        at: None,
    }));
    world.passes(Duration::from_secs(600));
    world.happens(Event::RecordsRead {
        attempt: ATTEMPT,
        begun: world.now,
        started: true,
        last_words: None,
    });
    world.passes(Duration::from_secs(600));
    let later = Event::SubmitDelayed {
        attempt: Attempt(1),
        reason: "c".to_owned(),
        retry_after: None,
    };
    assert!(warns(&world.happens(later)));
}

/// A job whose first attempt is being submitted.
fn submitting() -> World {
    let policy = Policy {
        submissions_per_hour: std::num::NonZeroU32::new(5).expect("5 is not 0"),
        ..Policy::default()
    };
    let mut world = World {
        machine: Machine::new(vec![Job::new(JOB, 3)], policy),
        now: Timestamp(1_700_000_000_000),
        said: 0,
    };
    world.passes(Duration::ZERO);
    world
}

#[test]
fn a_submission_that_is_lost_again_and_again_is_tried_ever_less_often_and_its_words_are_told() {
    let mut world = submitting();
    let mut told = Vec::new();
    let mut waits = Vec::new();
    for _ in 0..4 {
        told.extend(world.happens(Event::SubmitUncertain {
            attempt: ATTEMPT,
            reason: "sbatch: Segmentation fault".to_owned(),
        }));
        assert!(
            world.why().contains("Segmentation fault"),
            "{}",
            world.why()
        );
        told.extend(world.happens(Event::NotFound { attempt: ATTEMPT }));
        assert!(
            world.why().contains("Segmentation fault"),
            "{}",
            world.why()
        );
        let due = world.machine.next_deadline().expect("it is tried again");
        waits.push(due.since(world.now).as_secs());
        world.passes(due.since(world.now));
    }
    assert_eq!(waits, [0, 2, 4, 8]);
    told.retain(|action| matches!(action, Action::Notify { .. }));
    let expected = Action::Notify {
        job: JOB,
        level: Level::Warning,
        text: "attempt 0 was not submitted: sbatch: Segmentation fault; it is tried again"
            .to_owned(),
    };
    assert_eq!(told, [expected]);
}

#[test]
fn that_an_attempt_is_not_found_which_has_ended_is_no_news() {
    let mut world = submitting();
    world.happens(Event::SubmitUncertain {
        attempt: ATTEMPT,
        reason: "timed out".to_owned(),
    });
    world.starts();
    let record = ExitRecord {
        end: ProgramEnd::Exited(3),
        output_changed: OutputChange::Changed,
        ..killed(&world)
    };
    world.says(Message::Ended(record));
    assert_eq!(world.job().state(), JobState::Waiting, "{}", world.why());
    assert_eq!(world.happens(Event::NotFound { attempt: ATTEMPT }), []);
}
