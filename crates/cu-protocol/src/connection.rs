//! What goes over one encrypted connection: a greeting, then messages and acknowledgements, or
//! requests and answers.

use std::fmt;

use crate::codec::{Decode, Encode};
use crate::{Acknowledgement, Attempt, Envelope, JobId, OperatorAnswer, OperatorRequest, RunId};

/// Who has connected.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Role {
    /// The supervisor of an attempt.
    Supervisor {
        /// The attempt's job.
        job: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// An operator's command.
    Operator,
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervisor { job, attempt } => {
                write!(out, "the supervisor of job {job}, attempt {attempt}")
            }
            Self::Operator => out.write_str("an operator"),
        }
    }
}

/// From whoever connected.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum ToServer {
    /// The first frame.
    Hello {
        /// The run that is meant; another one's main process refuses.
        run: RunId,
        /// Who speaks.
        role: Role,
    },
    /// From a supervisor. Answered by an acknowledgement once durable.
    Message(Envelope),
    /// From an operator. Answered in order.
    Request(OperatorRequest),
}

/// From the main process.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FromServer {
    /// The greeting is accepted. Says up to which message the attempt is recorded (0 to an
    /// operator), and carries a wish that is already pending.
    Welcome(Acknowledgement),
    /// A message is durable. Also sent unasked when the main process has a new wish.
    Acknowledgement(Acknowledgement),
    /// The answer to an operator's request.
    Answer(OperatorAnswer),
    /// The greeting or a message was refused, for this reason; the connection ends.
    Refused(String),
}
