//! Places for one test at a time, across all processes.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::user::as_root;
use crate::wait;

/// As many as the scripts make.
const LANES: u32 = 8;

/// How many jobs of one processor run in a lane at once.
pub(crate) const SLOTS: u32 = 3;

/// Tests that wait for time limits take a few minutes, and some may stand in the queue before.
const PATIENCE: Duration = Duration::from_secs(1800);

/// A lane that this test holds. The lock dies with the process.
#[derive(Debug)]
pub(crate) struct Held {
    number: u32,
    _lock: File,
}

impl Held {
    /// Waits for a free lane of the cluster in `home`.
    ///
    /// # Panics
    /// If none becomes free in half an hour.
    pub(crate) fn take(home: &Path) -> Self {
        let folder = home.join("lanes");
        let files: Vec<_> = (1..=LANES)
            .map(|number| {
                let path = folder.join(number.to_string());
                let open = || {
                    let mut options = fs::OpenOptions::new();
                    options.create(true).truncate(false).write(true).open(&path)
                };
                as_root(open).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            })
            .collect();
        let mut files: Vec<_> = (1..=LANES).zip(files).collect();
        let what = format!("a free lane in {}", folder.display());
        wait::until(&what, PATIENCE, || {
            let free = files.iter().position(|(_, file)| match file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => false,
                Err(TryLockError::Error(error)) => panic!("{}: {error}", folder.display()),
            });
            free.map(|index| files.swap_remove(index))
        })
        .into()
    }

    /// From 1 on.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }
}

impl From<(u32, File)> for Held {
    fn from((number, lock): (u32, File)) -> Self {
        Self {
            number,
            _lock: lock,
        }
    }
}
