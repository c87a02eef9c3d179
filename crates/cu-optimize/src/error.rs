//! What can be wrong with a space, a method or a record.

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a study can't be made or can't go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A space without parameters.
    #[error("the space has no parameters: there is nothing to search")]
    EmptySpace,
    /// A parameter can't be searched, or a value is not one of its values.
    #[error("parameter {name:?}: {reason}")]
    Parameter {
        /// The parameter.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// No method has this name.
    #[error("there is no method {name:?}; did you mean {nearest:?}? The methods are {}", known.join(", "))]
    UnknownMethod {
        /// The name.
        name: String,
        /// The known name that is nearest to it.
        nearest: &'static str,
        /// All known names.
        known: &'static [&'static str],
    },
    /// An option of a method or of a rule for ending early has a value that it can't have.
    #[error("option {option:?} of {of:?} is {value}: it must be {must}")]
    Option {
        /// The method or the rule.
        of: &'static str,
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        must: &'static str,
    },
    /// An outcome names a trial that nobody asked for.
    #[error("trial {trial} got an outcome, but only {asked} were asked for (they count from 0)")]
    UnknownTrial {
        /// The trial.
        trial: usize,
        /// How many there are.
        asked: usize,
    },
    /// A trial has an outcome already.
    #[error("trial {trial} got an outcome twice")]
    ToldTwice {
        /// The trial.
        trial: usize,
    },
}
