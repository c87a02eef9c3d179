//! Both ends over blocking streams of the standard library, for programs without a runtime.
//!
//! A connection is a reader and a writer: two clones of a [`TcpStream`](std::net::TcpStream), say.
//! Its halves can be used by two threads. The caller decides how long to wait, by the timeouts of
//! the stream. A read that times out in [`Receiver::receive`] loses nothing: call it again. A read
//! that times out in [`connect`] or [`accept`] ends the attempt to connect. A write that times out
//! leaves the other end with half a message and ends the connection.

use std::io::{self, Read, Write};

use crate::codec::Wire;
use crate::frame::Frame;
use crate::handshake::{Handshake, Step, Then};
use crate::outgoing::Outgoing;
use crate::{
    Acknowledgement, Error, FromServer, Opener, Result, Role, RunId, Secret, Session, ToServer,
    Versions, greeting,
};

/// The number of bytes that one read asks for.
const CHUNK: usize = 4096;

/// Connects to the main process of `run` over a fresh stream: handshake, greeting, welcome.
/// The acknowledgement is the server's welcome.
///
/// # Errors
/// [`Error::WrongSecret`], [`Error::Version`], [`Error::Stranger`] from the handshake,
/// [`Error::Refused`] if the server refuses the greeting, [`Error::Io`] and [`Error::Closed`] from
/// the stream.
pub fn connect<R: Read, W: Write>(
    read: R,
    write: W,
    secret: &Secret,
    run: RunId,
    role: Role,
) -> Result<(Sender<W>, Receiver<R>, Acknowledgement)> {
    let (mut writer, mut reader) =
        shake_hands(read, write, |versions| Handshake::client(secret, versions))?;
    writer.send(&ToServer::Hello { run, role })?;
    let welcome = greeting::welcomed(reader.receive()?)?;
    Ok((Sender(writer), Receiver(reader), welcome))
}

/// Takes a connection to the main process of `run`: handshake and greeting. The caller sends
/// [`FromServer::Welcome`], or [`FromServer::Refused`] with a reason of its own.
///
/// # Errors
/// [`Error::WrongSecret`], [`Error::Version`], [`Error::Stranger`] from the handshake,
/// [`Error::Refused`] if the other end asked for another run (it receives the reason),
/// [`Error::Io`] and [`Error::Closed`] from the stream.
pub fn accept<R: Read, W: Write>(
    read: R,
    write: W,
    secret: &Secret,
    run: RunId,
) -> Result<(ServerSender<W>, ServerReceiver<R>, Role)> {
    let (mut writer, mut reader) =
        shake_hands(read, write, |versions| Handshake::server(secret, versions))?;
    match greeting::admit(reader.receive()?, run) {
        Ok(role) => Ok((ServerSender(writer), ServerReceiver(reader), role)),
        Err(reason) => {
            writer.send(&FromServer::Refused(reason.clone()))?;
            Err(Error::Refused(reason))
        }
    }
}

/// The client's half that sends.
#[derive(Debug)]
pub struct Sender<W>(Writer<W>);

impl<W> Sender<W> {
    /// The version of the protocol that both ends agreed on.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.0.version
    }
}

impl<W: Write> Sender<W> {
    /// Sends one message and flushes the stream.
    ///
    /// # Errors
    /// [`Error::TooLong`] if the message is too long; nothing is sent then. [`Error::Io`] if the
    /// stream fails; the message may or may not arrive, and every later call returns
    /// [`Error::Closed`].
    pub fn send(&mut self, message: &ToServer) -> Result<()> {
        self.0.send(message)
    }

    /// As [`send`](Self::send), for a message that is encoded already.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Closed`], as for [`send`](Self::send).
    pub fn send_frame(&mut self, frame: &Frame<ToServer>) -> Result<()> {
        self.0.send_frame(frame)
    }
}

/// The client's half that receives.
#[derive(Debug)]
pub struct Receiver<R>(Reader<R>);

impl<R: Read> Receiver<R> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Error::Io`] if the stream fails or ends within a message; if its read timed out
    /// ([`Error::is_timeout`]), the next call continues where this one stopped. [`Error::Closed`]
    /// if the stream ends between two messages. [`Error::Tampered`] if the bytes changed on their
    /// way, [`Error::Malformed`] if they are not a message.
    pub fn receive(&mut self) -> Result<FromServer> {
        self.0.receive()
    }

    /// The stream that is read, for example to set its timeout.
    pub fn get_ref(&self) -> &R {
        &self.0.stream
    }
}

/// The server's half that sends.
#[derive(Debug)]
pub struct ServerSender<W>(Writer<W>);

impl<W: Write> ServerSender<W> {
    /// Sends one message and flushes the stream.
    ///
    /// # Errors
    /// As for [`Sender::send`].
    pub fn send(&mut self, message: &FromServer) -> Result<()> {
        self.0.send(message)
    }
}

/// The server's half that receives.
#[derive(Debug)]
pub struct ServerReceiver<R>(Reader<R>);

impl<R: Read> ServerReceiver<R> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// As for [`Receiver::receive`].
    pub fn receive(&mut self) -> Result<ToServer> {
        self.0.receive()
    }

    /// The stream that is read, for example to set its timeout.
    pub fn get_ref(&self) -> &R {
        &self.0.stream
    }
}

fn shake_hands<R: Read, W: Write>(
    mut read: R,
    mut write: W,
    first: impl FnOnce(Versions) -> Step,
) -> Result<(Writer<W>, Reader<R>)> {
    let mut step = first(Versions::SPOKEN);
    loop {
        write.write_all(&step.send)?;
        write.flush()?;
        step = match step.then {
            Then::Receive { bytes, handshake } => {
                let mut received = vec![0; bytes];
                read.read_exact(&mut received)?;
                handshake.advance(&received)
            }
            Then::Established(session) => return Ok(halves(session, read, write)),
            Then::Failed(error) => return Err(error),
        };
    }
}

fn halves<R, W>(session: Session, read: R, write: W) -> (Writer<W>, Reader<R>) {
    let version = session.version();
    let (sealer, opener) = session.split();
    let writer = Writer {
        version,
        stream: write,
        outgoing: Outgoing::new(sealer),
    };
    let reader = Reader {
        stream: read,
        opener,
    };
    (writer, reader)
}

#[derive(Debug)]
struct Writer<W> {
    version: u16,
    stream: W,
    outgoing: Outgoing,
}

impl<W: Write> Writer<W> {
    fn send<T: Wire>(&mut self, message: &T) -> Result<()> {
        let records = self.outgoing.seal(message)?;
        self.write(&records)
    }

    fn send_frame<T>(&mut self, frame: &Frame<T>) -> Result<()> {
        let records = self.outgoing.seal_frame(frame)?;
        self.write(&records)
    }

    fn write(&mut self, records: &[u8]) -> Result<()> {
        self.stream.write_all(records)?;
        self.stream.flush()?;
        self.outgoing.sent();
        Ok(())
    }
}

#[derive(Debug)]
struct Reader<R> {
    stream: R,
    opener: Opener,
}

impl<R: Read> Reader<R> {
    fn receive<T: Wire>(&mut self) -> Result<T> {
        let mut chunk = [0; CHUNK];
        loop {
            if let Some(message) = self.opener.next_message()? {
                return Ok(message);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.opener.at_end()),
                Ok(count) => self.opener.feed(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
