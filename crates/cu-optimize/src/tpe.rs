//! The tree-structured Parzen estimator, by the crate `tpe`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tpe::density_estimation::DefaultEstimatorBuilder;
use tpe::{TpeOptimizer, TpeOptimizerBuilder};

use crate::chance::Chance;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::unit::{float, truncated};
use crate::{Distribution, Parameter, Space, Values, random};

/// The tree-structured Parzen estimator.
///
/// It splits the results into the best ones and the others, estimates for each parameter alone how its values are
/// distributed in both, draws candidates from the first distribution, and takes the one that is likeliest in it and
/// least likely in the second. Failed trials count among the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tpe {
    /// Until so many results are there, values are drawn uniformly.
    pub startup: usize,
    /// The share of the best results, between 0 and 1.
    pub best_share: f64,
    /// How many candidates are drawn for each parameter.
    pub candidates: usize,
}

impl Default for Tpe {
    fn default() -> Self {
        Self {
            startup: 10,
            best_share: 0.1,
            candidates: 24,
        }
    }
}

impl Tpe {
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |option, value: &dyn ToString, must| {
            let (of, value) = ("tpe", value.to_string());
            Err(Error::Option {
                of,
                option,
                value,
                must,
            })
        };
        if !(self.best_share > 0.0 && self.best_share < 1.0) {
            return refuse("best_share", &self.best_share, "between 0 and 1");
        }
        if self.candidates == 0 {
            return refuse("candidates", &self.candidates, "at least 1");
        }
        Ok(())
    }

    pub(crate) fn propose(&self, space: &Space, record: &Record, chance: &mut Chance) -> Values {
        let results = record.told().filter(|told| told.cost.is_some()).count();
        if results < self.startup.max(1) {
            return random::uniform(space, chance);
        }
        let parameters = space.parameters().iter();
        parameters
            .map(|parameter| {
                let value = self.value(parameter, record, chance);
                let value = value.unwrap_or_else(|| parameter.distribution.at(chance.uniform()));
                (parameter.name.clone(), value)
            })
            .collect()
    }

    /// A value for one parameter. None only if the crate refuses what it documents to take.
    fn value(&self, parameter: &Parameter, record: &Record, chance: &mut Chance) -> Option<Value> {
        let distribution = &parameter.distribution;
        let mut estimator = self.estimator(distribution)?;
        for told in record.told() {
            let (low, high) = distribution.cell(&told.values[&parameter.name]);
            let place = match distribution {
                Distribution::Choice { options } => (low * float(options.len())).round(),
                _ => f64::midpoint(low, high).min(1.0 - f64::EPSILON),
            };
            let cost = told.cost.unwrap_or(f64::INFINITY);
            estimator.tell(place, cost).ok()?;
        }
        let place = estimator.ask(chance.generator()).ok()?;
        Some(match distribution {
            Distribution::Choice { options } => options.get(truncated(place))?.clone(),
            _ => distribution.at(place),
        })
    }

    fn estimator(
        &self,
        distribution: &Distribution,
    ) -> Option<TpeOptimizer<DefaultEstimatorBuilder>> {
        let mut builder = TpeOptimizerBuilder::new();
        let builder = builder.gamma(self.best_share).candidates(self.candidates);
        let (kind, range) = match distribution {
            Distribution::Choice { options } => (
                tpe::histogram_estimator(),
                tpe::categorical_range(options.len()),
            ),
            _ => (tpe::parzen_estimator(), tpe::range(0.0, 1.0)),
        };
        builder.build(kind, range.ok()?).ok()
    }
}
