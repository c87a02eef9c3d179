//! The operator's ways to a loop: a handle within the process, a connection from outside.

use std::future::Future;
use std::time::Duration;

use cu_protocol::tokio::connect;
use cu_protocol::{FromServer, OperatorAnswer, OperatorRequest, Role, Secret, ToServer};
use cu_supervisor::ServerFile;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::inbox::{Item, Sender};
use crate::{Error, Result, RunDir, check_run};

/// How long an address may take to answer.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the main process may take to record a request and answer it.
const ANSWER: Duration = Duration::from_secs(60);

/// A handle to ask a loop in this process for something.
#[derive(Clone, Debug)]
pub struct Operator(Sender);

impl Operator {
    pub(crate) fn new(sender: Sender) -> Self {
        Self(sender)
    }

    /// Asks. The request is with the loop when this returns; the answer comes once it is recorded.
    pub fn ask(
        &self,
        request: OperatorRequest,
    ) -> impl Future<Output = OperatorAnswer> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let _ = self.0.send(Item::Operator { request, reply });
        async {
            let ended = |_| OperatorAnswer::Refused("the main process has ended".to_owned());
            answer.await.unwrap_or_else(ended)
        }
    }
}

/// Asks the main process that works on the run in `run_dir`, over its encrypted connection.
///
/// # Errors
/// Those of [`check_run`]; [`Error::NoMainProcess`] if none answers.
pub async fn ask(run_dir: &RunDir, request: OperatorRequest) -> Result<OperatorAnswer> {
    check_run(run_dir)?;
    let nobody = |reason: String| Error::NoMainProcess {
        path: run_dir.path().to_owned(),
        reason,
    };
    let server =
        ServerFile::read(&run_dir.server_file()).map_err(|error| nobody(error.to_string()))?;
    let secret = read_secret(run_dir)?;
    let mut reason = "it names no address".to_owned();
    for address in &server.addresses {
        let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                reason = format!("{address}: {error}");
                continue;
            }
            Err(_) => {
                reason = format!("{address} does not answer");
                continue;
            }
        };
        let conversation = converse(stream, &secret, &server, request.clone());
        match timeout(ANSWER, conversation).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => reason = format!("{address}: {error}"),
            Err(_) => reason = format!("{address} does not answer"),
        }
    }
    Err(nobody(reason))
}

async fn converse(
    stream: TcpStream,
    secret: &Secret,
    server: &ServerFile,
    request: OperatorRequest,
) -> Result<OperatorAnswer, cu_protocol::Error> {
    let (read, write) = stream.into_split();
    let (mut sender, mut receiver, _) =
        connect(read, write, secret, server.run, Role::Operator).await?;
    sender.send(&ToServer::Request(request)).await?;
    loop {
        match receiver.receive().await? {
            FromServer::Answer(answer) => return Ok(answer),
            FromServer::Refused(reason) => return Ok(OperatorAnswer::Refused(reason)),
            FromServer::Welcome(_) | FromServer::Acknowledgement(_) => {}
        }
    }
}

pub(crate) fn read_secret(run_dir: &RunDir) -> Result<Secret> {
    cu_supervisor::read_secret(run_dir).map_err(|error| {
        let source = match error {
            cu_supervisor::Error::File { source, .. } => source,
            cu_supervisor::Error::Content { reason, .. } => {
                std::io::Error::new(std::io::ErrorKind::InvalidData, reason)
            }
            other => std::io::Error::other(other),
        };
        Error::file("read", &run_dir.secret())(source)
    })
}
