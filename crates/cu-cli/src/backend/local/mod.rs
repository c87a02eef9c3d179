//! This machine as a backend. Every build knows its keys; the rest is for builds that have it.

#[cfg(feature = "local")]
mod check;
pub mod keys;
#[cfg(feature = "local")]
mod open;
#[cfg(feature = "local")]
mod options;

#[cfg(feature = "local")]
pub use open::LocalBackend;
