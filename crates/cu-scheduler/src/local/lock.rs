//! A lock for one process per state directory. It is released when its owner dies, and names it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use cu_system::files;
use rustix::fs::{FlockOperation, flock};

use super::proc_fs;
use crate::Error;

/// How long a dead owner's lock may still be held. A child shares its parent's lock between spawn
/// and `exec`: if the parent is killed just then, the lock lives on for microseconds. Waiting this
/// long ensures that we see that child.
const ORPHANED_LOCK: Duration = Duration::from_secs(10);

/// The greatest length of an owner's description, in bytes.
const LONGEST: u64 = 1024;

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is spawning has the file open, too.
        flock(&self.file, FlockOperation::Unlock).ok();
    }
}

impl Lock {
    pub fn take(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join("lock");
        let failed = |source| Error::State {
            path: path.clone(),
            source,
        };
        let mut file =
            files::open_own(&path, files::new_file().read(true).write(true)).map_err(failed)?;
        let give_up = Instant::now() + ORPHANED_LOCK;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let owner = owner(&mut file).map_err(failed)?;
                    if proc_fs::is_alive_here(&owner) || Instant::now() > give_up {
                        return Err(Error::InUse {
                            state_dir: state_dir.to_path_buf(),
                            owner,
                        });
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        write!(
            file,
            "process {} on {}",
            std::process::id(),
            cu_system::machine::host()
        )
        .map_err(failed)?;
        Ok(Self { file })
    }
}

fn owner(file: &mut File) -> std::io::Result<String> {
    let mut owner = String::new();
    file.rewind()?;
    file.take(LONGEST).read_to_string(&mut owner)?;
    Ok(owner)
}
