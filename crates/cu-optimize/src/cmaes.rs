//! The evolution strategy with covariance matrix adaptation (CMA-ES), by the crate `fcmaes-core`.

use fcmaes_core::{Cmaes, CmaesParams, Fitness};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chance::Chance;
use crate::error::{Error, Result};
use crate::record::{Record, Told};
use crate::unit::float;
use crate::{Distribution, Space, Values, random};

/// The evolution strategy with covariance matrix adaptation, with restarts and a population that grows.
///
/// It draws from a normal distribution over all parameters at once, which learns how they depend on each other. Each
/// time as many results are there as the population has members, in whatever order they come, the distribution is
/// adapted to them. Once it has converged, the search starts over elsewhere, with twice the population.
///
/// The distribution is one over the unit cube, so all parameters are relaxed to coordinates of it:
///
/// - A real number is its place between the bounds, or that of its logarithm.
/// - An integer has a cell, all of which stands for it. A result counts at a random place of its cell, so that the
///   distribution keeps some width as long as neighbours are worth a look.
/// - A choice of two has a coordinate with a half for each. A choice of `k > 2` has `k` coordinates, and the greatest
///   one decides. A result counts at a random point at which the choice would have been the same.
///
/// It needs some parameters that are numbers to be better than others. With choices alone, prefer `tpe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CmaEs {
    /// How many results make a generation, at least 4. Unless set, `4 + 3 ln n` with `n` coordinates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub population: Option<usize>,
    /// The first standard deviation, as a share of the distance between the bounds.
    pub deviation: f64,
}

/// Numbers are moved by up to this share of their bounds' distance, so that no two results are at the same point:
/// there, the crate would divide by zero.
const SMALLEST_CELL: f64 = 1e-9;

impl Default for CmaEs {
    fn default() -> Self {
        Self {
            population: None,
            deviation: 0.2,
        }
    }
}

impl CmaEs {
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |option, value: String, must| {
            Err(Error::Option {
                of: "cmaes",
                option,
                value,
                must,
            })
        };
        if let Some(population) = self
            .population
            .filter(|population| !(4..=10_000).contains(population))
        {
            return refuse("population", population.to_string(), "between 4 and 10000");
        }
        if !(self.deviation > 0.0 && self.deviation <= 1.0) {
            return refuse(
                "deviation",
                self.deviation.to_string(),
                "greater than 0 and at most 1",
            );
        }
        Ok(())
    }

    /// Makes the distribution anew from the record, and draws one point from it.
    pub(crate) fn propose(&self, space: &Space, record: &Record, chance: &mut Chance) -> Values {
        let dimension = space
            .parameters()
            .iter()
            .map(|one| coordinates(&one.distribution))
            .sum();
        if dimension == 0 {
            return random::uniform(space, chance);
        }
        let seed = chance.seed();
        let mut population = self.population.unwrap_or(0);
        let mut strategy = self.strategy(vec![0.5; dimension], population, seed);
        let mut generation = Vec::new();
        for told in record.told() {
            generation.push(told);
            if generation.len() < strategy.popsize() {
                continue;
            }
            let costs: Vec<_> = generation
                .iter()
                .map(|told| told.cost.unwrap_or(f64::INFINITY))
                .collect();
            let points: Vec<_> = generation
                .iter()
                .map(|told| point(space, told, record.seed))
                .collect();
            generation.clear();
            if strategy.tell_x(&costs, &points) != 0 {
                population = strategy.popsize() * 2;
                let mut chance = elsewhere(record.seed, told.trial);
                let start = (0..dimension).map(|_| chance.uniform()).collect();
                strategy = self.strategy(start, population, seed);
            }
        }
        let drawn = strategy.ask().into_iter().next();
        drawn.map_or_else(
            || random::uniform(space, chance),
            |drawn| values(space, &drawn),
        )
    }

    /// The strategy before its first generation. A population of 0 is the crate's usual one.
    fn strategy(&self, start: Vec<f64>, population: usize, seed: u64) -> Cmaes {
        let dimension = start.len();
        let cube = Fitness::bounded(dimension, 1, &vec![0.0; dimension], &vec![1.0; dimension]);
        let parameters = CmaesParams {
            popsize: i32::try_from(population).unwrap_or(i32::MAX),
            seed,
            ..CmaesParams::default()
        };
        Cmaes::new(cube, &start, &[self.deviation], &parameters)
    }
}

/// Chance beside that by which the trial was drawn.
fn elsewhere(seed: u64, trial: usize) -> Chance {
    Chance::new(!seed, trial)
}

/// How many coordinates a parameter has.
fn coordinates(distribution: &Distribution) -> usize {
    match distribution {
        Distribution::Choice { options } if options.len() < 3 => options.len() - 1,
        Distribution::Choice { options } => options.len(),
        Distribution::Real { low, high, .. } => usize::from(low < high),
        Distribution::Integer { low, high, .. } => usize::from(low < high),
    }
}

/// The point of the unit cube at which a result counts.
fn point(space: &Space, told: &Told, seed: u64) -> Vec<f64> {
    let mut chance = elsewhere(seed, told.trial);
    let mut point = Vec::new();
    for parameter in space.parameters() {
        let (distribution, value) = (&parameter.distribution, &told.values[&parameter.name]);
        match (distribution, coordinates(distribution)) {
            (_, 0) => (),
            (Distribution::Choice { options }, count) if count > 1 => {
                let chosen = options.iter().position(|option| option == value);
                point.extend(greatest_at(chosen.unwrap_or_default(), count, &mut chance));
            }
            _ => point.push(within(distribution.cell(value), &mut chance)),
        }
    }
    point
}

/// A random place of a cell.
fn within((low, high): (f64, f64), chance: &mut Chance) -> f64 {
    let widened = (SMALLEST_CELL - (high - low)).max(0.0);
    let low = (low - widened / 2.0).clamp(0.0, 1.0 - SMALLEST_CELL);
    let high = (high + widened / 2.0).clamp(SMALLEST_CELL, 1.0);
    low + (high - low) * chance.uniform()
}

/// As many uniform numbers, the greatest of which is at this place.
fn greatest_at(place: usize, count: usize, chance: &mut Chance) -> Vec<f64> {
    let mut numbers: Vec<_> = (0..count).map(|_| chance.uniform()).collect();
    let greatest = greatest(&numbers);
    numbers.swap(place, greatest);
    numbers
}

fn greatest(numbers: &[f64]) -> usize {
    let places = numbers.iter().enumerate();
    let greatest = places.max_by(|(_, one), (_, other)| one.total_cmp(other));
    greatest.map_or(0, |(place, _)| place)
}

/// The values at a point of the unit cube.
fn values(space: &Space, mut point: &[f64]) -> Values {
    let mut values = Values::new();
    for parameter in space.parameters() {
        let distribution = &parameter.distribution;
        let (own, rest) = point.split_at(coordinates(distribution).min(point.len()));
        point = rest;
        let value: Value = match (distribution, own) {
            (_, []) => distribution.at(0.5),
            (_, [place]) => distribution.at(*place),
            (_, several) => {
                distribution.at((float(greatest(several)) + 0.5) / float(several.len()))
            }
        };
        values.insert(parameter.name.clone(), value);
    }
    values
}
