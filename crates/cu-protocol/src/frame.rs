//! Frames: writes messages one after the other into a stream of bytes, and finds them again,
//! however the stream was cut.
//!
//! A frame is the length of the encoded message (four bytes, little-endian), then the message.

use std::fmt;
use std::marker::PhantomData;

use crate::buffer::Buffer;
use crate::codec::{self, MESSAGE_LIMIT, Wire};
use crate::{Error, Result};

/// The bytes of the length before each message.
const LENGTH: usize = size_of::<u32>();

/// One message as a frame.
///
/// # Errors
/// [`Error::TooLong`] if it exceeds [`MESSAGE_LIMIT`].
pub fn encode<T: Wire>(message: &T) -> Result<Vec<u8>> {
    let mut frame = vec![0; LENGTH];
    codec::encode(message, &mut frame)?;
    let length = u32::try_from(frame.len() - LENGTH).expect("MESSAGE_LIMIT fits 32 bits");
    frame[..LENGTH].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// A message as the bytes of its frame, encoded once and sent any number of times.
pub struct Frame<T> {
    bytes: Vec<u8>,
    message: PhantomData<fn(T)>,
}

impl<T: Wire> Frame<T> {
    /// Encodes the message.
    ///
    /// # Errors
    /// Those of [`encode`].
    pub fn new(message: &T) -> Result<Self> {
        Ok(Self {
            bytes: encode(message)?,
            message: PhantomData,
        })
    }
}

impl<T> Frame<T> {
    /// The bytes of the frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<T> fmt::Debug for Frame<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Frame({} bytes)", self.bytes.len())
    }
}

/// Decodes whole messages from bytes that arrive in pieces.
///
/// It holds the bytes that it has not decoded yet and nothing more: an announced length allocates
/// nothing. Feed it small pieces, and take all messages out before you feed the next one; then it
/// never holds more than one frame and one piece.
///
/// ```
/// use cu_protocol::frame::{self, Decoder};
/// use cu_protocol::OperatorRequest;
///
/// let bytes = frame::encode(&OperatorRequest::Ping)?;
/// let mut decoder = Decoder::new();
/// decoder.feed(&bytes[..2]);
/// assert_eq!(decoder.next_message::<OperatorRequest>()?, None);
/// decoder.feed(&bytes[2..]);
/// assert_eq!(decoder.next_message()?, Some(OperatorRequest::Ping));
/// # Ok::<(), cu_protocol::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    buffer: Buffer,
}

impl Decoder {
    /// A decoder of messages up to [`MESSAGE_LIMIT`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(MESSAGE_LIMIT)
    }

    /// A decoder that refuses messages longer than `bytes`, and in any case those longer than
    /// [`MESSAGE_LIMIT`].
    #[must_use]
    pub fn with_limit(bytes: usize) -> Self {
        Self {
            limit: bytes.min(MESSAGE_LIMIT),
            buffer: Buffer::default(),
        }
    }

    /// Takes the bytes that come next in the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// The next message; `None` until all of it has been fed.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the next frame is too long or not a `T`. The rest of the stream
    /// can't be trusted then, and every later call fails in the same way.
    pub fn next_message<T: Wire>(&mut self) -> Result<Option<T>> {
        let Some((length, rest)) = self.buffer.unread().split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.limit {
            return Err(Error::Malformed(format!(
                "it announces {length} bytes, and at most {} are allowed",
                self.limit
            )));
        }
        let Some(encoded) = rest.get(..length) else {
            return Ok(None);
        };
        let message = codec::decode(encoded)?;
        self.buffer.consume(LENGTH + length);
        Ok(Some(message))
    }

    /// Returns whether all bytes have become messages, so that the stream may end here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}
