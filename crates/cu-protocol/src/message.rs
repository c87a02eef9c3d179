//! What an attempt says to the main process, and what it hears back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode};
use crate::{Attempt, CheckpointId, JobId, Metrics, Sequence, Timestamp};

/// A message with its sender and its place in the sender's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct Envelope {
    /// Whose message.
    pub job: JobId,
    /// Of which attempt.
    pub attempt: Attempt,
    /// Its number among the messages of this attempt.
    pub sequence: Sequence,
    /// What is said.
    pub message: Message,
}

/// What an attempt says: its program, or its [supervisor](Self::is_of_supervisor) itself.
///
/// New variants go to the end, with the version that has them in [`since`](Self::since).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The program runs.
    Started(Started),
    /// How much of the whole job is done. The latest counts.
    Progress(Fraction),
    /// Metrics announced before the end. The latest counts, name by name.
    EarlyMetrics(Metrics),
    /// The final metrics: the job is done.
    Results(Metrics),
    /// "Submit me again, once I have ended."
    ResumeRequest(ResumeRequest),
    /// The program says in words why it fails.
    Failed(Failure),
    /// The program has ended. The last message of an attempt.
    Ended(ExitRecord),
    /// The program is not started yet, since something is waited for. It stands outside the order of an
    /// attempt's messages, for several supervisors of one attempt may wait: its sequence is 0, and the
    /// latest counts.
    Waiting(Waiting),
    /// The program has ended, and processes that it left behind can't be killed.
    LeftBehind(LeftBehind),
}

impl Message {
    /// Whether it is a supervisor's own word, which no program may say.
    #[must_use]
    pub fn is_of_supervisor(&self) -> bool {
        match self {
            Self::Started(_) | Self::Ended(_) | Self::Waiting(_) | Self::LeftBehind(_) => true,
            Self::Progress(_)
            | Self::EarlyMetrics(_)
            | Self::Results(_)
            | Self::ResumeRequest(_)
            | Self::Failed(_) => false,
        }
    }

    /// The first version of the protocol that has it. An end that speaks an older one takes it for
    /// noise and hangs up.
    #[must_use]
    pub fn since(&self) -> u16 {
        match self {
            Self::Waiting(_) | Self::LeftBehind(_) => 2,
            _ => 1,
        }
    }
}

/// Where an attempt runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Started {
    /// The host's name as the host itself tells it.
    pub host: String,
    /// The supervisor's process id on that host.
    pub supervisor: u32,
    /// The program's process id on that host, also its process group.
    pub program: u32,
    /// When the program was started, by the host's clock.
    pub at: Timestamp,
    /// The newest checkpoint that lay in the output directory at the start.
    pub checkpoint: Option<CheckpointId>,
}

/// A part of a whole: a finite number from 0 to 1, in JSON a number.
///
/// ```
/// use cu_protocol::Fraction;
///
/// assert_eq!(Fraction::new(0.25).map(Fraction::get), Some(0.25));
/// assert_eq!(Fraction::new(1.5), None);
/// assert_eq!(Fraction::new(f64::NAN), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, Encode)]
#[serde(try_from = "f64", into = "f64")]
pub struct Fraction(f64);

impl Fraction {
    /// `value`, if it is a number from 0 to 1.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// The number, from 0 to 1.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A number that is no part of a whole.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0} is no fraction: a number from 0 to 1 is expected")]
pub struct InvalidFraction(pub f64);

impl TryFrom<f64> for Fraction {
    type Error = InvalidFraction;

    fn try_from(value: f64) -> Result<Self, InvalidFraction> {
        Self::new(value).ok_or(InvalidFraction(value))
    }
}

/// As a percentage with one decimal: `12.5 %`.
impl fmt::Display for Fraction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.1} %", 100.0 * self.0)
    }
}

impl From<Fraction> for f64 {
    fn from(fraction: Fraction) -> f64 {
        fraction.0
    }
}

/// "Submit me again", with what the next attempt will find.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// The checkpoint that was saved last, if the program uses ours.
    pub checkpoint: Option<CheckpointId>,
}

/// Why a program fails, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The message, as a person should read it.
    pub text: String,
}

/// What a supervisor waits for before it starts its program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Waiting {
    /// The host where it waits.
    pub host: String,
    /// Who or what is in the way, for people: a clause.
    pub reason: String,
    /// When it gives up at the latest, by that host's clock: it ends then and has started nothing.
    pub until: Timestamp,
}

/// What lives on after the program's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct LeftBehind {
    /// The host.
    pub host: String,
    /// Which processes, for people: number and name of the first few.
    pub processes: String,
}

/// How an attempt ended, as its supervisor saw it: the best witness there is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct ExitRecord {
    /// How the program ended.
    pub end: ProgramEnd,
    /// Why the supervisor asked the program to stop, if it did.
    pub stop: Option<StopCause>,
    /// The host's name.
    pub host: String,
    /// When the program was started; `None` if it never was.
    pub started: Option<Timestamp>,
    /// When the end was seen.
    pub ended: Timestamp,
    /// The greatest resident memory of the program and its children, in bytes, where known.
    pub peak_memory_bytes: Option<u64>,
    /// The newest checkpoint in the output directory at the end.
    pub checkpoint: Option<CheckpointId>,
    /// Whether a file of the output directory changed during the attempt, our own files aside.
    pub output_changed: OutputChange,
}

/// Whether an attempt changed a file in its job's output directory. In JSON `true`, `false`, or
/// `{"unknown":"why"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(from = "OutputChangeForm", into = "OutputChangeForm")]
pub enum OutputChange {
    // In this order: encoded, the first two are what a `bool` is.
    /// All was looked at, and nothing has changed.
    Unchanged,
    /// Something has changed.
    Changed,
    /// Not all could be looked at, and nothing that could has changed. The text says why: half a
    /// sentence. Nobody may take it for [`Unchanged`](Self::Unchanged).
    Unknown(String),
}

impl From<bool> for OutputChange {
    fn from(has_changed: bool) -> Self {
        match has_changed {
            true => Self::Changed,
            false => Self::Unchanged,
        }
    }
}

/// [`OutputChange`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OutputChangeForm {
    Known(bool),
    Unknown { unknown: String },
}

impl From<OutputChangeForm> for OutputChange {
    fn from(form: OutputChangeForm) -> Self {
        match form {
            OutputChangeForm::Known(has_changed) => has_changed.into(),
            OutputChangeForm::Unknown { unknown } => Self::Unknown(unknown),
        }
    }
}

impl From<OutputChange> for OutputChangeForm {
    fn from(change: OutputChange) -> Self {
        match change {
            OutputChange::Unchanged => Self::Known(false),
            OutputChange::Changed => Self::Known(true),
            OutputChange::Unknown(unknown) => Self::Unknown { unknown },
        }
    }
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum ProgramEnd {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
    /// It could not be started, and no other attempt can start it. The text says what was tried and
    /// why it failed.
    NotStarted(String),
    /// It was not started, because another attempt of the job may still be running, a newer one
    /// exists, or a machine or file system failed. The text names it.
    Fenced(String),
}

/// What follows "the program".
impl fmt::Display for ProgramEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(out, "exited with code {code}"),
            Self::Signaled(signal) => write!(out, "was killed by signal {signal}"),
            Self::NotStarted(reason) => write!(out, "could not be started: {reason}"),
            Self::Fenced(reason) => write!(out, "was kept from starting: {reason}"),
        }
    }
}

/// Why a program was, or should be, asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// So many steps are done.
    Steps,
    /// The attempt has run for as long as it was meant to.
    TimeBudget,
    /// The scheduler's time limit is near.
    TimeLimit,
    /// A file has appeared that asks for it.
    StopFile,
    /// A signal: the scheduler's warning, or a person's.
    Signal(i32),
    /// The operator's wish: checkpoint, exit, and be resumed.
    Operator,
    /// The operator's wish: end for good.
    Cancel,
}

/// What follows "because".
impl fmt::Display for StopCause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps => out.write_str("as many steps are done as were asked for"),
            Self::TimeBudget => out.write_str("its time budget is used up"),
            Self::TimeLimit => out.write_str("the scheduler's time limit is near"),
            Self::StopFile => out.write_str("a file appeared that asks for it"),
            Self::Signal(signal) => write!(out, "signal {signal} came"),
            Self::Operator => out.write_str("the operator asked it to checkpoint and exit"),
            Self::Cancel => out.write_str("the operator cancelled the job"),
        }
    }
}

/// What the main process answers once a message is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Acknowledgement {
    /// The message that is recorded; all of this attempt up to it are. 0 if none is yet.
    pub sequence: Sequence,
    /// What the main process would like of the attempt.
    pub wish: Option<Wish>,
}

/// What the main process asks of a running attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// "Save a checkpoint and exit for resume, please."
    CheckpointAndExit,
    /// "End now, for good": the program gets its stop signal, then SIGTERM, then SIGKILL.
    Cancel,
}

/// What follows "asked to".
impl fmt::Display for Wish {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::CheckpointAndExit => "save a checkpoint and exit for resume",
            Self::Cancel => "end for good",
        })
    }
}
