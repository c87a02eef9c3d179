//! The first two messages of a session: the client's greeting, and the server's answer.

use crate::{Acknowledgement, Error, FromServer, Result};
#[cfg(any(feature = "blocking", feature = "tokio"))]
use crate::{Role, RunId, ToServer};

/// Returns the role of the client that greets the main process of `run`, or the reason to refuse
/// it.
#[cfg(any(feature = "blocking", feature = "tokio"))]
pub(crate) fn admit(first: ToServer, run: RunId) -> Result<Role, String> {
    match first {
        ToServer::Hello { run: asked, role } if asked == run => Ok(role),
        ToServer::Hello { run: asked, .. } => Err(format!(
            "this is the main process of run {run}, not of run {asked}"
        )),
        ToServer::Message(_) | ToServer::Request(_) => {
            Err("the first message must be a greeting".into())
        }
    }
}

/// Returns the server's welcome, or the error if it refused the greeting.
pub(crate) fn welcomed(answer: FromServer) -> Result<Acknowledgement> {
    match answer {
        FromServer::Welcome(acknowledgement) => Ok(acknowledgement),
        FromServer::Refused(reason) => Err(Error::Refused(reason)),
        FromServer::Acknowledgement(_) | FromServer::Answer(_) | FromServer::Stay(_) => {
            Err(Error::Malformed(
                "it is neither a welcome nor a refusal, and the greeting needs one of these".into(),
            ))
        }
    }
}
