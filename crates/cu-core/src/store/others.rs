//! Other processes that have the database open: how long a writer waits for them, and their names.
//!
//! A commit with a rollback journal waits for all readers; any commit waits for another writer, such as a
//! database browser. However long that takes, the commit has not failed: it is repeated until it succeeds
//! or is abandoned.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cu_system::process;
use rusqlite::ErrorCode;

/// How long a transaction insists, during which no reader can begin.
const INSIST: Duration = Duration::from_secs(2);
/// How long it then gives way, so that new readers get in.
const GIVE_WAY: Duration = Duration::from_millis(500);
/// The longest wait between two looks, and so how long it takes to give up.
const LOOK: Duration = Duration::from_millis(50);

/// Whether a waiting commit has been abandoned. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For SQLite, which asks after each try whether to try again. The wait doubles each time.
    pub fn insist(&self) -> impl FnMut(i32) -> bool + Send + 'static {
        let abandoned = self.clone();
        let mut begun = Instant::now();
        move |tries| {
            if tries == 0 {
                begun = Instant::now();
            }
            if abandoned.is_set() || begun.elapsed() >= INSIST {
                return false;
            }
            sleep(Duration::from_millis(1 << tries.clamp(0, 10)).min(LOOK));
            true
        }
    }

    /// Lets others in. Returns whether another try is wanted.
    pub fn give_way(&self) -> bool {
        let until = Instant::now() + GIVE_WAY;
        while !self.is_set() && Instant::now() < until {
            sleep(LOOK);
        }
        !self.is_set()
    }
}

/// Whether others are in the way, and nothing else is wrong.
pub(super) fn are_in_the_way(error: &rusqlite::Error) -> bool {
    let busy = [
        ErrorCode::DatabaseBusy,
        ErrorCode::DatabaseLocked,
        // Too many of them at once.
        ErrorCode::FileLockingProtocolFailed,
    ];
    let code = error.sqlite_error_code();
    code.is_some_and(|code| busy.contains(&code))
}

/// The processes of this machine that hold the database, for people: `process 17 (sqlite3)`.
pub(crate) fn holders(database: &Path) -> String {
    let own = std::process::id();
    let named = |pid| match process::name(pid) {
        Some(name) => format!("process {pid} ({name})"),
        None => format!("process {pid}"),
    };
    let holders = process::lock_holders(database).into_iter();
    let holders: Vec<_> = holders.filter(|pid| *pid != own).map(named).collect();
    match holders.is_empty() {
        true => "another process, which may be on another machine".to_owned(),
        false => holders.join(", "),
    }
}
