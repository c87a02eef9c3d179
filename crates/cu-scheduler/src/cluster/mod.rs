//! Parts for backends whose cluster is reached by commands: what Slurm and HTCondor have in common.
//!
//! | part | does |
//! | --- | --- |
//! | [`submit`] | hands a batch over to an [`Intake`], in as few calls as it can |
//! | [`Refusal`] | says what follows from a call that came to nothing |
//! | [`check`] | finds what no cluster takes |
//! | [`Command`] | runs a command of the cluster, bounded in time and output |
//! | [`Writer`] | writes files of submissions in threads of its own |
//!
//! Beside these, [`cu_system::files::write_whole`] replaces a file as a whole, and
//! [`cu_system::shell::quote`] quotes a word for a shell. A backend of your own on these parts is in
//! `tests/spool` of this crate.

mod batch;
mod check;
mod command;
mod host;
mod intake;
mod refusal;
mod writer;

pub use batch::{Answer, Batch};
pub use check::check;
pub use command::{Command, Failure, Output};
pub use host::is_same_host;
pub use intake::{Intake, groups, submit};
pub use refusal::Refusal;
pub use writer::Writer;
