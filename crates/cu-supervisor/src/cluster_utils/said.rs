//! What a message of the client's means.

use std::fmt;

use cu_protocol::{JobId, MetricValue, Metrics};

use super::pickle;
use super::value::Value;

/// A message of the client's.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// It has begun, or its interpreter ends. Each process that imports the program says so, also a child:
    /// this says nothing about the attempt.
    Hint,
    /// It has sent results. They are in `metrics.csv`.
    Results,
    Progress(f64),
    EarlyResults(Metrics),
    /// It is about to exit with code 3, unless something keeps it from that.
    ExitForResume,
    /// An exception ends it. These are the lines of the traceback, which it prints nowhere.
    Error(String),
}

/// Why a message is refused: a clause, as it follows "it".
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Refusal {
    Pickle(pickle::Refusal),
    /// No message has this form.
    Form,
    OtherJob(i64),
    /// An early result is nothing that a cell of a table can hold.
    NotANumber(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pickle(refusal) => refusal.fmt(out),
            Self::Form => out.write_str("is not a message of cluster_utils 3"),
            Self::OtherJob(job) => write!(out, "speaks for job {job}"),
            Self::NotANumber(what) => write!(out, "has {what} in the place of a number or text"),
        }
    }
}

/// The longest traceback that is kept, in bytes: its end.
const LONGEST_ERROR: usize = 60_000;

/// Reads a datagram for `job`.
///
/// # Errors
/// If it is anything but a message of the client's for this job.
pub(super) fn read(datagram: &[u8], job: JobId) -> Result<Said, Refusal> {
    let value = pickle::decode(datagram).map_err(Refusal::Pickle)?;
    let Some([Value::Int(kind), payload]) = list(value) else {
        return Err(Refusal::Form);
    };
    let mut payload = match payload {
        Value::List(payload) => payload.into_iter(),
        _ => return Err(Refusal::Form),
    };
    let Some(Value::Int(id)) = payload.next() else {
        return Err(Refusal::Form);
    };
    if u64::try_from(id) != Ok(u64::from(job.0)) {
        return Err(Refusal::OtherJob(id));
    }
    let said = match (kind, payload.next()) {
        (0, Some(Value::Text(_))) | (3, None) => Said::Hint,
        (1, Some(Value::List(lines))) => Said::Error(traceback(lines)?),
        (2, Some(Value::Dict(_))) => Said::Results,
        (4, None) => Said::ExitForResume,
        (5, Some(Value::Float(fraction))) => Said::Progress(fraction),
        (5, Some(Value::Int(fraction))) => Said::Progress(fraction as f64),
        (6, Some(Value::Dict(pairs))) => Said::EarlyResults(metrics(pairs)?),
        _ => return Err(Refusal::Form),
    };
    match payload.next() {
        None => Ok(said),
        Some(_) => Err(Refusal::Form),
    }
}

fn list<const N: usize>(value: Value) -> Option<[Value; N]> {
    match value {
        Value::List(values) => values.try_into().ok(),
        _ => None,
    }
}

fn traceback(lines: Vec<Value>) -> Result<String, Refusal> {
    let mut text = String::new();
    for line in lines {
        match line {
            // Anybody on this machine may have sent it: it moves no cursor where it is shown.
            Value::Text(line) => line.chars().for_each(|letter| match letter {
                '\n' | '\t' => text.push(letter),
                letter if letter.is_control() => text.extend(letter.escape_default()),
                letter => text.push(letter),
            }),
            _ => return Err(Refusal::Form),
        }
    }
    let mut from = text.len().saturating_sub(LONGEST_ERROR);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    Ok(text.split_off(from))
}

/// Nested metrics get names with dots, as in `cu_job`.
fn metrics(pairs: Vec<(Value, Value)>) -> Result<Metrics, Refusal> {
    let mut metrics = Metrics::new();
    flatten("", pairs, &mut metrics)?;
    Ok(metrics)
}

fn flatten(prefix: &str, pairs: Vec<(Value, Value)>, metrics: &mut Metrics) -> Result<(), Refusal> {
    for (name, value) in pairs {
        let name = match name {
            Value::Text(name) => format!("{prefix}{name}"),
            Value::Int(name) => format!("{prefix}{name}"),
            other => return Err(Refusal::NotANumber(format!("{} as a name", called(&other)))),
        };
        let value = match value {
            Value::Dict(inner) => {
                flatten(&format!("{name}."), inner, metrics)?;
                continue;
            }
            Value::None => MetricValue::Null,
            Value::Bool(value) => value.into(),
            Value::Int(value) => value.into(),
            Value::Float(value) => value.into(),
            Value::Text(value) => value.into(),
            other => return Err(Refusal::NotANumber(called(&other).to_owned())),
        };
        metrics.insert(name, value);
    }
    Ok(())
}

fn called(value: &Value) -> &'static str {
    match value {
        Value::None => "None",
        Value::Bool(_) => "a truth value",
        Value::Int(_) | Value::Float(_) => "a number",
        Value::Text(_) => "a text",
        Value::Bytes(_) => "bytes",
        Value::List(_) => "a list",
        Value::Dict(_) => "a dict",
    }
}
