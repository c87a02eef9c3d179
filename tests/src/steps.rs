//! The log that `tiny_job` writes of its steps: one line an entry, appended as a whole, so that it
//! shows attempts that overlap.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// The time in nanoseconds since the machine was started. All processes share this clock, and
/// nobody sets it.
#[must_use]
pub fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The path of a job's log.
#[must_use]
pub fn log_path(output_dir: &Path) -> PathBuf {
    output_dir.join("steps.log")
}

/// The kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The attempt loaded the checkpoint with the steps up to this one; 0 without any.
    Loaded,
    /// This step was done.
    Step,
    /// A checkpoint with the steps up to this one is durable.
    Saved,
    /// The results, which are this number, were confirmed.
    Results,
}

/// One entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kind of entry.
    pub kind: Kind,
    /// The attempt.
    pub attempt: u32,
    /// The step, or the last of several.
    pub number: u64,
    /// When it began, in nanoseconds.
    pub begin: u64,
    /// When it ended, in nanoseconds.
    pub end: u64,
}

const WORDS: [(Kind, &str); 4] = [
    (Kind::Loaded, "loaded"),
    (Kind::Step, "step"),
    (Kind::Saved, "saved"),
    (Kind::Results, "results"),
];

impl fmt::Display for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, word) = WORDS.iter().find(|(kind, _)| *kind == self.kind).unwrap();
        let Self {
            attempt,
            number,
            begin,
            end,
            ..
        } = self;
        write!(out, "{word} {attempt} {number} {begin} {end}")
    }
}

impl FromStr for Entry {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let [word, attempt, number, begin, end] = words[..] else {
            bail!("an entry has five words: {line}");
        };
        let kind = WORDS.iter().find(|(_, known)| *known == word);
        Ok(Self {
            kind: kind.context("an unknown kind of entry")?.0,
            attempt: attempt.parse()?,
            number: number.parse()?,
            begin: begin.parse()?,
            end: end.parse()?,
        })
    }
}

/// A log to append to.
#[derive(Debug)]
pub struct StepLog {
    file: File,
    attempt: u32,
}

impl StepLog {
    /// The log of this attempt of the job.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn open(output_dir: &Path, attempt: u32) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create(true)
            .open(log_path(output_dir))?;
        Ok(Self { file, attempt })
    }

    /// Logs what has happened since `begin`. One write call, which the kernel appends as a whole: a
    /// process that is killed leaves the whole entry or nothing.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn note(&mut self, kind: Kind, number: u64, begin: u64) -> Result<()> {
        let entry = Entry {
            kind,
            attempt: self.attempt,
            number,
            begin,
            end: nanoseconds(),
        };
        let line = format!("{entry}\n");
        let written = self.file.write(line.as_bytes())?;
        if written != line.len() {
            bail!("the entry was cut off");
        }
        Ok(())
    }
}

/// All entries of a job; none if there is no log.
///
/// # Errors
/// If the log can't be read, or has a malformed entry.
pub fn read(output_dir: &Path) -> Result<Vec<Entry>> {
    let path = log_path(output_dir);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path)?;
    let entries = text.lines().map(str::parse);
    entries
        .collect::<Result<_>>()
        .with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_entries_are_read_unchanged() {
        let scratch = tempfile::tempdir().unwrap();
        let begin = nanoseconds();
        for attempt in 0..2 {
            let mut log = StepLog::open(scratch.path(), attempt).unwrap();
            for (number, (kind, _)) in (1..).zip(WORDS) {
                log.note(kind, number, begin).unwrap();
            }
        }
        let entries = read(scratch.path()).unwrap();
        assert_eq!(entries.len(), 2 * WORDS.len());
        let last = entries.last().unwrap();
        assert_eq!((last.kind, last.attempt), (Kind::Results, 1));
        assert_eq!((last.number, last.begin), (4, begin));
        assert!(last.end >= begin && last.end <= nanoseconds());
    }

    #[test]
    fn half_an_entry_is_an_error() {
        assert!("step 0 1 5".parse::<Entry>().is_err());
        assert!("leap 0 1 5 6".parse::<Entry>().is_err());
    }
}
