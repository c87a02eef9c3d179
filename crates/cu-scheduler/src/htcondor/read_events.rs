//! Reads an event log into a form that can be compared with other readers.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::event::{Event, Exit, Kind};
use super::event_log::Decoder;

/// The events in the bytes of an event log that come in these parts, each as a JSON object: its
/// `type` by HTCondor's number, its job as `cluster` and `proc`, and what the backend takes from it
/// beyond (`name`, `host`, `code`, `signal`, `at` in Unix seconds, `reason`, `hold_code`,
/// `hold_subcode`). Fields missing from the log are
/// omitted.
///
/// It is for comparing this reader with HTCondor's own. The state of an attempt is what
/// [`Scheduler::observe`](crate::Scheduler::observe) returns.
///
/// ```
/// let log = b"001 (812.000.000) 2026-11-24 16:06:11 Job executing on host: <10.0.0.7:9618?>\n...\n";
/// let (begin, rest) = log.split_at(40);
/// let events = cu_scheduler::htcondor::read_events([begin, rest]);
/// let expected = serde_json::json!({"type": 1, "cluster": 812, "proc": 0, "host": "10.0.0.7:9618"});
/// assert_eq!(events[0], expected);
/// ```
pub fn read_events<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Value> {
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    for part in parts {
        decoder.feed(part, &mut events);
    }
    events.iter().map(object).collect()
}

fn object(event: &Event) -> Value {
    let mut object = Map::new();
    let mut set = |key: &str, value: Value| {
        if !value.is_null() {
            object.insert(key.into(), value);
        }
    };
    set("cluster", event.id.cluster.into());
    set("proc", event.id.proc.into());
    let number = match &event.kind {
        Kind::Submitted { name } => {
            set("name", json!(name.as_ref().map(ToString::to_string)));
            0
        }
        Kind::Executing { host } => {
            set("host", json!(host));
            1
        }
        Kind::Evicted { reason } => {
            set("reason", json!(reason));
            4
        }
        Kind::Requeued { exit } => {
            let (key, value) = ended(*exit);
            set(key, value);
            4
        }
        Kind::Terminated { exit, at } => {
            let (key, value) = ended(*exit);
            set(key, value);
            let at = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
            set("at", json!(at.map(|at| at.as_secs())));
            5
        }
        Kind::Aborted { reason } => {
            set("reason", json!(reason));
            9
        }
        Kind::Held {
            reason,
            code,
            subcode,
        } => {
            set("reason", json!(reason));
            set("hold_code", json!(code));
            set("hold_subcode", json!(subcode));
            12
        }
        Kind::Released => 13,
        Kind::ReconnectFailed { reason } => {
            set("reason", json!(reason));
            24
        }
        Kind::Other(number) => *number,
    };
    set("type", number.into());
    Value::Object(object)
}

fn ended(exit: Exit) -> (&'static str, Value) {
    match exit {
        Exit::Code(code) => ("code", code.into()),
        Exit::Signal(signal) => ("signal", signal.into()),
    }
}
