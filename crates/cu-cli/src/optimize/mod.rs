//! Runs with `[optimize]`, whose jobs an optimiser chooses.
//!
//! `search.rs` decides on further jobs for the resume
//! loop, from the crate cu-optimize. `early.rs` ends jobs that don't get better, and `kept.rs` keeps the directories of
//! the best ones; both look at the run from the thread of
//! `beside.rs`. `best.rs` has the best jobs for people.

pub mod beside;
pub mod best;
pub mod early;
pub mod kept;
mod search;
#[cfg(test)]
mod tests;

pub use search::source_of;
