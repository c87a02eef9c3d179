//! How NumPy writes a number into a pickle: the type's code, its byte order, and the bytes.

use super::value::Value;

/// Another form than that. The text says which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScalarError(pub String);

fn other(what: impl Into<String>) -> ScalarError {
    ScalarError(what.into())
}

/// A type of numbers, or of texts of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dtype {
    kind: Kind,
    bytes: usize,
    is_big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
    Bool,
    /// In UTF-32.
    Text,
}

impl Dtype {
    /// The longest text of NumPy's that is read, in characters.
    const LONGEST_TEXT: usize = 16 * 1024;

    /// The type with a code such as `f8`.
    pub fn of(code: &[u8]) -> Result<Self, ScalarError> {
        let shown = String::from_utf8_lossy(code);
        let unknown = || {
            other(format!(
                "type {}",
                shown.chars().take(10).collect::<String>()
            ))
        };
        let (kind, size) = match *code {
            [kind, ref size @ ..] => (kind, size),
            [] => return Err(unknown()),
        };
        let is_number = !size.is_empty() && size.iter().all(u8::is_ascii_digit);
        let size = std::str::from_utf8(size).ok().filter(|_| is_number);
        let size = size.and_then(|size| size.parse::<usize>().ok());
        let (kind, bytes) = match (kind, size) {
            (b'f', Some(size @ (2 | 4 | 8))) => (Kind::Float, size),
            (b'i', Some(size @ (1 | 2 | 4 | 8))) => (Kind::Signed, size),
            (b'u', Some(size @ (1 | 2 | 4 | 8))) => (Kind::Unsigned, size),
            (b'b', Some(1)) => (Kind::Bool, 1),
            (b'U', Some(length)) if length <= Self::LONGEST_TEXT => (Kind::Text, 4 * length),
            _ => return Err(unknown()),
        };
        Ok(Self {
            kind,
            bytes,
            is_big_endian: cfg!(target_endian = "big"),
        })
    }

    /// Takes in the state: a version, the byte order, no fields, and for texts alone sizes.
    pub fn set_state(&mut self, state: &[Value]) -> Result<(), ScalarError> {
        let [
            Value::Int(3),
            Value::Text(order),
            Value::None,
            Value::None,
            Value::None,
            sizes @ ..,
        ] = state
        else {
            return Err(other("an unusual state of its type"));
        };
        let is_usual = match (self.kind, sizes) {
            (Kind::Text, [Value::Int(bytes), Value::Int(4), Value::Int(_)]) => {
                usize::try_from(*bytes) == Ok(self.bytes)
            }
            (_, [Value::Int(-1), Value::Int(-1), Value::Int(0)]) => self.kind != Kind::Text,
            _ => false,
        };
        self.is_big_endian = match order.as_str() {
            "<" => false,
            ">" => true,
            "|" | "=" => cfg!(target_endian = "big"),
            _ => return Err(other("an unusual byte order")),
        };
        is_usual
            .then_some(())
            .ok_or_else(|| other("an unusual state of its type"))
    }

    /// The value that these bytes are.
    pub fn read(&self, bytes: &[u8]) -> Result<Value, ScalarError> {
        if bytes.len() != self.bytes {
            let (found, expected) = (bytes.len(), self.bytes);
            return Err(other(format!("{found} bytes in the place of {expected}")));
        }
        if self.kind == Kind::Text {
            let (letters, _) = bytes.as_chunks::<4>();
            let letter = |letter: &[u8; 4]| {
                let code = match self.is_big_endian {
                    true => u32::from_be_bytes(*letter),
                    false => u32::from_le_bytes(*letter),
                };
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            };
            return Ok(Value::Text(letters.iter().map(letter).collect()));
        }
        // The least byte first, as many as there are.
        let mut ordered = [0; 8];
        for (place, byte) in bytes.iter().enumerate() {
            let place = if self.is_big_endian {
                bytes.len() - 1 - place
            } else {
                place
            };
            ordered[place] = *byte;
        }
        let bits = u64::from_le_bytes(ordered);
        Ok(match (self.kind, self.bytes) {
            (Kind::Float, 8) => Value::Float(f64::from_bits(bits)),
            (Kind::Float, 4) => Value::Float(f32::from_le_bytes(low(ordered)).into()),
            (Kind::Float, _) => Value::Float(half(u16::from_le_bytes(low(ordered)))),
            (Kind::Signed, size) => {
                let unused = 64 - 8 * u32::try_from(size).unwrap_or(8);
                Value::Int(bits.cast_signed() << unused >> unused)
            }
            (Kind::Unsigned, _) => match i64::try_from(bits) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Float(bits as f64),
            },
            (Kind::Bool, _) => Value::Bool(bits != 0),
            (Kind::Text, _) => return Err(other("a text")),
        })
    }
}

fn low<const N: usize>(bytes: [u8; 8]) -> [u8; N] {
    let mut low = [0; N];
    low.copy_from_slice(&bytes[..N]);
    low
}

/// A number of 16 bits: 1 sign, 5 exponent, 10 fraction.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    sign * match (exponent, fraction) {
        (0, _) => fraction * 2.0_f64.powi(-14),
        (31, 0.0) => f64::INFINITY,
        (31, _) => f64::NAN,
        _ => (1.0 + fraction) * 2.0_f64.powi(exponent - 15),
    }
}
