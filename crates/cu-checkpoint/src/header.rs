//! The 64 bytes in front of every payload: its form, generation, length and checksum.
//!
//! The size of the header, the place of the version and that of the header's own checksum are the same
//! in all versions of the format. So an old program can distinguish a checkpoint of a newer program (an
//! error, since its steps must not be lost) from a damaged one (skipped).

use std::fmt;

use crate::error::Damage;
use crate::generation::Generation;

/// Length of the header in bytes.
pub(crate) const HEADER_LENGTH: usize = 64;

/// Not text, and every program that translates line ends changes it.
const MAGIC: [u8; 8] = *b"\x89CUCKP\r\n";

/// The version this crate writes.
const VERSION: u16 = 1;

const CHECKSUM_AT: usize = HEADER_LENGTH - 4;

/// The form in which a checkpoint was written and has to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A serde value, by [`Checkpoints::save`](crate::Checkpoints::save).
    Value,
    /// A stream of bytes, by [`Checkpoints::writer`](crate::Checkpoints::writer).
    Stream,
    /// A directory of files, by [`Checkpoints::directory`](crate::Checkpoints::directory).
    Directory,
}

impl Form {
    const fn code(self) -> u8 {
        match self {
            Self::Value => 1,
            Self::Stream => 2,
            Self::Directory => 3,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Value),
            2 => Some(Self::Stream),
            3 => Some(Self::Directory),
            _ => None,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Value => "value",
            Self::Stream => "stream",
            Self::Directory => "directory",
        })
    }
}

/// The contents of the first 64 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) form: Form,
    pub(crate) generation: Generation,
    pub(crate) payload_length: u64,
    pub(crate) payload_checksum: u32,
}

/// Why bytes are not a [`Header`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFailure {
    /// They never were one, or are damaged.
    Damaged(Damage),
    /// They are a header of a version or form that this crate does not know yet.
    Newer { version: u16 },
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.form.code();
        bytes[12..16].copy_from_slice(&self.generation.attempt().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.generation.counter().to_le_bytes());
        bytes[24..32].copy_from_slice(&self.payload_length.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.payload_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, HeaderFailure> {
        if bytes[..8] != MAGIC {
            return Err(HeaderFailure::Damaged(Damage::NotACheckpoint));
        }
        if crc32fast::hash(&bytes[..CHECKSUM_AT]) != u32_at(bytes, CHECKSUM_AT) {
            return Err(HeaderFailure::Damaged(Damage::HeaderChecksum));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        match Form::from_code(bytes[10]) {
            Some(form) if version == VERSION => Ok(Self {
                form,
                generation: Generation::new(u32_at(bytes, 12), u64_at(bytes, 16)),
                payload_length: u64_at(bytes, 24),
                payload_checksum: u32_at(bytes, 32),
            }),
            _ => Err(HeaderFailure::Newer { version }),
        }
    }
}

fn u32_at(bytes: &[u8; HEADER_LENGTH], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

fn u64_at(bytes: &[u8; HEADER_LENGTH], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = Header> {
        let form = prop_oneof![Just(Form::Value), Just(Form::Stream), Just(Form::Directory)];
        (form, any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
            |(form, attempt, counter, payload_length, payload_checksum)| Header {
                form,
                generation: Generation::new(attempt, counter),
                payload_length,
                payload_checksum,
            },
        )
    }

    proptest! {
        #[test]
        fn decodes_to_what_was_encoded(header in any_header()) {
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn every_flipped_bit_is_noticed(header in any_header(), bit in 0..HEADER_LENGTH * 8) {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(matches!(Header::decode(&bytes), Err(HeaderFailure::Damaged(_))));
        }
    }

    #[test]
    fn a_newer_version_is_not_damage() {
        let header = Header {
            form: Form::Value,
            generation: Generation::new(0, 0),
            payload_length: 0,
            payload_checksum: 0,
        };
        for (at, newer) in [(8, 2), (10, 9)] {
            let mut bytes = header.encode();
            bytes[at] = newer;
            let checksum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
            bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
            assert!(matches!(
                Header::decode(&bytes),
                Err(HeaderFailure::Newer { .. })
            ));
        }
    }
}
