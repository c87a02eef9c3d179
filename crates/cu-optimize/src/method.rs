//! The methods by which a space is searched, by name and with their options.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cem::Cem;
use crate::chance::Chance;
use crate::cmaes::CmaEs;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::record::Record;
use crate::tpe::Tpe;
use crate::{Space, Values};

/// How a space is searched. As JSON or TOML: its name, and those of its options that are not the usual ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Method {
    /// The cross-entropy method, as cluster_utils has it.
    Cem(Cem),
    /// The tree-structured Parzen estimator, a Bayesian method.
    Tpe(Tpe),
    /// The evolution strategy with covariance matrix adaptation.
    CmaEs(CmaEs),
    /// Uniform random search, the baseline.
    Random(Random),
}

impl Method {
    /// The names of all methods.
    pub const NAMES: &[&str] = &["cem", "tpe", "cmaes", "random"];

    /// The name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cem(_) => "cem",
            Self::Tpe(_) => "tpe",
            Self::CmaEs(_) => "cmaes",
            Self::Random(_) => "random",
        }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Option`], which names the first option that has a value that it can't have.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Cem(cem) => cem.check(),
            Self::Tpe(tpe) => tpe.check(),
            Self::CmaEs(cmaes) => cmaes.check(),
            Self::Random(_) => Ok(()),
        }
    }

    /// The values of the next trial.
    pub(crate) fn propose(&self, space: &Space, record: &Record, chance: &mut Chance) -> Values {
        match self {
            Self::Cem(cem) => cem.propose(space, record, chance),
            Self::Tpe(tpe) => tpe.propose(space, record, chance),
            Self::CmaEs(cmaes) => cmaes.propose(space, record, chance),
            Self::Random(random) => random.propose(space, chance),
        }
    }
}

impl FromStr for Method {
    type Err = Error;

    /// The method of this name, with its usual options.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cem" => Ok(Self::Cem(Cem::default())),
            "tpe" => Ok(Self::Tpe(Tpe::default())),
            "cmaes" => Ok(Self::CmaEs(CmaEs::default())),
            "random" => Ok(Self::Random(Random::default())),
            _ => Err(Error::UnknownMethod {
                name: name.to_owned(),
                nearest: nearest(name),
                known: Self::NAMES,
            }),
        }
    }
}

fn nearest(name: &str) -> &'static str {
    let name = name.to_lowercase();
    let distance = |known: &&&str| strsim::damerau_levenshtein(&name, known);
    Method::NAMES
        .iter()
        .min_by_key(distance)
        .copied()
        .unwrap_or("cem")
}
