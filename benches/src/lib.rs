//! What the benchmarks share: contenders timed in turns, medians, tables of ratios, the binaries and
//! folders they work with, and a server that takes note of everything.
#![forbid(unsafe_code)]

mod contest;
mod place;
mod server;
pub mod statistics;

pub use contest::{Contest, timed};
pub use place::{cu, scratch, smallest_job, static_programs};
pub use server::{acknowledging_server, serve};
