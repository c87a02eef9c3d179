//! Any move there is: events in any order, right and wrong, and time that passes.

use std::time::Duration;

use cu_core::machine::{Event, Order};
use cu_protocol::{
    Attempt, CheckpointId, Condition, ExitRecord, Failure, Fraction, JobId, LeftBehind, Message,
    Metrics, Noticed, OutputChange, ProgramEnd, ResumeRequest, Sequence, Started, StopCause,
    Timestamp, Waiting,
};
use cu_scheduler::{ClusterEnd, ClusterState, EndCause, Observation};
use proptest::prelude::*;

use crate::world::{JOBS, START, cluster_job};

fn attempts() -> impl Strategy<Value = Attempt> {
    (0..4_u32).prop_map(Attempt)
}

fn generations() -> impl Strategy<Value = Option<CheckpointId>> {
    prop::option::of(
        (attempts(), 0..3_u64).prop_map(|(attempt, counter)| CheckpointId { attempt, counter }),
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
    let conditions = prop::option::of(prop_oneof![
        Just(Condition::Met),
        Just(Condition::NotMet("there is no file".to_owned())),
        Just(Condition::Unknown("it is too long".to_owned())),
    ]);
    let parts = (ends, stops, generations(), changes, conditions);
    parts.prop_map(
        |(end, stop, checkpoint, output_changed, condition)| ExitRecord {
            end,
            stop,
            host: "n1".to_owned(),
            started: None,
            ended: Timestamp::from_millis(0),
            peak_memory_bytes: None,
            checkpoint,
            output_changed,
            condition,
            noticed: cu_protocol::Noticed::default(),
        },
    )
}

fn messages() -> impl Strategy<Value = Message> {
    let started = Started {
        host: "n1".to_owned(),
        supervisor: 1,
        program: 2,
        at: Timestamp::from_millis(0),
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
                until: Timestamp::from_millis(until),
            })
        }),
        (any::<bool>(), any::<bool>()).prop_map(|(left, not_activated)| {
            Message::Noticed(Noticed {
                ended_processes: left.then(|| "7 (sleep)".to_owned()),
                printed_the_same: left,
                not_activated,
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
        Just(EndCause::Removed),
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
                begun: Timestamp::from_millis(START.millis() + ms),
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
            reason: "no such partition".to_owned(),
            is_final: false,
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
            Just(Order::Retry),
            Just(Order::EndEarly),
            Just(Order::GiveUp)
        ]
        .prop_map(Event::Ordered),
    ]
}

#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of the large variant"
)]
pub enum Move {
    Happens(JobId, Event),
    TimePasses(Duration),
}

pub fn moves() -> impl Strategy<Value = Vec<Move>> {
    let happens = (0..JOBS, events()).prop_map(|(job, event)| Move::Happens(JobId(job), event));
    let passes = (0..20_000_u64).prop_map(|ms| Move::TimePasses(Duration::from_millis(ms)));
    prop::collection::vec(prop_oneof![3 => happens, 2 => passes], 0..80)
}
