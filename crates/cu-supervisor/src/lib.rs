//! The parent of the program on the machine where an attempt runs.
//!
//! It starts the program, passes signals and deadlines on as one wish to stop, relays messages,
//! keeps what can't be delivered in an outbox, writes how the program ended, and lets no second
//! attempt into one output directory. The files it shares with the main process are named here
//! too: [`RunDir`], [`JobSpec`], [`ServerFile`].
#![forbid(unsafe_code)]

mod error;
mod job_spec;
mod run_dir;
mod server_file;

pub use error::{Error, Result};
pub use job_spec::{JobSpec, StopPolicy};
pub use run_dir::RunDir;
pub use server_file::ServerFile;
