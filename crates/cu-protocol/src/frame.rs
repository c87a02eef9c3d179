//! Frames: messages end to end in a stream of bytes, and found again however it was cut.
//!
//! A frame is the length of the encoded message (four bytes, little-endian), then the message.

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

/// Whole messages from bytes that arrive in pieces.
///
/// It holds what it was fed and has not decoded yet, no more: a length that is announced allocates
/// nothing. Feed it little at a time, and ask for messages until there are none before you feed it
/// again; then it never holds more than one frame and one piece.
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
    /// [`Error::Malformed`] if the next frame is too long or no `T`. The stream can't be trusted
    /// from there on, and every later call fails in the same way.
    pub fn next_message<T: Wire>(&mut self) -> Result<Option<T>> {
        let Some((length, rest)) = self.buffer.unread().split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        if length > self.limit {
            return Err(Error::Malformed(format!(
                "it announces {length} bytes, at most {} are allowed",
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

    /// Whether all that was fed has become messages: the stream may end here.
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
