//! The cross-entropy method: a distribution for each parameter alone, fitted to the best results.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chance::Chance;
use crate::error::{Error, Result};
use crate::study::Record;
use crate::table::Row;
use crate::unit::float;
use crate::{Distribution, Scale, Space, Values};

/// The cross-entropy method, as cluster_utils has it.
///
/// It begins with a normal distribution for each number, with its mean in the middle of the bounds and a quarter of
/// their distance as its standard deviation, and equal chances for options. From the fifth result on it fits them
/// anew to the elite, the best rows of the table, by maximum likelihood; an option's chance is `(1 + count) / (n + k)`
/// among `n` rows and `k` options. Trials of the same values are one row.
///
/// A number is drawn around `4 m - 3 p`, with `m` the mean that was fitted last and `p` the one before, as long as that
/// lies within the bounds, and else around `m`. It is clipped to the bounds. A real number is then rounded to the
/// fewest significant digits that keep five of ten further draws apart, so that values stay readable and recur.
///
/// On a logarithmic scale the same is done with logarithms, those of the bounds included. (cluster_utils compares a
/// logarithmic mean with the bounds themselves there, so that its momentum is on or off by accident.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cem {
    /// How many of the best rows are fitted, at least 5.
    pub elite_size: usize,
    /// Whether every fifth trial, by chance, repeats one of the better half of the elite, so that luck averages out.
    pub with_restarts: bool,
}

/// Below this many rows nothing is fitted.
const FEWEST_ROWS: usize = 5;

/// The share of trials that repeat earlier ones.
const REPEATED: f64 = 0.2;

/// As many draws must differ by their rounded values, of twice as many.
const DISTINCT: usize = 5;

/// All digits that a float has.
const MOST_DIGITS: usize = 17;

impl Default for Cem {
    fn default() -> Self {
        Self {
            elite_size: 10,
            with_restarts: false,
        }
    }
}

impl Cem {
    pub(crate) fn check(&self) -> Result<()> {
        if self.elite_size > 0 {
            return Ok(());
        }
        Err(Error::Option {
            of: "cem",
            option: "elite_size",
            value: self.elite_size.to_string(),
            must: "at least 1",
        })
    }

    pub(crate) fn propose(&self, space: &Space, record: &Record, chance: &mut Chance) -> Values {
        let elite = self.elite(record.table());
        if self.with_restarts && !elite.is_empty() && chance.uniform() < REPEATED {
            let better = elite.len().div_ceil(2);
            return elite[chance.below(better)].values.clone();
        }
        let earlier = self.elite(record.table_before_the_last_result());
        let parameters = space.parameters().iter();
        let draw = |parameter: &crate::Parameter| {
            let of = |rows: &[Row]| {
                rows.iter()
                    .map(|row| row.values[&parameter.name].clone())
                    .collect::<Vec<_>>()
            };
            let (now, before) = (of(&elite), of(&earlier));
            let value = match &parameter.distribution {
                Distribution::Choice { options } => option(options, &now, chance),
                Distribution::Real { scale, .. } | Distribution::Integer { scale, .. } => {
                    number(&parameter.distribution, *scale, &now, &before, chance)
                }
            };
            (parameter.name.clone(), value)
        };
        parameters.map(draw).collect()
    }

    /// The best rows, once there are enough.
    fn elite(&self, mut table: Vec<Row>) -> Vec<Row> {
        let enough = table.len() >= FEWEST_ROWS;
        table.truncate(if enough {
            self.elite_size.max(FEWEST_ROWS)
        } else {
            0
        });
        table
    }
}

/// One of the options, those of the elite more often.
fn option(options: &[Value], elite: &[Value], chance: &mut Chance) -> Value {
    let count = |option: &Value| elite.iter().filter(|value| *value == option).count();
    let mut left = chance.below(elite.len() + options.len());
    let drawn = options.iter().find(|option| {
        let weight = 1 + count(option);
        let found = left < weight;
        left = left.saturating_sub(weight);
        found
    });
    drawn.unwrap_or(&options[0]).clone()
}

/// A normal distribution within bounds, on the scale on which the parameter is searched.
#[derive(Clone, Copy)]
struct Normal {
    mean: f64,
    deviation: f64,
}

impl Normal {
    fn initial(low: f64, high: f64) -> Self {
        Self {
            mean: f64::midpoint(low, high),
            deviation: (high - low) / 4.0,
        }
    }

    /// By maximum likelihood.
    fn fitted(numbers: &[f64]) -> Self {
        let count = float(numbers.len());
        let mean = numbers.iter().sum::<f64>() / count;
        let squares = numbers.iter().map(|number| (number - mean).powi(2));
        let deviation = (squares.sum::<f64>() / count).sqrt();
        Self { mean, deviation }
    }
}

/// A value for a parameter that is a number.
fn number(
    distribution: &Distribution,
    scale: Scale,
    elite: &[Value],
    earlier: &[Value],
    chance: &mut Chance,
) -> Value {
    let (low, high) = bounds(distribution, scale);
    let fit = |values: &[Value]| {
        let numbers = values
            .iter()
            .filter_map(Value::as_f64)
            .map(|number| scale.apply(number));
        let numbers: Vec<_> = numbers.collect();
        if numbers.is_empty() {
            Normal::initial(low, high)
        } else {
            Normal::fitted(&numbers)
        }
    };
    let (now, before) = (fit(elite), fit(earlier));
    let ahead = 4.0 * now.mean - 3.0 * before.mean;
    let mean = if (low..=high).contains(&ahead) {
        ahead
    } else {
        now.mean
    };
    let mut draw = || {
        let number = mean + now.deviation * chance.normal();
        scale.undo(number.clamp(low, high))
    };
    let drawn = draw();
    if matches!(distribution, Distribution::Integer { .. }) {
        return distribution.number(drawn);
    }
    let others: Vec<_> = (0..2 * DISTINCT).map(|_| draw()).collect();
    let keeps_apart = |digits: &usize| {
        let rounded = others
            .iter()
            .map(|number| rounded(*number, *digits).to_bits());
        rounded.collect::<BTreeSet<_>>().len() >= DISTINCT
    };
    let digits = (1..MOST_DIGITS).find(keeps_apart).unwrap_or(MOST_DIGITS);
    distribution.number(rounded(drawn, digits))
}

#[expect(clippy::cast_precision_loss, reason = "the bounds lie below 2^53")]
fn bounds(distribution: &Distribution, scale: Scale) -> (f64, f64) {
    let (low, high) = match distribution {
        Distribution::Real { low, high, .. } => (*low, *high),
        Distribution::Integer { low, high, .. } => (*low as f64, *high as f64),
        Distribution::Choice { .. } => (0.0, 0.0),
    };
    (scale.apply(low), scale.apply(high))
}

/// The number with this many significant digits.
fn rounded(number: f64, digits: usize) -> f64 {
    let text = format!("{number:.*e}", digits - 1);
    text.parse().unwrap_or(number)
}
