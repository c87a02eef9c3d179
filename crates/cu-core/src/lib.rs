//! The resume loop: **wait, decide, record, act**.
//!
//! - [`ResumeLoop`] is the loop itself (`resume_loop.rs`); it binds the four to a
//!   [`Scheduler`](cu_scheduler::Scheduler).
//! - `inbox.rs` waits: server, outboxes, scheduler, operator, deadline → one batch of events.
//! - [`machine`] decides: `(job, time, event) → (job, actions)`, without I/O, clock or chance.
//! - `store` records: events and jobs in one transaction.
//! - `act.rs` acts: each action's outcome is an event again.
//!
//! [`create_run`] makes a run, [`Reader`] reads one at any time, [`ask`] talks to the main process
//! of one. This crate knows nothing of command lines and terminals.
#![forbid(unsafe_code)]

mod act;
mod clock;
mod conversation;
mod create;
mod decide;
mod error;
mod inbox;
mod lock;
pub mod machine;
mod operator;
mod plan;
mod policy;
mod records;
mod recovery;
mod report;
mod results;
mod resume_loop;
mod server;
mod store;
mod watcher;

pub use act::Notice;
pub use create::create_run;
pub use cu_supervisor::RunDir;
pub use error::{Error, Result};
pub use operator::{Operator, ask};
pub use plan::{JobPlan, RunPlan};
pub use policy::Policy;
pub use report::{AttemptEnd, AttemptReport, Counts, JobReport, JobState, RunState, Status};
pub use resume_loop::{Finish, LoopOptions, ResumeLoop};
pub use store::{Reader, RecordedEvent};
