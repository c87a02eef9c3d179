//! The error of this crate, with a variant for each thing that the caller can do about it.

use std::io;

use crate::Versions;

/// Why a call failed, and what to do about it.
///
/// A receiver survives a time-out ([`Error::is_timeout`]), and a connection survives
/// [`Error::TooLong`], [`Error::Line`] and [`Error::LineTooLong`]. After any other error close the
/// connection and connect again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream failed. If its read timed out ([`Error::is_timeout`]), call `receive` again.
    /// Otherwise connect again.
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
        /// The versions that this end speaks.
        ours: Versions,
        /// The versions that the other end speaks.
        theirs: Versions,
    },

    /// The other end does not speak this protocol at all. Check the address.
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

    /// The other end knows the secret, but its bytes are not a message. Close the connection and
    /// report a bug.
    #[error(
        "the other end sent bytes that are not a message of this protocol: {0}; close the connection and report a bug"
    )]
    Malformed(String),

    /// A record was changed, repeated, dropped or reordered on its way, or does not belong to
    /// this session. Close the connection and connect again.
    #[error(
        "data of the connection was changed, repeated, dropped or reordered on its way; close the connection and connect again"
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

    /// The text is not a secret. Copy the run's secret file again.
    #[error(
        "the text is not a secret: expected 64 hexadecimal digits; copy the secret file of the run again"
    )]
    InvalidSecret,
}

impl Error {
    /// Returns whether a read of the stream timed out or would have blocked. Nothing is lost then:
    /// the next call of `receive` continues where this one stopped.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error) if matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ))
    }
}

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
