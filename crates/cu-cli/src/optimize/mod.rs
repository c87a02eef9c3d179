//! Runs with `[optimize]`, whose jobs an optimiser chooses.
//!
//! `wanted.rs` is what the config asks for, `space.rs` its parameters; `search.rs` decides on further jobs for the resume
//! loop, from the crate cu-optimize. `early.rs` ends jobs that don't get better, and `kept.rs` keeps the directories of
//! the best ones; both look at the run from a thread of their own. `best.rs` has the best jobs for people.

pub mod best;
pub mod early;
pub mod kept;
mod search;
mod space;
#[cfg(test)]
mod tests;
mod wanted;

pub use search::source_of;
pub use wanted::{Wanted, seed};
