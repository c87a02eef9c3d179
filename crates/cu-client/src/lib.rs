//! What a resumable job calls: settings, checkpoints, `should_exit`, `exit_for_resume`, results.
//!
//! [`Job`] is the door for Rust, [`run`] a `main` around it, [`resumable`] its loop as one call, and
//! [`shell`] what the commands `cu job …` do. Without a supervisor every call works.
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
pub mod resumable;
mod run;
mod settings;
pub mod shell;
mod should_exit;
mod signals;
mod tree;

pub use cu_checkpoint::{Checkpoints, Generation};
pub use cu_protocol::{Attempt, JobId, StopCause};

pub use error::{Error, Result};
pub use exit_for_resume::RESUME_EXIT_CODE;
pub use job::Job;
pub use options::Options;
pub use run::run;
pub use settings::Settings;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
