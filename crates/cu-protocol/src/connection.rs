//! The messages of one encrypted connection: a greeting, then messages and acknowledgements, or
//! requests and answers.

use std::fmt;

use crate::codec::{Decode, Encode};
use crate::{
    Acknowledgement, Attempt, Envelope, JobId, OperatorAnswer, OperatorRequest, RunId, Sequence,
};

/// The kind of client that has connected.
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

/// A message from the client.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum ToServer {
    /// The first frame.
    Hello {
        /// The run that the client asks for. The main process of another run refuses.
        run: RunId,
        /// The kind of client.
        role: Role,
    },
    /// From a supervisor. The server acknowledges it once it is durable.
    Message(Envelope),
    /// From an operator. The server answers requests in their order.
    Request(OperatorRequest),
}

/// From the main process.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FromServer {
    /// Accepts the greeting. It carries the last message of the attempt that is recorded (0 for an
    /// operator), and a wish that is already pending.
    Welcome(Acknowledgement),
    /// A message is durable. Also sent unasked when the main process has a new wish.
    Acknowledgement(Acknowledgement),
    /// The answer to an operator's request.
    Answer(OperatorAnswer),
    /// The greeting or a message was refused, for this reason; the connection ends.
    Refused(String),
    /// As an acknowledgement of this message, the attempt's last one. The next attempt is about to be
    /// submitted: the supervisor stays at its place until this connection ends, but only for a moment. Some
    /// schedulers look for work whenever a job ends, and at intervals else.
    Stay(Sequence),
}

impl FromServer {
    /// The first version of the protocol that has this message.
    #[must_use]
    pub fn since(&self) -> u16 {
        match self {
            Self::Stay(_) => 4,
            _ => 1,
        }
    }

    /// The message as an end that speaks `version` of the protocol knows it.
    #[must_use]
    pub fn for_version(self, version: u16) -> Self {
        match self {
            Self::Stay(sequence) if version < self.since() => {
                let wish = None;
                Self::Acknowledgement(Acknowledgement { sequence, wish })
            }
            known => known,
        }
    }
}
