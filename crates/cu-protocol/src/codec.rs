//! The one module that names bincode: encode, decode, limits.

pub(crate) use bincode::{Decode, Encode};

use bincode::de::{BorrowDecode, BorrowDecoder, Decoder};
use bincode::error::DecodeError;

use crate::Fraction;

// By hand, since a derived one would let numbers in that `Fraction::new` refuses.
impl<Context> Decode<Context> for Fraction {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Fraction::new(f64::decode(decoder)?).ok_or(DecodeError::Other("no fraction from 0 to 1"))
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Fraction {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}
