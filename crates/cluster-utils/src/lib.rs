//! Long work as a chain of short, resumable jobs: every crate of the workspace under one name.
//!
//! A job that takes three days becomes a chain of one-hour jobs. It saves a checkpoint in its
//! output directory, asks the main process to be resumed, and ends; the main process submits it
//! again with the same settings and the same output directory until it delivers its results.
//!
//! # Which crate to take
//! This crate only re-exports the others. Each is useful alone: if you need only one, depend on
//! that one.
//!
//! | you want to | take | feature here |
//! | --- | --- | --- |
//! | write a job in Rust: load, save, `should_exit`, `exit_for_resume` | `cu-client` | `client` (default) |
//! | save state atomically | `cu-checkpoint` | `checkpoint` |
//! | submit and watch commands on a cluster | `cu-scheduler` | `scheduler`, with `slurm`, `htcondor` or `local` (this machine) |
//! | test against a cluster in memory, under virtual time | `cu-scheduler` | `simulated` |
//! | run the resume loop in a program of your own | `cu-core` | `core`, with its backends |
//! | search for the best parameters | `cu-optimize` | `optimize` |
//! | read the files of a run | `cu-run-dir` | `run-dir` |
//! | start programs as `cu exec` does | `cu-supervisor` | `supervisor` |
//! | speak to a main process or a supervisor | `cu-protocol` | `protocol` |
//! | type commands | `cu-cli`, the binary `cu` | none |
//!
//! A job needs only `client`: no runtime, no network, no scheduler. Jobs in shell and Python need
//! no crate at all: they call `cu job …` and `cu_job.py`.
//!
//! # Features
//!
//! Features are additive, and none changes the behaviour of another.
//!
//! | feature | module here | also enables |
//! | --- | --- | --- |
//! | `client` (default) | `client`: the library for a job's program | `checkpoint` |
//! | `checkpoint` | `checkpoint`: atomic checkpoints | |
//! | `protocol` | `protocol`: messages and their encoding, without streams | |
//! | `optimize` | `optimize`: ask and tell, by several methods | |
//! | `supervisor` | `supervisor`: the parent of a job's program | `protocol` |
//! | `scheduler` | `scheduler`: the trait, without backends | |
//! | `local`, `slurm`, `htcondor` | `scheduler` with this backend | `scheduler` |
//! | `simulated` | `scheduler` with a cluster in memory | `scheduler` |
//! | `core` | `core`: the resume loop | `protocol`, `scheduler`, `supervisor` |
#![cfg_attr(
    feature = "client",
    doc = r#"
# A job
```
use cluster_utils::client::{Job, Settings};

# fn main() -> Result<(), Box<dyn std::error::Error>> {
# let here = tempfile::tempdir()?;
# std::env::set_current_dir(&here)?;
let mut job = Job::<Settings>::initialize()?;
let mut step: u64 = job.load()?.unwrap_or(0);
while step < 1000 {
    step += 1; // the work
    if job.should_exit() {
        job.save(&step)?;
        job.exit_for_resume();
    }
}
job.finalize(&std::collections::BTreeMap::from([("steps", step)]))?;
# Ok(())
# }
```
"#
)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "checkpoint")]
pub use cu_checkpoint as checkpoint;
#[cfg(feature = "client")]
pub use cu_client as client;
#[cfg(feature = "core")]
pub use cu_core as core;
#[cfg(feature = "optimize")]
pub use cu_optimize as optimize;
#[cfg(feature = "protocol")]
pub use cu_protocol as protocol;
#[cfg(feature = "run-dir")]
pub use cu_run_dir as run_dir;
#[cfg(feature = "scheduler")]
pub use cu_scheduler as scheduler;
#[cfg(feature = "supervisor")]
pub use cu_supervisor as supervisor;

#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../README.md")]
struct Readme;
