//! A study: what is searched and how, and all that has been asked and told so far.

use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::error::{Error, Result};
use crate::record::Record;
use crate::table::{self, Row};
use crate::{Asked, Direction, Event, Method, Outcome, Space, Trial};

/// Asks for evaluations, any number at a time, and is told their outcomes, in any order.
pub trait Optimizer {
    /// The next trial to evaluate.
    fn ask(&mut self) -> Asked;

    /// Takes the outcome of a trial.
    ///
    /// # Errors
    /// If no such trial was asked for, or if it has an outcome already.
    fn tell(&mut self, trial: usize, outcome: Outcome) -> Result<()>;
}

/// All that determines a study before its first trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The parameters.
    pub space: Space,
    /// How the space is searched.
    pub method: Method,
    /// Which values of the objective are good.
    #[serde(default)]
    pub direction: Direction,
    /// Two studies of equal setups that are told the same ask for the same.
    pub seed: u64,
}

/// A search that goes on: a function of its setup and its history alone.
///
/// ```
/// use cu_optimize::{Event, Method, Optimizer, Outcome, Parameter, Scale, Setup, Space, Study};
///
/// let parameters = [
///     Parameter::real("learning_rate", 1e-5, 1.0, Scale::Log),
///     Parameter::integer("layers", 1, 8, Scale::Linear),
/// ];
/// let setup = Setup {
///     space: Space::new(parameters)?,
///     method: "cem".parse::<Method>()?,
///     direction: Default::default(),
///     seed: 7,
/// };
/// let mut study = Study::new(setup.clone())?;
/// let asked = study.ask();
/// let outcome = Outcome::Value(0.25);
/// study.tell(asked.trial, outcome)?;
///
/// // What was recorded is all it takes to go on after a crash.
/// let history = [Event::Asked(asked.values), Event::Told { trial: 0, outcome }];
/// let mut again = Study::replay(setup, history)?;
/// assert_eq!(again.ask(), study.ask());
/// # Ok::<(), cu_optimize::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    setup: Setup,
    trials: Vec<Trial>,
    /// The trials that have an outcome, in the order in which they were told.
    told: Vec<usize>,
}

impl Study {
    /// A study without trials.
    ///
    /// # Errors
    /// If an option of the method has a value that it can't have.
    pub fn new(setup: Setup) -> Result<Self> {
        setup.method.check()?;
        Ok(Self {
            setup,
            trials: Vec::new(),
            told: Vec::new(),
        })
    }

    /// The study that was interrupted after this history: it asks for the same as that one would have.
    ///
    /// The values of earlier trials are taken from the history and never computed again. So a newer version of a
    /// method goes on with an older history, as does another method.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`record`](Self::record).
    pub fn replay(setup: Setup, history: impl IntoIterator<Item = Event>) -> Result<Self> {
        let mut study = Self::new(setup)?;
        for event in history {
            study.record(event)?;
        }
        Ok(study)
    }

    /// Takes one event of a history, whoever chose the values.
    ///
    /// # Errors
    /// If asked values don't belong to the space, if no such trial was asked for, or if it has an outcome already.
    pub fn record(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Asked(values) => {
                self.setup.space.check(&values)?;
                self.trials.push(Trial {
                    values,
                    outcome: None,
                });
                Ok(())
            }
            Event::Told { trial, outcome } => self.tell(trial, outcome),
        }
    }

    /// What determines it before its first trial.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// All trials that were asked for, in order.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// The results, best first: trials of the same values are one row. Failed trials have none.
    #[must_use]
    pub fn table(&self) -> Vec<Row> {
        let mut rows = table::rows(self.told.iter().filter_map(|&number| {
            let trial = &self.trials[number];
            Some((number, &trial.values, trial.outcome?))
        }));
        let cost = |row: &Row| self.setup.direction.cost(row.value);
        rows.sort_by(|one, other| cost(one).total_cmp(&cost(other)));
        rows
    }

    /// The best row of the table.
    #[must_use]
    pub fn best(&self) -> Option<Row> {
        self.table().into_iter().next()
    }
}

impl Optimizer for Study {
    fn ask(&mut self) -> Asked {
        let trial = self.trials.len();
        let mut chance = Chance::new(self.setup.seed, trial);
        let record = Record {
            seed: self.setup.seed,
            direction: self.setup.direction,
            trials: &self.trials,
            told: &self.told,
        };
        let Setup { method, space, .. } = &self.setup;
        let values = method.propose(space, &record, &mut chance);
        debug_assert_eq!(self.setup.space.check(&values), Ok(()));
        self.trials.push(Trial {
            values: values.clone(),
            outcome: None,
        });
        Asked { trial, values }
    }

    fn tell(&mut self, trial: usize, outcome: Outcome) -> Result<()> {
        let asked = self.trials.len();
        let found = self.trials.get_mut(trial);
        let found = found.ok_or(Error::UnknownTrial { trial, asked })?;
        if found.outcome.is_some() {
            return Err(Error::ToldTwice { trial });
        }
        found.outcome = Some(outcome);
        self.told.push(trial);
        Ok(())
    }
}
