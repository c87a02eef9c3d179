//! Two ways for an operator to reach a loop: a handle within the process, a connection from outside.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use cu_protocol::tokio::connect;
use cu_protocol::{FromServer, JobId, OperatorAnswer, OperatorRequest, Role, Secret, ToServer};
use cu_run_dir::ServerFile;
use cu_system::causes::in_one_line;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::inbox::{Item, Sender};
use crate::lock::is_held;
use crate::{Error, Result, RunDir, Silence, check_run};

/// How long an address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a main process may take to greet, whatever else it does.
const GREETING: Duration = Duration::from_secs(10);
/// How long it may take to record a request and answer it.
const ANSWER: Duration = Duration::from_secs(60);
/// How long to look for a main process that holds the run: it may just have begun, or be about to end.
const SEARCH: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(100);

/// A handle to ask a loop in this process for something.
#[derive(Clone, Debug)]
pub struct Operator(Sender);

impl Operator {
    pub(crate) fn new(sender: Sender) -> Self {
        Self(sender)
    }

    /// Hands a request to the loop at once; the answer comes when it is recorded.
    pub fn ask(
        &self,
        request: OperatorRequest,
    ) -> impl Future<Output = OperatorAnswer> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let _ = self.0.send(Item::Operator { request, reply });
        async {
            let ended = |_| OperatorAnswer::Refused("the main process has ended".to_owned());
            answer.await.map_or_else(ended, |given| given.answer)
        }
    }
}

impl Operator {
    /// Has these jobs end as completed, with what they have announced. Those that have ended by then stay as they are.
    pub fn end_early(&self, jobs: Vec<JobId>) {
        // A loop that has ended ends nothing.
        let _ = self.0.send(Item::EndEarly { jobs });
    }
}

/// Asks the main process that works on the run in `run_dir`, over its encrypted connection.
///
/// # Errors
/// Those of [`check_run`]; [`Error::NoMainProcess`] if none works on it, [`Error::NoAnswer`] if one does and
/// does not answer within two minutes.
pub async fn ask(run_dir: &RunDir, request: OperatorRequest) -> Result<OperatorAnswer> {
    check_run(run_dir)?;
    let path = || run_dir.path().to_owned();
    let end = Instant::now() + SEARCH;
    loop {
        let reason = match reach(run_dir, &request).await? {
            Reached::Answer(answer) => return Ok(answer),
            Reached::Silent(silence) => {
                return Err(Error::NoAnswer {
                    path: path(),
                    silence,
                });
            }
            Reached::Nobody(reason) => reason,
        };
        if !is_held(run_dir) {
            return Err(Error::NoMainProcess {
                path: path(),
                reason,
            });
        }
        if Instant::now() >= end {
            // The file may be of a process that has ended, whose number here another one may have by now.
            let server = ServerFile::read(&run_dir.server_file()).ok();
            let elsewhere = server.filter(|server| server.host != cu_system::machine::host());
            let silence = Silence {
                process: elsewhere.map(|server| (server.process, server.host)),
                reason,
                has_the_request: false,
            };
            return Err(Error::NoAnswer {
                path: path(),
                silence,
            });
        }
        sleep(AGAIN).await;
    }
}

/// Whether a main process listens at an address in `server.json`: it answers, or at least accepts
/// connections, as a stopped process does.
pub(crate) async fn is_there(run_dir: &RunDir) -> bool {
    let reached = reach(run_dir, &OperatorRequest::Ping).await;
    matches!(reached, Ok(Reached::Answer(_) | Reached::Silent(_)))
}

enum Reached {
    Answer(OperatorAnswer),
    Silent(Silence),
    Nobody(String),
}

async fn reach(run_dir: &RunDir, request: &OperatorRequest) -> Result<Reached> {
    let server = match ServerFile::read(&run_dir.server_file()) {
        Ok(server) => server,
        Err(error) => return Ok(Reached::Nobody(in_one_line(&error))),
    };
    let secret = cu_run_dir::read_secret(run_dir)?;
    let mut reason = "it names no address".to_owned();
    let mut silent = None;
    for address in &server.addresses {
        match reach_at(address, &server, &secret, request).await {
            Ok(answer) => return Ok(Reached::Answer(answer)),
            Err(Unreached::Nobody(why)) => reason = why,
            Err(Unreached::Silent(silence)) => {
                // Another address would bring no other answer.
                let has_the_request = silence.has_the_request;
                silent = Some(silence);
                if has_the_request {
                    break;
                }
            }
        }
    }
    Ok(silent.map_or(Reached::Nobody(reason), Reached::Silent))
}

enum Unreached {
    Silent(Silence),
    Nobody(String),
}

async fn reach_at(
    address: &str,
    server: &ServerFile,
    secret: &Secret,
    request: &OperatorRequest,
) -> Result<OperatorAnswer, Unreached> {
    let nobody = |reason: &str| Unreached::Nobody(format!("{address}: {reason}"));
    let failed = |error: &dyn std::error::Error| nobody(&in_one_line(error));
    let silent = |limit: Duration, has_the_request| {
        Unreached::Silent(Silence {
            process: Some((server.process, server.host.clone())),
            reason: format!(
                "{address} accepts connections and has not answered for {} s",
                limit.as_secs()
            ),
            has_the_request,
        })
    };
    // An address, never a name that needs a look-up.
    let socket_address: SocketAddr = address.parse().map_err(|error| failed(&error))?;
    let stream = match timeout(CONNECT, TcpStream::connect(socket_address)).await {
        Ok(stream) => stream.map_err(|error| failed(&error))?,
        Err(_) => return Err(nobody("it does not answer")),
    };
    let (read, write) = stream.into_split();
    let greeting = connect(read, write, secret, server.run, Role::Operator);
    let (mut sender, mut receiver, _) = match timeout(GREETING, greeting).await {
        Ok(greeted) => greeted.map_err(|error| failed(&error))?,
        Err(_) => return Err(silent(GREETING, false)),
    };
    let conversation = async {
        sender.send(&ToServer::Request(request.clone())).await?;
        loop {
            match receiver.receive().await? {
                FromServer::Answer(answer) => return Ok(answer),
                FromServer::Refused(reason) => return Ok(OperatorAnswer::Refused(reason)),
                FromServer::Welcome(_) | FromServer::Acknowledgement(_) | FromServer::Stay(_) => {}
            }
        }
    };
    match timeout(ANSWER, conversation).await {
        Ok(said) => said.map_err(|error: cu_protocol::Error| failed(&error)),
        Err(_) => Err(silent(ANSWER, true)),
    }
}
