//! Shared by the benchmarks: contenders that are timed in turns, medians, tables of ratios, the
//! binaries and directories they work with, and a server that acknowledges every message.
#![forbid(unsafe_code)]

mod contest;
mod place;
mod server;
pub mod statistics;

pub use contest::{Contest, timed};
pub use place::{cu, nothing, scratch, smallest_job, static_programs};
pub use server::{acknowledging_server, serve};
