//! What was asked for and what came of it: trials, their outcomes, and the record of both.

use serde::{Deserialize, Serialize};

use crate::Values;

/// Which values of the objective are good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Small ones.
    #[default]
    Minimize,
    /// Large ones.
    Maximize,
}

impl Direction {
    /// The value as a cost, of which less is better. Its own inverse.
    #[must_use]
    pub fn cost(self, value: f64) -> f64 {
        match self {
            Self::Minimize => value,
            Self::Maximize => -value,
        }
    }
}

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The value of the objective. A trial that was ended early counts with the last one that it announced.
    Value(f64),
    /// There is none.
    Failed,
}

impl Outcome {
    /// The value, if it is a finite number. Any other one is that of a failure.
    #[must_use]
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Value(value) => value.is_finite().then_some(value),
            Self::Failed => None,
        }
    }
}

/// One evaluation of the objective that was asked for. Its number is its place among all, from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What was asked.
    pub values: Values,
    /// What came of it, if it has ended.
    pub outcome: Option<Outcome>,
}

/// The next evaluation, as [`ask`](crate::Optimizer::ask) returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The number of the trial.
    pub trial: usize,
    /// One value for each parameter.
    pub values: Values,
}

/// What happened to a study. The list of all events, in order, is its history, from which
/// [`Study::replay`](crate::Study::replay) makes it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// The next trial was asked for.
    Asked(Values),
    /// A trial ended.
    Told {
        /// The trial: how many were asked for before it.
        trial: usize,
        /// What came of it.
        outcome: Outcome,
    },
}
