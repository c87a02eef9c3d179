//! Where words go: data to stdout, what is said to people to stderr. A reader that has gone away
//! is harmless.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;

use clap::ValueEnum;

use crate::error::{Error, Result};

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Makes all that is printed from now on follow this choice.
    pub fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// Prints data and a newline to stdout.
///
/// # Errors
/// If stdout can't be written. A closed pipe is no error: the reader has what it wanted.
pub fn data(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cant_write_stdout(error)),
        _ => Ok(()),
    }
}

/// Prints bytes to stdout as they are. Breaks if the reader has gone away.
///
/// # Errors
/// As [`data`].
pub fn bytes(bytes: &[u8]) -> Result<ControlFlow<()>> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(cant_write_stdout(error)),
    }
}

/// Prints one JSON value to stdout, byte for byte: what looks like an escape sequence is data here.
///
/// # Errors
/// As [`data`].
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::system("write JSON")(error.into()))?;
    text.push(b'\n');
    bytes(&text).map(drop)
}

fn cant_write_stdout(error: io::Error) -> Error {
    Error::write("write to", Path::new("stdout"))(error)
}

/// Says something to people: a line on stderr. If nobody can hear it, so be it.
pub fn say(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Says that something is allowed and yet probably not meant.
pub fn warn(text: &str) {
    use owo_colors::OwoColorize;
    say(&format!("{} {text}", "warning:".yellow().bold()));
}

/// Whether a person can be asked: both ends of the conversation are a terminal.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
