//! The parent of the program on the machine where an attempt runs.
//!
//! It starts the program, passes signals and deadlines on as one wish to stop, relays messages,
//! keeps what can't be delivered in an outbox, writes how the program ended, and lets no second
//! attempt into one output directory.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod activation;
mod asking;
mod asking_file;
mod attempt;
mod clearing;
mod cluster_utils;
mod done;
mod door;
mod doorway;
mod error;
mod event;
mod farewell;
mod fence;
mod launch;
mod made_file;
mod mail;
mod members;
mod output_copies;
mod output_dir;
mod peak_memory;
mod printed;
mod program;
mod relay;
mod sent;
mod signals;
mod stop;
mod supervise;
mod traps;
mod waiting;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

use std::io::Write;

pub use cu_run_dir::RunDir;
pub use error::{Error, Result};
pub use supervise::{Outcome, Resident, supervise};

/// How our own lines in an attempt's standard error begin.
const OUR_LINES: &str = "cu exec: ";

/// Prints a line for people to the attempt's standard error, between the program's own lines.
fn tell(text: &str) {
    // A closed standard error does not end an attempt.
    let _ = writeln!(std::io::stderr(), "{OUR_LINES}{text}");
}

/// Starts a thread with a name, which tools that list threads show.
fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    cu_system::threads::spawn(name, 256 * 1024, work).map_err(Error::system("start a thread"))
}
