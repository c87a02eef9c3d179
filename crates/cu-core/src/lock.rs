//! One main process per run: a lock on a file in the run directory that dies with its owner.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use cu_supervisor::host;
use rustix::fs::{FlockOperation, flock};

use crate::operator::is_there;
use crate::{Error, Result, RunDir};

/// Who only asks whether it is held, or finds that a run is made already, holds it for an instant:
/// so often it is tried, and so long is waited in between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// The lock of a run, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
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
        Self::named(run_dir, file)
    }

    /// Takes the lock of a run that is still to be made, so that nobody can answer yet.
    pub fn take_for_new(run_dir: &RunDir) -> Result<Self> {
        let (file, _) = lock(run_dir)?;
        Self::named(run_dir, file)
    }

    /// Says whose it is: for people, and for machines that don't see our lock.
    fn named(run_dir: &RunDir, mut file: File) -> Result<Self> {
        let holder = format!("process {}{ON}{}\n", std::process::id(), host());
        let named = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()));
        named.map_err(Error::file("write", &run_dir.lock()))?;
        Ok(Self { _file: file })
    }
}

/// The locked file, and who it said held it.
fn lock(run_dir: &RunDir) -> Result<(File, String)> {
    let path = run_dir.lock();
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(Error::file("open", &path))?;
    let mut outcome = try_lock(&file);
    for _ in 1..TRIES {
        if outcome != Err(rustix::io::Errno::WOULDBLOCK) {
            break;
        }
        std::thread::sleep(PAUSE);
        outcome = try_lock(&file);
    }
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
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

/// Whether a living process holds the lock of this run.
pub(crate) fn is_held(run_dir: &RunDir) -> bool {
    let Ok(file) = File::open(run_dir.lock()) else {
        return false;
    };
    // A shared lock, given back at once, so that two who ask don't see each other.
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}
