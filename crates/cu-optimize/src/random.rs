//! Uniform random search: what any other method must beat.

use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::{Space, Values};

/// Uniform random search, on the logarithm of parameters whose scale is logarithmic. It has no options.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Random {}

impl Random {
    #[expect(clippy::unused_self, reason = "as for the other methods")]
    pub(crate) fn propose(&self, space: &Space, chance: &mut Chance) -> Values {
        uniform(space, chance)
    }
}

/// Uniform values for all parameters.
pub(crate) fn uniform(space: &Space, chance: &mut Chance) -> Values {
    let draw = |parameter: &crate::Parameter| {
        let value = parameter.distribution.at(chance.uniform());
        (parameter.name.clone(), value)
    };
    space.parameters().iter().map(draw).collect()
}
