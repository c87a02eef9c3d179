//! One connection after its handshake: a supervisor's messages and acknowledgements, or an
//! operator's requests and answers. The next message is read only after the last one is recorded, so that
//! no peer can fill our memory; only what nobody waits for is recorded with what follows it.

use std::sync::Arc;

use cu_protocol::tokio::{ServerReceiver, ServerSender};
use cu_protocol::{
    Acknowledgement, Attempt, Envelope, FromServer, JobId, OperatorAnswer, Role, Sequence, ToServer,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use crate::answers::Unsent;
use crate::connections::Connections;
use crate::inbox::{Item, Reply, Sender, is_awaited};
use crate::machine::Event;

pub(crate) type Output = Box<dyn AsyncWrite + Send + Unpin>;
pub(crate) type Input = Box<dyn AsyncRead + Send + Unpin>;
pub(crate) type Write = ServerSender<Output>;
pub(crate) type Read = ServerReceiver<Input>;

/// A message, and what comes once it is recorded.
type Awaited = (Sequence, oneshot::Receiver<Unsent<FromServer>>);

/// Holds a conversation until either side ends it.
pub(crate) async fn hold(
    mut write: Write,
    mut read: Read,
    role: Role,
    sender: Sender,
    connections: Arc<Connections>,
) {
    // An error ends the connection, and means no more than that.
    let _ = match role {
        Role::Operator => operator(&mut write, &mut read, &sender).await,
        Role::Supervisor { job, attempt } => {
            supervisor(&mut write, &mut read, (job, attempt), &sender, &connections).await
        }
    };
}

async fn operator(
    write: &mut Write,
    read: &mut Read,
    sender: &Sender,
) -> Result<(), cu_protocol::Error> {
    let welcome = Acknowledgement {
        sequence: Sequence(0),
        wish: None,
    };
    write.send(&FromServer::Welcome(welcome)).await?;
    loop {
        let ToServer::Request(request) = read.receive().await? else {
            return refuse(write, "an operator sends requests").await;
        };
        let (reply, answer) = oneshot::channel();
        let _ = sender.send(Item::Operator { request, reply });
        let Ok(given) = answer.await else {
            let ended = OperatorAnswer::Refused("the main process has ended".to_owned());
            return write.send(&FromServer::Answer(ended)).await;
        };
        write.send(&FromServer::Answer(given.answer)).await?;
    }
}

async fn supervisor(
    write: &mut Write,
    read: &mut Read,
    (job, attempt): (JobId, Attempt),
    sender: &Sender,
    connections: &Connections,
) -> Result<(), cu_protocol::Error> {
    // Entered before the loop is asked, so that no wish is lost between the two.
    let mut wishes = connections.enter(job, attempt);
    let mut last = Sequence(0);
    let (reply, welcome) = oneshot::channel();
    let _ = sender.send(Item::Hello {
        job,
        attempt,
        reply,
    });
    let result = async {
        let Ok(welcome) = welcome.await else {
            return Ok(());
        };
        let is_refused = matches!(welcome.answer, FromServer::Refused(_));
        send(write, welcome).await?;
        if is_refused {
            return Ok(());
        }
        // To a message that nobody waits for. The next one is read meanwhile, and one only.
        let mut unanswered: Option<Awaited> = None;
        loop {
            let said = tokio::select! {
                said = read.receive() => said?,
                recorded = answer_to(&mut unanswered), if unanswered.is_some() => {
                    let Some((sequence, recorded)) = recorded else { return Ok(()) };
                    unanswered = None;
                    send(write, recorded).await?;
                    last = sequence;
                    continue;
                }
                wish = wishes.recv() => {
                    // A newer connection of the attempt has taken its place, or it has stayed long enough.
                    let Some(wish) = wish else { return Ok(()) };
                    let wish = Acknowledgement { sequence: last, wish: Some(wish) };
                    write.send(&FromServer::Acknowledgement(wish)).await?;
                    continue;
                }
            };
            let ToServer::Message(Envelope {
                job: of_job,
                attempt: of_attempt,
                sequence,
                message,
            }) = said
            else {
                return refuse(write, "a supervisor sends messages").await;
            };
            if (of_job, of_attempt) != (job, attempt) {
                return refuse(write, "this message belongs to another attempt").await;
            }
            let is_awaited = is_awaited(&message) || unanswered.is_some();
            let (reply, recorded) = oneshot::channel();
            let _ = sender.send(Item::Happened {
                job,
                event: Event::Said {
                    attempt,
                    sequence,
                    message,
                },
                reply: Reply::Supervisor(reply),
            });
            if !is_awaited {
                unanswered = Some((sequence, recorded));
                continue;
            }
            let Ok(recorded) = recorded.await else {
                return Ok(());
            };
            // What came before was recorded before, and this answers it, too.
            unanswered = None;
            send(write, recorded).await?;
            last = sequence;
        }
    }
    .await;
    connections.leave(job, attempt, wishes);
    result
}

/// Waits until the message is recorded that was said last; `None` if the loop is gone.
async fn answer_to(unanswered: &mut Option<Awaited>) -> Option<(Sequence, Unsent<FromServer>)> {
    let (sequence, recorded) = unanswered.as_mut()?;
    Some((*sequence, recorded.await.ok()?))
}

/// Sends an answer; only then it no longer counts as unsent.
async fn send(write: &mut Write, given: Unsent<FromServer>) -> Result<(), cu_protocol::Error> {
    let version = write.version();
    write.send(&given.answer.for_version(version)).await
}

async fn refuse(write: &mut Write, reason: &str) -> Result<(), cu_protocol::Error> {
    write.send(&FromServer::Refused(reason.to_owned())).await
}
