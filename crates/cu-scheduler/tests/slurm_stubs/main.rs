//! What the Slurm backend makes of answers that a real cluster gives only in bad moments.
#![cfg(feature = "slurm")]
#![allow(clippy::unwrap_used)]

mod avoiding;
mod cluster;
mod environment;
mod lost;
mod requeued;
mod settings;
mod submitting;
mod watching;
