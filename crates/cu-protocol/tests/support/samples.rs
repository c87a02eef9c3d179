//! One message of every kind, each with a fixed name.

use cu_protocol::{
    Acknowledgement, Attempt, CheckpointId, Condition, Envelope, ExitRecord, Failure, Fraction,
    FromServer, JobId, LeftBehind, Message, MetricValue, Metrics, Noticed, OperatorAnswer,
    OperatorRequest, OutputChange, ProgramAnswer, ProgramEnd, ProgramRequest, Pushed,
    ResumeRequest, Role, RunId, Selection, Sequence, Started, StopCause, StopRule, Stopped,
    Timestamp, ToServer, Waiting, Wish,
};

/// Names the variants of a type. The tests don't compile until a new variant has a name, and fail
/// until it has a sample.
macro_rules! kinds {
    ($($function:ident, $all:ident: $type:ty { $($pattern:pat => $name:literal),+ $(,)? })+) => {$(
        pub const $all: &[&str] = &[$($name),+];
        fn $function(value: &$type) -> &'static str {
            match value { $($pattern => $name),+ }
        }
    )+};
}

kinds! {
    message_kind, MESSAGES: Message {
        Message::Started(_) => "started",
        Message::Progress(_) => "progress",
        Message::EarlyMetrics(_) => "early_metrics",
        Message::Results(_) => "results",
        Message::ResumeRequest(_) => "resume_request",
        Message::Failed(_) => "failed",
        Message::Ended(_) => "ended",
        Message::Waiting(_) => "waiting",
        Message::LeftBehind(_) => "left_behind",
        Message::Condition(_) => "condition",
        Message::Stopped(_) => "stopped",
        Message::Noticed(_) => "noticed",
    }
    end_kind, ENDS: ProgramEnd {
        ProgramEnd::Exited(_) => "exited",
        ProgramEnd::Signaled(_) => "signaled",
        ProgramEnd::NotStarted(_) => "not_started",
        ProgramEnd::Fenced(_) => "fenced",
    }
    condition_kind, CONDITIONS: Condition {
        Condition::Met => "met",
        Condition::NotMet(_) => "not_met",
        Condition::Unknown(_) => "unknown_condition",
    }
    change_kind, CHANGES: OutputChange {
        OutputChange::Unchanged => "unchanged",
        OutputChange::Changed => "changed",
        OutputChange::Unknown(_) => "unknown",
    }
    cause_kind, CAUSES: StopCause {
        StopCause::Steps => "steps",
        StopCause::TimeBudget => "time_budget",
        StopCause::TimeLimit => "time_limit",
        StopCause::StopFile => "stop_file",
        StopCause::Signal(_) => "signal",
        StopCause::Operator => "operator",
        StopCause::Cancel => "cancel",
    }
    value_kind, VALUES: MetricValue {
        MetricValue::Null => "null",
        MetricValue::Boolean(_) => "boolean",
        MetricValue::Integer(_) => "integer",
        MetricValue::Float(_) => "float",
        MetricValue::Text(_) => "text",
    }
    request_kind, REQUESTS: OperatorRequest {
        OperatorRequest::Ping => "ping",
        OperatorRequest::Stop(_) => "stop",
        OperatorRequest::Pause(_) => "pause",
        OperatorRequest::Continue(_) => "continue",
        OperatorRequest::Retry(_) => "retry",
        OperatorRequest::Checkpoint(_) => "checkpoint",
        OperatorRequest::Detach => "detach",
    }
    selection_kind, SELECTIONS: Selection {
        Selection::All => "all",
        Selection::Jobs(_) => "jobs",
    }
    answer_kind, ANSWERS: OperatorAnswer {
        OperatorAnswer::Done { .. } => "done",
        OperatorAnswer::Refused(_) => "refused",
    }
    role_kind, ROLES: Role {
        Role::Supervisor { .. } => "supervisor",
        Role::Operator => "operator",
    }
    wish_kind, WISHES: Wish {
        Wish::CheckpointAndExit => "checkpoint_and_exit",
        Wish::Cancel => "cancel",
    }
    to_server_kind, TO_SERVER: ToServer {
        ToServer::Hello { .. } => "hello",
        ToServer::Message(_) => "message",
        ToServer::Request(_) => "request",
    }
    from_server_kind, FROM_SERVER: FromServer {
        FromServer::Welcome(_) => "welcome",
        FromServer::Acknowledgement(_) => "acknowledgement",
        FromServer::Answer(_) => "answer",
        FromServer::Refused(_) => "refused",
        FromServer::Stay(_) => "stay",
    }
    program_request_kind, PROGRAM_REQUESTS: ProgramRequest {
        ProgramRequest::Say(_) => "say",
        ProgramRequest::ShouldExit => "should_exit",
    }
    program_answer_kind, PROGRAM_ANSWERS: ProgramAnswer {
        ProgramAnswer::Noted => "noted",
        ProgramAnswer::ShouldExit(_) => "should_exit",
        ProgramAnswer::Refused(_) => "refused",
    }
}

/// Samples, named after their kinds.
pub type Samples<T> = Vec<(String, T)>;

const GENERATION: CheckpointId = CheckpointId {
    attempt: Attempt(300),
    counter: 70_000,
};

fn exit_record(end: ProgramEnd, stop: Option<StopCause>) -> ExitRecord {
    ExitRecord {
        end,
        stop,
        host: "node-17".into(),
        started: Some(Timestamp::from_millis(1_700_000_000_000)),
        ended: Timestamp::from_millis(1_700_000_360_000),
        peak_memory_bytes: Some(5_000_000_000),
        checkpoint: Some(GENERATION),
        output_changed: OutputChange::Changed,
        condition: None,
        noticed: cu_protocol::Noticed::default(),
    }
}

fn causes() -> Samples<StopCause> {
    [
        StopCause::Steps,
        StopCause::TimeBudget,
        StopCause::TimeLimit,
        StopCause::StopFile,
        StopCause::Signal(10),
        StopCause::Operator,
        StopCause::Cancel,
    ]
    .map(|cause| (cause_kind(&cause).to_owned(), cause))
    .into()
}

fn values() -> Samples<MetricValue> {
    [
        ("", MetricValue::Null),
        ("", MetricValue::Boolean(true)),
        ("", MetricValue::Integer(-1_000_000_007)),
        ("", MetricValue::Float(0.1)),
        (" whole", MetricValue::Float(1.0)),
        (" nan", MetricValue::Float(f64::NAN)),
        (
            " odd nan",
            MetricValue::Float(f64::from_bits(0xfff0_0000_0000_0001)),
        ),
        (" infinity", MetricValue::Float(f64::NEG_INFINITY)),
        ("", MetricValue::Text("Größe, \"5\"\n".into())),
    ]
    .map(|(which, value)| (format!("{}{which}", value_kind(&value)), value))
    .into()
}

fn ends() -> Samples<ProgramEnd> {
    [
        ProgramEnd::Exited(-3),
        ProgramEnd::Signaled(9),
        ProgramEnd::NotStarted("train.py: no such file".into()),
        ProgramEnd::Fenced("attempt 299 holds the lock".into()),
    ]
    .map(|end| (end_kind(&end).to_owned(), end))
    .into()
}

fn messages() -> Samples<Message> {
    let metrics: Metrics = values().into_iter().collect();
    let started = Started {
        host: "node-17".into(),
        supervisor: 4242,
        program: 4243,
        at: Timestamp::from_millis(1_700_000_000_000),
        checkpoint: None,
    };
    let third = Fraction::new(1.0 / 3.0).unwrap();
    let mut messages = vec![
        Message::Started(started),
        Message::Progress(third),
        Message::EarlyMetrics(metrics),
        Message::Results(Metrics::new()),
        Message::ResumeRequest(ResumeRequest::default()),
        Message::ResumeRequest(ResumeRequest {
            checkpoint: Some(GENERATION),
        }),
        Message::Failed(Failure {
            text: "the loss is NaN".into(),
        }),
    ]
    .into_iter()
    .map(|message| (message_kind(&message).to_owned(), message))
    .collect::<Vec<_>>();
    messages[5].0 += " with checkpoint";
    for (name, end) in ends() {
        let record = exit_record(end, None);
        messages.push((format!("ended {name}"), Message::Ended(record)));
    }
    for (name, cause) in causes() {
        let record = exit_record(ProgramEnd::Exited(3), Some(cause));
        messages.push((format!("ended stop {name}"), Message::Ended(record)));
    }
    for output_changed in [
        OutputChange::Unchanged,
        OutputChange::Changed,
        OutputChange::Unknown("can't list /a/b: Input/output error".into()),
    ] {
        let name = change_kind(&output_changed);
        let record = ExitRecord {
            output_changed,
            ..exit_record(ProgramEnd::Exited(3), None)
        };
        messages.push((format!("ended output {name}"), Message::Ended(record)));
    }
    messages
}

/// The messages that version 2 adds.
fn messages_of_version_2() -> Samples<Message> {
    let host = || "node-17".to_owned();
    let messages = [
        Message::Waiting(Waiting {
            host: host(),
            reason: "attempt 299 may still be running".into(),
            until: Timestamp::from_millis(1_700_000_900_000),
        }),
        Message::LeftBehind(LeftBehind {
            host: host(),
            processes: "4244 (sleep)".into(),
        }),
    ];
    let named = messages.map(|message| (message_kind(&message).to_owned(), message));
    named.into()
}

/// The messages that version 3 adds.
fn messages_of_version_3() -> Samples<Message> {
    let missing = || "there is no file FINISHED".to_owned();
    let conditions = [
        Condition::Met,
        Condition::NotMet(missing()),
        Condition::Unknown(missing()),
    ]
    .into_iter()
    .map(|condition| {
        let name = format!("condition {}", condition_kind(&condition));
        (name, Message::Condition(condition))
    });
    let rules = [
        ("after", Some(StopRule::After(3_000_000))),
        ("before_limit", Some(StopRule::BeforeLimit(120_000))),
        ("file", Some(StopRule::File("please_stop".into()))),
        ("no_rule", None),
    ];
    let stopped = |(name, rule)| {
        let pushed = Pushed {
            signal: "TERM".into(),
            process: "python3".into(),
            others: 2,
            after_milliseconds: 500,
        };
        let stopped = Stopped {
            after_milliseconds: 3_000_012,
            rule,
            grace_milliseconds: 30_000,
            pushes: vec![pushed],
        };
        (format!("stopped {name}"), Message::Stopped(stopped))
    };
    let noticed = Noticed {
        ended_processes: Some("4244 (train)".into()),
        printed_the_same: true,
        not_activated: false,
    };
    let noticed = ("noticed".to_owned(), Message::Noticed(noticed));
    conditions
        .chain(rules.map(stopped))
        .chain([noticed])
        .collect()
}

fn enveloped(message: Message) -> ToServer {
    ToServer::Message(Envelope {
        job: JobId(7),
        attempt: Attempt(3),
        sequence: Sequence(1_000_000),
        message,
    })
}

/// Messages to the server that came with version 2.
pub fn to_server_of_version_2() -> Samples<ToServer> {
    let samples = messages_of_version_2().into_iter();
    let samples = samples.map(|(name, message)| (name, enveloped(message)));
    named(samples.collect(), to_server_kind)
}

/// Messages to the server that came with version 3.
pub fn to_server_of_version_3() -> Samples<ToServer> {
    let samples = messages_of_version_3().into_iter();
    let samples = samples.map(|(name, message)| (name, enveloped(message)));
    named(samples.collect(), to_server_kind)
}

fn requests() -> Samples<OperatorRequest> {
    let mut requests = vec![OperatorRequest::Ping, OperatorRequest::Detach];
    for selection in [
        Selection::All,
        Selection::Jobs(vec![JobId(0), JobId(251), JobId(70_000)]),
    ] {
        requests.extend([
            OperatorRequest::Stop(selection.clone()),
            OperatorRequest::Pause(selection.clone()),
            OperatorRequest::Continue(selection.clone()),
            OperatorRequest::Retry(selection.clone()),
            OperatorRequest::Checkpoint(selection),
        ]);
    }
    let name = |request: &OperatorRequest| match request {
        OperatorRequest::Ping | OperatorRequest::Detach => request_kind(request).to_owned(),
        OperatorRequest::Stop(selection)
        | OperatorRequest::Pause(selection)
        | OperatorRequest::Continue(selection)
        | OperatorRequest::Retry(selection)
        | OperatorRequest::Checkpoint(selection) => {
            format!("{} {}", request_kind(request), selection_kind(selection))
        }
    };
    requests
        .into_iter()
        .map(|request| (name(&request), request))
        .collect()
}

/// Messages to the server.
pub fn to_server() -> Samples<ToServer> {
    let supervisor = Role::Supervisor {
        job: JobId(7),
        attempt: Attempt(3),
    };
    let mut samples = Vec::new();
    for role in [supervisor, Role::Operator] {
        let name = role_kind(&role);
        let run = RunId(*b"sixteen bytes id");
        samples.push((name.to_owned(), ToServer::Hello { run, role }));
    }
    for (name, message) in messages() {
        samples.push((name, enveloped(message)));
    }
    for (name, request) in requests() {
        samples.push((name, ToServer::Request(request)));
    }
    named(samples, to_server_kind)
}

/// Messages from the server.
pub fn from_server() -> Samples<FromServer> {
    let mut samples = Vec::new();
    for wish in [None, Some(Wish::CheckpointAndExit), Some(Wish::Cancel)] {
        let name = wish.as_ref().map_or("without wish", wish_kind);
        let acknowledgement = Acknowledgement {
            sequence: Sequence(300),
            wish,
        };
        samples.push((
            name.to_owned(),
            FromServer::Welcome(acknowledgement.clone()),
        ));
        samples.push((
            name.to_owned(),
            FromServer::Acknowledgement(acknowledgement),
        ));
    }
    for answer in [
        OperatorAnswer::Done { jobs: 12 },
        OperatorAnswer::Refused("job 9 does not exist".into()),
    ] {
        let name = answer_kind(&answer).to_owned();
        samples.push((name, FromServer::Answer(answer)));
    }
    samples.push(("text".into(), FromServer::Refused("another run".into())));
    named(samples, from_server_kind)
}

/// The messages from the server that version 4 adds.
pub fn from_server_of_version_4() -> Samples<FromServer> {
    let stay = FromServer::Stay(Sequence(300));
    vec![(from_server_kind(&stay).to_owned(), stay)]
}

/// Requests of a program.
pub fn program_requests() -> Samples<ProgramRequest> {
    let mut samples: Vec<_> = messages()
        .into_iter()
        .map(|(name, message)| (name, ProgramRequest::Say(message)))
        .collect();
    samples.push(("question".into(), ProgramRequest::ShouldExit));
    named(samples, program_request_kind)
}

/// Answers to a program.
pub fn program_answers() -> Samples<ProgramAnswer> {
    let mut samples: Vec<_> = causes()
        .into_iter()
        .map(|(name, cause)| (name, ProgramAnswer::ShouldExit(Some(cause))))
        .collect();
    samples.extend([
        ("no".into(), ProgramAnswer::ShouldExit(None)),
        ("plain".into(), ProgramAnswer::Noted),
        (
            "text".into(),
            ProgramAnswer::Refused("no such metric".into()),
        ),
    ]);
    named(samples, program_answer_kind)
}

fn named<T>(samples: Samples<T>, kind: fn(&T) -> &'static str) -> Samples<T> {
    samples
        .into_iter()
        .map(|(name, sample)| (format!("{} {name}", kind(&sample)), sample))
        .collect()
}
