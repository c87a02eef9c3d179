//! What a program says to its supervisor as JSON lines: one request a line, one answer a line.

use serde::{Deserialize, Serialize};

use crate::{Message, StopCause};

/// A line from the program.
///
/// ```text
/// {"say":{"progress":0.5}}
/// {"say":{"resume_request":{"checkpoint":{"attempt":0,"counter":3}}}}
/// "should_exit"
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramRequest {
    /// A message for the main process. `Started` and `Ended` are the supervisor's and refused.
    Say(Message),
    /// "Should I save and exit?"
    ShouldExit,
}

/// The supervisor's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgramAnswer {
    /// The message is durable: with the main process, or in the attempt's outbox. Progress alone
    /// is only taken note of, since the next one replaces it.
    Noted,
    /// Whether, and why, the program should save and exit.
    ShouldExit(Option<StopCause>),
    /// The request was not understood or not allowed, for this reason.
    Refused(String),
}
