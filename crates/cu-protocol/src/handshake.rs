//! The handshake of both ends as a state machine: bytes in, bytes out, no socket.
//!
//! Four messages of fixed length, numbers little-endian:
//!
//! | | from | bytes |
//! | --- | --- | --- |
//! | 1 | client | `cu-proto`, the lowest and the highest version it speaks (2 + 2) |
//! | 2 | server | `cu-proto`, the version chosen or 0 for none, the lowest and the highest version it speaks (2 + 2 + 2) |
//! | 3 | client | first message of `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s` (48), keyed by the secret |
//! | 4 | server | second message (48); all zeros if the first was made with another secret |
//!
//! The first two are not encrypted, so that different releases can name their versions; they never
//! change. They are the prologue of the Noise handshake, so a change on their way makes it fail.
//! The records of a [`Session`] follow.
//!
//! ## On one machine
//! Both ends of a Unix socket can ask the kernel who the other one is. If that is the same user, nothing needs to
//! be encrypted: nobody else hears what is said, and the user could read the memory of both. Two messages are left:
//!
//! | | from | bytes |
//! | --- | --- | --- |
//! | 1 | client | `cu-local`, the lowest and the highest version it speaks (2 + 2), the proof (32) |
//! | 2 | server | `cu-local`, the version chosen or 0 for none, the lowest and the highest version it speaks (2 + 2 + 2); all zeros if the proof is wrong |
//!
//! The proof is BLAKE2s of what precedes it, keyed by the secret. It keeps out processes of the same user that can't
//! read the run's files, such as those in a sandbox. Frames follow, as they are; the client need not
//! wait for the answer to send its greeting. **Ask the kernel first**:
//! this module can't.
//!
//! ## Replays
//! An attacker can replay message 3 of a recorded connection and gets an answer, but with fresh
//! keys: no recorded message opens under them, so the replay has no effect.

use std::fmt;
use std::io;

use blake2::Blake2sMac256;
use blake2::digest::{FixedOutput, Mac};
use snow::HandshakeState;

use crate::{Error, Result, Secret, Session, Versions};

const NOISE: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const MAGIC: [u8; 8] = *b"cu-proto";
const HELLO: usize = MAGIC.len() + 4;
const ANSWER: usize = MAGIC.len() + 6;
const LOCAL_MAGIC: [u8; 8] = *b"cu-local";
const PROOF: usize = 32;
/// The server's answer to a wrong proof.
const WRONG_PROOF: [u8; ANSWER] = [0; ANSWER];
/// Both Noise messages: a public key of 32 bytes and a tag of 16.
const NOISE_MESSAGE: usize = 48;
/// The server sends this instead of its Noise message if the client has another secret. A genuine
/// message never looks like this, since it begins with a random public key.
const WRONG_SECRET: [u8; NOISE_MESSAGE] = [0; NOISE_MESSAGE];

/// The next step of a handshake: bytes to send, then what to do.
#[derive(Debug)]
pub struct Step {
    /// Bytes for the other end. Send them even if the handshake has failed: they may say why.
    pub send: Vec<u8>,
    /// What to do after sending.
    pub then: Then,
}

/// How a handshake goes on.
#[derive(Debug)]
pub enum Then {
    /// Receive exactly `bytes` bytes and call [`advance`](Handshake::advance) with them.
    Receive {
        /// The number of bytes to receive.
        bytes: usize,
        /// The handshake to advance.
        handshake: Handshake,
    },
    /// The handshake has succeeded.
    Established(Session),
    /// The handshake has failed: [`Error::WrongSecret`], [`Error::Version`] or
    /// [`Error::Stranger`]; [`Error::Io`] if the operating system gives no random numbers.
    Failed(Error),
}

/// A handshake that waits for bytes from the other end.
///
/// ```
/// use cu_protocol::handshake::{Handshake, Step, Then};
/// use cu_protocol::{Secret, Versions};
///
/// let secret = Secret::generate()?;
/// let mut client = Handshake::client(&secret, Versions::SPOKEN);
/// let mut server = Handshake::server(&secret, Versions::SPOKEN);
/// // One end sends and the other receives, until both are done.
/// while let (Then::Receive { .. }, _) | (_, Then::Receive { .. }) = (&client.then, &server.then) {
///     let (speaker, listener) = if client.send.is_empty() {
///         (&mut server, &mut client)
///     } else {
///         (&mut client, &mut server)
///     };
///     let said = std::mem::take(&mut speaker.send);
///     let Then::Receive { bytes, handshake } =
///         std::mem::replace(&mut listener.then, Then::Failed(cu_protocol::Error::Closed))
///     else {
///         break;
///     };
///     assert_eq!(said.len(), bytes);
///     *listener = handshake.advance(&said);
/// }
/// assert!(matches!(client.then, Then::Established(_)));
/// assert!(matches!(server.then, Then::Established(_)));
/// # Ok::<(), cu_protocol::Error>(())
/// ```
pub struct Handshake {
    secret: Secret,
    versions: Versions,
    awaits: Awaits,
}

enum Awaits {
    /// The server: message 1.
    Hello,
    /// The client: message 2.
    Answer { hello: [u8; HELLO] },
    /// The server: message 3.
    NoiseOne {
        version: u16,
        noise: Box<HandshakeState>,
    },
    /// The client: message 4.
    NoiseTwo {
        version: u16,
        noise: Box<HandshakeState>,
    },
    /// The server on the same machine: message 1.
    LocalHello,
    /// The client on the same machine: message 2.
    LocalAnswer,
}

impl Handshake {
    /// The first step of the end that connects.
    #[must_use]
    pub fn client(secret: &Secret, versions: Versions) -> Step {
        let hello: [u8; HELLO] = clear_text(MAGIC, [versions.lowest, versions.highest]);
        let handshake = Self {
            secret: secret.clone(),
            versions,
            awaits: Awaits::Answer { hello },
        };
        handshake.receive(hello.to_vec(), ANSWER)
    }

    /// The first step of the end that accepts the connection.
    #[must_use]
    pub fn server(secret: &Secret, versions: Versions) -> Step {
        let handshake = Self {
            secret: secret.clone(),
            versions,
            awaits: Awaits::Hello,
        };
        handshake.receive(Vec::new(), HELLO)
    }

    /// As [`client`](Self::client), over a Unix socket whose other end the kernel says to be the same user's.
    #[must_use]
    pub fn local_client(secret: &Secret, versions: Versions) -> Step {
        let hello: [u8; HELLO] = clear_text(LOCAL_MAGIC, [versions.lowest, versions.highest]);
        let proof = proof(secret, &hello).finalize_fixed();
        let handshake = Self {
            secret: secret.clone(),
            versions,
            awaits: Awaits::LocalAnswer,
        };
        handshake.receive([&hello[..], &proof].concat(), ANSWER)
    }

    /// As [`server`](Self::server), over a Unix socket whose other end the kernel says to be the same user's.
    #[must_use]
    pub fn local_server(secret: &Secret, versions: Versions) -> Step {
        let handshake = Self {
            secret: secret.clone(),
            versions,
            awaits: Awaits::LocalHello,
        };
        handshake.receive(Vec::new(), HELLO + PROOF)
    }

    /// Continues with the received bytes, exactly as many as the last step asked for.
    #[must_use]
    pub fn advance(self, received: &[u8]) -> Step {
        match self.awaits {
            Awaits::Hello => self.answer(received),
            Awaits::Answer { hello } => self.open_noise(hello, received),
            Awaits::NoiseOne { version, noise } => close_noise(version, noise, received),
            Awaits::NoiseTwo { version, noise } => establish(version, noise, received),
            Awaits::LocalHello => self.answer_locally(received),
            Awaits::LocalAnswer => self.establish_locally(received),
        }
        .unwrap_or_else(|error| fail(Vec::new(), error))
    }

    fn answer_locally(self, received: &[u8]) -> Result<Step> {
        let (hello, said) = received.split_at_checked(HELLO).ok_or(Error::Stranger)?;
        let [lowest, highest] = parse_clear_text(LOCAL_MAGIC, hello)?;
        if proof(&self.secret, hello).verify_slice(said).is_err() {
            return Ok(fail(WRONG_PROOF.to_vec(), Error::WrongSecret));
        }
        let theirs = Versions { lowest, highest };
        let ours = self.versions;
        let chosen = ours.newest_common(theirs);
        let numbers = [chosen.unwrap_or(0), ours.lowest, ours.highest];
        let answer: [u8; ANSWER] = clear_text(LOCAL_MAGIC, numbers);
        Ok(match chosen {
            Some(version) => Step {
                send: answer.to_vec(),
                then: Then::Established(Session::in_the_clear(version)),
            },
            None => fail(answer.to_vec(), Error::Version { ours, theirs }),
        })
    }

    fn establish_locally(self, received: &[u8]) -> Result<Step> {
        if received == WRONG_PROOF {
            return Err(Error::WrongSecret);
        }
        let [version, lowest, highest] = parse_clear_text(LOCAL_MAGIC, received)?;
        let theirs = Versions { lowest, highest };
        let ours = self.versions;
        if ours.newest_common(theirs) != Some(version) {
            return Err(Error::Version { ours, theirs });
        }
        Ok(Step {
            send: Vec::new(),
            then: Then::Established(Session::in_the_clear(version)),
        })
    }

    fn answer(self, received: &[u8]) -> Result<Step> {
        let [lowest, highest] = parse_clear_text(MAGIC, received)?;
        let theirs = Versions { lowest, highest };
        let ours = self.versions;
        let chosen = ours.newest_common(theirs);
        let numbers = [chosen.unwrap_or(0), ours.lowest, ours.highest];
        let answer: [u8; ANSWER] = clear_text(MAGIC, numbers);
        let Some(version) = chosen else {
            return Ok(fail(answer.to_vec(), Error::Version { ours, theirs }));
        };
        let prologue = [received, &answer].concat();
        let noise = noise(&self.secret, &prologue, snow::Builder::build_responder)?;
        let awaits = Awaits::NoiseOne { version, noise };
        Ok(Self { awaits, ..self }.receive(answer.to_vec(), NOISE_MESSAGE))
    }

    fn open_noise(self, hello: [u8; HELLO], received: &[u8]) -> Result<Step> {
        let [version, lowest, highest] = parse_clear_text(MAGIC, received)?;
        let theirs = Versions { lowest, highest };
        let ours = self.versions;
        if ours.newest_common(theirs) != Some(version) {
            return Err(Error::Version { ours, theirs });
        }
        let prologue = [&hello, received].concat();
        let mut noise = noise(&self.secret, &prologue, snow::Builder::build_initiator)?;
        let message = write_noise(&mut noise)?;
        let awaits = Awaits::NoiseTwo { version, noise };
        Ok(Self { awaits, ..self }.receive(message, NOISE_MESSAGE))
    }

    fn receive(self, send: Vec<u8>, bytes: usize) -> Step {
        let then = Then::Receive {
            bytes,
            handshake: self,
        };
        Step { send, then }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Handshake")
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

fn close_noise(version: u16, mut noise: Box<HandshakeState>, received: &[u8]) -> Result<Step> {
    if noise.read_message(received, &mut []).is_err() {
        return Ok(fail(WRONG_SECRET.to_vec(), Error::WrongSecret));
    }
    let send = write_noise(&mut noise)?;
    Ok(Step {
        send,
        then: Then::Established(session(version, noise)),
    })
}

fn establish(version: u16, mut noise: Box<HandshakeState>, received: &[u8]) -> Result<Step> {
    // The zeros are not authenticated. An attacker who can fake them can also cut the line.
    if received == WRONG_SECRET {
        return Err(Error::WrongSecret);
    }
    noise
        .read_message(received, &mut [])
        .map_err(|_| Error::WrongSecret)?;
    Ok(Step {
        send: Vec::new(),
        then: Then::Established(session(version, noise)),
    })
}

fn fail(send: Vec<u8>, error: Error) -> Step {
    let then = Then::Failed(error);
    Step { send, then }
}

/// The magic and some numbers: messages 1 and 2.
fn clear_text<const NUMBERS: usize, const LENGTH: usize>(
    magic: [u8; 8],
    numbers: [u16; NUMBERS],
) -> [u8; LENGTH] {
    let mut text = [0; LENGTH];
    let bytes = numbers.into_iter().flat_map(u16::to_le_bytes);
    for (to, from) in text.iter_mut().zip(magic.into_iter().chain(bytes)) {
        *to = from;
    }
    text
}

fn parse_clear_text<const NUMBERS: usize>(
    magic: [u8; 8],
    received: &[u8],
) -> Result<[u16; NUMBERS]> {
    let bytes = received.strip_prefix(&magic).ok_or(Error::Stranger)?;
    if bytes.len() != 2 * NUMBERS {
        return Err(Error::Stranger);
    }
    let mut numbers = [0; NUMBERS];
    for (number, pair) in numbers.iter_mut().zip(bytes.chunks_exact(2)) {
        *number = u16::from_le_bytes([pair[0], pair[1]]);
    }
    Ok(numbers)
}

/// The proof that belongs to the first message on the same machine.
fn proof(secret: &Secret, hello: &[u8]) -> Blake2sMac256 {
    let keyed = <Blake2sMac256 as Mac>::new(secret.key().into());
    keyed.chain_update(hello)
}

fn noise<'key>(
    secret: &'key Secret,
    prologue: &'key [u8],
    build: impl FnOnce(snow::Builder<'key>) -> Result<HandshakeState, snow::Error>,
) -> Result<Box<HandshakeState>> {
    let parameters = NOISE.parse().expect("snow knows the pattern");
    snow::Builder::new(parameters)
        .psk(0, secret.key())
        .and_then(|builder| builder.prologue(prologue))
        .and_then(build)
        .map(Box::new)
        .map_err(no_randomness)
}

fn write_noise(noise: &mut HandshakeState) -> Result<Vec<u8>> {
    let mut message = vec![0; NOISE_MESSAGE];
    let written = noise
        .write_message(&[], &mut message)
        .map_err(no_randomness)?;
    message.truncate(written);
    Ok(message)
}

fn session(version: u16, noise: Box<HandshakeState>) -> Session {
    let keys = noise
        .into_stateless_transport_mode()
        .expect("both messages of the pattern have passed");
    Session::new(version, keys)
}

/// Only the random key can fail at run time; all else is fixed when we compile.
fn no_randomness(error: snow::Error) -> Error {
    Error::Io(io::Error::other(format!(
        "can't make a key for the connection: {error}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BLAKE2s of `cu-local`, 1 and 2, keyed by 32 ones.
    const PROOF_OF_ONES: [u8; PROOF] = [
        0x01, 0xe0, 0x05, 0x8a, 0x95, 0x1b, 0x73, 0x86, 0xac, 0x48, 0xb0, 0x37, 0x87, 0xef, 0x5f,
        0xae, 0x34, 0x13, 0x9b, 0xc4, 0x96, 0xc6, 0xbb, 0x01, 0x89, 0x35, 0x84, 0xec, 0xc7, 0x0c,
        0x05, 0x25,
    ];

    #[test]
    fn both_local_messages_are_as_they_were() {
        let secret = Secret::from_bytes([1; 32]);
        let (lowest, highest) = (1, 2);
        let versions = Versions { lowest, highest };
        let hello = Handshake::local_client(&secret, versions).send;
        assert_eq!(
            hello,
            [&b"cu-local\x01\0\x02\0"[..], &PROOF_OF_ONES].concat()
        );
        let Then::Receive { bytes, handshake } = Handshake::local_server(&secret, versions).then
        else {
            panic!("a server waits");
        };
        assert_eq!(bytes, hello.len());
        let answer = handshake.advance(&hello);
        assert_eq!(answer.send, b"cu-local\x02\0\x01\0\x02\0");
        assert!(matches!(answer.then, Then::Established(_)));
    }

    #[test]
    fn local_ends_without_a_common_version_learn_it() {
        let secret = Secret::from_bytes([1; 32]);
        let [old, new] = [1, 2].map(|only| Versions {
            lowest: only,
            highest: only,
        });
        let receives = |step: Step| match step.then {
            Then::Receive { handshake, .. } => handshake,
            then => panic!("it waits: {then:?}"),
        };
        let client = Handshake::local_client(&secret, old);
        let hello = client.send.clone();
        let server = receives(Handshake::local_server(&secret, new)).advance(&hello);
        assert!(matches!(server.then, Then::Failed(Error::Version { .. })));
        let client = receives(client).advance(&server.send);
        assert!(matches!(client.then, Then::Failed(Error::Version { .. })));
    }
}
