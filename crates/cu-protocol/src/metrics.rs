//! What a job measured: names and plain values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode};

/// Metrics by name. Ordered, so that the same metrics always encode alike.
pub type Metrics = BTreeMap<String, MetricValue>;

/// One value. Flat on purpose: a metric is a cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Encode, Decode)]
#[serde(untagged)]
pub enum MetricValue {
    /// Measured, and absent.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
}
