//! The messages between a job's program, its supervisor and the main process, and their encoding,
//! which is safe to decode from hostile bytes.
//!
//! There are two forms of the same [`Message`]s:
//!
//! - **Frames** over an encrypted connection: supervisor or operator ↔ main process. The client
//!   sends [`ToServer`], the server [`FromServer`].
//! - **JSON lines** over a Unix socket: program ↔ supervisor. The program sends a
//!   [`ProgramRequest`] a line and reads a [`ProgramAnswer`] a line; see [`lines`].
//!
//! # From the top down
//!
//! | module | what it does |
//! | --- | --- |
//! | [`tokio`], [`blocking`] | both ends of a connection over a stream; what most callers want |
//! | [`handshake`] | agrees on a version, proves the secret, makes keys |
//! | [`Session`] | seals messages into encrypted records and opens them |
//! | [`frame`] | finds whole messages in a stream of bytes |
//! | [`lines`] | the same for JSON lines |
//!
//! All but the first row hold no stream: bytes in, bytes out. None of them has a clock, so the
//! caller decides how long to wait.
//!
//! # Both ends
//!
//! A server on tokio, and a supervisor that reports its program's progress to it:
//!
//! ```
//! use cu_protocol::{
//!     Acknowledgement, Attempt, Envelope, Fraction, FromServer, JobId, Message, Role, RunId,
//!     Secret, Sequence, ToServer,
//! };
//! use tokio::io::{duplex, split};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> cu_protocol::Result<()> {
//! let run = RunId([7; 16]);
//! let secret = Secret::generate()?;
//! let (client, server) = duplex(4096); // a TcpStream in real life
//!
//! let main_process = async {
//!     let (read, write) = split(server);
//!     let (mut sender, mut receiver, role) =
//!         cu_protocol::tokio::accept(read, write, &secret, run).await?;
//!     assert_eq!(role.to_string(), "the supervisor of job 3, attempt 0");
//!     let acknowledge = |sequence| Acknowledgement { sequence, wish: None };
//!     sender.send(&FromServer::Welcome(acknowledge(Sequence(0)))).await?;
//!     let ToServer::Message(envelope) = receiver.receive().await? else {
//!         panic!("a supervisor sends messages");
//!     };
//!     // Recorded here, then:
//!     let recorded = acknowledge(envelope.sequence);
//!     sender.send(&FromServer::Acknowledgement(recorded)).await
//! };
//!
//! let supervisor = async {
//!     let (job, attempt) = (JobId(3), Attempt(0));
//!     let role = Role::Supervisor { job, attempt };
//!     let (read, write) = split(client);
//!     let (mut sender, mut receiver, welcome) =
//!         cu_protocol::tokio::connect(read, write, &secret, run, role).await?;
//!     let sequence = welcome.sequence.next();
//!     let message = Message::Progress(Fraction::new(0.5).expect("0.5 is a fraction"));
//!     sender
//!         .send(&ToServer::Message(Envelope { job, attempt, sequence, message }))
//!         .await?;
//!     receiver.receive().await
//! };
//!
//! let (served, answer) = tokio::join!(main_process, supervisor);
//! served?;
//! let recorded = Acknowledgement { sequence: Sequence(1), wish: None };
//! assert_eq!(answer?, FromServer::Acknowledgement(recorded));
//! # Ok(())
//! # }
//! ```
//!
//! # How it grows
//!
//! A new message is a new variant at the end of its enum and a new version of the protocol
//! ([`Versions`]); existing messages never change. The enums are exhaustive on purpose: both ends
//! must decide about every message. So a new version of the protocol is a breaking change of this
//! crate, too.
//!
//! # Hostile bytes
//!
//! Any bytes become a message or an [`Error`], never a panic. A message has at most
//! [`MESSAGE_LIMIT`] bytes and a line at most [`LINE_LIMIT`](lines::LINE_LIMIT), checked before
//! anything is allocated for it. A decoded message takes at most 32 bytes of memory for each
//! encoded byte, and at most 32 KiB if it is shorter than 1 KiB: an attacker must send 32 KiB to
//! make us allocate a mebibyte. A stranger, who doesn't know the secret, can send only two
//! messages, of 12 and 48 bytes.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "blocking")]
pub mod blocking;
mod buffer;
#[cfg(feature = "handshake")]
pub mod client;
mod codec;
mod connection;
mod error;
pub mod frame;
#[cfg(feature = "handshake")]
mod greeting;
#[cfg(feature = "handshake")]
pub mod handshake;
mod hexadecimal;
mod ids;
mod limits;
pub mod lines;
mod message;
mod metrics;
mod operator;
#[cfg(any(feature = "blocking", feature = "tokio"))]
mod outgoing;
mod program;
mod resume_exit_code;
#[cfg(feature = "handshake")]
mod secret;
#[cfg(feature = "handshake")]
mod session;
mod time;
#[cfg(feature = "tokio")]
pub mod tokio;
mod version;

pub use codec::{MESSAGE_LIMIT, Wire};
pub use connection::{FromServer, Role, ToServer};
pub use error::{Error, Result};
pub use ids::{Attempt, CheckpointId, InvalidRunId, JobId, RunId, Sequence};
pub use limits::{LONGEST_METRIC, METRICS_LIMIT, MOST_METRICS, TooMuch, check_metrics};
pub use message::{
    Acknowledgement, Condition, Envelope, ExitRecord, Failure, Fraction, InvalidFraction,
    LeftBehind, Message, Noticed, OutputChange, ProgramEnd, Pushed, ResumeRequest, Started,
    StopCause, StopRule, Stopped, Waiting, Wish, signal_name,
};
pub use metrics::{MetricValue, Metrics};
pub use operator::{OperatorAnswer, OperatorRequest, Selection};
pub use program::{ProgramAnswer, ProgramRequest};
pub use resume_exit_code::{NotAnExitCode, ResumeExitCode};
#[cfg(feature = "handshake")]
pub use secret::Secret;
#[cfg(feature = "handshake")]
pub use session::{Opener, Sealer, Session};
pub use time::{InvalidTimestamp, Timestamp};
pub use version::Versions;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
