//! Both ends over asynchronous streams, for servers on tokio.
//!
//! A connection is a reader and a writer, such as `TcpStream::into_split` gives; its halves can be
//! used by two tasks. The caller decides how long to wait: wrap the calls in
//! `tokio::time::timeout`, and limit how many connections may be in [`accept`] at once, since a
//! stranger can hold one open and send nothing.

use std::io;

use ::tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::codec::Wire;
use crate::handshake::{Handshake, Step, Then};
use crate::outgoing::Outgoing;
use crate::{
    Acknowledgement, Error, FromServer, Opener, Result, Role, RunId, Secret, Session, ToServer,
    Versions, greeting,
};

/// The number of bytes that one read asks for.
const CHUNK: usize = 4096;

/// Takes a connection to the main process of `run`: handshake and greeting. The caller sends
/// [`FromServer::Welcome`], or [`FromServer::Refused`] with a reason of its own.
///
/// # Errors
/// [`Error::WrongSecret`], [`Error::Version`], [`Error::Stranger`] from the handshake,
/// [`Error::Refused`] if the other end asked for another run (it receives the reason),
/// [`Error::Io`] and [`Error::Closed`] from the stream.
///
/// # Cancellation
/// A call that is dropped leaves the stream in the middle of the handshake; drop the stream too.
pub async fn accept<R, W>(
    read: R,
    write: W,
    secret: &Secret,
    run: RunId,
) -> Result<(ServerSender<W>, ServerReceiver<R>, Role)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    admit(
        read,
        write,
        Handshake::server(secret, Versions::SPOKEN),
        run,
    )
    .await
}

/// As [`accept`], over a Unix socket whose other end the kernel says to be the same user's: nothing is
/// encrypted.
///
/// # Errors
/// As for [`accept`].
///
/// # Cancellation
/// As for [`accept`].
pub async fn accept_local<R, W>(
    read: R,
    write: W,
    secret: &Secret,
    run: RunId,
) -> Result<(ServerSender<W>, ServerReceiver<R>, Role)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    admit(
        read,
        write,
        Handshake::local_server(secret, Versions::SPOKEN),
        run,
    )
    .await
}

async fn admit<R, W>(
    read: R,
    write: W,
    first: Step,
    run: RunId,
) -> Result<(ServerSender<W>, ServerReceiver<R>, Role)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut writer, mut reader) = shake_hands(read, write, first).await?;
    match greeting::admit(reader.receive().await?, run) {
        Ok(role) => Ok((ServerSender(writer), ServerReceiver(reader), role)),
        Err(reason) => {
            writer.send(&FromServer::Refused(reason.clone())).await?;
            Err(Error::Refused(reason))
        }
    }
}

/// Connects to the main process of `run` over a fresh stream: handshake, greeting, welcome.
/// The acknowledgement is the server's welcome.
///
/// # Errors
/// [`Error::WrongSecret`], [`Error::Version`], [`Error::Stranger`] from the handshake,
/// [`Error::Refused`] if the server refuses the greeting, [`Error::Io`] and [`Error::Closed`] from
/// the stream.
///
/// # Cancellation
/// A call that is dropped leaves the stream in the middle of the handshake; drop the stream too.
pub async fn connect<R, W>(
    read: R,
    write: W,
    secret: &Secret,
    run: RunId,
    role: Role,
) -> Result<(Sender<W>, Receiver<R>, Acknowledgement)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let first = Handshake::client(secret, Versions::SPOKEN);
    let (mut writer, mut reader) = shake_hands(read, write, first).await?;
    writer.send(&ToServer::Hello { run, role }).await?;
    let welcome = greeting::welcomed(reader.receive().await?)?;
    Ok((Sender(writer), Receiver(reader), welcome))
}

/// The server's half that sends.
#[derive(Debug)]
pub struct ServerSender<W>(Writer<W>);

impl<W: AsyncWrite + Unpin> ServerSender<W> {
    /// The version of the protocol that both ends agreed on.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.0.version
    }

    /// Sends one message and flushes the stream.
    ///
    /// # Errors
    /// [`Error::TooLong`] if the message is too long; nothing is sent then. [`Error::Io`] if the
    /// stream fails; the message may or may not arrive, and every later call returns
    /// [`Error::Closed`].
    ///
    /// # Cancellation
    /// A call that is dropped may leave half a message behind; every later call then returns
    /// [`Error::Closed`].
    pub async fn send(&mut self, message: &FromServer) -> Result<()> {
        self.0.send(message).await
    }
}

/// The server's half that receives.
#[derive(Debug)]
pub struct ServerReceiver<R>(Reader<R>);

impl<R: AsyncRead + Unpin> ServerReceiver<R> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Error::Closed`] if the stream ends between two messages, [`Error::Io`] if it fails or ends
    /// within one. [`Error::Tampered`] if the bytes changed on their way, [`Error::Malformed`] if
    /// they are not a message.
    ///
    /// # Cancellation
    /// Safe in `select!`: a call that is dropped loses nothing, and the next one continues.
    pub async fn receive(&mut self) -> Result<ToServer> {
        self.0.receive().await
    }
}

/// The client's half that sends.
#[derive(Debug)]
pub struct Sender<W>(Writer<W>);

impl<W: AsyncWrite + Unpin> Sender<W> {
    /// Sends one message and flushes the stream.
    ///
    /// # Errors
    /// As for [`ServerSender::send`], also when it is cancelled.
    pub async fn send(&mut self, message: &ToServer) -> Result<()> {
        self.0.send(message).await
    }
}

/// The client's half that receives.
#[derive(Debug)]
pub struct Receiver<R>(Reader<R>);

impl<R: AsyncRead + Unpin> Receiver<R> {
    /// Waits for the next message.
    ///
    /// # Errors
    /// As for [`ServerReceiver::receive`], and as safe to cancel.
    pub async fn receive(&mut self) -> Result<FromServer> {
        self.0.receive().await
    }
}

async fn shake_hands<R, W>(
    mut read: R,
    mut write: W,
    mut step: Step,
) -> Result<(Writer<W>, Reader<R>)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        write.write_all(&step.send).await?;
        write.flush().await?;
        step = match step.then {
            Then::Receive { bytes, handshake } => {
                let mut received = vec![0; bytes];
                read.read_exact(&mut received).await?;
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
        chunk: vec![0; CHUNK],
    };
    (writer, reader)
}

#[derive(Debug)]
struct Writer<W> {
    version: u16,
    stream: W,
    outgoing: Outgoing,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn send<T: Wire>(&mut self, message: &T) -> Result<()> {
        let records = self.outgoing.seal(message)?;
        // If this future is dropped at one of the next two lines, the message is cut off.
        self.stream.write_all(&records).await?;
        self.stream.flush().await?;
        self.outgoing.sent();
        Ok(())
    }
}

#[derive(Debug)]
struct Reader<R> {
    stream: R,
    opener: Opener,
    /// A field, so that it does not enlarge the future.
    chunk: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn receive<T: Wire>(&mut self) -> Result<T> {
        loop {
            if let Some(message) = self.opener.next_message()? {
                return Ok(message);
            }
            // The only place to wait. The bytes are fed before the next wait, so that none is lost.
            match self.stream.read(&mut self.chunk).await {
                Ok(0) => return Err(self.opener.at_end()),
                Ok(count) => self.opener.feed(&self.chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
