//! A run's config: `run.toml`, with the overrides of the command line.
//!
//! `format.rs` reads the language of a config. `file.rs` declares every key once, with the macro of `table.rs` and the types of `units.rs`;
//! `source.rs` knows where each was given, in which `layer.rs`: the run's config, or one of the `defaults.rs`
//! of the site and the user; `plan.rs` fills in defaults, and `times.rs` checks how times
//! fit together; `done_when.rs` has what "done" is, and `literal.rs` what a setting on the command line is.
//! `start.rs` finds where each program starts, `program.rs` its command; `placeholder.rs` fills in what
//! both name; `nearest.rs` suggests a key for a wrong one; `activation.rs` has what a shell does before.
//! `git.rs` has the types of `[git]`, which `crate::git` clones. `sharing.rs` warns of what several jobs share, `as_typed.rs`
//! of `$NAME` and `~` that no shell reads;
//! `wanted.rs` has what `[optimize]` asks for, with the parameters in `space.rs`, and `further.rs` makes jobs that come
//! later.
//! `reference.rs` and `schema.rs` are made from the declarations. `crate::backend` has the keys of the backends.

mod activation;
mod as_typed;
pub mod defaults;
mod done_when;
mod error;
pub mod file;
mod format;
mod further;
mod git;
mod grid;
mod json;
mod layer;
mod literal;
pub mod nearest;
mod overrides;
mod paths;
mod placeholder;
mod plan;
mod program;
pub mod reference;
pub mod schema;
mod sharing;
pub mod source;
mod space;
mod start;
pub mod table;
mod times;
pub mod units;
pub mod values;
mod wanted;
mod words;

pub use error::{Error, Excerpt, Place};
pub use file::File;
pub use format::{ENDINGS, Format};
pub use further::Further;
pub use git::check_repository;
pub use grid::{MOST_JOBS, Point};
pub use nearest::nearest;
pub use overrides::Override;
pub use placeholder::literally;
pub use plan::{Config, Planned, check_name};
pub use program::find_command;
pub use reference::{reference, reference_of};
pub use schema::schema;
pub use source::{InClone, Parsed, Source, default_results_dir, unknown};
pub use units::parse_time;
pub use wanted::{Wanted, seed};
