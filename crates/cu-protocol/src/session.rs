//! Messages over an established session: sealed into records by one half, opened by the other.
//!
//! The frames of all messages make one stream of bytes per direction. It is cut into pieces of at
//! most 65,519 bytes, since a Noise message has at most 65,535; so a long message takes several
//! records. A record is the length of what follows (two bytes, little-endian), then the encrypted
//! piece. Each half counts its records, and the count is the nonce: a record opens only at its own
//! place.
//!
//! Between two processes of one user on one machine, frames are sent as they are.

use std::fmt;
use std::io;
use std::sync::Arc;

use snow::StatelessTransportState;

use crate::buffer::Buffer;
use crate::codec::Wire;
use crate::frame::{Decoder, Frame};
use crate::{Error, Result};

/// The greatest length of a Noise message in bytes.
const RECORD_LIMIT: usize = 65_535;
/// The bytes that authentication adds to each piece.
const TAG: usize = 16;
/// The bytes of the length before each record.
const LENGTH: usize = size_of::<u16>();

/// Both directions of a connection, after the handshake.
#[derive(Debug)]
pub struct Session {
    version: u16,
    sealer: Sealer,
    opener: Opener,
}

impl Session {
    pub(crate) fn new(version: u16, keys: StatelessTransportState) -> Self {
        Self::with(version, Some(Arc::new(keys)))
    }

    /// One that nobody else can hear.
    pub(crate) fn in_the_clear(version: u16) -> Self {
        Self::with(version, None)
    }

    fn with(version: u16, keys: Option<Arc<StatelessTransportState>>) -> Self {
        Self {
            version,
            sealer: Sealer {
                keys: keys.clone(),
                sealed: 0,
            },
            opener: Opener {
                keys,
                opened: 0,
                records: Buffer::default(),
                frames: Decoder::new(),
            },
        }
    }

    /// The version of the protocol that both ends agreed on.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Splits the session into its two halves, for a writer and a reader.
    #[must_use]
    pub fn split(self) -> (Sealer, Opener) {
        (self.sealer, self.opener)
    }
}

/// The sending half of a session.
pub struct Sealer {
    /// `None` if nothing is encrypted.
    keys: Option<Arc<StatelessTransportState>>,
    /// How many records are sealed: the nonce of the next.
    sealed: u64,
}

impl Sealer {
    /// Returns the bytes to send for this message. Send all of them, in the order of the calls.
    ///
    /// # Errors
    /// [`Error::TooLong`] if the message is too long; the session continues without it.
    pub fn seal<T: Wire>(&mut self, message: &T) -> Result<Vec<u8>> {
        self.seal_frame(&Frame::new(message)?)
    }

    /// As [`seal`](Self::seal), for a message that is encoded already.
    ///
    /// # Errors
    /// [`Error::Closed`] once the session has sealed all that it can.
    pub fn seal_frame<T>(&mut self, frame: &Frame<T>) -> Result<Vec<u8>> {
        let frame = frame.bytes();
        let Some(keys) = &self.keys else {
            return Ok(frame.to_vec());
        };
        let pieces = frame.chunks(RECORD_LIMIT - TAG);
        let mut records = Vec::with_capacity(frame.len() + pieces.len() * (LENGTH + TAG));
        for piece in pieces {
            let length = piece.len() + TAG;
            records.extend((length as u16).to_le_bytes());
            let start = records.len();
            records.resize(start + length, 0);
            keys.write_message(self.sealed, piece, &mut records[start..])
                // All nonces are used, after 2⁶⁴ - 1 records.
                .map_err(|_| Error::Closed)?;
            self.sealed += 1;
        }
        Ok(records)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sealer")
            .field("sealed", &self.sealed)
            .finish_non_exhaustive()
    }
}

/// The receiving half of a session.
pub struct Opener {
    /// `None` if nothing is encrypted.
    keys: Option<Arc<StatelessTransportState>>,
    /// How many records are opened: the nonce of the next.
    opened: u64,
    records: Buffer,
    frames: Decoder,
}

impl Opener {
    /// Takes the next bytes from the other end. As with [`Decoder::feed`], feed small pieces and
    /// take the messages out in between.
    pub fn feed(&mut self, bytes: &[u8]) {
        match self.keys {
            Some(_) => self.records.push(bytes),
            None => self.frames.feed(bytes),
        }
    }

    /// The next message; `None` until all of it has been fed.
    ///
    /// # Errors
    /// [`Error::Tampered`] if a record is not the one that the other end sealed at this place,
    /// [`Error::Malformed`] if it is, but its message is not a `T`. Every later call fails in the
    /// same way.
    pub fn next_message<T: Wire>(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(message) = self.frames.next_message()? {
                return Ok(Some(message));
            }
            if !self.open_record()? {
                return Ok(None);
            }
        }
    }

    /// The error if the stream ends here: [`Error::Closed`] between two messages, [`Error::Io`] of
    /// the kind `UnexpectedEof` within one.
    #[must_use]
    pub fn at_end(&self) -> Error {
        if self.records.is_empty() && self.frames.is_empty() {
            return Error::Closed;
        }
        Error::Io(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection ended within a message",
        ))
    }

    /// Moves the piece in the next record to the frames, if all of the record is there.
    fn open_record(&mut self) -> Result<bool> {
        let Some(keys) = &self.keys else {
            return Ok(false);
        };
        let Some((length, rest)) = self.records.unread().split_first_chunk::<LENGTH>() else {
            return Ok(false);
        };
        let length = usize::from(u16::from_le_bytes(*length));
        let Some(record) = rest.get(..length) else {
            return Ok(false);
        };
        let mut piece = vec![0; length.saturating_sub(TAG)];
        keys.read_message(self.opened, record, &mut piece)
            .map_err(|_| Error::Tampered)?;
        self.opened += 1;
        self.records.consume(LENGTH + length);
        self.frames.feed(&piece);
        Ok(true)
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Opener")
            .field("opened", &self.opened)
            .finish_non_exhaustive()
    }
}
