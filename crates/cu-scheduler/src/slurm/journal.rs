//! The file in the state directory that says what was handed over: JSON lines, read once, appended to.
//!
//! What is about to be handed over is written, and is on the disk, before sbatch is started: the
//! cluster outlives this machine. A line that a crash cut short is ignored: the call that it announces
//! had not begun.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cu_system::files;

use super::known::{Known, Line};
use crate::Error;

const VERSION: u32 = 1;
/// Between the start of a child and its `exec` it shares the lock of its parent: if that was killed
/// just then, the lock lives on for a moment.
const ORPHANED_LOCK: Duration = Duration::from_secs(5);

/// The open journal with what it says.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// The last line may be there in part: the next begins with an end of it.
    torn: bool,
    known: Known,
}

impl Journal {
    /// Reads the journal in `state_dir` and locks it as long as this value lives.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it, [`Error::State`] if it can't be used.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join("journal");
        let failed = |source| Error::State {
            path: path.clone(),
            source,
        };
        let mut file =
            files::open_own(&path, files::new_file().read(true).append(true)).map_err(failed)?;
        lock(&file, state_dir)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let new = text.is_empty();
        let torn = text.last().is_some_and(|last| *last != b'\n');
        let known = read(&String::from_utf8_lossy(&text)).map_err(failed)?;
        let mut journal = Self {
            path: path.clone(),
            file,
            torn,
            known,
        };
        if new {
            journal
                .write(&Line::Header { version: VERSION })
                .map_err(failed)?;
        }
        Ok(journal)
    }

    /// The state that its lines add up to.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Writes down what is about to be done. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`Error::State`] if that failed: then it must not be done.
    pub fn intend(&mut self, line: Line) -> Result<(), Error> {
        let written = self.write(&line).and_then(|()| self.file.sync_data());
        written.map_err(|source| Error::State {
            path: self.path.clone(),
            source,
        })?;
        self.known.apply(line);
        Ok(())
    }

    /// Writes down what was done. If that fails, it is found out again by asking the cluster.
    pub fn note(&mut self, line: Line) {
        self.write(&line).ok();
        self.known.apply(line);
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut text = String::from(if self.torn { "\n" } else { "" });
        text.push_str(&serde_json::to_string(line)?);
        text.push('\n');
        // While the disk is full, it may take a part of the line.
        self.torn = true;
        self.file.write_all(text.as_bytes())?;
        self.torn = false;
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing would not do: a child that starts just now has the file open too.
        self.file.unlock().ok();
    }
}

fn read(text: &str) -> io::Result<Known> {
    let mut known = Known::default();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Header { version }) if version > VERSION => {
                let reason = format!("it is of version {version}, and this is {VERSION}");
                return Err(io::Error::other(reason));
            }
            Ok(line) => known.apply(line),
            // Torn by a crash.
            Err(_) => {}
        }
    }
    Ok(known)
}

fn lock(file: &File, state_dir: &Path) -> Result<(), Error> {
    let give_up = Instant::now() + ORPHANED_LOCK;
    loop {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::InUse {
                    state_dir: state_dir.to_path_buf(),
                    owner: "another process".into(),
                });
            }
            // A file system without locks: the owner of the directory must see to it.
            Ok(()) | Err(std::fs::TryLockError::Error(_)) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::known::Call;
    use super::*;

    fn call(number: u64) -> Line {
        Line::Call(Call {
            number,
            at_unix_s: 1,
            job_name: "digits:run/1/0:5".into(),
            script: "/a/submit.sh".into(),
            names: vec!["run/1/0".into()],
            array: false,
        })
    }

    #[test]
    fn a_reopened_journal_knows_every_line() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path()).unwrap();
        journal.intend(call(5)).unwrap();
        journal.note(Line::Accepted { call: 5, id: 9 });
        drop(journal);
        let journal = Journal::open(directory.path()).unwrap();
        let known = journal.known();
        let job = known.job(5, 9, None);
        assert_eq!(known.call_of(job).map(|call| call.number), Some(5));
    }

    #[test]
    fn a_torn_line_harms_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(directory.path()).unwrap();
        journal.intend(call(5)).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut journal = Journal::open(directory.path()).unwrap();
            // Only the last byte, the line's end, may be missing without a loss.
            let complete = length + 1 >= whole.len();
            assert_eq!(journal.known().call(5).is_some(), complete, "{length}");
            journal.intend(call(6)).unwrap();
            drop(journal);
            let journal = Journal::open(directory.path()).unwrap();
            assert!(journal.known().call(6).is_some(), "{length}");
        }
    }

    #[test]
    fn a_line_cut_by_a_full_disk_harms_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path()).unwrap();
        // A pipe without a reader takes as much as it holds, and then no more.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let writer = std::os::fd::OwnedFd::from(writer);
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
        journal.file = writer.into();
        let mut line = call(5);
        if let Line::Call(call) = &mut line {
            call.names = vec!["run/1/0".into(); 100_000];
        }
        journal.intend(line).unwrap_err();
        let mut disk = vec![0; 1 << 20];
        let taken = reader.read(&mut disk).unwrap();
        assert!(taken > 0, "a part was written");
        disk.truncate(taken);
        journal.note(call(6));
        drop(journal);
        reader.read_to_end(&mut disk).unwrap();
        let known = read(&String::from_utf8(disk).unwrap()).unwrap();
        assert!(known.call(5).is_none() && known.call(6).is_some());
    }

    #[test]
    fn a_newer_version_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        std::fs::write(&path, "{\"header\":{\"version\":2}}\n").unwrap();
        let error = Journal::open(directory.path()).unwrap_err();
        assert!(matches!(error, Error::State { .. }), "{error}");
    }

    #[test]
    fn a_folder_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let _owner = Journal::open(directory.path()).unwrap();
        let second = Journal::open(directory.path());
        assert!(matches!(second, Err(Error::InUse { .. })));
    }
}
