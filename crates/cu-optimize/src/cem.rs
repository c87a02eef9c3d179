//! The cross-entropy method: a distribution for each parameter alone, fitted to the best results.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chance::Chance;
use crate::error::{Error, Result};
use crate::record::{Record, Told};
use crate::table;
use crate::unit::float;
use crate::{Distribution, Parameter, Scale, Space, Values};

/// The cross-entropy method, as cluster_utils has it.
///
/// It begins with a normal distribution for each number, with its mean in the middle of the bounds and a quarter of
/// their distance as its standard deviation, and equal chances for options. From the fifth result on it fits them
/// anew to the elite, the best rows of the table, by maximum likelihood; an option's chance is `(1 + count) / (n + k)`
/// among `n` rows and `k` options. Trials of the same values are one row.
///
/// A number is drawn around `4 m - 3 p`, as long as that lies within the bounds, and else around `m`. Here `m` is the
/// mean that was fitted last, and `p` the last one before it that was different. The number is clipped to the bounds,
/// and then rounded to the fewest significant digits that keep five of ten further draws apart, so that values stay
/// readable and recur. An integer is then rounded to the nearest one.
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

/// Means are the same if they differ by at most this share of the bounds' distance.
const SAME: f64 = 1e-9;

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
        let mut fits: Vec<_> = space.parameters().iter().map(Fit::initial).collect();
        let mut standings = Standings::default();
        let mut elite = Vec::new();
        for told in record.told() {
            standings.take(told);
            let best = standings.best(self.elite_size.max(FEWEST_ROWS));
            if best.len() >= FEWEST_ROWS && best != elite {
                elite = best;
                fits.iter_mut().for_each(|fit| fit.renew(&elite));
            }
        }
        if self.with_restarts && !elite.is_empty() && chance.uniform() < REPEATED {
            let better = elite.len().div_ceil(2);
            return elite[chance.below(better)].clone();
        }
        let draw = |fit: Fit| (fit.parameter.name.clone(), fit.draw(&elite, chance));
        fits.into_iter().map(draw).collect()
    }
}

/// The results so far by their costs. Trials of the same values are one.
#[derive(Default)]
struct Standings<'a> {
    /// Values, the sum of the costs, and their number, in the order in which they were told first.
    rows: Vec<(&'a Values, f64, f64)>,
    places: HashMap<String, usize>,
    /// The rows, best first, with their mean costs.
    order: Vec<(f64, usize)>,
}

impl<'a> Standings<'a> {
    fn take(&mut self, told: Told<'a>) {
        let Some(cost) = told.cost else {
            return;
        };
        let next = self.rows.len();
        let place = *self.places.entry(table::key(told.values)).or_insert(next);
        if place == next {
            self.rows.push((told.values, 0.0, 0.0));
        } else {
            self.order.retain(|(_, other)| *other != place);
        }
        let (_, sum, count) = &mut self.rows[place];
        *sum += cost;
        *count += 1.0;
        let mean = *sum / *count;
        let is_better = |(other, row): &(f64, usize)| (*other, *row) < (mean, place);
        self.order
            .insert(self.order.partition_point(is_better), (mean, place));
    }

    fn best(&self, count: usize) -> Vec<&'a Values> {
        let best = self.order.iter().take(count);
        best.map(|(_, place)| self.rows[*place].0).collect()
    }
}

/// The distribution of one parameter, on the scale on which it is searched. It is not used for a choice.
struct Fit<'a> {
    parameter: &'a Parameter,
    scale: Scale,
    low: f64,
    high: f64,
    mean: f64,
    /// The last mean that was different.
    earlier_mean: f64,
    deviation: f64,
}

impl<'a> Fit<'a> {
    #[expect(clippy::cast_precision_loss, reason = "the bounds lie below 2^53")]
    fn initial(parameter: &'a Parameter) -> Self {
        let (low, high, scale) = match &parameter.distribution {
            Distribution::Real { low, high, scale } => (*low, *high, *scale),
            Distribution::Integer { low, high, scale } => (*low as f64, *high as f64, *scale),
            Distribution::Choice { .. } => (0.0, 0.0, Scale::Linear),
        };
        let (low, high) = (scale.apply(low), scale.apply(high));
        let mean = f64::midpoint(low, high);
        Self {
            parameter,
            scale,
            low,
            high,
            mean,
            earlier_mean: mean,
            deviation: (high - low) / 4.0,
        }
    }

    /// Fits it to the elite by maximum likelihood.
    fn renew(&mut self, elite: &[&Values]) {
        let numbers = elite
            .iter()
            .filter_map(|values| values[&self.parameter.name].as_f64());
        let numbers: Vec<_> = numbers.map(|number| self.scale.apply(number)).collect();
        let count = float(numbers.len());
        if numbers.is_empty() {
            return;
        }
        let mean = numbers.iter().sum::<f64>() / count;
        if (mean - self.mean).abs() > SAME * (self.high - self.low) {
            self.earlier_mean = self.mean;
        }
        self.mean = mean;
        let squares = numbers.iter().map(|number| (number - mean).powi(2));
        self.deviation = (squares.sum::<f64>() / count).sqrt();
    }

    fn draw(&self, elite: &[&Values], chance: &mut Chance) -> Value {
        let distribution = &self.parameter.distribution;
        if let Distribution::Choice { options } = distribution {
            let chosen: Vec<_> = elite
                .iter()
                .map(|values| &values[&self.parameter.name])
                .collect();
            return option(options, &chosen, chance);
        }
        let ahead = 4.0 * self.mean - 3.0 * self.earlier_mean;
        let mean = if (self.low..=self.high).contains(&ahead) {
            ahead
        } else {
            self.mean
        };
        let mut draw = || {
            let number = mean + self.deviation * chance.normal();
            self.scale.undo(number.clamp(self.low, self.high))
        };
        let drawn = draw();
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
}

/// One of the options, those of the elite more often.
fn option(options: &[Value], elite: &[&Value], chance: &mut Chance) -> Value {
    let count = |option: &Value| elite.iter().filter(|value| **value == option).count();
    let mut left = chance.below(elite.len() + options.len());
    let drawn = options.iter().find(|option| {
        let weight = 1 + count(option);
        let found = left < weight;
        left = left.saturating_sub(weight);
        found
    });
    drawn.unwrap_or(&options[0]).clone()
}

/// The number with this many significant digits.
fn rounded(number: f64, digits: usize) -> f64 {
    let text = format!("{number:.*e}", digits - 1);
    text.parse().unwrap_or(number)
}
