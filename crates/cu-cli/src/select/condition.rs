//! Conditions such as `settings.lr<0.1`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use cu_core::JobReport;

use super::key::{Key, Kind, Names};
use super::value::{self, Value};
use crate::config::parse_time;

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    Different,
    AtLeast,
    Greater,
    Contains,
}

/// Longer signs first, so that `<=` is not taken for `<`.
const SIGNS: [(&str, Comparison); 8] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("!=", Comparison::Different),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("=", Comparison::Equal),
    ("~", Comparison::Contains),
];

/// A condition as a person wrote it. It is not known yet whether the run has such a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    key: String,
    comparison: Comparison,
    value: String,
    text: String,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = text.char_indices().find_map(|(place, _)| {
            let rest = &text[place..];
            let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign))?;
            Some((&text[..place], sign.1, &rest[sign.0.len()..]))
        });
        match found {
            Some((key, comparison, value)) if !key.trim().is_empty() => Ok(Self {
                key: key.trim().to_owned(),
                comparison,
                value: value.trim().to_owned(),
                text: text.to_owned(),
            }),
            _ => Err(format!(
                "expected KEY, one of < <= = != >= > ~, and a value: settings.lr<0.1, not `{text}`"
            )),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// A condition whose key the run has.
#[derive(Debug)]
pub struct Resolved<'a> {
    condition: &'a Condition,
    key: Key,
}

impl Condition {
    /// Finds the key among those of a run, and checks the value against it.
    ///
    /// # Errors
    /// In words: there is no such key, or its values can't be compared with this.
    pub fn resolve(&self, names: &Names) -> Result<Resolved<'_>, String> {
        let wrong = |reason: String| format!("`--where {self}`: {reason}");
        let key = names.find(&self.key).map_err(wrong)?;
        if !self.asks_whether_missing() && self.comparison != Comparison::Contains {
            let checked = match key.kind() {
                Kind::State => value::state(&self.value).map(drop),
                Kind::Number => self.value.parse::<f64>().map(drop).map_err(|_| {
                    format!(
                        "`{}` is compared with a number, not `{}`",
                        self.key, self.value
                    )
                }),
                Kind::Fraction => value::fraction_of(&self.value).map(drop).ok_or_else(|| {
                    format!(
                        "`{}` is compared with 0.5 or 50%, not `{}`",
                        self.key, self.value
                    )
                }),
                Kind::Time => parse_time(&self.value)
                    .map(drop)
                    .map_err(|error| error.to_string()),
                Kind::Any => Ok(()),
            };
            checked.map_err(wrong)?;
        }
        Ok(Resolved {
            condition: self,
            key,
        })
    }

    /// `loss=` asks for jobs without a loss, `loss!=` for those with one.
    fn asks_whether_missing(&self) -> bool {
        let equal = matches!(self.comparison, Comparison::Equal | Comparison::Different);
        equal && self.value.is_empty()
    }
}

impl Resolved<'_> {
    /// Whether it is true of a job. Nothing else is true of a job without a value.
    pub fn is_met(&self, job: &JobReport) -> bool {
        let Condition {
            comparison, value, ..
        } = self.condition;
        let has = self.key.of(job);
        if self.condition.asks_whether_missing() {
            return has.is_missing() == (*comparison == Comparison::Equal);
        }
        if *comparison == Comparison::Contains {
            return !has.is_missing() && has.written().contains(value.as_str());
        }
        let order = has.order_to(value);
        match (comparison, order) {
            // A number differs from any text.
            (Comparison::Different, None) => has != Value::Missing,
            (_, None) | (Comparison::Contains, _) => false,
            (Comparison::Less, Some(order)) => order == Ordering::Less,
            (Comparison::AtMost, Some(order)) => order != Ordering::Greater,
            (Comparison::Equal, Some(order)) => order == Ordering::Equal,
            (Comparison::Different, Some(order)) => order != Ordering::Equal,
            (Comparison::AtLeast, Some(order)) => order != Ordering::Less,
            (Comparison::Greater, Some(order)) => order == Ordering::Greater,
        }
    }
}
