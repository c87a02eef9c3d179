//! Which trials should end early, by the values that trials announce while they run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Direction;
use crate::error::{Error, Result};
use crate::unit::{float, truncated};

/// The values that trials have announced, in the order in which they came.
///
/// A value that is not a number counts as the worst.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Announcements {
    series: BTreeMap<usize, Vec<f64>>,
    /// For each place of a series, the trials that have announced it, in order.
    reached: Vec<Vec<usize>>,
    completed: BTreeSet<usize>,
}

impl Announcements {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next value of a trial.
    pub fn announce(&mut self, trial: usize, value: f64) {
        let series = self.series.entry(trial).or_default();
        if self.reached.len() == series.len() {
            self.reached.push(Vec::new());
        }
        self.reached[series.len()].push(trial);
        series.push(value);
    }

    /// Notes that a trial has come to its own end, and was not ended early and did not fail.
    pub fn complete(&mut self, trial: usize) {
        self.completed.insert(trial);
    }

    /// What a trial has announced so far.
    #[must_use]
    pub fn of(&self, trial: usize) -> &[f64] {
        self.series.get(&trial).map_or(&[], Vec::as_slice)
    }

    /// The value of a trial at this place of its series, as a cost.
    fn cost(&self, trial: usize, place: usize, direction: Direction) -> f64 {
        let value = self.of(trial).get(place).copied().unwrap_or(f64::NAN);
        if value.is_nan() {
            f64::INFINITY
        } else {
            direction.cost(value)
        }
    }
}

/// A rule that ends trials early. An ended trial counts with its last value.
///
/// As JSON or TOML: the name of the rule, `bad_jobs` or `successive_halving`, and its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Stopper {
    /// Ends trials that will rank too low.
    BadJobs(BadJobs),
    /// Ends all but the best at certain places.
    SuccessiveHalving(SuccessiveHalving),
}

/// Ends a trial once it is likely that it will not rank among the best `target_rank`.
///
/// It compares with the trials that have completed with as many values as any, and needs five of them. The rank of a
/// trial is that of its newest value among theirs at the same place. How much ranks change from there to the end is
/// known of those: the root mean square is their deviation. A trial ends if its rank, less `how_many_stds` deviations,
/// is worse than the target. In the second half of its values no trial is ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadJobs {
    /// The worst rank that is good enough; the best one is 1.
    pub target_rank: usize,
    /// How much doubt is in favour of a trial.
    pub how_many_stds: f64,
}

/// Ends all but the best of the trials that reach certain places: asynchronous successive halving (ASHA).
///
/// The places are `first_rung`, and each further one is `reduction_factor` times as far. A trial that gets there goes
/// on if it is among the best `1/reduction_factor` of those that got there before, itself included, and ends
/// otherwise. No trial waits for others, and none is judged twice at the same place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SuccessiveHalving {
    /// After how many values trials are compared for the first time.
    pub first_rung: usize,
    /// How many trials there are for each one that goes on, and how much further the next comparison is.
    pub reduction_factor: usize,
}

impl Default for SuccessiveHalving {
    fn default() -> Self {
        Self {
            first_rung: 1,
            reduction_factor: 3,
        }
    }
}

/// Why a trial should end now.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// It will not rank among the best.
    Rank {
        /// How many values it has announced.
        values: usize,
        /// The rank of the newest one; the best one is 1.
        rank: usize,
        /// How far ranks change from there to the end.
        deviation: f64,
        /// With how many trials it was compared.
        compared: usize,
        /// The worst rank that is good enough.
        target_rank: usize,
    },
    /// It is not among the best at a place where trials are compared.
    Rung {
        /// After how many values.
        values: usize,
        /// The rank there; the best one is 1.
        rank: usize,
        /// How many trials had come so far, itself included.
        compared: usize,
        /// How many of them go on.
        kept: usize,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rank {
                values,
                rank,
                deviation,
                compared,
                target_rank,
            } => write!(
                f,
                "value {values} would rank {rank} (give or take {deviation:.1}) beside {compared} completed trials, \
                 and rank {target_rank} is wanted"
            ),
            Self::Rung {
                values,
                rank,
                compared,
                kept,
            } => write!(
                f,
                "value {values} ranks {rank} of the {compared} trials that have come so far, of which the best {kept} \
                 go on"
            ),
        }
    }
}

impl Stopper {
    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Option`], which names the first option that has a value that it can't have.
    pub fn check(&self) -> Result<()> {
        let refuse = |of, option, value: String, must| {
            Err(Error::Option {
                of,
                option,
                value,
                must,
            })
        };
        match self {
            Self::BadJobs(BadJobs { target_rank: 0, .. }) => {
                refuse("bad_jobs", "target_rank", "0".to_owned(), "at least 1")
            }
            Self::BadJobs(rule)
                if !(rule.how_many_stds >= 0.0 && rule.how_many_stds.is_finite()) =>
            {
                let value = rule.how_many_stds.to_string();
                refuse(
                    "bad_jobs",
                    "how_many_stds",
                    value,
                    "a number that is not negative",
                )
            }
            Self::SuccessiveHalving(SuccessiveHalving { first_rung: 0, .. }) => refuse(
                "successive_halving",
                "first_rung",
                "0".to_owned(),
                "at least 1",
            ),
            Self::SuccessiveHalving(rule) if rule.reduction_factor < 2 => {
                let value = rule.reduction_factor.to_string();
                refuse(
                    "successive_halving",
                    "reduction_factor",
                    value,
                    "at least 2",
                )
            }
            _ => Ok(()),
        }
    }

    /// The reason why this trial should end now, if there is one. The same announcements give the same answer.
    #[must_use]
    pub fn reason_to_end(
        &self,
        trial: usize,
        announcements: &Announcements,
        direction: Direction,
    ) -> Option<Reason> {
        if announcements.completed.contains(&trial) {
            return None;
        }
        match self {
            Self::BadJobs(rule) => rule.reason_to_end(trial, announcements, direction),
            Self::SuccessiveHalving(rule) => rule.reason_to_end(trial, announcements, direction),
        }
    }
}

/// With fewer trials nothing is compared.
const FEWEST_COMPLETED: usize = 5;

impl BadJobs {
    fn reason_to_end(
        &self,
        trial: usize,
        all: &Announcements,
        direction: Direction,
    ) -> Option<Reason> {
        let completed = all.completed.iter().copied();
        let longest = completed.clone().map(|other| all.of(other).len()).max()?;
        let others: Vec<_> = completed
            .filter(|other| all.of(*other).len() == longest)
            .collect();
        let values = all.of(trial).len();
        let newest = values.checked_sub(1)?;
        if others.len() < FEWEST_COMPLETED || values > longest / 2 {
            return None;
        }
        let rank_at = |of: usize, place: usize| {
            let cost = all.cost(of, place, direction);
            let better = others
                .iter()
                .filter(|other| all.cost(**other, place, direction) < cost);
            better.count() + 1
        };
        let change = |other: &usize| {
            let (now, last) = (rank_at(*other, newest), rank_at(*other, longest - 1));
            (float(now) - float(last)).powi(2)
        };
        let deviation = (others.iter().map(change).sum::<f64>() / float(others.len())).sqrt();
        let rank = rank_at(trial, newest);
        let at_best = float(rank) - self.how_many_stds * deviation;
        (at_best > float(self.target_rank)).then_some(Reason::Rank {
            values,
            rank,
            deviation,
            compared: others.len(),
            target_rank: self.target_rank,
        })
    }
}

impl SuccessiveHalving {
    fn reason_to_end(
        &self,
        trial: usize,
        all: &Announcements,
        direction: Direction,
    ) -> Option<Reason> {
        let further = |rung: &usize| rung.checked_mul(self.reduction_factor.max(2));
        let rungs = std::iter::successors(Some(self.first_rung.max(1)), further);
        let reached = rungs.take_while(|rung| *rung <= all.of(trial).len());
        reached
            .into_iter()
            .find_map(|rung| self.reason_at(rung, trial, all, direction))
    }

    /// Judges a trial at the moment when it got there, so that later ones do not count.
    fn reason_at(
        &self,
        rung: usize,
        trial: usize,
        all: &Announcements,
        direction: Direction,
    ) -> Option<Reason> {
        let came = &all.reached[rung - 1];
        let compared = came.iter().position(|other| *other == trial)? + 1;
        let cost = |other: usize| all.cost(other, rung - 1, direction);
        let better = came[..compared]
            .iter()
            .filter(|other| cost(**other) < cost(trial));
        let rank = better.count() + 1;
        let kept = truncated((float(compared) / float(self.reduction_factor.max(2))).ceil());
        (rank > kept).then_some(Reason::Rung {
            values: rung,
            rank,
            compared,
            kept,
        })
    }
}
