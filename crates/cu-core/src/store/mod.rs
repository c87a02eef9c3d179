//! Record: appends events, and the jobs folded from them, in one transaction. The store is one SQLite
//! database in the run directory, written by one main process, readable at any time.

mod load;
mod open;
mod others;
mod plans;
mod progress;
mod read;
mod recover;
mod rows;
mod stream;
mod sums;
mod update;
mod upgrade;
mod values;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cu_protocol::{JobId, RunId, Timestamp};
use cu_run_dir::Update;
use cu_system::files;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::lock::{Lock, Note};
use crate::machine::{Event, Job, Measured, Tally};
use crate::{AttemptReport, Error, Result, RunDir, RunPlan};

pub(crate) use load::Loaded;
pub(crate) use open::must_exist;
pub(crate) use others::{Abandoned, holders};
pub(crate) use plans::{PlanText, Plans};
use progress::Announcements;
pub use read::Reader;
#[cfg(feature = "unstable")]
pub use read::RecordedEvent;
pub(crate) use read::state_without_us;
use rows::{Rows, write_plan};

/// The version of the store's format that this crate writes.
pub(crate) const FORMAT: i64 = 4;

/// The store of a run, held by its main process.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Connection,
    path: PathBuf,
    /// The identity of the file. A store that was deleted or replaced can still be written, but not found.
    file: FileId,
    /// Set by the first commit that failed: the memory of the main process is ahead of the disk, so
    /// nothing may be recorded after it.
    poisoned: bool,
    announcements: Announcements,
    /// The number of the next event.
    next: i64,
    /// Ends the wait for others.
    abandoned: Abandoned,
    /// Keeps others out until the last commit is over, even one that is no longer awaited.
    lock: Lock,
}

/// The content of one commit.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub at: Timestamp,
    pub events: Vec<(JobId, Event)>,
    pub jobs: Vec<Job>,
    pub attempts: Vec<(JobId, AttemptReport)>,
    pub measured: Vec<(JobId, Measured)>,
    /// The plans of jobs that are new.
    pub added: Vec<(JobId, PlanText)>,
    /// How many jobs the run has in the end, if that has changed.
    pub all_jobs: Option<u32>,
    /// The sum over all jobs, if that has changed.
    pub tally: Option<Tally>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.jobs.is_empty()
            && self.attempts.is_empty()
            && self.all_jobs.is_none()
    }
}

impl Store {
    /// Makes the store of a new run, whole or not at all. Reports now and then how many jobs are written.
    pub fn create(
        run_dir: &RunDir,
        (run, plan): (RunId, &RunPlan),
        at: Timestamp,
        written: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let path = run_dir.store();
        let unfinished = path.with_extension("sqlite.new");
        // A killed creation may have left these, or a deleted store, which SQLite would play back into the
        // new one.
        let left = open::FILES_BESIDE.map(|suffix| cu_run_dir::beside(&path, suffix));
        remove(&unfinished)?;
        remove(&cu_run_dir::beside(&unfinished, "-journal"))?;
        left.iter().try_for_each(|file| remove(file))?;
        let record = |error| open::not_recorded(&path, error);
        // SQLite would use the umask. Files that it makes beside this one later get the same mode.
        files::new_file()
            .write(true)
            .create_new(true)
            .open(&unfinished)
            .map_err(Error::file("make", &unfinished))?;
        let mut connection = Connection::open(&unfinished).map_err(record)?;
        // Nobody finds the file before it has its name, so a journal would protect nothing, and one wait for the
        // disk is enough for all of it.
        connection
            .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
            .and_then(|()| connection.execute_batch(include_str!("schema.sql")))
            .map_err(record)?;
        let transaction = connection.transaction().map_err(record)?;
        write_plan(&transaction, (run, plan), at, written).map_err(record)?;
        transaction
            .execute_batch(include_str!("indices.sql"))
            .map_err(record)?;
        if let Some(place) = place(run_dir) {
            values::set_fact(&transaction, "place", &place).map_err(record)?;
        }
        transaction.commit().map_err(record)?;
        connection.close().map_err(|(_, error)| record(error))?;
        let written = File::open(&unfinished).and_then(|file| file.sync_all());
        written.map_err(Error::file("sync", &unfinished))?;
        std::fs::rename(&unfinished, &path).map_err(Error::file("rename", &unfinished))?;
        let directory = run_dir.path();
        let named = File::open(directory).and_then(|directory| directory.sync_all());
        named.map_err(Error::file("sync", directory))
    }

    /// Opens the store for writing. The caller holds the run's lock.
    pub fn open(run_dir: &RunDir, lock: Lock) -> Result<Self> {
        let path = run_dir.store();
        let mut connection = open::for_writing(run_dir)?;
        upgrade::to_newest(&mut connection).map_err(|error| open::unopened(&path, error))?;
        let file = file_id(&path).map_err(Error::file("examine", &path))?;
        let abandoned = Abandoned::default();
        let newest = "SELECT coalesce(max(number), 0) FROM events";
        let newest: i64 = connection
            .query_row(newest, [], |row| row.get(0))
            .and_then(|newest| {
                connection.busy_handler(Some(abandoned.insist()))?;
                Ok(newest)
            })
            .map_err(|error| open::unopened(&path, error))?;
        Ok(Self {
            connection,
            path,
            file,
            poisoned: false,
            announcements: Announcements::default(),
            next: newest + 1,
            abandoned,
            lock,
        })
    }

    /// Loads everything that a main process needs to go on.
    pub fn load(&self) -> Result<Loaded> {
        load::load(&self.connection).map_err(|error| open::unopened(&self.path, error))
    }

    /// Records how the scheduler names itself, and where the run is, so that a copy can be recognised.
    ///
    /// # Errors
    /// [`Error::Record`]; [`Error::File`] if others are in the way for long.
    pub fn set_opener(&mut self, run_dir: &RunDir, backend: &str) -> Result<()> {
        let until = Instant::now() + open::BUSY;
        let place = place(run_dir);
        let set = |transaction: &Transaction<'_>| {
            values::set_fact(transaction, "backend", backend)?;
            match &place {
                Some(place) => values::set_fact(transaction, "place", place),
                None => Ok(()),
            }
        };
        let mut outcome = self.transact(set);
        while outcome.as_ref().is_err_and(others::are_in_the_way) && Instant::now() < until {
            self.abandoned.give_way();
            outcome = self.transact(set);
        }
        outcome.map_err(|error| open::unwritable(&self.path, error))
    }

    /// Records an update of the run, whole or not at all. Returns whether it was not recorded before.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn record_update(&mut self, at: Timestamp, id: &str, update: &Update) -> Result<bool> {
        let at = i64::try_from(at.millis()).unwrap_or(i64::MAX);
        let newest = "SELECT coalesce(max(number), 0) FROM events";
        let written = self.transact(|transaction| {
            let is_new = update::write(transaction, at, id, update)?;
            let newest: i64 = transaction.query_row(newest, [], |row| row.get(0))?;
            Ok((is_new, newest))
        });
        let (is_new, newest) = written.map_err(|error| open::unwritable(&self.path, error))?;
        self.next = newest + 1;
        Ok(is_new)
    }

    /// Ends a commit that waits for others: it then fails, and records nothing.
    pub fn abandoned(&self) -> Abandoned {
        self.abandoned.clone()
    }

    /// For readers: what the store waits for.
    pub fn note(&self) -> Note {
        self.lock.note()
    }

    /// Records `changes`, durably, all or nothing. Waits as long as others are in the way.
    pub fn commit(&mut self, changes: &Changes) -> Result<()> {
        if self.poisoned {
            return Err(Error::Record {
                path: self.path.clone(),
                source: std::io::Error::other("an earlier commit failed"),
            });
        }
        let outcome = Rows::of(changes, self.next, &mut self.announcements)
            .and_then(|rows| self.insist(|transaction| rows.write(transaction)))
            .map_err(|error| {
                // A missing store is the better explanation for a failed write.
                let missing = self.check_place().err();
                missing.unwrap_or_else(|| open::not_recorded(&self.path, error))
            })
            .and_then(|()| self.check_place());
        self.next += changes.events.len() as i64;
        self.poisoned = outcome.is_err();
        outcome
    }

    /// Tries until others are no longer in the way, or it is abandoned.
    fn insist(
        &mut self,
        write: impl Fn(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        loop {
            match self.transact(&write) {
                Err(error) if others::are_in_the_way(&error) && self.abandoned.give_way() => {}
                outcome => return outcome,
            }
        }
    }

    fn transact<T>(
        &mut self,
        write: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        // Immediate: SQLite waits for others at the beginning and at the end, and never in between.
        let behaviour = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behaviour)?;
        let written = write(&transaction)?;
        transaction.commit()?;
        Ok(written)
    }

    /// Checks that others find the store where it was written.
    fn check_place(&self) -> Result<()> {
        let reason = match file_id(&self.path) {
            Ok(found) if found == self.file => return Ok(()),
            Ok(_) => "another file has taken its place while the run went on".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                "it was deleted while the run went on".to_owned()
            }
            Err(error) => error.to_string(),
        };
        Err(Error::Record {
            path: self.path.clone(),
            source: std::io::Error::other(reason),
        })
    }

    /// Leaves the database in a form that can be read from any copy of it, on any medium.
    pub fn close(self) -> Result<()> {
        // Fails while a reader has it open; then the next main process tidies up.
        let _ = self
            .connection
            .pragma_update(None, "journal_mode", "DELETE");
        let closed = self.connection.close();
        closed.map_err(|(_, error)| open::not_recorded(&self.path, error))
    }
}

/// Where a run is, as its store records it; `None` if the path is not valid UTF-8.
pub(crate) fn place(run_dir: &RunDir) -> Option<String> {
    let place = run_dir.path().canonicalize().ok()?;
    place.into_os_string().into_string().ok()
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Device and inode.
type FileId = (u64, u64);

fn file_id(path: &Path) -> std::io::Result<FileId> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use cu_protocol::{Attempt, Fraction, Message, Sequence};
    use cu_system::causes::in_one_line;

    use super::*;
    use crate::{Policy, lock};

    async fn store() -> (tempfile::TempDir, RunDir, Store) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let run_dir = RunDir::new(directory.path());
        let plan = RunPlan {
            name: "stored".to_owned(),
            policy: Policy::default(),
            jobs: Vec::new(),
            to_come: 0,
        };
        let (new, at) = ((RunId([0; 16]), &plan), Timestamp::from_millis(0));
        Store::create(&run_dir, new, at, &mut |_| {}).expect("a new store");
        let lock = lock::take(&run_dir).and_then(lock::Taken::name);
        let lock = lock.expect("nobody else has it");
        let store = Store::open(&run_dir, lock).expect("it opens");
        (directory, run_dir, store)
    }

    fn recorded_events(store: &Store) -> i64 {
        let count = "SELECT count(*) FROM events";
        let count = store.connection.query_row(count, [], |row| row.get(0));
        count.expect("counted")
    }

    fn progress(number: u64) -> Changes {
        let event = Event::Said {
            attempt: Attempt(0),
            sequence: Sequence(number),
            message: Message::Progress(Fraction::new(0.5).expect("a half")),
        };
        Changes {
            events: vec![(JobId(0), event)],
            ..Changes::default()
        }
    }

    #[tokio::test]
    async fn progress_does_not_fill_the_disk() {
        let (_directory, _, mut store) = store().await;
        for number in 1..500 {
            store.commit(&progress(number)).expect("recorded");
        }
        assert_eq!(recorded_events(&store), 2, "the first and the last");
    }

    #[tokio::test]
    async fn a_repeated_commit_records_the_same() {
        let (_directory, _, mut store) = store().await;
        for number in 1..10 {
            let changes = progress(number);
            let rows = Rows::of(&changes, store.next, &mut store.announcements);
            let rows = rows.expect("text");
            let transaction = store.connection.transaction().expect("a transaction");
            rows.write(&transaction).expect("written");
            transaction.rollback().expect("somebody was in the way");
            store.insist(|again| rows.write(again)).expect("recorded");
            store.next += 1;
        }
        assert_eq!(recorded_events(&store), 2, "the first and the last");
    }

    #[tokio::test]
    async fn an_abandoned_commit_gives_up_and_records_nothing() {
        let (_directory, run_dir, mut store) = store().await;
        let other = Connection::open(run_dir.store()).expect("the store");
        other
            .execute_batch("BEGIN IMMEDIATE")
            .expect("the only writer");
        let abandoned = store.abandoned();
        let waiting = std::thread::spawn(move || {
            let outcome = store.commit(&changes());
            (outcome, recorded_events(&store))
        });
        abandoned.set();
        let (outcome, events) = waiting.join().expect("no panic");
        outcome.expect_err("somebody was in the way");
        assert_eq!(events, 0);
    }

    fn changes() -> Changes {
        Changes {
            events: vec![(JobId(0), Event::TimePassed)],
            ..Changes::default()
        }
    }

    #[tokio::test]
    async fn a_deleted_or_replaced_store_is_noticed() {
        let deleted: fn(&Path) -> std::io::Result<()> = |path| std::fs::remove_file(path);
        let replaced: fn(&Path) -> std::io::Result<()> = |path| {
            let copy = path.with_extension("copy");
            std::fs::copy(path, &copy)?;
            std::fs::rename(copy, path)
        };
        // SQLite notices by itself where it has a rollback journal: "a readonly database".
        let cases = [(deleted, "deleted"), (replaced, "taken its place")];
        let modes = ["WAL", "TRUNCATE"];
        let cases = cases.iter().flat_map(|case| modes.map(|mode| (case, mode)));
        for (&(change, words), mode) in cases {
            let (_directory, run_dir, mut store) = store().await;
            let connection = &store.connection;
            let set = connection.pragma_update(None, "journal_mode", mode);
            set.expect("nobody else has it open");
            store.commit(&changes()).expect("recorded");
            change(&run_dir.store()).expect("changed");
            let error = store.commit(&changes()).expect_err("for nobody");
            assert!(matches!(error, Error::Record { .. }), "{error}");
            let error = in_one_line(&error);
            assert!(error.contains(words), "{error}");
        }
    }

    #[tokio::test]
    async fn a_store_records_nothing_after_a_failed_commit() {
        let (_directory, _, mut store) = store().await;
        let changes = changes();
        store.commit(&changes).expect("recorded");
        let sql = "ALTER TABLE events RENAME TO hidden";
        store.connection.execute_batch(sql).expect("renamed");
        store.commit(&changes).expect_err("there is no such table");
        let sql = "ALTER TABLE hidden RENAME TO events";
        store.connection.execute_batch(sql).expect("renamed");
        let error = store.commit(&changes).expect_err("poisoned");
        assert!(in_one_line(&error).contains("an earlier commit failed"));
        assert_eq!(recorded_events(&store), 1);
    }
}
