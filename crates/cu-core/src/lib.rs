//! The resume loop: **wait, decide, record, act**.
#![doc = include_str!("../README.md")]
//!
//! # A map of this crate
//! - `resume_loop.rs` is the loop; `inbox.rs` waits, `decide.rs` and [`machine`] decide, `store/`
//!   records, `act.rs` acts.
//! - `server.rs` and `conversation.rs` listen, `watcher.rs` asks the scheduler,
//!   `submitter.rs` gathers what is due for a cluster, `records.rs` reads what attempts leave in files, `recovery.rs` takes up what a main process before has left.
//! - `lock.rs` keeps a second main process out, `secret.rs` strangers.
//! - `threads.rs` has what blocks done in threads.
//! - `journal.rs` tells the log what was recorded.
//! - `file_system.rs` and `addresses.rs` know the machine.
//! - `trust.rs` says whether a run may be acted on; `create.rs` makes a run, `store/read.rs` reads one, `operator.rs` talks to one.
#![forbid(unsafe_code)]

mod act;
mod addresses;
mod attempt_files;
mod backoff;
mod clock;
mod connections;
mod context;
mod conversation;
mod create;
mod decide;
mod error;
mod file_system;
mod inbox;
mod lock;
mod log_changes;
pub mod machine;
mod notice;
mod operator;
mod plan;
mod policy;
mod recovery;
mod report;
mod results;
mod resume_loop;
mod secret;
mod server;
mod store;
mod submitter;
mod threads;
mod trust;
mod watcher;

pub use addresses::host_addresses;
pub use create::{NewRun, create_run};
pub use cu_run_dir::{Distrust, RunDir, Untrusted};
pub use error::{Error, Result};
pub use file_system::{FileSystem, Sharing};
pub use notice::{Level, Notice};
pub use operator::{Operator, Silence, ask};
pub use plan::{JobPlan, RunPlan};
pub use policy::{Limit, Policy};
pub use report::{AttemptEnd, AttemptReport, Counts, JobReport, JobState, RunState, Status};
pub use resume_loop::{Finish, LoopOptions, ResumeLoop};
pub use store::{Reader, RecordedEvent};
pub use trust::{check_run, foreign_owner};
