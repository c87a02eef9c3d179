//! Shared by the hazard tests: the real `cu`, runs in scratch directories, kills at random moments,
//! and a checker of the promise that knows only the files on disk.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`cu`] | finds or builds the binary `cu` |
//! | [`run`] | a run for each test: starts, kills, resumes and queries it, and cleans up |
//! | [`cluster_utils`], [`repository`] | projects of users: for that Python package, and in git |
//! | [`fake`] | small fake clusters, for what real ones do once in a year |
//! | [`fuse`] | a file system where runs are recorded as on network file systems |
//! | [`mounts`] | file systems that are read-only or full |
//! | [`process`] | waits for processes within a bound, kills and finds them |
//! | [`terminal`] | a terminal with a program on it, as a person sees it |
//! | [`wait`] | the only place that polls for a condition |
//! | [`python_package`] | the Python package, built and installed as users do |
//! | [`stranger`] | another user of this machine, for tests that run as root |
//! | [`chance`] | random numbers from a seed |
//! | [`steps`] | the log that `tiny_job` writes of its steps, and its clock |
//! | [`modules`] | which modules of a crate use which |
//! | [`history`], [`checker`] | all traces of a run, and whether the promise was kept |
#![forbid(unsafe_code)]
// A harness reports an error by failing the test.
#![allow(clippy::unwrap_used)]

pub mod chance;
pub mod checker;
pub mod cluster_utils;
pub mod cu;
pub mod fake;
pub mod fuse;
pub mod history;
pub mod modules;
pub mod mounts;
pub mod process;
pub mod python_package;
pub mod repository;
pub mod run;
pub mod steps;
pub mod stranger;
pub mod terminal;
pub mod wait;
