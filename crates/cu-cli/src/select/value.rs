//! What a job has under a key, compared with what a person wrote.

use std::cmp::Ordering;
use std::time::Duration;

use cu_core::JobState;
use cu_protocol::{MetricValue, Timestamp};
use serde::Serialize;

use crate::text::moment::{in_local_time, iso, local, rounded};

/// A value of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// None.
    Missing,
    /// A number.
    Number(f64),
    /// A number as its owner wrote it, such as 64 bits that a float can't hold.
    Written(f64, String),
    /// A part of a whole, from 0 to 1.
    Fraction(f64),
    /// A text.
    Text(String),
    /// A sentence of ours, with moments in UTC.
    Sentence(String),
    /// A time that something took.
    Time(Duration),
    /// A moment.
    Moment(Timestamp),
}

impl Value {
    /// A setting.
    pub fn of_setting(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Missing,
            serde_json::Value::String(text) => Self::Text(text.clone()),
            value => match value.as_f64() {
                Some(number) => Self::Written(number, value.to_string()),
                None => Self::Text(value.to_string()),
            },
        }
    }

    /// A metric.
    pub fn of_metric(value: &MetricValue) -> Self {
        match value {
            MetricValue::Null => Self::Missing,
            MetricValue::Integer(integer) => Self::Written(*integer as f64, value.to_string()),
            MetricValue::Float(float) => Self::Written(*float, value.to_string()),
            MetricValue::Boolean(_) | MetricValue::Text(_) => Self::Text(value.to_string()),
        }
    }

    /// Whether there is none.
    pub fn is_missing(&self) -> bool {
        *self == Self::Missing
    }

    /// For people: `3`, `61 %`, `1h 2m`, local time.
    pub fn shown(&self) -> String {
        match self {
            Self::Fraction(fraction) => {
                let most = if *fraction < 1.0 { 99.0 } else { 100.0 };
                format!("{:.0} %", (fraction * 100.0).round().min(most))
            }
            Self::Time(time) => rounded(*time),
            Self::Moment(moment) => local(*moment),
            Self::Sentence(text) => in_local_time(text),
            value => value.written(),
        }
    }

    /// For programs: times in seconds, parts from 0 to 1, moments in UTC.
    pub fn written(&self) -> String {
        match self {
            Self::Missing => String::new(),
            Self::Number(number) | Self::Fraction(number) => number.to_string(),
            Self::Written(_, text) | Self::Text(text) | Self::Sentence(text) => text.clone(),
            Self::Time(time) => time.as_secs_f64().to_string(),
            Self::Moment(moment) => iso(*moment),
        }
    }

    /// Whether it is shown at the end of its cell.
    pub fn is_number(&self) -> bool {
        !matches!(
            self,
            Self::Missing | Self::Text(_) | Self::Sentence(_) | Self::Moment(_)
        )
    }

    /// The number by which it is sorted, if it has one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) | Self::Written(number, _) | Self::Fraction(number) => {
                Some(*number)
            }
            Self::Time(time) => Some(time.as_secs_f64()),
            // A double holds the milliseconds of the next 280,000 years.
            Self::Moment(moment) => Some(moment.millis() as f64),
            Self::Missing | Self::Text(_) | Self::Sentence(_) => None,
        }
    }

    /// The order in a sorted list: numbers, then texts, then jobs without a value.
    pub fn sorted(&self, other: &Self) -> Ordering {
        let rank = |value: &Self| (value.is_missing(), value.number().is_none());
        let texts = || self.written().cmp(&other.written());
        rank(self).cmp(&rank(other)).then_with(|| {
            let numbers = self.number().zip(other.number());
            numbers.map_or_else(texts, |(left, right)| left.total_cmp(&right))
        })
    }

    /// Its order to what a person wrote, if they can be compared.
    pub fn order_to(&self, written: &str) -> Option<Ordering> {
        match self {
            Self::Missing => None,
            Self::Text(text) | Self::Sentence(text) => Some(text.as_str().cmp(written)),
            // As far as the person has written it, so that a day means all of it.
            Self::Moment(moment) => {
                let (text, written) = match written.strip_suffix('Z') {
                    Some(written) => (iso(*moment), written.to_owned()),
                    None => (local(*moment), written.replace('T', " ")),
                };
                Some(text.get(..written.len()).unwrap_or(&text).cmp(&written))
            }
            Self::Time(time) => {
                let written = crate::config::parse_time(written).ok()?;
                Some(time.cmp(&written))
            }
            Self::Fraction(fraction) => fraction.partial_cmp(&fraction_of(written)?),
            Self::Number(number) | Self::Written(number, _) => {
                number.partial_cmp(&written.parse().ok()?)
            }
        }
    }
}

/// `0.5` or `50%`.
pub fn fraction_of(written: &str) -> Option<f64> {
    match written.strip_suffix('%') {
        Some(percent) => Some(percent.trim().parse::<f64>().ok()? / 100.0),
        None => written.parse().ok(),
    }
}

/// The name of a state, an end and the like, as programs read it.
pub fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// The state of a job with this name.
///
/// # Errors
/// If there is none.
pub fn state(name: &str) -> Result<JobState, String> {
    serde_json::from_value(name.into()).map_err(|_| {
        format!(
            "there is no state `{name}`; jobs are waiting, queued, running, completed, failed or cancelled"
        )
    })
}
