//! What a job's program, its supervisor and the main process say to each other, and why it is
//! safe to decode.
//!
//! Two forms of the same [`Message`]s: bincode frames over an encrypted channel (supervisor or
//! operator ↔ main process) and JSON lines over a Unix socket (program ↔ supervisor). The codec
//! and the handshake hold no socket: bytes in, bytes out.
#![forbid(unsafe_code)]

#[cfg(feature = "blocking")]
pub mod blocking;
mod buffer;
mod codec;
mod error;
pub mod frame;
#[cfg(any(feature = "blocking", feature = "tokio"))]
mod greeting;
pub mod handshake;
mod hexadecimal;
mod ids;
pub mod lines;
mod message;
mod metrics;
mod operator;
mod program;
mod record;
mod secret;
mod session;
mod time;
#[cfg(feature = "tokio")]
pub mod tokio;
mod version;

pub use codec::{MESSAGE_LIMIT, Wire};
pub use error::{Error, Result};
pub use ids::{Attempt, Generation, InvalidRunId, JobId, RunId, Sequence};
pub use message::{
    Acknowledgement, Envelope, ExitRecord, Failure, Fraction, InvalidFraction, Message, ProgramEnd,
    ResumeRequest, Started, StopCause, Wish,
};
pub use metrics::{MetricValue, Metrics};
pub use operator::{OperatorAnswer, OperatorRequest, Selection};
pub use program::{ProgramAnswer, ProgramRequest};
pub use record::{Opener, Sealer, Session};
pub use secret::Secret;
pub use session::{FromServer, Role, ToServer};
pub use time::Timestamp;
pub use version::Versions;
