//! The secret of a run, which both ends of a connection must know.

use std::fmt;
use std::io;

use crate::{Error, Result};

/// 32 random bytes. Anyone who knows them can speak to the main process of the run.
///
/// It has no `Display`, and its `Debug` hides it. Keep it in a file that only its owner can read,
/// never on a command line or in an environment variable.
///
/// ```
/// use cu_protocol::Secret;
///
/// let secret = Secret::generate()?;
/// let file = format!("{}\n", secret.reveal());
/// assert_eq!(Secret::parse(&file)?.reveal(), secret.reveal());
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// # Ok::<(), cu_protocol::Error>(())
/// ```
#[derive(Clone)]
pub struct Secret([u8; Secret::BYTES]);

impl Secret {
    /// The length of a secret in bytes.
    pub const BYTES: usize = 32;

    /// Generates a secret.
    ///
    /// # Errors
    /// [`Error::Io`] if the operating system provides no random numbers.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; Self::BYTES];
        getrandom::fill(&mut bytes).map_err(io::Error::from)?;
        Ok(Self(bytes))
    }

    /// Makes a secret of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Parses the output of [`Secret::reveal`]. White space around it is ignored.
    ///
    /// # Errors
    /// [`Error::InvalidSecret`] unless the text is 64 hexadecimal digits. The error doesn't quote
    /// the text, since it may be part of a secret.
    pub fn parse(text: &str) -> Result<Self> {
        crate::hexadecimal::parse(text.trim())
            .map(Self)
            .ok_or(Error::InvalidSecret)
    }

    /// Returns the secret as 64 hexadecimal digits. Write them into the secret file and nowhere
    /// else.
    #[must_use]
    pub fn reveal(&self) -> String {
        crate::hexadecimal::Digits(&self.0).to_string()
    }

    /// The key for the handshake.
    pub(crate) fn key(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}
