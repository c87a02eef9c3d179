//! The directory of a run: its paths, the formats of its files, and who may write there.
#![doc = include_str!("../README.md")]
#![doc = include_str!("../FORMATS.md")]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod activation;
mod checkpoint;
mod done_when;
mod early_results;
mod error;
mod exit_record;
mod holder;
mod job_spec;
mod json_file;
mod made_file;
mod metrics_file;
mod newest;
mod outbox;
mod private;
mod refused_messages;
mod run_dir;
mod secret;
mod server_file;
mod settings_copy;
mod signals_file;
mod sqlite;
mod started;
mod stop_policy;
mod template;
mod trust;
mod update;

pub use activation::Activation;
pub use checkpoint::newest_checkpoint;
pub use done_when::{DoneWhen, FoundBefore, FoundFile};
pub use early_results::{Announced, EarlyResults, read_early_results};
pub use error::{Error, Result};
pub use exit_record::{read_exit_record, sync_exit_record, write_exit_record};
pub use holder::Holder;
pub use job_spec::JobSpec;
pub use made_file::MadeFile;
pub use metrics_file::{read_metrics, write_metrics};
pub use newest::{read_newest_attempt, write_newest_attempt};
pub use outbox::{Outbox, read_outbox, remove_from_outbox, write_to_outbox};
pub use private::{keep_private, make_dir, replace};
pub use refused_messages::RefusedMessages;
pub use run_dir::{OUR_PREFIX, RunDir};
pub use secret::{read_secret, write_secret};
pub use server_file::ServerFile;
pub use settings_copy::renew_settings_copy;
pub use signals_file::{SentSignal, SignalReason, SignalsFile};
pub use sqlite::{SQLITE_SUFFIXES, beside};
pub use started::StartedFile;
pub use stop_policy::{CreateFile, NotAStopSignal, StopPolicy, StopSignal};
pub use template::{Part, Template};
pub use trust::{Distrust, Untrusted, check_attempt, check_run, check_way};
pub use update::{Change, Update};
