//! The table of results: trials of the same values are one row, with their mean and its standard error.

use std::collections::HashMap;

use crate::{Outcome, Values};

/// All trials with the same values that have a value of the objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was asked.
    pub values: Values,
    /// The mean value of the objective.
    pub value: f64,
    /// The standard error of the mean, if there are at least two trials.
    pub standard_error: Option<f64>,
    /// The numbers of the trials, as they were told. `job_restarts` of cluster_utils is their number.
    pub trials: Vec<usize>,
}

/// What is the same for the same values of one space, and for no others.
pub(crate) fn key(values: &Values) -> String {
    let values: Vec<_> = values.values().map(serde_json::Value::to_string).collect();
    values.join("\n")
}

/// Averages trials of the same values. The rows are in the order in which the first one of each was told.
pub(crate) fn rows<'a>(told: impl IntoIterator<Item = (usize, &'a Values, Outcome)>) -> Vec<Row> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<(&Values, Vec<(usize, f64)>)> = Vec::new();
    for (trial, values, outcome) in told {
        let Some(value) = outcome.value() else {
            continue;
        };
        let place = *places.entry(key(values)).or_insert_with(|| {
            groups.push((values, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push((trial, value));
    }
    groups.into_iter().map(row).collect()
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 trials")]
fn row((values, group): (&Values, Vec<(usize, f64)>)) -> Row {
    let count = group.len() as f64;
    let mean = group.iter().map(|(_, value)| value).sum::<f64>() / count;
    let squares = group.iter().map(|(_, value)| (value - mean).powi(2));
    let variance = squares.sum::<f64>() / (count - 1.0);
    Row {
        values: values.clone(),
        value: mean,
        standard_error: (group.len() > 1).then(|| (variance / count).sqrt()),
        trials: group.into_iter().map(|(trial, _)| trial).collect(),
    }
}
