//! The connection to the main process: made in the background, kept, and made again. It is encrypted, unless the
//! kernel says that the other end is a process of this user on this machine.
//!
//! Nothing waits for it. A run without `server.json` or `secret` is simply not reachable now.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use cu_protocol::client::Client;
use cu_protocol::frame::Frame;
use cu_protocol::{Attempt, Envelope, FromServer, JobId, Role, RunId, Secret, ToServer};
use cu_run_dir::{ServerFile, read_secret};
use cu_system::sockets::keep_alive;
use cu_system::users;
use rustix::event::{PollFd, PollFlags};
use rustix::io::{Errno, read, write};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};

use crate::RunDir;
use crate::event::{Event, Happening, Ready, Source, Then};

/// How long one address may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the handshake may take, and a message may wait for the network.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two attempts to connect: the first pause, doubled each time up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// The number of bytes that one read asks for.
const CHUNK: usize = 4096;

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
    /// The version of the protocol that is spoken here.
    version: u16,
}

impl Link {
    /// Hands a message over to be sent at the next wait, unless the other end is too old for it. Only an
    /// acknowledgement shows that it has arrived.
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
        let (outgoing, sent) = mpsc::channel();
        let version = cu_protocol::Versions::SPOKEN.highest;
        (Self { outgoing, version }, sent)
    }
}

/// Where the main process may be.
#[derive(Debug)]
enum Place {
    Tcp(SocketAddr),
    /// The abstract name of a Unix socket on this machine.
    Local(String),
}

/// While this lives, a connection is held or tried for.
#[derive(Debug)]
pub(crate) struct Relay {
    _until_dropped: Rc<()>,
}

impl Relay {
    /// Starts to connect.
    pub fn start(identity: Identity, happening: &Happening) -> Self {
        let until_dropped = Rc::new(());
        happening.add(Connection {
            identity,
            is_wanted: Rc::downgrade(&until_dropped),
            pause: PAUSES.0,
            state: State::Pauses(Instant::now()),
        });
        Self {
            _until_dropped: until_dropped,
        }
    }
}

/// The connection, or what it takes to have one.
#[derive(Debug)]
struct Connection {
    identity: Identity,
    is_wanted: Weak<()>,
    /// The next pause.
    pause: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Until then.
    Pauses(Instant),
    /// Until the main process welcomes us.
    Connects {
        wire: Wire,
        is_accepted: bool,
        until: Instant,
        /// Where else it may be, the likeliest place last.
        others: Vec<Place>,
        secret: Secret,
    },
    Open {
        wire: Wire,
        outgoing: mpsc::Receiver<Arc<Encoded>>,
    },
}

/// It failed, or is over.
#[derive(Debug)]
struct Broken;

type Outcome<T> = std::result::Result<T, Broken>;

impl Source for Connection {
    fn awaits<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>) {
        let (wire, flags) = match &self.state {
            State::Pauses(_) => return,
            State::Connects {
                wire,
                is_accepted: false,
                ..
            } => (wire, PollFlags::OUT),
            State::Connects { wire, .. } | State::Open { wire, .. } => (wire, wire.awaits()),
        };
        descriptors.push(PollFd::new(&wire.stream, flags));
    }

    fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Pauses(until) | State::Connects { until, .. } => Some(*until),
            State::Open { wire, .. } => wire.stalled.map(|since| since + STALL_TIMEOUT),
        }
    }

    fn turn(&mut self, ready: &Ready, now: Instant, events: &mut VecDeque<Event>) -> Then {
        if self.is_wanted.strong_count() == 0 {
            return Then::Ends;
        }
        let outcome = match &self.state {
            State::Pauses(until) if now < *until => Ok(()),
            State::Pauses(_) => self.begin(now),
            State::Connects { .. } => self.go_on(ready, now, events),
            State::Open { .. } => self.talk(ready, now, events),
        };
        if let Err(Broken) = outcome {
            events.push_back(Event::Unreachable);
            self.state = State::Pauses(now + self.pause);
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
        Then::Continues
    }
}

impl Connection {
    /// Everything is read anew: a main process that was started again has another address.
    fn begin(&mut self, now: Instant) -> Outcome<()> {
        let run_dir = &self.identity.run_dir;
        let server = ServerFile::read(&run_dir.server_file()).map_err(|_| Broken)?;
        let secret = read_secret(run_dir).map_err(|_| Broken)?;
        let addresses = server.addresses.iter().rev();
        let others = addresses.filter_map(|address| address.parse().ok().map(Place::Tcp));
        let others = others.chain(server.local.map(Place::Local));
        self.try_next(others.collect(), secret, now)
    }

    /// Fails if there is no other address.
    fn try_next(&mut self, mut others: Vec<Place>, secret: Secret, now: Instant) -> Outcome<()> {
        while let Some(place) = others.pop() {
            let Ok((stream, is_accepted)) = place.connect() else {
                continue;
            };
            let role = Role::Supervisor {
                job: self.identity.job,
                attempt: self.identity.attempt,
            };
            let client = match place {
                Place::Tcp(_) => Client::new,
                Place::Local(_) => Client::local,
            };
            let mut wire = Wire {
                stream,
                client: client(&secret, self.identity.run, role),
                stalled: None,
            };
            if is_accepted && wire.write(now).is_err() {
                continue;
            }
            self.state = State::Connects {
                wire,
                is_accepted,
                until: now + CONNECT_TIMEOUT,
                others,
                secret,
            };
            return Ok(());
        }
        Err(Broken)
    }

    /// Until we are welcomed.
    fn go_on(&mut self, ready: &Ready, now: Instant, events: &mut VecDeque<Event>) -> Outcome<()> {
        let State::Connects {
            wire,
            is_accepted,
            until,
            ..
        } = &mut self.state
        else {
            return Err(Broken);
        };
        let mut go_on = || {
            if *until <= now {
                return Err(Broken);
            }
            if !ready.has(&wire.stream) {
                return Ok(None);
            }
            if !std::mem::replace(is_accepted, true) {
                let error = sockopt::socket_error(&wire.stream);
                if !matches!(error, Ok(Ok(()))) {
                    return Err(Broken);
                }
                *until = now + STALL_TIMEOUT;
            } else {
                wire.read()?;
            }
            wire.write(now)?;
            wire.client.next_message().map_err(|_| Broken)
        };
        let welcome = match go_on() {
            Ok(None) => return Ok(()),
            Ok(Some(FromServer::Welcome(welcome))) => welcome,
            // There may be another network, or somebody else may listen there.
            Ok(Some(_)) | Err(Broken) => {
                let State::Connects { others, secret, .. } = &mut self.state else {
                    return Err(Broken);
                };
                let (others, secret) = (std::mem::take(others), secret.clone());
                return self.try_next(others, secret, now);
            }
        };
        let State::Connects { wire, .. } = std::mem::replace(&mut self.state, State::Pauses(now))
        else {
            return Err(Broken);
        };
        let (outgoing, to_send) = mpsc::channel();
        let version = wire.client.version().ok_or(Broken)?;
        events.push_back(Event::Connected(Link { outgoing, version }, welcome));
        self.pause = PAUSES.0;
        self.state = State::Open {
            wire,
            outgoing: to_send,
        };
        // What came along with the welcome.
        self.talk(&Ready::default(), now, events)
    }

    /// From here on silence is normal; keep-alive finds a dead connection.
    fn talk(&mut self, ready: &Ready, now: Instant, events: &mut VecDeque<Event>) -> Outcome<()> {
        let State::Open { wire, outgoing } = &mut self.state else {
            return Err(Broken);
        };
        let read = match ready.has(&wire.stream) {
            true => wire.read(),
            false => Ok(()),
        };
        while let Some(message) = wire.client.next_message().map_err(|_| Broken)? {
            match message {
                FromServer::Acknowledgement(it) | FromServer::Welcome(it) => {
                    events.push_back(Event::Acknowledged(it));
                }
                FromServer::Stay(sequence) => events.push_back(Event::Stay(sequence)),
                FromServer::Refused(_) => return Err(Broken),
                FromServer::Answer(_) => {}
            }
        }
        read?;
        loop {
            match outgoing.try_recv() {
                Ok(message) => wire.client.say(&message.frame).map_err(|_| Broken)?,
                Err(TryRecvError::Empty) => return wire.write(now),
                Err(TryRecvError::Disconnected) => return Err(Broken),
            }
        }
    }
}

/// A stream, and what is said on it.
#[derive(Debug)]
struct Wire {
    stream: OwnedFd,
    client: Client,
    /// Since when the network takes nothing of what is to be sent.
    stalled: Option<Instant>,
}

impl Wire {
    fn awaits(&self) -> PollFlags {
        match self.client.unsent().is_empty() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        }
    }

    /// Fails at the end of the stream, which has been read then.
    fn read(&mut self) -> Outcome<()> {
        let mut chunk = [0; CHUNK];
        loop {
            match read(&self.stream, &mut chunk) {
                Ok(0) => return Err(Broken),
                Ok(count) => {
                    self.client.feed(&chunk[..count]).map_err(|_| Broken)?;
                    if count < CHUNK {
                        return Ok(());
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Broken),
            }
        }
    }

    /// Writes as much as the network takes. Fails if it has taken nothing for long.
    fn write(&mut self, now: Instant) -> Outcome<()> {
        while !self.client.unsent().is_empty() {
            match write(&self.stream, self.client.unsent()) {
                Ok(count) => {
                    self.client.sent(count);
                    self.stalled = None;
                }
                Err(Errno::AGAIN) => {
                    let since = *self.stalled.get_or_insert(now);
                    return match now.saturating_duration_since(since) < STALL_TIMEOUT {
                        true => Ok(()),
                        false => Err(Broken),
                    };
                }
                Err(Errno::INTR) => {}
                Err(_) => return Err(Broken),
            }
        }
        self.stalled = None;
        Ok(())
    }
}

impl Place {
    /// Connects without a wait. Returns whether the other end has accepted already.
    fn connect(&self) -> std::io::Result<(OwnedFd, bool)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let address = match self {
            Self::Tcp(address) => address,
            Self::Local(name) => {
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                // Fails at once where nobody listens, or too many wait to be accepted.
                connect(
                    &socket,
                    &SocketAddrUnix::new_abstract_name(name.as_bytes())?,
                )?;
                return match users::foreign_peer(&socket)? {
                    None => Ok((socket, true)),
                    Some(_) => Err(std::io::ErrorKind::PermissionDenied.into()),
                };
            }
        };
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let stream = TcpStream::from(socket_with(family, SocketType::STREAM, flags, None)?);
        stream.set_nodelay(true)?;
        if !address.ip().is_loopback() {
            keep_alive(&stream)?;
        }
        match connect(&stream, address) {
            Ok(()) => Ok((stream.into(), true)),
            Err(Errno::INPROGRESS | Errno::INTR) => Ok((stream.into(), false)),
            Err(errno) => Err(errno.into()),
        }
    }
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
