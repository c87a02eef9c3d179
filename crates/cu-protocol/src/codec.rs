//! Encodes and decodes messages, and limits how much memory one may claim. Only this module names
//! bincode.
//!
//! bincode counts what a message claims to contain before it allocates for it, and refuses a claim
//! beyond a limit. The limit here follows the message's own length, so that ten hostile bytes can't
//! ask for megabytes. It can't refuse two things, and our messages have neither: elements without a
//! size, of which a few bytes can claim 2⁶³, and types that contain themselves.

pub(crate) use bincode::{Decode, Encode};

use bincode::config;
use bincode::de::{BorrowDecode, BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};

use crate::{Error, ExitRecord, Fraction, Result, Timestamp};

/// The most bytes one encoded message may have: 1 MiB.
pub const MESSAGE_LIMIT: usize = 1024 * 1024;

/// How many bytes in memory an encoded byte may claim. A metric with a name of three letters and
/// no value is 5 bytes encoded and about 50 in memory, and no message is worse than a few of
/// these, so every message of ours stays below.
const CLAIM_PER_BYTE: usize = 32;

/// Messages up to these lengths are decoded under a limit of their own.
const SHORT: usize = 1024;
const MEDIUM: usize = 32 * 1024;

/// A type that travels in frames. Only messages of this crate implement it.
pub trait Wire: sealed::Coded {}

pub(crate) mod sealed {
    /// The codec, which [`Wire`](super::Wire) hides from users of this crate.
    pub trait Coded: bincode::Encode + bincode::Decode<()> {}
}

macro_rules! wire {
    ($($message:ty),+ $(,)?) => {$(
        impl Wire for $message {}
        impl sealed::Coded for $message {}
    )+};
}

wire!(
    crate::ToServer,
    crate::FromServer,
    crate::Envelope,
    crate::Message,
    crate::Acknowledgement,
    crate::OperatorRequest,
    crate::OperatorAnswer,
);

/// Appends the encoded message to `out`, and checks that the other end will accept its length.
pub(crate) fn encode<T: Wire>(message: &T, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    bincode::encode_into_std_write(message, out, config::standard())
        .map_err(|error| Error::Malformed(error.to_string()))?;
    let bytes = out.len() - before;
    if bytes > MESSAGE_LIMIT {
        out.truncate(before);
        return Err(Error::TooLong {
            bytes,
            limit: MESSAGE_LIMIT,
        });
    }
    Ok(())
}

/// Decodes the one message that all of `bytes` make up.
pub(crate) fn decode<T: Wire>(bytes: &[u8]) -> Result<T> {
    if bytes.len() <= SHORT {
        decode_within::<T, { SHORT * CLAIM_PER_BYTE }>(bytes)
    } else if bytes.len() <= MEDIUM {
        decode_within::<T, { MEDIUM * CLAIM_PER_BYTE }>(bytes)
    } else {
        decode_within::<T, { MESSAGE_LIMIT * CLAIM_PER_BYTE }>(bytes)
    }
}

fn decode_within<T: Wire, const CLAIM: usize>(bytes: &[u8]) -> Result<T> {
    let (message, used) =
        bincode::decode_from_slice(bytes, config::standard().with_limit::<CLAIM>())
            .map_err(|error| Error::Malformed(error.to_string()))?;
    // bincode ignores bytes that it does not need.
    if used != bytes.len() {
        return Err(Error::Malformed(format!(
            "{} bytes follow the message",
            bytes.len() - used
        )));
    }
    Ok(message)
}

/// Written by hand, since a derived `Decode` would accept numbers that `TryFrom` refuses.
macro_rules! checked {
    ($($checked:ty: $plain:ty, $reason:literal;)+) => {$(
        impl<Context> Decode<Context> for $checked {
            fn decode<D: Decoder<Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, DecodeError> {
                let plain = <$plain as Decode<Context>>::decode(decoder)?;
                Self::try_from(plain).map_err(|_| DecodeError::Other($reason))
            }
        }

        impl<'de, Context> BorrowDecode<'de, Context> for $checked {
            fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
                decoder: &mut D,
            ) -> Result<Self, DecodeError> {
                Self::decode(decoder)
            }
        }
    )+};
}

checked! {
    Fraction: f64, "not a fraction from 0 to 1";
    Timestamp: u64, "a time after the last one that is supported";
}

/// Written by hand, without the condition: these bytes are older than it.
impl Encode for ExitRecord {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> std::result::Result<(), EncodeError> {
        let Self {
            end,
            stop,
            host,
            started,
            ended,
            peak_memory_bytes,
            checkpoint,
            output_changed,
            condition: _,
            noticed: _,
        } = self;
        (end, stop, host, started).encode(encoder)?;
        (ended, peak_memory_bytes, checkpoint, output_changed).encode(encoder)
    }
}

impl<Context> Decode<Context> for ExitRecord {
    fn decode<D: Decoder<Context = Context>>(
        decoder: &mut D,
    ) -> std::result::Result<Self, DecodeError> {
        let (end, stop, host, started) = Decode::decode(decoder)?;
        let (ended, peak_memory_bytes, checkpoint, output_changed) = Decode::decode(decoder)?;
        Ok(Self {
            end,
            stop,
            host,
            started,
            ended,
            peak_memory_bytes,
            checkpoint,
            output_changed,
            condition: None,
            noticed: crate::Noticed::default(),
        })
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for ExitRecord {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> std::result::Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
