//! Shared by the benchmarks: contenders that are timed in turns, medians, tables of ratios, the
//! binaries and directories they work with, and main processes that are measured, or only acknowledge.
#![forbid(unsafe_code)]

pub mod bare;
pub mod cluster;
mod contest;
pub mod hosted;
pub mod local;
mod place;
mod server;
pub mod statistics;
pub mod supervisors;
pub mod usage;

pub use contest::{Contest, timed};
pub use place::{built, built_cu, cu, number, scratch, scratch_in, static_programs};
pub use server::{acknowledging_server, note_everything, serve};
