//! Bytes as hexadecimal digits, for run ids and secrets.

use std::fmt;

/// Writes bytes as two lowercase digits each.
pub(crate) struct Digits<'bytes>(pub(crate) &'bytes [u8]);

impl fmt::Display for Digits<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// Parses `2 * N` digits into `N` bytes; `None` if `text` is anything else.
pub(crate) fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
    }
    Some(bytes)
}
