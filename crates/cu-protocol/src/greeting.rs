//! The first two messages of a session: who connects, and whether the server takes it.

use crate::{Acknowledgement, Error, FromServer, Result, Role, RunId, ToServer};

/// Who has connected to the main process of `run`; the reason if it must be refused.
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

/// What the server thinks of the greeting.
pub(crate) fn welcomed(answer: FromServer) -> Result<Acknowledgement> {
    match answer {
        FromServer::Welcome(acknowledgement) => Ok(acknowledgement),
        FromServer::Refused(reason) => Err(Error::Refused(reason)),
        FromServer::Acknowledgement(_) | FromServer::Answer(_) => Err(Error::Malformed(
            "the greeting was answered by something else".into(),
        )),
    }
}
