//! A run's config: `run.toml`, with what the command line says in its place.
//!
//! `file.rs` declares every key once; `source.rs` knows where each was given; `plan.rs` fills in
//! defaults and checks how they fit together.

mod error;
mod file;
mod grid;
mod json;
mod overrides;
mod plan;
mod program;
mod reference;
mod source;
mod table;
mod units;

pub use error::Error;
pub use file::File;
pub use overrides::Override;
pub use plan::{Config, check_name};
pub use reference::reference;
pub use source::Source;
