//! Submit, watch and cancel commands on a cluster, behind one trait.
//!
//! [`Scheduler`] is the contract of every backend, [`Submission`] a command to run, and [`Observation`]
//! what the cluster knows of it, with how certain that is. This crate knows nothing of messages or
//! checkpoints, nor of what a command means.
//!
//! | feature | adds |
//! | --- | --- |
//! | `local` (default) | this machine |
//! | `slurm` | Slurm, through its commands |
//! | `htcondor` | HTCondor, through its commands and its event log |
//! | `keep` | attempts that share allocations of a cluster |
//! | `cluster` | parts for backends on clusters, which those of Slurm and HTCondor share |
//! | `simulated` | a cluster in memory under virtual time |
//! | `conformance` | the suite that every backend passes, and `Faulty`, a wrapper that loses answers |
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(any(feature = "simulated", feature = "conformance"))]
mod chance;
#[cfg(feature = "cluster")]
pub mod cluster;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod examine;
#[cfg(feature = "conformance")]
mod faulty;
mod finding;
#[cfg(feature = "htcondor")]
pub mod htcondor;
#[cfg(feature = "keep")]
pub mod keep;
#[cfg(feature = "local")]
pub mod local;
mod observation;
mod preview;
mod scheduler;
#[cfg(feature = "simulated")]
pub mod simulated;
#[cfg(feature = "slurm")]
pub mod slurm;
mod submission;

pub use error::{Error, SubmitError};
pub use examine::Examine;
#[cfg(feature = "conformance")]
pub use faulty::{Faults, Faulty};
pub use finding::{Advice, Finding, InvalidOption, Level, Subject};
pub use observation::{ClusterEnd, ClusterState, EndCause, Found, Observation};
pub use preview::Preview;
pub use scheduler::{Cancel, Capabilities, ExitCodes, Reach, Scheduler, Starts, TimeLimits};
pub use submission::{
    ClusterJobId, InvalidSubmissionName, Resources, Signal, Submission, SubmissionName, Warning,
};

#[cfg(all(doctest, feature = "local"))]
#[doc = include_str!("../README.md")]
struct Readme;
