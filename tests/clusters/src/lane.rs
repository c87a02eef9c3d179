//! Places for one test at a time, across all processes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::user::as_root;
use crate::wait;

/// How many jobs of one processor run in a lane at once.
pub(crate) const SLOTS: u32 = 3;

/// Tests that wait for time limits take a few minutes, and some may stand in the queue before.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A lane that this test holds. The lock dies with the process.
#[derive(Debug)]
pub(crate) struct Held {
    number: u32,
    lock: File,
}

impl Held {
    /// Waits for a free lane of the cluster in `home`.
    ///
    /// # Panics
    /// If none becomes free in half an hour.
    pub(crate) fn take(home: &Path) -> Self {
        let directory = home.join("lanes");
        let mut lanes = as_root(|| Self::all(&directory))
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let what = format!("a free lane in {}", directory.display());
        wait::until(&what, PATIENCE, || {
            let is_free = |held: &Self| match held.lock.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(error)) => panic!("{}: {error}", directory.display()),
            };
            let free = lanes.iter().position(is_free);
            free.map(|index| lanes.swap_remove(index))
        })
    }

    /// From 1 on.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Those that the script made, not yet locked.
    fn all(directory: &Path) -> io::Result<Vec<Self>> {
        let open = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            Ok(Self {
                number: number.expect("the script calls them by numbers"),
                lock: File::open(entry.path())?,
            })
        };
        fs::read_dir(directory)?.map(open).collect()
    }
}
