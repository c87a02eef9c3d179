//! Tickets: files that say what a cluster job runs, one for each of its attempts.
//!
//! The tickets of the cluster job that was submitted as `RUN/JOB/ATTEMPT` are the files `1`, `2`, …
//! in `jobs/RUN/JOB/ATTEMPT`. A job that starts runs what the newest names. Beside them, a job that
//! waits in its slot for the next one makes the file `waiting`; whichever side renames it decides.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cu_system::files;

use crate::SubmissionName;
use crate::cluster::Refusal;

/// More than a ticket holds, or a job complains of, in bytes.
const LONGEST: u64 = 1 << 20;

/// The record of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// The script that is run.
    pub script: String,
    /// The attempt.
    pub name: SubmissionName,
    /// How many starts of the cluster job this attempt is allowed, those before it included.
    pub starts: u32,
    /// How many events the log had of the cluster job when the ticket was written: those are of its
    /// predecessors.
    pub events: u64,
    /// It goes on in the slot of its predecessor.
    pub in_slot: bool,
    /// The checksum of the header of its description: other needs, another header.
    pub header_checksum: u64,
}

/// The directory `jobs`.
#[derive(Clone, Debug)]
pub(super) struct Tickets(PathBuf);

impl Tickets {
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("jobs"))
    }

    /// Writes the ticket `number` of the cluster job that was submitted as `first`, whole or not at
    /// all.
    pub fn write(&self, first: &SubmissionName, number: u32, ticket: &Ticket) -> io::Result<()> {
        let directory = self.directory(first);
        files::make_dir(&directory)?;
        let path = directory.join(number.to_string());
        files::write_whole(&path, ticket.to_text().as_bytes(), files::PRIVATE_FILE)
    }

    /// The ticket `number`, if it is there and whole.
    pub fn read(&self, first: &SubmissionName, number: u32) -> Option<Ticket> {
        let path = self.directory(first).join(number.to_string());
        let text = files::read_own(&path, LONGEST).ok()?;
        Ticket::from_text(str::from_utf8(&text).ok()?)
    }

    /// All tickets from `number` on.
    pub fn from(&self, first: &SubmissionName, number: u32) -> Vec<Ticket> {
        let read = |number| self.read(first, number);
        (number..).map_while(read).collect()
    }

    /// Removes the ticket `number`, which no job has used.
    pub fn remove(&self, first: &SubmissionName, number: u32) {
        // If it stays, it names an attempt that is found nowhere else.
        fs::remove_file(self.directory(first).join(number.to_string())).ok();
    }

    /// Whether the job waits in its slot for the next ticket.
    pub fn is_waiting(&self, first: &SubmissionName) -> bool {
        self.directory(first).join("waiting").exists()
    }

    /// Lets a job go on that waits in its slot; `false` if it no longer does.
    pub fn grant(&self, first: &SubmissionName) -> io::Result<bool> {
        let directory = self.directory(first);
        match fs::rename(directory.join("waiting"), directory.join("granted")) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The newest complaint of the job's start, if there is one.
    pub fn failure(&self, first: &SubmissionName) -> Option<String> {
        let text = files::read(&self.directory(first).join("failures"), LONGEST).ok()?;
        let text = String::from_utf8_lossy(&text);
        text.lines().last().map(str::to_owned)
    }

    /// The first submissions of all cluster jobs of `run` and the job `job`.
    pub fn firsts(&self, run: &str, job: u32) -> Vec<SubmissionName> {
        let directory = self.0.join(run).join(job.to_string());
        let Ok(entries) = fs::read_dir(directory) else {
            return Vec::new();
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            let attempt = entry.ok()?.file_name().to_str()?.parse().ok()?;
            SubmissionName::new(run, job, attempt).ok()
        };
        entries.filter_map(name).collect()
    }

    fn directory(&self, first: &SubmissionName) -> PathBuf {
        let attempt = first.attempt().to_string();
        let job = self.0.join(first.run()).join(first.job().to_string());
        job.join(attempt)
    }
}

impl Ticket {
    fn to_text(&self) -> String {
        format!(
            "{}\n{}\nstarts {}\nevents {}\nin slot {}\nneeds {:016x}\n",
            self.script, self.name, self.starts, self.events, self.in_slot, self.header_checksum
        )
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let (script, name) = (lines.next()?, lines.next()?);
        let mut field = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        Some(Self {
            script: script.into(),
            name: name.parse().ok()?,
            starts: field("starts")?.parse().ok()?,
            events: field("events")?.parse().ok()?,
            in_slot: field("in slot")?.parse().ok()?,
            header_checksum: u64::from_str_radix(field("needs")?, 16).ok()?,
        })
    }
}

/// The refusal if files of a submission can't be written.
pub(super) fn files_refused(error: io::Error) -> Refusal {
    Refusal::unavailable(format!("the submission's files can't be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let tickets = Tickets::new(directory.path());
        let name = |attempt| SubmissionName::new("run", 7, attempt).unwrap();
        let ticket = Ticket {
            script: "/a directory/run.sh".into(),
            name: name(4),
            starts: 2,
            events: 9,
            in_slot: true,
            header_checksum: 0xab,
        };
        tickets.write(&name(3), 1, &ticket).unwrap();
        assert_eq!(tickets.read(&name(3), 1), Some(ticket.clone()));
        assert_eq!(tickets.from(&name(3), 1), [ticket]);
        assert_eq!(tickets.from(&name(3), 2), []);
        assert_eq!(tickets.firsts("run", 7), [name(3)]);
        assert_eq!(tickets.firsts("run", 8), []);
    }

    #[test]
    fn one_grant_is_given_to_one_who_waits() {
        let directory = tempfile::tempdir().unwrap();
        let tickets = Tickets::new(directory.path());
        let name = SubmissionName::new("run", 7, 3).unwrap();
        assert!(!tickets.grant(&name).unwrap());
        let waiting = tickets.directory(&name).join("waiting");
        fs::create_dir_all(waiting.parent().unwrap()).unwrap();
        fs::write(&waiting, "").unwrap();
        assert!(tickets.is_waiting(&name));
        assert!(tickets.grant(&name).unwrap());
        assert!(!tickets.grant(&name).unwrap());
    }
}
