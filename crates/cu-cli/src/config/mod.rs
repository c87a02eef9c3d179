//! A run's config: `run.toml`, with what the command line says in its place.
//!
//! `file.rs`, `slurm.rs` and `htcondor.rs` declare every key once; `source.rs` knows where each was
//! given; `plan.rs` fills in defaults, and `times.rs` checks how times fit together. `program.rs`
//! finds the command of each job, whose settings `placeholder.rs` fills in. What a backend makes of
//! its table is in `crate::backend`.

mod error;
pub mod file;
mod grid;
pub mod htcondor;
mod json;
mod overrides;
mod paths;
mod placeholder;
mod plan;
mod program;
pub mod reference;
pub mod slurm;
mod source;
mod table;
mod times;
mod units;

pub use error::Error;
pub use file::{File, Wish};
pub use overrides::Override;
pub use plan::{Config, check_name};
pub use program::find_command;
pub use reference::reference;
pub use source::Source;
pub use units::parse_time;
