//! The encrypted connection to the main process: made in the background, kept, and made again.
//!
//! Nothing waits for it. A run without `server.json` or `secret` is simply not reachable now.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use cu_protocol::blocking::{Receiver, Sender, connect};
use cu_protocol::frame::Frame;
use cu_protocol::{
    Acknowledgement, Attempt, Envelope, FromServer, JobId, Role, RunId, Secret, ToServer,
};
use cu_run_dir::{ServerFile, read_secret};
use cu_system::sockets::keep_alive;

use crate::event::{Event, Events};
use crate::{Error, Result, RunDir};

/// How long one address may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the handshake may wait for the other end, and a message for the network.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two attempts to connect: the first pause, doubled each time up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The attempt whose connection it is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub run_dir: RunDir,
    pub run: RunId,
    pub job: JobId,
    pub attempt: Attempt,
}

/// A message, and the bytes in which it is sent: encoded once, however often it is repeated.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub envelope: Envelope,
    frame: Frame<ToServer>,
}

impl Encoded {
    /// Encodes a message. Fails if it is too long to be sent.
    pub fn new(envelope: Envelope) -> cu_protocol::Result<Self> {
        let frame = Frame::new(&ToServer::Message(envelope.clone()))?;
        Ok(Self { envelope, frame })
    }
}

/// A living connection's sending half. Dropped, the connection ends.
#[derive(Debug)]
pub(crate) struct Link {
    outgoing: mpsc::Sender<Arc<Encoded>>,
    stream: TcpStream,
    /// The version of the protocol that is spoken here.
    version: u16,
}

impl Link {
    /// Hands a message over to be sent, unless the other end is too old for it. Only an acknowledgement
    /// shows that it has arrived.
    pub fn send(&self, message: Arc<Encoded>) {
        if message.envelope.message.since() > self.version {
            return;
        }
        // If the other side is gone, `Unreachable` is on its way.
        let _ = self.outgoing.send(message);
    }
}

#[cfg(test)]
impl Link {
    /// One that leads to a test.
    pub fn for_test() -> (Self, mpsc::Receiver<Arc<Encoded>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (outgoing, sent) = mpsc::channel();
        let version = cu_protocol::Versions::SPOKEN.highest;
        let link = Self {
            outgoing,
            stream,
            version,
        };
        (link, sent)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Fails if the other end was quicker.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// While this lives, a connection is held or tried for.
#[derive(Debug)]
pub(crate) struct Relay {
    _until_dropped: mpsc::Sender<()>,
}

impl Relay {
    /// Starts to connect.
    pub fn start(identity: Identity, events: Events) -> Result<Self> {
        let (until_dropped, ended) = mpsc::channel();
        crate::spawn_thread("relay", move || keep_connected(&identity, &events, &ended))?;
        Ok(Self {
            _until_dropped: until_dropped,
        })
    }
}

fn keep_connected(identity: &Identity, events: &Events, ended: &mpsc::Receiver<()>) {
    let (mut pause, longest) = PAUSES;
    loop {
        if let Ok((link, receiver, welcome)) = open(identity) {
            pause = PAUSES.0;
            if events.send(Event::Connected(link, welcome)).is_err() {
                return;
            }
            listen(receiver, events);
        }
        if events.send(Event::Unreachable).is_err() {
            return;
        }
        match ended.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => pause = (pause * 2).min(longest),
            _ => return,
        }
    }
}

/// Until the connection ends.
fn listen(mut receiver: Receiver<TcpStream>, events: &Events) {
    while let Ok(message) = receiver.receive() {
        let acknowledgement = match message {
            FromServer::Acknowledgement(acknowledgement) | FromServer::Welcome(acknowledgement) => {
                acknowledgement
            }
            FromServer::Refused(_) => return,
            FromServer::Answer(_) => continue,
        };
        if events.send(Event::Acknowledged(acknowledgement)).is_err() {
            return;
        }
    }
}

type Opened = (Link, Receiver<TcpStream>, Acknowledgement);

/// Everything is read anew: a main process that was started again has another address.
fn open(identity: &Identity) -> Result<Opened> {
    let server = ServerFile::read(&identity.run_dir.server_file())?;
    let secret = read_secret(&identity.run_dir)?;
    let mut failure = None;
    for address in &server.addresses {
        match open_at(address, identity, &secret) {
            Ok(opened) => return Ok(opened),
            Err(error) => failure = Some(error),
        }
    }
    let nothing = || Error::content(&identity.run_dir.server_file(), "it names no address");
    Err(failure.unwrap_or_else(nothing))
}

fn open_at(address: &str, identity: &Identity, secret: &Secret) -> Result<Opened> {
    let failed = |source: cu_protocol::Error| Error::Connection {
        address: address.to_owned(),
        source,
    };
    let socket_address: SocketAddr = address
        .parse()
        .map_err(|error| Error::content(&identity.run_dir.server_file(), error))?;
    let stream = prepared(&socket_address).map_err(|error| failed(error.into()))?;
    let clone = || stream.try_clone().map_err(|error| failed(error.into()));
    let role = Role::Supervisor {
        job: identity.job,
        attempt: identity.attempt,
    };
    let (sender, receiver, welcome) =
        connect(clone()?, clone()?, secret, identity.run, role).map_err(failed)?;
    // From here on silence is normal; keep-alive finds a dead connection.
    stream
        .set_read_timeout(None)
        .map_err(|error| failed(error.into()))?;
    let (outgoing, to_send) = mpsc::channel();
    let writing = clone()?;
    let version = sender.version();
    crate::spawn_thread("send", move || send_all(sender, &to_send, &writing))?;
    let link = Link {
        outgoing,
        stream,
        version,
    };
    Ok((link, receiver, welcome))
}

fn prepared(address: &SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STALL_TIMEOUT))?;
    stream.set_write_timeout(Some(STALL_TIMEOUT))?;
    keep_alive(&stream)?;
    Ok(stream)
}

/// Until the link is dropped or the connection fails; then the listener ends too.
fn send_all(
    mut sender: Sender<TcpStream>,
    to_send: &mpsc::Receiver<Arc<Encoded>>,
    stream: &TcpStream,
) {
    while let Ok(message) = to_send.recv() {
        if sender.send_frame(&message.frame).is_err() {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use cu_protocol::{LeftBehind, Message, ResumeRequest, Sequence};

    use super::*;

    #[test]
    fn an_older_main_process_is_sent_only_what_it_knows() {
        let (mut link, sent) = Link::for_test();
        link.version = 1;
        let left_behind = LeftBehind {
            host: "node1".to_owned(),
            processes: "7 (sleep)".to_owned(),
        };
        let known = Message::ResumeRequest(ResumeRequest::default());
        for message in [Message::LeftBehind(left_behind), known.clone()] {
            let envelope = Envelope {
                job: JobId(0),
                attempt: Attempt(0),
                sequence: Sequence(1),
                message,
            };
            link.send(Arc::new(Encoded::new(envelope).unwrap()));
        }
        let sent = sent.try_iter().map(|sent| sent.envelope.message.clone());
        assert_eq!(sent.collect::<Vec<_>>(), [known]);
    }
}
