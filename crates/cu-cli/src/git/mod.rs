//! The git repository that a run's programs come from: recorded with the run, and cloned for it if its config asks.
//!
//! `crate::git_command` calls `git`; `record.rs` is what a run says of its code; `wanted.rs` is the clone that a config
//! asks for; `clone.rs` makes, restores and removes it.

mod clone;
mod record;
mod wanted;

pub use clone::{discard, make, remove_if_unneeded, restore};
pub use record::Record;
pub use wanted::Wanted;
