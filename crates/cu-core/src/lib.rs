//! The resume loop: **wait, decide, record, act**.
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod act;
mod addresses;
mod answers;
mod attempt_files;
mod backoff;
#[cfg(feature = "unstable")]
mod bare;
mod clock;
mod connections;
mod context;
mod conversation;
mod create;
mod decide;
mod error;
mod exit_rules;
mod file_system;
mod gathering;
mod growth;
mod history;
mod inbox;
mod job_files;
mod lock;
mod log_changes;
#[cfg(feature = "unstable")]
pub mod machine;
#[cfg(not(feature = "unstable"))]
#[allow(
    dead_code,
    unused_imports,
    reason = "parts are there for tests and tools, which enable `unstable`"
)]
mod machine;
mod notice;
mod operator;
mod plan;
mod policy;
mod recovery;
mod remove;
mod report;
mod results;
mod resume_loop;
mod secret;
mod server;
mod silence;
mod store;
mod submitter;
mod succession;
mod threads;
mod trust;
mod watcher;

pub use addresses::host_addresses;
#[cfg(feature = "unstable")]
pub use bare::BareRun;
pub use create::{NewRun, create_run};
pub use cu_run_dir::{
    Activation, Change, Distrust, Part, RunDir, StopPolicy, Template, Untrusted, Update,
};
pub use cu_scheduler::Resources;
pub use error::{Error, Result, Silence};
pub use exit_rules::{ExitRules, ExitZero};
pub use file_system::{FileSystem, Sharing};
pub use growth::JobSource;
pub use history::{Happened, History, What};
pub use lock::check_locks;
pub use notice::{Level, Names, Notice};
pub use operator::{Operator, ask};
pub use plan::{JobPlan, RunPlan};
pub use policy::{Limit, Policy};
pub use remove::{check_removable, finish_removal, remove_run};
pub use report::{
    AttemptEnd, AttemptReport, Counts, JobReport, JobState, JobWait, MainProcessSeen, RunState,
    RunningJob, Status,
};
pub use resume_loop::{Finish, LoopOptions, ResumeLoop};
pub use store::Reader;
#[cfg(feature = "unstable")]
pub use store::RecordedEvent;
pub use trust::{check_run, foreign_owner};
