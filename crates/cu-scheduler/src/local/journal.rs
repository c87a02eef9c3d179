//! The journal of a state directory: JSON lines, each batch appended in one write. Opening reads the
//! journal and rewrites it.
//!
//! A line costs one small `write`, a fiftieth of renaming a file. It is not synced, since a reboot
//! ends the jobs whose lines it may lose. Only job numbers must survive a reboot, so they are
//! reserved in blocks, and a reservation is synced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cu_system::files;

use super::record::{Ended, Header, Line, Queued, Running};

/// The number of job numbers that are reserved at once, for one `fdatasync`.
const BLOCK: u64 = 4096;
/// The number of ends that are remembered. Older ones are forgotten when the journal is rewritten.
pub(super) const ENDS_KEPT: usize = 10_000;

/// The greatest length in bytes: ten thousand submissions with the largest environments.
const LONGEST: u64 = 2 << 30;

/// The state of one submission in the journal.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Known {
    Queued(Box<Queued>),
    /// A process was started, or was about to be.
    Started(Box<Started>),
    Ended(Ended),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Started {
    pub queued: Queued,
    pub at_unix_ms: u64,
    pub process: Option<Running>,
    pub ending: Option<super::record::Cause>,
}

/// The content of a journal.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Folded {
    pub header: Option<Header>,
    /// This number and greater ones were never given to a job.
    pub reserved_below: u64,
    pub jobs: BTreeMap<u64, Known>,
}

impl Folded {
    /// Reads `text` line by line. A line that is not a record was cut off by a crash; its event was
    /// not acknowledged.
    pub fn parse(text: &str) -> Self {
        let mut folded = Self::default();
        for line in text.lines() {
            if let Ok(line) = serde_json::from_str(line) {
                folded.apply(line);
            }
        }
        folded
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Header(header) => self.header = Some(header),
            Line::Reserved { below } => self.reserved_below = self.reserved_below.max(below),
            Line::Queued(queued) => {
                self.jobs.insert(queued.number, Known::Queued(queued));
            }
            Line::Starting { number, at_unix_ms } => {
                if let Some(Known::Queued(queued)) = self.jobs.get(&number) {
                    let started = Started {
                        queued: (**queued).clone(),
                        at_unix_ms,
                        process: None,
                        ending: None,
                    };
                    self.jobs.insert(number, Known::Started(Box::new(started)));
                }
            }
            Line::Running(running) => {
                if let Some(Known::Started(started)) = self.jobs.get_mut(&running.number) {
                    started.process = Some(running);
                }
            }
            Line::Ending { number, cause } => {
                if let Some(Known::Started(started)) = self.jobs.get_mut(&number) {
                    started.ending = Some(cause);
                }
            }
            Line::Ended(ended) => {
                self.jobs.insert(ended.number, Known::Ended(ended));
            }
        }
    }

    fn lines(&self, header: Header) -> Vec<Line> {
        let mut lines = vec![
            Line::Header(header),
            Line::Reserved {
                below: self.reserved_below,
            },
        ];
        let ends = self.jobs.values().filter(|job| job.is_ended()).count();
        let mut forgotten = ends.saturating_sub(ENDS_KEPT);
        for (number, known) in &self.jobs {
            match known {
                Known::Queued(queued) => lines.push(Line::Queued(queued.clone())),
                Known::Started(started) => {
                    lines.push(Line::Queued(Box::new(started.queued.clone())));
                    lines.push(Line::Starting {
                        number: *number,
                        at_unix_ms: started.at_unix_ms,
                    });
                    lines.extend(started.process.clone().map(Line::Running));
                    lines.extend(started.ending.map(|cause| Line::Ending {
                        number: *number,
                        cause,
                    }));
                }
                Known::Ended(_) if forgotten > 0 => forgotten -= 1,
                Known::Ended(ended) => lines.push(Line::Ended(ended.clone())),
            }
        }
        lines
    }
}

impl Known {
    fn is_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    header: Header,
    /// The length of all whole lines. A write that fails half-way is cut off again.
    length: u64,
    lines: usize,
    lines_when_rewritten: usize,
    next_number: u64,
    reserved_below: u64,
    /// Lines that could not be written yet and that no caller waits for.
    owed: Vec<Line>,
}

impl Journal {
    pub fn path_in(state_dir: &Path) -> PathBuf {
        state_dir.join("journal")
    }

    /// Reads the journal in `state_dir`; empty if there is none.
    pub fn read(state_dir: &Path) -> io::Result<Folded> {
        match files::read_own(&Self::path_in(state_dir), LONGEST) {
            Ok(bytes) => Ok(Folded::parse(&String::from_utf8_lossy(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Folded::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes `folded` as a new journal with `header`, and opens it for appending.
    pub fn rewrite(state_dir: &Path, folded: &Folded, header: Header) -> io::Result<Self> {
        let path = Self::path_in(state_dir);
        let (file, length, lines) = write_anew(&path, &folded.lines(header.clone()))?;
        let same_boot = folded
            .header
            .as_ref()
            .is_some_and(|old| old.boot == header.boot);
        let next_number = match folded.jobs.last_key_value() {
            // Unless the power failed, every number of a job is in the journal, and the newest is
            // never forgotten.
            Some((newest, _)) if same_boot => newest.saturating_add(1),
            _ => folded.reserved_below.max(1),
        };
        Ok(Self {
            path,
            file,
            header,
            length,
            lines,
            lines_when_rewritten: lines,
            next_number,
            reserved_below: folded.reserved_below,
            owed: Vec::new(),
        })
    }

    /// Appends `lines` and all postponed lines in one write, or nothing.
    pub fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in self.owed.iter().chain(lines) {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        if let Err(error) = self.file.write_all(&bytes) {
            // If cutting also fails, half a line stays, and the next append begins with a line end.
            if self.file.set_len(self.length).is_err() {
                self.file.write_all(b"\n").ok();
            }
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.lines += self.owed.len() + lines.len();
        self.owed.clear();
        Ok(())
    }

    /// Appends a line that a later open can reconstruct. If it can't be written now, the next
    /// append writes it.
    pub fn append_later(&mut self, lines: Vec<Line>) {
        if !lines.is_empty() && self.append(&lines).is_err() {
            self.owed.extend(lines);
        }
    }

    /// Returns a number that was never used before, not even before a power failure.
    pub fn number(&mut self) -> io::Result<u64> {
        if self.next_number >= self.reserved_below {
            // Only a damaged journal has a number near the last one.
            let spent = || io::Error::other("its numbers are used up");
            let below = self.next_number.checked_add(BLOCK).ok_or_else(spent)?;
            self.append(&[Line::Reserved { below }])?;
            self.file.sync_data()?;
            self.reserved_below = below;
        }
        self.next_number += 1;
        Ok(self.next_number - 1)
    }

    /// Rewrites the journal if most of its lines are outdated.
    pub fn shorten(&mut self) -> io::Result<()> {
        if self.lines < self.lines_when_rewritten * 2 + 4 * ENDS_KEPT {
            return Ok(());
        }
        let text = files::read_own(&self.path, LONGEST)?;
        let folded = Folded::parse(&String::from_utf8_lossy(&text));
        let lines = folded.lines(self.header.clone());
        (self.file, self.length, self.lines) = write_anew(&self.path, &lines)?;
        self.lines_when_rewritten = self.lines;
        Ok(())
    }
}

fn write_anew(path: &Path, lines: &[Line]) -> io::Result<(File, u64, usize)> {
    let beside = path.with_extension("new");
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Opened once, before the renaming: afterwards nothing can fail, and no line goes into the
    // replaced file.
    let mut file = files::new_file()
        .append(true)
        .create_new(true)
        .open(&beside)?;
    file.write_all(&bytes)?;
    // It contains the reserved numbers.
    file.sync_data()?;
    std::fs::rename(&beside, path)?;
    // Otherwise a power failure could bring the old journal back, and numbers would be used twice. A
    // file system that can't sync a directory has no better way.
    let directory = path.parent().map(File::open).transpose();
    directory
        .and_then(|it| it.map_or(Ok(()), |it| it.sync_all()))
        .ok();
    Ok((file, bytes.len() as u64, lines.len()))
}

#[cfg(test)]
impl Journal {
    /// Makes all later writes fail as on a full disk.
    pub fn fill_disk(&mut self) {
        let full = std::fs::OpenOptions::new().append(true).open("/dev/full");
        self.file = full.expect("Linux has this device");
    }
}
