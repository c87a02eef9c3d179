//! Slurm as a backend. Every build knows its keys; the rest is for builds that have it.

#[cfg(feature = "slurm")]
pub mod batch_job;
#[cfg(feature = "slurm")]
mod check;
pub mod keys;
#[cfg(feature = "slurm")]
mod open;
#[cfg(feature = "slurm")]
mod options;

#[cfg(feature = "slurm")]
pub use open::SlurmBackend;
