//! What goes over one encrypted connection: a greeting, then messages and acknowledgements, or
//! requests and answers.

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
    /// The greeting is accepted; a wish that was already pending comes with it.
    Welcome(Acknowledgement),
    /// A message is durable. Also sent unasked when the main process has a new wish.
    Acknowledgement(Acknowledgement),
    /// The answer to an operator's request.
    Answer(OperatorAnswer),
    /// The greeting or a message was refused, for this reason; the connection ends.
    Refused(String),
}
