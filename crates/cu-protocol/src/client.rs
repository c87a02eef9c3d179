//! The client's end of a connection without its socket: bytes in, bytes out, for a program that waits for
//! several things at once.

use std::fmt;
use std::mem;

use crate::frame::Frame;
use crate::handshake::{Handshake, Step, Then};
use crate::{
    Error, FromServer, Opener, Result, Role, RunId, Sealer, Secret, ToServer, Versions, greeting,
};

/// A client that connects to a main process, then talks to it.
///
/// Send what [`unsent`](Self::unsent) holds, [`feed`](Self::feed) what comes in, and take the messages out.
/// The first one is the welcome, which comes once the handshake is over and the greeting is accepted.
///
/// ```
/// use cu_protocol::client::Client;
/// use cu_protocol::{Role, RunId, Secret};
///
/// let client = Client::new(&Secret::generate()?, RunId([7; 16]), Role::Operator);
/// assert!(client.version().is_none(), "nobody has answered yet");
/// assert_eq!(client.unsent().len(), 12, "the versions that we speak");
/// # Ok::<(), cu_protocol::Error>(())
/// ```
pub struct Client {
    greeting: ToServer,
    has_greeted: bool,
    state: State,
    unsent: Vec<u8>,
}

enum State {
    /// The next answer of the handshake has this many bytes.
    ShakesHands {
        bytes: usize,
        handshake: Handshake,
        received: Vec<u8>,
    },
    /// The next message is the welcome, unless it has come.
    Talks {
        sealer: Sealer,
        opener: Opener,
        version: u16,
        is_welcome: bool,
    },
    /// Nothing more comes of it.
    Over,
}

impl Client {
    /// Begins to connect to the main process of `run`.
    #[must_use]
    pub fn new(secret: &Secret, run: RunId, role: Role) -> Self {
        Self::begin(Handshake::client(secret, Versions::SPOKEN), run, role)
    }

    /// The same over a Unix socket whose other end the kernel says to be the same user's: nothing is
    /// encrypted.
    #[must_use]
    pub fn local(secret: &Secret, run: RunId, role: Role) -> Self {
        let mut client = Self::begin(Handshake::local_client(secret, Versions::SPOKEN), run, role);
        // At once, not after the answer: a greeting is the same in all versions, and short. That saves both
        // ends a wait.
        if let Ok(greeting) = Frame::new(&client.greeting) {
            client.unsent.extend(greeting.bytes());
            client.has_greeted = true;
        }
        client
    }

    fn begin(first: Step, run: RunId, role: Role) -> Self {
        let mut client = Self {
            greeting: ToServer::Hello { run, role },
            has_greeted: false,
            state: State::Over,
            unsent: Vec::new(),
        };
        // The first step can't fail: it only names our versions.
        let _ = client.take(first);
        client
    }

    /// The bytes to send now, in this order.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// Notes that so many of the unsent bytes are sent.
    pub fn sent(&mut self, bytes: usize) {
        self.unsent.drain(..bytes.min(self.unsent.len()));
    }

    /// The version of the protocol that both ends agreed on; `None` as long as the handshake goes on.
    #[must_use]
    pub fn version(&self) -> Option<u16> {
        match self.state {
            State::Talks { version, .. } => Some(version),
            _ => None,
        }
    }

    /// Takes the next bytes from the other end.
    ///
    /// # Errors
    /// [`Error::WrongSecret`], [`Error::Version`], [`Error::Stranger`] from the handshake. What is unsent
    /// then may tell the other end why.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Talks { opener, .. } => {
                    opener.feed(bytes);
                    return Ok(());
                }
                State::ShakesHands {
                    bytes: wanted,
                    received,
                    ..
                } => {
                    let missing = wanted.saturating_sub(received.len()).min(bytes.len());
                    let (part, rest) = bytes.split_at(missing);
                    received.extend_from_slice(part);
                    bytes = rest;
                    if received.len() < *wanted {
                        return Ok(());
                    }
                }
                State::Over => return Err(Error::Closed),
            }
            if let State::ShakesHands {
                handshake,
                received,
                ..
            } = mem::replace(&mut self.state, State::Over)
            {
                self.take(handshake.advance(&received))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<()> {
        self.unsent.extend(step.send);
        self.state = match step.then {
            Then::Receive { bytes, handshake } => State::ShakesHands {
                bytes,
                handshake,
                received: Vec::with_capacity(bytes),
            },
            Then::Established(session) => {
                let version = session.version();
                let (mut sealer, opener) = session.split();
                if !self.has_greeted {
                    self.unsent.extend(sealer.seal(&self.greeting)?);
                }
                State::Talks {
                    sealer,
                    opener,
                    version,
                    is_welcome: false,
                }
            }
            Then::Failed(error) => return Err(error),
        };
        Ok(())
    }

    /// Adds a message to what is unsent.
    ///
    /// # Errors
    /// [`Error::Closed`] as long as the handshake goes on.
    pub fn say(&mut self, message: &Frame<ToServer>) -> Result<()> {
        let State::Talks { sealer, .. } = &mut self.state else {
            return Err(Error::Closed);
        };
        self.unsent.extend(sealer.seal_frame(message)?);
        Ok(())
    }

    /// The next message from the main process; `None` until all of it has been fed.
    ///
    /// # Errors
    /// [`Error::Refused`] if the greeting is refused; [`Error::Tampered`], [`Error::Malformed`] as for
    /// [`Opener::next_message`].
    pub fn next_message(&mut self) -> Result<Option<FromServer>> {
        let State::Talks {
            opener, is_welcome, ..
        } = &mut self.state
        else {
            return Ok(None);
        };
        let message: Option<FromServer> = opener.next_message()?;
        if let Some(message) = &message
            && !mem::replace(is_welcome, true)
        {
            greeting::welcomed(message.clone())?;
        }
        Ok(message)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client")
            .field("version", &self.version())
            .field("unsent", &self.unsent.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Acknowledgement, Sequence};

    const RUN: RunId = RunId([7; 16]);

    /// Both ends up to the greeting, which is returned. What the server says comes in pieces of `size`.
    fn connected(server: &Secret, size: usize) -> Result<(Client, Sealer, Option<ToServer>)> {
        let client = Client::new(&Secret::from_bytes([1; 32]), RUN, Role::Operator);
        between(client, Handshake::server(server, Versions::SPOKEN), size)
    }

    /// The same on one machine.
    fn locally(server: &Secret, size: usize) -> Result<(Client, Sealer, Option<ToServer>)> {
        let client = Client::local(&Secret::from_bytes([1; 32]), RUN, Role::Operator);
        between(
            client,
            Handshake::local_server(server, Versions::SPOKEN),
            size,
        )
    }

    fn between(
        mut client: Client,
        mut step: Step,
        size: usize,
    ) -> Result<(Client, Sealer, Option<ToServer>)> {
        let mut said = Vec::new();
        loop {
            for piece in step.send.chunks(size) {
                client.feed(piece)?;
            }
            let unsent = client.unsent().to_vec();
            client.sent(unsent.len());
            said.extend(unsent);
            match step.then {
                Then::Receive { bytes, handshake } => {
                    step = handshake.advance(&said.drain(..bytes).collect::<Vec<_>>());
                }
                Then::Established(session) => {
                    let (sealer, mut opener) = session.split();
                    opener.feed(&said);
                    return Ok((client, sealer, opener.next_message()?));
                }
                Then::Failed(error) => return Err(error),
            }
        }
    }

    #[test]
    fn a_client_that_hears_single_bytes_is_welcomed() {
        for (connect, size) in [connected, locally]
            .into_iter()
            .flat_map(|connect| [1, 7, 1000].map(|size| (connect, size)))
        {
            let (mut client, mut server, greeting) =
                connect(&Secret::from_bytes([1; 32]), size).unwrap();
            let role = Role::Operator;
            assert_eq!(greeting, Some(ToServer::Hello { run: RUN, role }));
            assert_eq!(client.next_message().unwrap(), None);
            let welcome = FromServer::Welcome(Acknowledgement {
                sequence: Sequence(3),
                wish: None,
            });
            for piece in server.seal(&welcome).unwrap().chunks(size) {
                client.feed(piece).unwrap();
            }
            assert_eq!(client.next_message().unwrap(), Some(welcome));
        }
    }

    #[test]
    fn a_client_with_another_secret_is_told_and_says_nothing_more() {
        for connect in [connected, locally] {
            let error = connect(&Secret::from_bytes([2; 32]), 1000).unwrap_err();
            assert!(matches!(error, Error::WrongSecret), "{error}");
        }
        let mut stranger = Client::new(&Secret::from_bytes([1; 32]), RUN, Role::Operator);
        stranger.feed(b"HTTP/1.1 400 ").unwrap();
        assert!(stranger.feed(b"Bad Request").is_err());
        assert!(stranger.feed(b"again").is_err());
    }
}
