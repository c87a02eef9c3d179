//! The messages from an attempt to the main process, and the acknowledgements.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode};
use crate::{Attempt, CheckpointId, JobId, Metrics, Sequence, Timestamp};

/// A message with its sender and its sequence number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
pub struct Envelope {
    /// The sender's job.
    pub job: JobId,
    /// The sender's attempt.
    pub attempt: Attempt,
    /// Its number among the messages of this attempt.
    pub sequence: Sequence,
    /// The message.
    pub message: Message,
}

/// A message of an attempt, from its program or from its [supervisor](Self::is_of_supervisor).
///
/// Add new variants at the end, and their version to [`since`](Self::since). The enum is exhaustive
/// on purpose: a receiver must decide about every message.
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
    /// The program's own words on why it fails.
    Failed(Failure),
    /// The program has ended. The last message of an attempt.
    Ended(ExitRecord),
    /// The supervisor has not started the program yet, because it waits for something. The sequence of
    /// this message is 0 and the latest counts, since several supervisors of one attempt may wait.
    Waiting(Waiting),
    /// The program has ended, but some of its processes can't be killed.
    LeftBehind(LeftBehind),
    /// What the supervisor found of the user's condition for "done". Comes right before the end, for
    /// jobs that have such a condition.
    Condition(Condition),
    /// What was done to stop the program, right before [`Ended`](Self::Ended).
    Stopped(Stopped),
    /// What the supervisor noticed besides the end, if anything. Comes right before that.
    Noticed(Noticed),
}

impl Message {
    /// Returns whether only a supervisor may send this message, and no program.
    #[must_use]
    pub fn is_of_supervisor(&self) -> bool {
        match self {
            Self::Started(_)
            | Self::Ended(_)
            | Self::Waiting(_)
            | Self::LeftBehind(_)
            | Self::Condition(_)
            | Self::Stopped(_)
            | Self::Noticed(_) => true,
            Self::Progress(_)
            | Self::EarlyMetrics(_)
            | Self::Results(_)
            | Self::ResumeRequest(_)
            | Self::Failed(_) => false,
        }
    }

    /// The first version of the protocol that has this message. An end that speaks an older version
    /// can't decode it and closes the connection.
    #[must_use]
    pub fn since(&self) -> u16 {
        match self {
            Self::Waiting(_) | Self::LeftBehind(_) => 2,
            Self::Condition(_) | Self::Stopped(_) | Self::Noticed(_) => 3,
            _ => 1,
        }
    }
}

/// The program of an attempt has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Started {
    /// The host's name, as the host reports it.
    pub host: String,
    /// The supervisor's process id on that host.
    pub supervisor: u32,
    /// The program's process id on that host, also its process group.
    pub program: u32,
    /// When the program was started, by the host's clock.
    pub at: Timestamp,
    /// The newest checkpoint in the output directory at the start.
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
    /// Returns `value` as a fraction if it is from 0 to 1.
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

/// A number that is not from 0 to 1.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0} is not a fraction: expected a number from 0 to 1")]
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
    /// The last checkpoint, if the program uses our checkpoints.
    pub checkpoint: Option<CheckpointId>,
}

/// A program's own words on why it fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The message, for people.
    pub text: String,
}

/// A supervisor waits before it starts its program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Waiting {
    /// The host where it waits.
    pub host: String,
    /// What it waits for: a clause, for people.
    pub reason: String,
    /// When it gives up at the latest and ends without having started anything, by that host's
    /// clock.
    pub until: Timestamp,
}

/// Processes that live on after the program's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct LeftBehind {
    /// The host.
    pub host: String,
    /// The number and name of the first few processes, for people.
    pub processes: String,
}

/// Whether the user's condition for "done" held when the program had ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It held: the file is there, or the text was printed.
    Met,
    /// It did not hold. The text is a clause that says what is missing.
    NotMet(String),
    /// The supervisor could not look. The text is a clause that says why. Never treat this as
    /// [`NotMet`](Self::NotMet) or [`Met`](Self::Met).
    Unknown(String),
}

/// What a supervisor noticed about an attempt besides how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(default)]
pub struct Noticed {
    /// The processes that the program left running when it ended, and that the supervisor ended: the
    /// number and name of the first few, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_processes: Option<String>,
    /// The program printed the same as in the attempt before, as far as both went.
    #[serde(skip_serializing_if = "is_false")]
    pub printed_the_same: bool,
    /// The program was not started, because its environment could not be activated on this host.
    #[serde(skip_serializing_if = "is_false")]
    pub not_activated: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Noticed {
    /// Whether nothing was noticed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a supervisor did to stop a program: when, by which rule, and what it sent to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Stopped {
    /// How long the program had run when it was first asked, in milliseconds.
    pub after_milliseconds: u64,
    /// The rule of the user's that asked for it, if one did.
    pub rule: Option<StopRule>,
    /// The time between two pushes, in milliseconds.
    pub grace_milliseconds: u64,
    /// What was sent, in order: one entry for each signal.
    pub pushes: Vec<Pushed>,
}

impl Stopped {
    /// The SIGKILL that ended the program, if one was sent to it.
    #[must_use]
    pub fn kill(&self) -> Option<&Pushed> {
        self.pushes.iter().find(|pushed| pushed.signal == "KILL")
    }

    /// The first signal before the SIGKILL, from which the program knew that it was to stop.
    #[must_use]
    pub fn first(&self) -> Option<&Pushed> {
        self.pushes.iter().find(|pushed| pushed.signal != "KILL")
    }
}

/// A rule of the user's by which a program is asked to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum StopRule {
    /// After this time, in milliseconds.
    After(u64),
    /// This long before the time limit, in milliseconds.
    BeforeLimit(u64),
    /// When this file exists.
    File(String),
}

/// A signal that a supervisor sent to stop a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Pushed {
    /// Its name without `SIG`.
    pub signal: String,
    /// The name of the first process that got it.
    pub process: String,
    /// The number of other processes that got it.
    pub others: u32,
    /// How long after the program was first asked, in milliseconds.
    pub after_milliseconds: u64,
}

/// As in `SIGTERM to python3 and 2 others`.
impl fmt::Display for Pushed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SIG{} to {}", self.signal, self.process)?;
        match self.others {
            0 => Ok(()),
            1 => out.write_str(" and 1 other"),
            others => write!(out, " and {others} others"),
        }
    }
}

/// How an attempt ended, as its supervisor saw it. No other witness knows it better.
///
/// In a frame `condition` and `noticed` are missing, since version 1 of the protocol does not know them: there
/// they travel ahead, as [`Message::Condition`] and [`Message::Noticed`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// How the program ended.
    pub end: ProgramEnd,
    /// Why the supervisor asked the program to stop, if it did.
    pub stop: Option<StopCause>,
    /// The host's name.
    pub host: String,
    /// When the program was started; `None` if it never was.
    pub started: Option<Timestamp>,
    /// When the supervisor saw the end.
    pub ended: Timestamp,
    /// The greatest resident memory of the program and its children, in bytes, where known.
    pub peak_memory_bytes: Option<u64>,
    /// The newest checkpoint in the output directory at the end.
    pub checkpoint: Option<CheckpointId>,
    /// Whether the attempt changed a file of the output directory other than our own.
    pub output_changed: OutputChange,
    /// What became of the user's condition for "done"; `None` if the job has none, or the supervisor does
    /// not know of such conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// What else the supervisor noticed.
    #[serde(default, skip_serializing_if = "Noticed::is_empty")]
    pub noticed: Noticed,
}

/// Whether an attempt changed a file in its job's output directory. In JSON `true`, `false`, or
/// `{"unknown":"why"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(from = "OutputChangeForm", into = "OutputChangeForm")]
pub enum OutputChange {
    // Keep this order: the first two are encoded as a `bool` is.
    /// The supervisor looked at every file, and none has changed.
    Unchanged,
    /// A file has changed.
    Changed,
    /// The supervisor could not look at every file, and the others have not changed. The text is a
    /// clause that says why. Never treat this as [`Unchanged`](Self::Unchanged).
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
    /// It could not be started, and no other attempt could start it either. The text says what
    /// failed and why.
    NotStarted(String),
    /// It was not started, because another attempt of the job may still be running, a newer one
    /// exists, or a machine or file system failed. The text names it.
    Fenced(String),
}

/// A clause without its subject, as it follows "the program".
impl fmt::Display for ProgramEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(out, "exited with code {code}"),
            Self::Signaled(signal) => write!(out, "was killed by {}", signal_name(*signal)),
            Self::NotStarted(reason) => write!(out, "could not be started: {reason}"),
            Self::Fenced(reason) => write!(out, "was kept from starting: {reason}"),
        }
    }
}

/// Why a program was, or should be, asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// The number of steps that was asked for is done.
    Steps,
    /// The attempt's time budget is used up.
    TimeBudget,
    /// The scheduler's time limit is near.
    TimeLimit,
    /// The stop file exists.
    StopFile,
    /// A signal came, from the scheduler or from a person.
    Signal(i32),
    /// The operator asked the job to save a checkpoint, exit and be resumed.
    Operator,
    /// The operator cancelled the job.
    Cancel,
}

/// A clause, as it follows "because".
impl fmt::Display for StopCause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps => out.write_str("the number of steps is reached"),
            Self::TimeBudget => out.write_str("its time budget is used up"),
            Self::TimeLimit => out.write_str("the scheduler's time limit is near"),
            Self::StopFile => out.write_str("the stop file exists"),
            Self::Signal(signal) => write!(out, "{} came", signal_name(*signal)),
            Self::Operator => out.write_str("the operator asked it to checkpoint and exit"),
            Self::Cancel => out.write_str("the operator cancelled the job"),
        }
    }
}

/// The name of a signal by its number on Linux, such as `SIGKILL`; `signal 40` for one without a name.
///
/// ```
/// assert_eq!(cu_protocol::signal_name(9), "SIGKILL");
/// assert_eq!(cu_protocol::signal_name(40), "signal 40");
/// ```
#[must_use]
pub fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let index = usize::try_from(signal)
        .ok()
        .and_then(|it| it.checked_sub(1));
    match index.and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

/// The main process's answer once a message is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
pub struct Acknowledgement {
    /// The last message that is recorded, with all earlier ones of the attempt. 0 if there is none.
    pub sequence: Sequence,
    /// What the main process asks of the attempt, if anything.
    pub wish: Option<Wish>,
}

/// A request of the main process to a running attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// "Save a checkpoint and exit for resume, please."
    CheckpointAndExit,
    /// "End now, for good": the program gets its stop signal, then SIGTERM, then SIGKILL.
    Cancel,
}

/// A verb, as it follows "asked to".
impl fmt::Display for Wish {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::CheckpointAndExit => "save a checkpoint and exit for resume",
            Self::Cancel => "end for good",
        })
    }
}
