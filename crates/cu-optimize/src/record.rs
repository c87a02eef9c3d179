//! What a method sees of a study.

use crate::{Direction, Outcome, Trial, Values};

/// What has been told so far, as costs, of which less is better.
pub(crate) struct Record<'a> {
    /// The seed of the study.
    pub(crate) seed: u64,
    /// Which values are good.
    pub(crate) direction: Direction,
    /// All trials that were asked for, in order.
    pub(crate) trials: &'a [Trial],
    /// The numbers of those that have ended, in the order in which they were told.
    pub(crate) told: &'a [usize],
}

/// A trial that has ended.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    /// Its number.
    pub(crate) trial: usize,
    /// What was asked.
    pub(crate) values: &'a Values,
    /// What came of it, of which less is better. A failed trial has no cost.
    pub(crate) cost: Option<f64>,
}

impl<'a> Record<'a> {
    /// The trials that have ended, in the order in which they were told.
    pub(crate) fn told(&self) -> impl Iterator<Item = Told<'a>> {
        let (direction, trials) = (self.direction, self.trials);
        self.told.iter().map(move |&number| {
            let trial = &trials[number];
            let value = trial.outcome.and_then(Outcome::value);
            Told {
                trial: number,
                values: &trial.values,
                cost: value.map(|value| direction.cost(value)),
            }
        })
    }
}
