//! What a job's program, its supervisor and the main process say to each other, and why it is
//! safe to decode.
//!
//! Two forms of the same [`Message`]s: bincode frames over an encrypted channel (supervisor or
//! operator ↔ main process) and JSON lines over a Unix socket (program ↔ supervisor). The codec
//! and the handshake hold no socket: bytes in, bytes out.
#![forbid(unsafe_code)]

mod codec;
mod ids;
mod message;
mod metrics;
mod operator;
mod program;
mod session;
mod time;

pub use ids::{Attempt, Generation, InvalidRunId, JobId, RunId, Sequence};
pub use message::{
    Acknowledgement, Envelope, ExitRecord, Failure, Fraction, InvalidFraction, Message, ProgramEnd,
    ResumeRequest, Started, StopCause, Wish,
};
pub use metrics::{MetricValue, Metrics};
pub use operator::{OperatorAnswer, OperatorRequest, Selection};
pub use program::{ProgramAnswer, ProgramRequest};
pub use session::{FromServer, Role, ToServer};
pub use time::Timestamp;
