//! The library for a resumable job: settings, checkpoints, `should_exit`, `exit_for_resume`,
//! results.
//!
//! [`Job`] is the interface for Rust programs. [`run`] wraps a `main` around it, and [`run_steps`]
//! also its loop. [`shell`] has the commands `cu job …` for scripts. Without a supervisor every call
//! works.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut job = cu_client::Job::<cu_client::Settings>::initialize()?;
//! let mut step = job.load::<u64>()?.unwrap_or(0);
//! while step < 1_000_000 {
//!     step += 1; // the work
//!     if job.should_exit() {
//!         job.save(&step)?;
//!         job.exit_for_resume();
//!     }
//! }
//! job.finalize(&std::collections::BTreeMap::from([("steps", step)]))?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod environment;
mod error;
mod exit_for_resume;
mod failure;
mod job;
mod link;
mod options;
mod progress;
mod python_text;
mod results;
mod run;
mod settings;
pub mod shell;
mod should_exit;
mod signals;
mod steps;
mod tree;

pub use cu_checkpoint::{Checkpoints, Generation};
pub use cu_protocol::{Attempt, JobId, StopCause};

pub use error::{Error, Result};
pub use exit_for_resume::RESUME_EXIT_CODE;
pub use job::Job;
pub use options::Options;
pub use run::run;
pub use settings::Settings;
pub use steps::run_steps;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
