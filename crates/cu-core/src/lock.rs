//! One main process per run: a lock on a file in the run directory that dies with its owner.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FlockOperation, flock};

use crate::{Error, Result, RunDir};

/// The lock of a run, held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or tells who has it.
    pub fn take(run_dir: &RunDir) -> Result<Self> {
        let path = run_dir.lock();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(Error::InUse {
                    path: run_dir.path().to_owned(),
                    holder: match holder.trim() {
                        "" => "another main process".to_owned(),
                        named => named.to_owned(),
                    },
                });
            }
            Err(error) => return Err(Error::file("lock", &path)(error.into())),
        }
        let holder = format!(
            "process {} on {}\n",
            std::process::id(),
            cu_supervisor::host()
        );
        // For people only: the lock is the lock, whoever the text names.
        let named = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()));
        named.map_err(Error::file("write", &path))?;
        Ok(Self { _file: file })
    }
}

/// Whether a living process holds the lock of this run.
pub(crate) fn is_held(run_dir: &RunDir) -> bool {
    let Ok(file) = File::open(run_dir.lock()) else {
        return false;
    };
    // A shared lock, given back at once, so that two who ask don't see each other.
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}
