//! The main process's log: `main.log` in the run directory, appended to.

use std::fs::File;
use std::io::{self, Write};

use cu_core::RunDir;
use cu_system::files;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};

use crate::error::{Error, Result};
use crate::text::visible::printable;

/// Logs to the run's `main.log` from now on; with `verbose` more of it, and to stderr as well.
///
/// # Errors
/// If the file can't be opened for writing.
pub fn start(run: &RunDir, verbose: u8) -> Result<()> {
    start_beside(run, verbose, verbose > 0)
}

/// As [`start`], for a process whose stderr is that very file.
///
/// # Errors
/// As [`start`].
pub fn start_in_background(run: &RunDir, verbose: u8) -> Result<()> {
    start_beside(run, verbose, false)
}

/// Opens the log for appending. It never writes to another file in its place, and never blocks.
///
/// # Errors
/// If it can't be opened for writing, or is not this user's alone.
pub fn open(run: &RunDir) -> Result<File> {
    let path = run.log();
    let opened = files::open_own(&path, files::new_file().append(true));
    opened.map_err(Error::write("open", &path))
}

fn start_beside(run: &RunDir, verbose: u8, stderr: bool) -> Result<()> {
    let file = Log(open(run)?);
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let writer = match stderr {
        true => BoxMakeWriter::new(file.and(Stderr)),
        false => BoxMakeWriter::new(file),
    };
    // Fails only for a second subscriber; a process logs for one run.
    let _ = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_max_level(level)
        .with_ansi(false)
        .log_internal_errors(false)
        .try_init();
    Ok(())
}

/// The file. People read in it what programs, schedulers and file names say.
struct Log(File);

impl<'a> MakeWriter<'a> for Log {
    type Writer = Printable<&'a File>;

    fn make_writer(&'a self) -> Self::Writer {
        Printable(&self.0)
    }
}

/// Writes events in visible form; each comes in one piece.
struct Printable<W>(W);

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.0.write_all(printable(&text).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Standard error, where a reader that has gone away does no harm.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Printable<anstream::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Printable(anstream::stderr())
    }
}
