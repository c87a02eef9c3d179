//! The space that is searched: named parameters in order, and where the values of each may lie.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};

/// One value for each parameter of a [`Space`], by name.
///
/// A real parameter has a JSON float, an integer one a JSON integer, a choice one of its options.
pub type Values = BTreeMap<String, Value>;

/// Whether a parameter is searched by its value or by the logarithm of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Equal differences matter equally.
    #[default]
    Linear,
    /// Equal ratios matter equally. Both bounds must be positive.
    Log,
}

/// Where the values of a parameter may lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Distribution {
    /// A real number between two bounds, which belong to it.
    Real {
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
        /// How it is searched.
        #[serde(default)]
        scale: Scale,
    },
    /// An integer between two bounds, which belong to it.
    Integer {
        /// The lower bound.
        low: i64,
        /// The upper bound.
        high: i64,
        /// How it is searched.
        #[serde(default)]
        scale: Scale,
    },
    /// One of some values that have no order.
    Choice {
        /// The values.
        options: Vec<Value>,
    },
}

/// The greatest magnitude of an integer bound: beyond it, floats skip integers.
const LARGEST_INTEGER: i64 = 1 << 53;

impl Distribution {
    /// The reason why nothing can be drawn from it.
    fn fault(&self) -> Option<String> {
        match self {
            Self::Real { low, high, scale } => {
                if !low.is_finite() || !high.is_finite() {
                    return Some(format!("its bounds {low} and {high} must be finite"));
                }
                if !(high - low).is_finite() {
                    return Some(format!("its bounds {low} and {high} are too far apart"));
                }
                fault_of_bounds(low, high, *scale, *low > 0.0)
            }
            Self::Integer { low, high, scale } => {
                let allowed = -LARGEST_INTEGER..=LARGEST_INTEGER;
                if !allowed.contains(low) || !allowed.contains(high) {
                    return Some(format!(
                        "its bounds {low} and {high} must lie between -2^53 and 2^53"
                    ));
                }
                fault_of_bounds(low, high, *scale, *low > 0)
            }
            Self::Choice { options } if options.is_empty() => Some("it has no options".to_owned()),
            Self::Choice { options } => {
                let repeated = |(place, option)| options[..place].contains(option);
                let (_, option) = options.iter().enumerate().find(|each| repeated(*each))?;
                Some(format!("its option {option} is listed twice"))
            }
        }
    }

    /// The value as this parameter writes it, or the reason why it is not one of its values.
    fn accepts(&self, value: &Value) -> std::result::Result<(), String> {
        let between = |inside: bool, low: &dyn std::fmt::Display, high: &dyn std::fmt::Display| {
            let refusal = || format!("{value} does not lie between {low} and {high}");
            inside.then_some(()).ok_or_else(refusal)
        };
        match self {
            Self::Real { low, high, .. } => {
                let number = value.as_f64().ok_or(format!("{value} is not a number"))?;
                between((*low..=*high).contains(&number), low, high)
            }
            Self::Integer { low, high, .. } => {
                let number = value.as_i64().ok_or(format!("{value} is not an integer"))?;
                between((low..=high).contains(&&number), low, high)
            }
            Self::Choice { options } if options.contains(value) => Ok(()),
            Self::Choice { options } => {
                let options: Vec<_> = options.iter().map(Value::to_string).collect();
                Err(format!("{value} is not one of {}", options.join(", ")))
            }
        }
    }
}

fn fault_of_bounds<T: PartialOrd + std::fmt::Display>(
    low: &T,
    high: &T,
    scale: Scale,
    positive: bool,
) -> Option<String> {
    if low > high {
        return Some(format!(
            "its lower bound {low} is greater than its upper bound {high}"
        ));
    }
    (scale == Scale::Log && !positive).then(|| {
        format!("its lower bound {low} must be greater than 0, as its scale is logarithmic")
    })
}

/// A name, and where its values may lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// The name, unique in a space.
    pub name: String,
    /// Where the values may lie.
    pub distribution: Distribution,
}

impl Parameter {
    /// A real parameter.
    pub fn real(name: impl Into<String>, low: f64, high: f64, scale: Scale) -> Self {
        let name = name.into();
        let distribution = Distribution::Real { low, high, scale };
        Self { name, distribution }
    }

    /// An integer parameter.
    pub fn integer(name: impl Into<String>, low: i64, high: i64, scale: Scale) -> Self {
        let name = name.into();
        let distribution = Distribution::Integer { low, high, scale };
        Self { name, distribution }
    }

    /// A choice among values.
    pub fn choice(name: impl Into<String>, options: impl IntoIterator<Item = Value>) -> Self {
        let name = name.into();
        let options = options.into_iter().collect();
        let distribution = Distribution::Choice { options };
        Self { name, distribution }
    }
}

/// Named parameters, in order, that have been checked: at least one, no name twice, bounds that leave something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Parameter>", into = "Vec<Parameter>")]
pub struct Space {
    parameters: Vec<Parameter>,
}

impl Space {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::EmptySpace`], or [`Error::Parameter`], which names the first parameter that can't be searched.
    pub fn new(parameters: impl IntoIterator<Item = Parameter>) -> Result<Self> {
        let parameters: Vec<_> = parameters.into_iter().collect();
        if parameters.is_empty() {
            return Err(Error::EmptySpace);
        }
        let mut names = BTreeSet::new();
        for Parameter { name, distribution } in &parameters {
            let repeated = !names.insert(name);
            let repeated = repeated.then(|| "it is listed twice".to_owned());
            if let Some(reason) = repeated.or_else(|| distribution.fault()) {
                let name = name.clone();
                return Err(Error::Parameter { name, reason });
            }
        }
        Ok(Self { parameters })
    }

    /// The parameters, in their order.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Checks that the values are one for each parameter, and each one that its distribution allows.
    ///
    /// # Errors
    /// [`Error::Parameter`], which names the first parameter that is missing, unknown, or has another value.
    pub fn check(&self, values: &Values) -> Result<()> {
        for Parameter { name, distribution } in &self.parameters {
            let fits = match values.get(name) {
                Some(value) => distribution.accepts(value),
                None => Err("it has no value".to_owned()),
            };
            fits.map_err(|reason| Error::Parameter {
                name: name.clone(),
                reason,
            })?;
        }
        let known = |name: &String| self.parameters.iter().any(|one| one.name == *name);
        match values.keys().find(|name| !known(name)) {
            None => Ok(()),
            Some(name) => Err(Error::Parameter {
                name: name.clone(),
                reason: "the space has no parameter of this name".to_owned(),
            }),
        }
    }
}

impl TryFrom<Vec<Parameter>> for Space {
    type Error = Error;

    fn try_from(parameters: Vec<Parameter>) -> Result<Self> {
        Self::new(parameters)
    }
}

impl From<Space> for Vec<Parameter> {
    fn from(space: Space) -> Self {
        space.parameters
    }
}
