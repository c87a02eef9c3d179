//! One main process per run: a lock on a file in the run directory that dies with its owner.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use cu_system::files;
use cu_system::machine::host;
use rustix::fs::{FlockOperation, flock};

use crate::operator::is_there;
use crate::{Error, Result, RunDir};

/// Who only asks whether it is held, or finds that a run is made already, holds it for an instant:
/// so often it is tried, and so long is waited in between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// The longest that its text can be, in bytes.
const LONGEST: u64 = 4096;

/// The lock of a run, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    named: Arc<Named>,
    /// Who held it before and did not give it back: killed, crashed, or lost with its machine.
    pub predecessor: Option<String>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Whoever takes it next need not think that we were killed. If it can't be written, he does.
        let _ = self.named.cut(0);
    }
}

/// The locked file, with the line in it that says who holds it.
#[derive(Debug)]
struct Named {
    file: File,
    line: String,
}

impl Named {
    /// Cuts the text to so many bytes; if it is still ours, for where a machine does not see our lock,
    /// another may have taken the run over from us while we stood still.
    fn cut(&self, length: u64) -> std::io::Result<bool> {
        let mut line = vec![0; self.line.len()];
        let is_ours = self.file.read_exact_at(&mut line, 0).is_ok() && line == self.line.as_bytes();
        if is_ours {
            self.file.set_len(length)?;
        }
        Ok(is_ours)
    }
}

impl Lock {
    /// Takes the lock, or tells who has it.
    ///
    /// On some file systems locks are kept by each machine for itself (Lustre mounted with
    /// `localflock`). So a holder on another machine that accepts connections is believed to be
    /// there, also if it says nothing: it may be stopped, and go on.
    pub async fn take(run_dir: &RunDir) -> Result<Self> {
        let (file, holder) = lock(run_dir)?;
        if is_elsewhere(&holder) && is_there(run_dir).await {
            return Err(in_use(run_dir, &holder));
        }
        Self::named(run_dir, file, &holder)
    }

    /// Takes the lock of a run that is still to be made, so that nobody can answer yet.
    pub fn take_for_new(run_dir: &RunDir) -> Result<Self> {
        let (file, holder) = lock(run_dir)?;
        Self::named(run_dir, file, &holder)
    }

    /// Where its holder can say what it waits for.
    pub fn note(&self) -> Note {
        Note(self.named.clone())
    }

    /// Says whose it is: for people, and for machines that don't see our lock.
    fn named(run_dir: &RunDir, mut file: File, before: &str) -> Result<Self> {
        let line = format!("process {}{ON}{}\n", std::process::id(), host());
        let named = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(line.as_bytes()));
        named.map_err(Error::file("write", &run_dir.lock()))?;
        let before = before.trim();
        Ok(Self {
            named: Arc::new(Named { file, line }),
            predecessor: (!before.is_empty()).then(|| before.to_owned()),
        })
    }
}

/// What the holder of the lock waits for, as those who read the run see it. As long as this lives, so
/// does the lock.
#[derive(Debug)]
pub(crate) struct Note(Arc<Named>);

impl Note {
    /// Says it, in one line; `None` if it waits no longer.
    pub fn set(&self, waits: Option<&str>) {
        let Named { file, line } = &*self.0;
        let start = line.len() as u64;
        let said = self.0.cut(start).and_then(|is_ours| match waits {
            Some(text) if is_ours => file.write_all_at(text.as_bytes(), start),
            _ => Ok(()),
        });
        if let Err(error) = said {
            tracing::warn!("can't write to the run's lock what is waited for: {error}");
        }
    }
}

/// What the main process of a run says that it waits for, if one lives.
pub(crate) fn waits(run_dir: &RunDir) -> Option<String> {
    let text = files::read(&run_dir.lock(), LONGEST).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let waits = text.lines().nth(1)?;
    is_held(run_dir).then(|| waits.to_owned())
}

/// The locked file, and who it said held it.
fn lock(run_dir: &RunDir) -> Result<(File, String)> {
    let path = run_dir.lock();
    let mut file = files::open_own(&path, files::new_file().read(true).write(true))
        .map_err(Error::file("open", &path))?;
    let mut outcome = try_lock(&file);
    for _ in 1..TRIES {
        if outcome != Err(rustix::io::Errno::WOULDBLOCK) {
            break;
        }
        std::thread::sleep(PAUSE);
        outcome = try_lock(&file);
    }
    let mut text = String::new();
    let _ = (&mut file).take(LONGEST).read_to_string(&mut text);
    let holder = text.lines().next().unwrap_or_default().to_owned();
    match outcome {
        Ok(()) => Ok((file, holder)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(in_use(run_dir, &holder)),
        Err(error) => Err(Error::file("lock", &path)(error.into())),
    }
}

fn try_lock(file: &File) -> rustix::io::Result<()> {
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

fn in_use(run_dir: &RunDir, holder: &str) -> Error {
    Error::InUse {
        path: run_dir.path().to_owned(),
        holder: match holder.trim() {
            "" => "another main process".to_owned(),
            named => named.to_owned(),
        },
    }
}

/// What stands before the host in the lock's text.
const ON: &str = " on ";

fn is_elsewhere(holder: &str) -> bool {
    let named = holder.trim().rsplit_once(ON);
    named.is_some_and(|(_, named)| named != host())
}

/// Takes the lock for a moment, without a name: the one who named itself last may have been killed,
/// which its successor is to see. The file gives the lock back when it is dropped.
///
/// # Errors
/// [`Error::InUse`] also if a main process on another machine may work on the run: one that does not
/// see our lock.
pub(crate) fn take_briefly(run_dir: &RunDir) -> Result<File> {
    let (file, holder) = lock(run_dir)?;
    if is_elsewhere(&holder) {
        return Err(in_use(run_dir, &holder));
    }
    Ok(file)
}

/// Whether a living process holds the lock of this run.
pub(crate) fn is_held(run_dir: &RunDir) -> bool {
    let Ok(file) = files::open(&run_dir.lock(), OpenOptions::new().read(true)) else {
        return false;
    };
    // A shared lock, given back at once, so that two who ask don't see each other.
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_given_back_leaves_no_name_but_of_who_took_it_over() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let run = RunDir::new(directory.path());
        let text = || std::fs::read_to_string(run.lock()).expect("the lock's text");
        let lock = Lock::take_for_new(&run).expect("it is free");
        assert_eq!(waits(&run), None);
        lock.note().set(Some("a reader is waited for"));
        assert_eq!(waits(&run).as_deref(), Some("a reader is waited for"));
        lock.note().set(None);
        assert_eq!(waits(&run), None);
        drop(lock);
        assert_eq!(text(), "");
        std::fs::write(run.lock(), "process 7 on login2\n").expect("it was killed");
        let lock = Lock::take_for_new(&run).expect("it is free");
        assert_eq!(lock.predecessor.as_deref(), Some("process 7 on login2"));
        let other = "process 8 on login2\n";
        std::fs::write(run.lock(), other).expect("taken over, its lock unseen");
        lock.note().set(Some("a reader is waited for"));
        drop(lock);
        assert_eq!(text(), other);
    }
}
