//! Runs the configs of the Python package cluster_utils as they are.
//!
//! `read.rs` reads a config, through the user's Python (`read.py`) or with `files.rs` and `dynamic.rs`; `python.rs` knows Python's
//! literals; `given.rs` is the config with the overrides of the command line, and knows where each key was given;
//! `points.rs` makes the jobs of its grid, `search.rs` says what it optimises; `keys.rs` lists its keys and warns of
//! others; `map.rs` turns the rest into keys of our own, with `places.rs`, and `environment.rs` into what a shell does
//! before each program. `results.rs` writes the result files that cluster_utils would write, with `log.rs`,
//! `optimization.rs` those of an optimisation, and `interim.rs` has them written while the run goes on.

mod cells;
mod dynamic;
mod environment;
mod files;
mod given;
pub mod interim;
mod keys;
mod log;
mod map;
mod optimization;
mod places;
mod points;
mod python;
mod read;
pub mod results;
mod search;

pub use given::Given;
pub use keys::{is_config, warnings};
pub use map::{Mapped, cluster, preliminary};
pub use points::{first_points, points};
pub use read::read;
pub use search::search;

/// A command of cluster_utils.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Procedure {
    /// `grid_search`
    GridSearch,
    /// `hp_optimization`
    HpOptimization,
}

impl Procedure {
    /// The command that takes its place.
    pub fn command(self) -> &'static str {
        match self {
            Self::GridSearch => "cu grid-search",
            Self::HpOptimization => "cu hp-optimization",
        }
    }
}
