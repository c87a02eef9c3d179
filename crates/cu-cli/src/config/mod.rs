//! A run's config: `run.toml`, with the overrides of the command line.
//!
//! `file.rs` declares every key once, with the macro of `table.rs` and the types of `units.rs`;
//! `source.rs` knows where each was given; `plan.rs` fills in defaults, and `times.rs` checks how times
//! fit together. `start.rs` finds where each program starts, `program.rs` its command; `placeholder.rs` fills in what
//! both name. `sharing.rs` warns of jobs that nothing distinguishes.
//! `crate::backend` has the keys of the backends.

mod error;
pub mod file;
mod grid;
mod json;
mod overrides;
mod paths;
mod placeholder;
mod plan;
mod program;
pub mod reference;
mod sharing;
pub mod source;
mod start;
pub mod table;
mod times;
pub mod units;

pub use error::Error;
pub use file::File;
pub use overrides::Override;
pub use plan::{Config, check_name};
pub use program::find_command;
pub use reference::reference;
pub use source::{Parsed, Source};
pub use units::parse_time;
