//! Encodes values and decodes them. Only this module names bincode, so that another codec can
//! replace it (under a new [`Form`](crate::header::Form), which keeps old files readable).
//!
//! Integers have their fixed width. Decoding then never claims more bytes than it is going to read,
//! so that the payload's length bounds its memory: a wrong length, in a crafted file or because the
//! type has changed, is refused before anything is allocated.

use std::error::Error;
use std::io;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::de::read::{Reader, SliceReader};
use bincode::de::{Decode, Decoder, DecoderImpl};
use bincode::error::EncodeError;
use bincode::serde::Compat;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// bincode takes its limit as a constant. This one is larger than any payload. The difference to a
/// payload's length is claimed before decoding starts, which leaves exactly that length.
const LARGEST_PAYLOAD: usize = isize::MAX as usize;

type Config = Configuration<LittleEndian, Fixint, Limit<LARGEST_PAYLOAD>>;

const CONFIG: Config = bincode::config::standard()
    .with_fixed_int_encoding()
    .with_limit::<LARGEST_PAYLOAD>();

/// Why a value could not be written.
pub(crate) enum EncodeFailure {
    /// The writer failed, not the value.
    Write(io::Error),
    /// The value has no encoding, such as a sequence of unknown length.
    Value(Box<dyn Error + Send + Sync>),
}

/// Encodes `value` straight into `writer`.
pub(crate) fn encode<T: Serialize + ?Sized>(
    value: &T,
    mut writer: impl io::Write,
) -> Result<(), EncodeFailure> {
    match bincode::serde::encode_into_std_write(value, &mut writer, CONFIG) {
        Ok(_) => Ok(()),
        Err(EncodeError::Io { inner, .. }) => Err(EncodeFailure::Write(inner)),
        Err(error) => Err(EncodeFailure::Value(error.into())),
    }
}

/// Decodes a value that fills all of `payload`.
///
/// Beside the value itself this allocates no more than the payload's length, plus what serde
/// reserves for a sequence (at most 1 MiB each). Only the length of a sequence whose values take no
/// room in the file (`Vec<()>`) is not bounded.
pub(crate) fn decode<T: DeserializeOwned>(
    payload: &[u8],
) -> Result<T, Box<dyn Error + Send + Sync>> {
    let mut decoder = DecoderImpl::new(SliceReader::new(payload), CONFIG, ());
    decoder.claim_bytes_read(LARGEST_PAYLOAD - payload.len())?;
    let Compat(value) = Compat::<T>::decode(&mut decoder)?;
    if decoder.reader().peek_read(1).is_some() {
        return Err("the value ends before the payload does".into());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Everything {
        Unit,
        Numbers(u8, i16, u32, i64, u128, char, bool),
        Nested(Vec<Everything>),
        Named {
            text: String,
            map: BTreeMap<String, Option<u64>>,
            bits: Vec<u64>,
        },
    }

    fn everything() -> impl Strategy<Value = Everything> {
        let named = (
            any::<String>(),
            proptest::collection::btree_map(any::<String>(), any::<Option<u64>>(), 0..4),
            any::<Vec<u64>>(),
        );
        let leaf = prop_oneof![
            Just(Everything::Unit),
            any::<(u8, i16, u32, i64, u128, char, bool)>()
                .prop_map(|(a, b, c, d, e, f, g)| Everything::Numbers(a, b, c, d, e, f, g)),
            named.prop_map(|(text, map, bits)| Everything::Named { text, map, bits }),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            proptest::collection::vec(inner, 0..4).prop_map(Everything::Nested)
        })
    }

    fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(encode(value, &mut bytes).is_ok());
        bytes
    }

    proptest! {
        /// Also checks that the limit, the payload's own length, refuses no value that was saved.
        #[test]
        fn every_value_comes_back(value in everything()) {
            prop_assert_eq!(decode::<Everything>(&encoded(&value)).expect("decodes"), value);
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes: Vec<u8>) {
            let _ = decode::<Everything>(&bytes);
        }

        #[test]
        fn a_length_beyond_the_payload_is_refused(claimed in 9_u64.., rest in any::<[u8; 8]>()) {
            let payload = [claimed.to_le_bytes(), rest].concat();
            // Without the limit this would allocate `claimed` bytes and abort the process.
            prop_assert!(decode::<String>(&payload).is_err());
            prop_assert!(decode::<Vec<u64>>(&payload).is_err());
        }
    }

    #[test]
    fn bytes_after_the_value_are_an_error() {
        let mut bytes = encoded(&7_u32);
        bytes.push(0);
        assert!(decode::<u32>(&bytes).is_err());
    }

    /// As `serde_bytes` does.
    #[derive(Debug, PartialEq)]
    struct Bytes(Vec<u8>);

    impl Serialize for Bytes {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&self.0)
        }
    }

    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;

            impl serde::de::Visitor<'_> for Visitor {
                type Value = Bytes;

                fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    out.write_str("bytes")
                }

                fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                    Ok(Bytes(bytes))
                }
            }

            deserializer.deserialize_byte_buf(Visitor)
        }
    }

    proptest! {
        #[test]
        fn bytes_and_a_sequence_of_them_are_the_same_in_the_file(content: Vec<u8>) {
            let as_bytes = encoded(&Bytes(content.clone()));
            prop_assert_eq!(&as_bytes, &encoded(&content));
            prop_assert_eq!(decode::<Bytes>(&as_bytes).expect("decodes"), Bytes(content));
        }
    }

    #[test]
    fn the_encoding_is_frozen() {
        let value = Everything::Named {
            text: "a".into(),
            map: BTreeMap::from([("b".into(), Some(2))]),
            bits: vec![3],
        };
        #[rustfmt::skip]
        let expected = [
            3, 0, 0, 0, // the variant
            1, 0, 0, 0, 0, 0, 0, 0, b'a',
            1, 0, 0, 0, 0, 0, 0, 0,
            1, 0, 0, 0, 0, 0, 0, 0, b'b', 1, 2, 0, 0, 0, 0, 0, 0, 0,
            1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(encoded(&value), expected);
    }
}
