//! Any message, for property tests.

use cu_protocol::{
    Acknowledgement, Attempt, CheckpointId, Condition, Envelope, ExitRecord, Failure, Fraction,
    FromServer, JobId, LeftBehind, Message, MetricValue, Metrics, Noticed, OperatorAnswer,
    OperatorRequest, OutputChange, ProgramAnswer, ProgramEnd, ProgramRequest, Pushed,
    ResumeRequest, Role, RunId, Selection, Sequence, Started, StopCause, StopRule, Stopped,
    Timestamp, ToServer, Waiting, Wish,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

/// All of Unicode: quotes, control characters, line ends.
fn text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..40).prop_map(String::from_iter)
}

fn generation() -> impl Strategy<Value = CheckpointId> {
    (any::<u32>(), any::<u64>()).prop_map(|(attempt, counter)| CheckpointId {
        attempt: Attempt(attempt),
        counter,
    })
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MAX.millis()).prop_map(Timestamp::from_millis)
}

fn fraction() -> impl Strategy<Value = Fraction> {
    (0.0..=1.0).prop_map(|value| Fraction::new(value).expect("in range"))
}

/// Every pattern of 64 bits is a float.
fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<i32>().prop_map(f64::from)
    ]
}

pub fn metric_value() -> impl Strategy<Value = MetricValue> {
    prop_oneof![
        Just(MetricValue::Null),
        any::<bool>().prop_map(MetricValue::Boolean),
        any::<i64>().prop_map(MetricValue::Integer),
        float().prop_map(MetricValue::Float),
        text().prop_map(MetricValue::Text),
    ]
}

fn metrics() -> impl Strategy<Value = Metrics> {
    btree_map(text(), metric_value(), 0..6)
}

fn stop_cause() -> impl Strategy<Value = StopCause> {
    prop_oneof![
        Just(StopCause::Steps),
        Just(StopCause::TimeBudget),
        Just(StopCause::TimeLimit),
        Just(StopCause::StopFile),
        any::<i32>().prop_map(StopCause::Signal),
        Just(StopCause::Operator),
        Just(StopCause::Cancel),
    ]
}

fn program_end() -> impl Strategy<Value = ProgramEnd> {
    prop_oneof![
        any::<i32>().prop_map(ProgramEnd::Exited),
        any::<i32>().prop_map(ProgramEnd::Signaled),
        text().prop_map(ProgramEnd::NotStarted),
        text().prop_map(ProgramEnd::Fenced),
    ]
}

fn started() -> impl Strategy<Value = Started> {
    let processes = (any::<u32>(), any::<u32>());
    (text(), processes, timestamp(), option::of(generation())).prop_map(
        |(host, (supervisor, program), at, checkpoint)| Started {
            host,
            supervisor,
            program,
            at,
            checkpoint,
        },
    )
}

fn output_change() -> impl Strategy<Value = OutputChange> {
    prop_oneof![
        Just(OutputChange::Unchanged),
        Just(OutputChange::Changed),
        text().prop_map(OutputChange::Unknown),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Met),
        text().prop_map(Condition::NotMet),
        text().prop_map(Condition::Unknown),
    ]
}

fn exit_record() -> impl Strategy<Value = ExitRecord> {
    (
        program_end(),
        option::of(stop_cause()),
        text(),
        option::of(timestamp()),
        timestamp(),
        option::of(any::<u64>()),
        option::of(generation()),
        output_change(),
    )
        .prop_map(
            |(end, stop, host, started, ended, peak_memory_bytes, checkpoint, output_changed)| {
                ExitRecord {
                    end,
                    stop,
                    host,
                    started,
                    ended,
                    peak_memory_bytes,
                    checkpoint,
                    output_changed,
                    // In a frame it travels ahead.
                    condition: None,
                    noticed: cu_protocol::Noticed::default(),
                }
            },
        )
}

fn stopped() -> impl Strategy<Value = Stopped> {
    let rule = prop_oneof![
        any::<u64>().prop_map(StopRule::After),
        any::<u64>().prop_map(StopRule::BeforeLimit),
        text().prop_map(StopRule::File),
    ];
    let pushed = (text(), text(), any::<u32>(), any::<u64>()).prop_map(
        |(signal, process, others, after_milliseconds)| Pushed {
            signal,
            process,
            others,
            after_milliseconds,
        },
    );
    (
        any::<u64>(),
        option::of(rule),
        any::<u64>(),
        vec(pushed, 0..5),
    )
        .prop_map(
            |(after_milliseconds, rule, grace_milliseconds, pushes)| Stopped {
                after_milliseconds,
                rule,
                grace_milliseconds,
                pushes,
            },
        )
}

pub fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        started().prop_map(Message::Started),
        fraction().prop_map(Message::Progress),
        metrics().prop_map(Message::EarlyMetrics),
        metrics().prop_map(Message::Results),
        option::of(generation())
            .prop_map(|checkpoint| Message::ResumeRequest(ResumeRequest { checkpoint })),
        text().prop_map(|text| Message::Failed(Failure { text })),
        exit_record().prop_map(Message::Ended),
        (text(), text(), timestamp()).prop_map(|(host, reason, until)| {
            Message::Waiting(Waiting {
                host,
                reason,
                until,
            })
        }),
        (text(), text())
            .prop_map(|(host, processes)| Message::LeftBehind(LeftBehind { host, processes })),
        condition().prop_map(Message::Condition),
        stopped().prop_map(Message::Stopped),
        noticed().prop_map(Message::Noticed),
    ]
}

fn noticed() -> impl Strategy<Value = Noticed> {
    (option::of(text()), any::<bool>(), any::<bool>()).prop_map(
        |(ended_processes, printed_the_same, not_activated)| Noticed {
            ended_processes,
            printed_the_same,
            not_activated,
        },
    )
}

fn envelope() -> impl Strategy<Value = Envelope> {
    (any::<u32>(), any::<u32>(), any::<u64>(), message()).prop_map(
        |(job, attempt, sequence, message)| Envelope {
            job: JobId(job),
            attempt: Attempt(attempt),
            sequence: Sequence(sequence),
            message,
        },
    )
}

fn operator_request() -> impl Strategy<Value = OperatorRequest> {
    let selection = prop_oneof![
        Just(Selection::All),
        vec(any::<u32>().prop_map(JobId), 0..20).prop_map(Selection::Jobs),
    ];
    let change = prop_oneof![
        Just(OperatorRequest::Stop as fn(Selection) -> OperatorRequest),
        Just(OperatorRequest::Pause as fn(Selection) -> OperatorRequest),
        Just(OperatorRequest::Continue as fn(Selection) -> OperatorRequest),
        Just(OperatorRequest::Retry as fn(Selection) -> OperatorRequest),
        Just(OperatorRequest::Checkpoint as fn(Selection) -> OperatorRequest),
    ];
    prop_oneof![
        Just(OperatorRequest::Ping),
        Just(OperatorRequest::Detach),
        (change, selection).prop_map(|(change, selection)| change(selection)),
    ]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        (any::<u32>(), any::<u32>()).prop_map(|(job, attempt)| Role::Supervisor {
            job: JobId(job),
            attempt: Attempt(attempt),
        }),
        Just(Role::Operator),
    ]
}

pub fn to_server() -> impl Strategy<Value = ToServer> {
    prop_oneof![
        1 => (any::<[u8; 16]>(), role()).prop_map(|(run, role)| ToServer::Hello {
            run: RunId(run),
            role,
        }),
        4 => envelope().prop_map(ToServer::Message),
        2 => operator_request().prop_map(ToServer::Request),
    ]
}

fn acknowledgement() -> impl Strategy<Value = Acknowledgement> {
    let wish = prop_oneof![Just(Wish::CheckpointAndExit), Just(Wish::Cancel)];
    (any::<u64>(), option::of(wish)).prop_map(|(sequence, wish)| Acknowledgement {
        sequence: Sequence(sequence),
        wish,
    })
}

pub fn from_server() -> impl Strategy<Value = FromServer> {
    let answer = prop_oneof![
        any::<u32>().prop_map(|jobs| OperatorAnswer::Done { jobs }),
        text().prop_map(OperatorAnswer::Refused),
    ];
    prop_oneof![
        acknowledgement().prop_map(FromServer::Welcome),
        acknowledgement().prop_map(FromServer::Acknowledgement),
        answer.prop_map(FromServer::Answer),
        text().prop_map(FromServer::Refused),
    ]
}

pub fn program_request() -> impl Strategy<Value = ProgramRequest> {
    prop_oneof![
        4 => message().prop_map(ProgramRequest::Say),
        1 => Just(ProgramRequest::ShouldExit),
    ]
}

pub fn program_answer() -> impl Strategy<Value = ProgramAnswer> {
    prop_oneof![
        Just(ProgramAnswer::Noted),
        option::of(stop_cause()).prop_map(ProgramAnswer::ShouldExit),
        text().prop_map(ProgramAnswer::Refused),
    ]
}
