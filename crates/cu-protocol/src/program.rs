//! The JSON lines between a program and its supervisor: one request a line, one answer a line.

use serde::{Deserialize, Serialize};

use crate::{Message, StopCause};

/// A line from the program.
///
/// ```text
/// {"say":{"progress":0.5}}
/// {"say":{"early_metrics":{"loss":0.25}}}
/// {"say":{"results":{"accuracy":0.97,"label":"best"}}}
/// {"say":{"resume_request":{}}}
/// {"say":{"resume_request":{"checkpoint":{"attempt":0,"counter":3}}}}
/// {"say":{"failed":{"text":"the input file is empty"}}}
/// "should_exit"
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "one is read at a time, and none is kept"
)]
pub enum ProgramRequest {
    /// A message for the main process. The supervisor refuses a message that [only it may
    /// send](Message::is_of_supervisor).
    Say(Message),
    /// "Should I save and exit?"
    ShouldExit,
}

/// The supervisor's answer.
///
/// ```text
/// "noted"
/// {"should_exit":null}
/// {"should_exit":"time_limit"}
/// {"should_exit":{"signal":10}}
/// {"refused":"…"}
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramAnswer {
    /// The message is durable: with the main process, or in the attempt's outbox. Only progress is
    /// not made durable, since the next one replaces it.
    Noted,
    /// Whether, and why, the program should save and exit.
    ShouldExit(Option<StopCause>),
    /// The request was not understood or not allowed, for this reason.
    Refused(String),
}
