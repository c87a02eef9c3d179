//! The parent of the program on the machine where an attempt runs.
//!
//! It starts the program, passes signals and deadlines on as one wish to stop, relays messages,
//! keeps what can't be delivered in an outbox, writes how the program ended, and lets no second
//! attempt into one output directory. The files it shares with the main process are named here
//! too: [`RunDir`], [`JobSpec`], [`ServerFile`].
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod asking;
mod attempt;
mod clearing;
mod door;
mod error;
mod event;
mod exit_record;
mod fence;
mod job_spec;
mod json_file;
mod mail;
mod members;
mod metrics_file;
mod outbox;
mod output_dir;
mod program;
mod relay;
mod run_dir;
mod secret;
mod sent;
mod server_file;
mod signals;
mod stop;
mod supervise;
mod trust;
mod waiting;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

use std::io::Write;

pub use cu_system::machine::host;
pub use error::{Error, Result};
pub use exit_record::read_exit_record;
pub use job_spec::{JobSpec, StopPolicy};
pub use metrics_file::metrics_file;
pub use outbox::{Outbox, read_outbox, remove_from_outbox};
pub use relay::keep_alive;
pub use run_dir::RunDir;
pub use secret::read_secret;
pub use sent::{SentSignal, SignalReason, sent_signals};
pub use server_file::ServerFile;
pub use supervise::{Outcome, supervise};
pub use trust::{Distrust, Untrusted, check_run};

/// Tells people something, in the attempt's standard error between the program's own lines.
fn tell(text: &str) {
    // Nobody may be listening, and that is no reason to end an attempt.
    let _ = writeln!(std::io::stderr(), "cu exec: {text}");
}

/// A thread with a name, for whoever looks at the process.
fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    cu_system::threads::spawn(name, 256 * 1024, work).map_err(Error::system("start a thread"))
}
