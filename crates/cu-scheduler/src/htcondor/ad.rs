//! The ad of a job: the attributes that we ask for.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::attributes;
use super::event::{Exit, Id};
use crate::SubmissionName;

/// The attributes that [`Ad`] is made of.
pub(super) const ATTRIBUTES: &str = "ClusterId,ProcId,JobStatus,JobRunCount,CuStarts,CuAttempt,\
    HoldReason,HoldReasonCode,HoldReasonSubCode,LastHoldReason,LastHoldReasonCode,\
    JobCurrentStartDate,RemoteHost,LastRemoteHost,VacateReason,VacateReasonCode,ExitBySignal,\
    ExitCode,ExitSignal,RemoveReason,CompletionDate,EnteredCurrentStatus,LastRejMatchReason,\
    LastRejMatchTime,LastMatchTime,AutoClusterId";

/// A job's ad, in the queue or in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ad {
    pub id: Id,
    pub status: Status,
    /// The name of its first submission.
    pub name: Option<SubmissionName>,
    /// How many times HTCondor started it.
    pub run_count: u32,
    /// How many times it may; `None` for a job that is not ours.
    pub starts: Option<u32>,
    pub hold: Option<Hold>,
    pub last_hold: Option<Hold>,
    pub since: Option<SystemTime>,
    pub host: Option<String>,
    pub vacate_reason: Option<String>,
    pub vacate_code: Option<i32>,
    pub exit: Option<Exit>,
    pub remove_reason: Option<String>,
    pub at: Option<SystemTime>,
    /// Since when it is in this state.
    pub idle_since: Option<SystemTime>,
    /// Why the negotiator found no machine for it, and when.
    pub reject_reason: Option<String>,
    pub rejected_at: Option<SystemTime>,
    /// When it found one.
    pub matched: Option<SystemTime>,
    /// Equal for jobs that need the same, as HTCondor counts them.
    pub kind: Option<i64>,
    /// The result of an analysis of a job of its kind. It is not part of the ad.
    pub found: Option<String>,
}

impl Ad {
    /// Whether it is of the job that was submitted as `first`; of any job of ours if that is not
    /// known. A queue that was rebuilt gives ids again, to strangers too.
    pub fn is_of(&self, first: Option<&SubmissionName>) -> bool {
        match first {
            Some(first) => self.name.as_ref() == Some(first),
            None => self.name.is_some(),
        }
    }
}

/// Why a job is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub reason: String,
    pub code: i32,
    pub subcode: i32,
}

/// HTCondor's `JobStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Idle,
    Running,
    Removed,
    Completed,
    Held,
    /// A number we don't know.
    Other(i64),
}

/// The ads in the output of `condor_q -json` or `condor_history -json`: `Err` with what was not
/// understood. An empty queue is told by no output at all.
pub(super) fn parse(output: &str) -> Result<Vec<Ad>, String> {
    if output.trim().is_empty() {
        return Ok(Vec::new());
    }
    let values = list(output).map_err(|error| {
        let shown: String = output.chars().take(200).collect();
        format!("{error} in {shown}")
    })?;
    let read = |value: &Value| ad(value).ok_or_else(|| value.to_string());
    values.iter().map(read).collect()
}

/// The list in an answer. A site may print lines before it.
fn list(output: &str) -> Result<Vec<Value>, serde_json::Error> {
    let whole = serde_json::from_str(output);
    if whole.is_ok() {
        return whole;
    }
    let mut begins = output.match_indices("\n[").map(|(at, _)| &output[at..]);
    let inner = begins.find_map(|rest| serde_json::from_str(rest).ok());
    inner.map_or(whole, Ok)
}

fn ad(value: &Value) -> Option<Ad> {
    let integer = |name: &str| {
        let value = value.get(name)?;
        // Some are written as floating point numbers after arithmetic in the pool.
        #[allow(clippy::cast_possible_truncation)]
        value
            .as_i64()
            .or_else(|| value.as_f64().map(|it| it as i64))
    };
    let small = |name: &str| integer(name).and_then(|it| i32::try_from(it).ok());
    let count = |name: &str| integer(name).and_then(|it| u32::try_from(it).ok());
    let text = |name: &str| {
        let text = value.get(name)?.as_str()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let time = |name: &str| {
        let seconds = integer(name).and_then(|it| u64::try_from(it).ok())?;
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        time.filter(|_| seconds > 0)
    };
    let hold = |reason: &str, code: &str, subcode: i32| {
        let code = small(code)?;
        let reason = text(reason).unwrap_or_default();
        Some(Hold {
            reason,
            code,
            subcode,
        })
    };
    let exit = match value.get("ExitBySignal").and_then(Value::as_bool) {
        Some(true) => small("ExitSignal").map(Exit::Signal),
        _ => small("ExitCode").map(Exit::Code),
    };
    let host = text("RemoteHost").or_else(|| text("LastRemoteHost"));
    let machine = |slot: String| match slot.rsplit_once('@') {
        Some((_, machine)) => machine.to_owned(),
        None => slot,
    };
    Some(Ad {
        id: Id {
            cluster: count("ClusterId")?,
            proc: count("ProcId")?,
        },
        status: match integer("JobStatus")? {
            1 => Status::Idle,
            // Transferring output, and suspended with its processes in memory.
            2 | 6 | 7 => Status::Running,
            3 => Status::Removed,
            4 => Status::Completed,
            5 => Status::Held,
            other => Status::Other(other),
        },
        name: text(attributes::NAME).and_then(|name| name.parse().ok()),
        run_count: count("JobRunCount").unwrap_or(0),
        starts: count(attributes::STARTS),
        hold: hold(
            "HoldReason",
            "HoldReasonCode",
            small("HoldReasonSubCode").unwrap_or(0),
        ),
        last_hold: hold("LastHoldReason", "LastHoldReasonCode", 0),
        since: time("JobCurrentStartDate"),
        host: host.map(machine),
        vacate_reason: text("VacateReason"),
        vacate_code: small("VacateReasonCode"),
        exit,
        remove_reason: text("RemoveReason"),
        at: time("CompletionDate").or_else(|| time("EnteredCurrentStatus")),
        idle_since: time("EnteredCurrentStatus"),
        reject_reason: text("LastRejMatchReason"),
        rejected_at: time("LastRejMatchTime"),
        matched: time("LastMatchTime"),
        kind: integer("AutoClusterId"),
        found: None,
    })
}
