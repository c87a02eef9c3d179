//! The event log, read from where the last read ended: bytes, then whole events.
//!
//! HTCondor appends to the file that it has open. When the file is renamed, what is appended to it
//! is still read, and then the new file of that name; when it is cut short, it is read from its
//! beginning. An event counts once the line `...` ends it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use cu_system::files;

use super::event::{self, Event};

/// No event is longer, its last line aside. Anything longer is not an event, and is left out up to the
/// next end of an event.
const LONGEST_EVENT: usize = 1 << 20;

/// No line is longer. An event with a line that is, is left out, too.
const LONGEST_LINE: usize = 1 << 16;

/// Whole events from bytes cut anywhere. Each byte is looked at once, however they are cut.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// What there is of an event so far.
    pending: Vec<u8>,
    /// Where its last line begins.
    line: usize,
    /// The beginning of the event was thrown away.
    headless: bool,
    /// So was the beginning of its last line.
    in_long_line: bool,
}

impl Decoder {
    /// Takes more of the log, and adds the events that are complete by now to `events`.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_whole = piece.ends_with(b"\n");
            if self.in_long_line {
                self.in_long_line = !is_whole;
                continue;
            }
            self.pending.extend_from_slice(piece);
            if self.pending.len() - self.line > LONGEST_LINE {
                self.throw_away();
                self.in_long_line = !is_whole;
            } else if is_whole {
                self.end_line(events);
            }
        }
    }

    /// The last line is whole.
    fn end_line(&mut self, events: &mut Vec<Event>) {
        if self.pending[self.line..].trim_ascii_end() != b"..." {
            self.line = self.pending.len();
            if self.line > LONGEST_EVENT {
                self.throw_away();
            }
            return;
        }
        if !std::mem::take(&mut self.headless) {
            let text = String::from_utf8_lossy(&self.pending[..self.line]);
            events.extend(event::parse(&text));
        }
        self.pending.clear();
        self.line = 0;
    }

    fn throw_away(&mut self) {
        self.pending.clear();
        self.line = 0;
        self.headless = true;
    }
}

/// The file, and how far it was read.
#[derive(Debug)]
pub(super) struct EventLog {
    path: PathBuf,
    open: Option<File>,
    offset: u64,
    decoder: Decoder,
}

impl EventLog {
    /// The log at `path`, of which nothing was read.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: None,
            offset: 0,
            decoder: Decoder::default(),
        }
    }

    /// Whether there is something to read.
    pub fn has_more(&self) -> bool {
        let Some(open) = &self.open else {
            return self.path.exists();
        };
        let length = open.metadata().map(|it| it.len());
        length.is_ok_and(|length| length != self.offset) || self.is_replaced(open)
    }

    /// The events since the last call.
    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        if self.open.is_none() {
            self.open_anew()?;
        }
        self.read_open(&mut events)?;
        if self
            .open
            .as_ref()
            .is_some_and(|open| self.is_replaced(open))
        {
            self.open_anew()?;
            self.read_open(&mut events)?;
        }
        Ok(events)
    }

    fn open_anew(&mut self) -> io::Result<()> {
        self.open = match files::open(&self.path, OpenOptions::new().read(true)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        self.offset = 0;
        self.decoder = Decoder::default();
        Ok(())
    }

    fn read_open(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if open.metadata()?.len() < self.offset {
            self.offset = 0;
            self.decoder = Decoder::default();
        }
        open.seek(SeekFrom::Start(self.offset))?;
        let mut part = vec![0; 1 << 16];
        loop {
            let length = match open.read(&mut part) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.offset += length as u64;
            self.decoder.feed(&part[..length], events);
        }
    }

    /// Whether another file has the log's name by now.
    fn is_replaced(&self, open: &File) -> bool {
        let (Ok(open), Ok(named)) = (open.metadata(), self.path.metadata()) else {
            return false;
        };
        (open.dev(), open.ino()) != (named.dev(), named.ino())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::htcondor::event::{Id, Kind};
    use std::io::Write;

    const TWO: &str = "000 (1.000.000) 2026-11-24 16:06:10 Job submitted from host: <a>\n...\n\
                       001 (1.000.000) 2026-11-24 16:06:11 Job executing on host: <b>\n...\n";

    fn numbers(events: &[Event]) -> Vec<Id> {
        events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn an_overlong_event_is_skipped_and_the_next_is_read() {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for _ in 0..3 {
            decoder.feed(&vec![b'x'; LONGEST_EVENT / 2 + 1], &mut events);
        }
        assert!(decoder.pending.len() <= LONGEST_EVENT, "memory is bounded");
        decoder.feed(b"the rest of it\n...\n", &mut events);
        decoder.feed(TWO.as_bytes(), &mut events);
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn an_endless_line_is_not_read_again_and_again() {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        decoder.feed(b"001 (1.000.000) ", &mut events);
        for _ in 0..4 * LONGEST_LINE {
            decoder.feed(b"x", &mut events);
            // What is kept is all that the next call can look at again, and it looks at none of it.
            assert!(decoder.pending.len() <= LONGEST_LINE);
        }
        decoder.feed(b"...\n...\n", &mut events);
        assert_eq!(events, [], "the event of that line is left out");
        decoder.feed(TWO.as_bytes(), &mut events);
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn the_end_of_an_event_that_is_too_long_is_seen() {
        for filler in [LONGEST_EVENT - 1, LONGEST_EVENT, LONGEST_EVENT + 1] {
            let mut decoder = Decoder::default();
            let mut events = Vec::new();
            let lines = "x\n".repeat(filler.div_ceil(2));
            decoder.feed(lines.as_bytes(), &mut events);
            for byte in format!("...\n{TWO}").bytes() {
                decoder.feed(&[byte], &mut events);
            }
            assert_eq!(events.len(), 2, "{filler}");
        }
    }

    #[test]
    fn a_renamed_log_is_read_to_its_end_and_then_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = EventLog::new(path.clone());
        assert!(!log.has_more());
        assert_eq!(log.read().unwrap(), []);
        std::fs::write(&path, TWO).unwrap();
        assert!(log.has_more());
        assert_eq!(log.read().unwrap().len(), 2);
        assert!(!log.has_more());
        let old = directory.path().join("log.old");
        std::fs::rename(&path, &old).unwrap();
        let mut append = File::options().append(true).open(&old).unwrap();
        append
            .write_all(TWO.replace("(1.", "(2.").as_bytes())
            .unwrap();
        std::fs::write(&path, TWO.replace("(1.", "(3.")).unwrap();
        let events = log.read().unwrap();
        let id = |cluster| Id { cluster, proc: 0 };
        assert_eq!(numbers(&events), [id(2), id(2), id(3), id(3)]);
    }

    #[test]
    fn a_log_that_was_cut_short_is_read_from_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, TWO.repeat(2)).unwrap();
        let mut log = EventLog::new(path.clone());
        assert_eq!(log.read().unwrap().len(), 4);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        assert!(log.has_more());
        let mut append = File::options().append(true).open(&path).unwrap();
        append.write_all(TWO.as_bytes()).unwrap();
        let events = log.read().unwrap();
        assert_eq!(events.len(), 2);
        assert!(matches!(events[1].kind, Kind::Executing { .. }));
    }
}
