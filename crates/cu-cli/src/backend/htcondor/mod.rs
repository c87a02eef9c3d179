//! HTCondor as a backend. Every build knows its keys; the rest is for builds that have it.

#[cfg(feature = "htcondor")]
mod check;
pub mod keys;
#[cfg(feature = "htcondor")]
mod open;
#[cfg(feature = "htcondor")]
mod options;
#[cfg(feature = "htcondor")]
mod submit_attributes;
#[cfg(feature = "htcondor")]
pub mod submit_job;

#[cfg(feature = "htcondor")]
pub use open::HtcondorBackend;
