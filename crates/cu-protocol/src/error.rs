//! The one error of this crate, by what the caller can do about it.

use std::io;

use crate::Versions;

/// What went wrong, and what to do.
///
/// After any error but a time-out ([`Error::is_timeout`]) of a receiver, [`Error::TooLong`],
/// [`Error::Line`] and [`Error::LineTooLong`], the connection is of no further use: close it and
/// connect again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream failed. If its read timed out ([`Error::is_timeout`]), call `receive` again;
    /// else connect again.
    #[error("the connection failed")]
    Io(#[from] io::Error),

    /// The other end closed the connection between two messages. Connect again.
    #[error("the other end has closed the connection; connect again")]
    Closed,

    /// The two ends hold different secrets, or the handshake was changed on its way. Read the
    /// secret of the run again.
    #[error(
        "the secrets of the two ends differ; read the run's secret file again, and check that the address belongs to the same run"
    )]
    WrongSecret,

    /// The two ends have no version of the protocol in common. Use the same release at both.
    #[error(
        "this end speaks version {ours} of the protocol, the other end version {theirs}; use the same release of cluster-utils at both ends"
    )]
    Version {
        /// What this end speaks.
        ours: Versions,
        /// What the other end speaks.
        theirs: Versions,
    },

    /// The other end speaks something else altogether. Check the address.
    #[error("the other end does not speak the protocol of cluster-utils; check the address")]
    Stranger,

    /// The server refused the greeting; the text says why. Both ends get this error, with the
    /// same text.
    #[error("the connection was refused: {0}")]
    Refused(String),

    /// The message that was to be sent is too long. Nothing was sent; send less at once.
    #[error("a message of {bytes} bytes exceeds the limit of {limit} bytes; send less at once")]
    TooLong {
        /// The length of the encoded message.
        bytes: usize,
        /// The greatest length allowed.
        limit: usize,
    },

    /// The other end knows the secret, but what it sent is no message. Close the connection and
    /// report a bug.
    #[error("what arrived is no message of this protocol: {0}; close the connection")]
    Malformed(String),

    /// A record was changed, repeated, dropped or reordered on its way, or does not belong to
    /// this session. Close the connection and connect again.
    #[error(
        "a record of the connection was changed, repeated, dropped or reordered on its way; close the connection and connect again"
    )]
    Tampered,

    /// A JSON line could not be understood; the text says what is wrong and where. The next line
    /// can be read.
    #[error("the line was not understood: {0}")]
    Line(String),

    /// A JSON line is too long. It is skipped; the next line can be read.
    #[error("the line is longer than {limit} bytes; send less at once")]
    LineTooLong {
        /// The greatest length allowed, without the line's end.
        limit: usize,
    },

    /// The text is no secret. Write the run's secret file anew, or copy it again.
    #[error(
        "the text is no secret: 64 hexadecimal digits are expected; copy the secret file of the run again"
    )]
    InvalidSecret,
}

impl Error {
    /// Whether a read of the stream timed out or would have blocked: nothing is lost, and the
    /// next call of `receive` goes on where this one stopped.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ))
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
