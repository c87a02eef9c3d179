//! A main process that is killed while it records leaves half of a transaction in the store, and beside
//! it the journal to roll it back. Every command copes with that. A run that may not be written is
//! still read, and stays unchanged.

use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use cu_core::{JobState, Reader, RunDir, RunState};
use cu_protocol::JobId;
use cu_test_privileges::leave_out;
use cu_tests::mounts::Mount;
use cu_tests::run::{Run, scratch};
use rusqlite::Connection;

/// A run whose job waits, and whose main process was killed.
fn interrupted() -> Run {
    let config = "settings.behaviour = \"waits\"\nsettings.barrier = \"barrier\"\n";
    let run = Run::new(&[env!("CARGO_BIN_EXE_tiny_job")], config);
    let mut main_process = run.start();
    run.await_file(&run.output(0, "here"));
    run.until("the start, recorded", || {
        (run.reader().status().expect("a status").jobs.running == 1).then_some(())
    });
    main_process.kill();
    run
}

fn beside(run: &RunDir, suffix: &str) -> PathBuf {
    let mut name = run.store().into_os_string();
    name.push(suffix);
    name.into()
}

/// Leaves the store as a writer does that is killed within a transaction of the rollback journal: all
/// jobs failed, all events gone, and none of that committed.
fn cut_off(run: &RunDir) {
    let cut_off = scratch();
    let files = [(run.store(), "store"), (beside(run, "-journal"), "journal")];
    let connection = Connection::open(run.store()).expect("the store");
    let begin = "PRAGMA journal_mode = DELETE;
        PRAGMA journal_mode = TRUNCATE;
        PRAGMA cache_size = 1;
        BEGIN;
        DELETE FROM events;
        UPDATE jobs SET state = 'failed', body = 'cut off';
        UPDATE facts SET value = 'cut off';
        CREATE TABLE large (number INTEGER PRIMARY KEY, bytes BLOB);
        WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 200)
            INSERT INTO large SELECT n, randomblob(2000) FROM n;";
    connection.execute_batch(begin).expect("a transaction");
    for (file, copy) in &files {
        std::fs::copy(file, cut_off.path().join(copy)).expect("a copy");
    }
    connection.execute_batch("ROLLBACK").expect("rolled back");
    connection.close().expect("closed");
    for (file, copy) in &files {
        std::fs::copy(cut_off.path().join(copy), file).expect("a copy");
    }
    assert_hot(run);
}

/// Readers must not read this without the rollback.
fn assert_hot(run: &RunDir) {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(run.store(), flags).expect("a file");
    let read = connection.query_row("SELECT count(*) FROM jobs", [], |_| Ok(()));
    let refused = read.expect_err("it must be rolled back first").to_string();
    assert!(refused.contains("readonly"), "{refused}");
}

fn assert_rolled_back(run: &RunDir) {
    let left = beside(run, "-journal")
        .metadata()
        .map_or(0, |left| left.len());
    assert_eq!(left, 0, "the journal was not rolled back");
}

/// Checks that the records of the run are those before the transaction.
fn assert_as_before(reader: &Reader) {
    let status = reader.status().expect("a status");
    assert_eq!((status.name.as_str(), status.jobs.running), ("run", 1));
    assert_eq!(status.state, RunState::Interrupted);
    let job = reader.job(JobId(0)).expect("the job");
    assert_eq!(job.state, JobState::Running);
    assert!(!reader.events().expect("events").is_empty());
}

#[test]
fn every_command_works_after_a_commit_that_was_cut_off() {
    let run = interrupted();
    let path = run.dir().path().to_str().expect("UTF-8").to_owned();
    for arguments in [
        &["status", &path][..],
        &["show", "0", &path],
        &["list"],
        &["logs", "0", &path],
        &["status"],
    ] {
        cut_off(&run.dir());
        let exit = run.cu(arguments);
        assert_eq!(
            (exit.code, exit.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}: {exit:?}"
        );
        assert_rolled_back(&run.dir());
        assert_as_before(&run.reader());
    }
    cut_off(&run.dir());
    std::fs::write(run.output(0, "barrier"), "").expect("the barrier");
    let exit = run.cu(&["resume", &path]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(run.status()["state"], "completed");
}

#[test]
fn a_run_cut_off_in_a_commit_can_be_stopped() {
    let run = interrupted();
    cut_off(&run.dir());
    let exit = run.cu(&["stop", run.dir().path().to_str().expect("UTF-8")]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(run.status()["state"], "stopped");
}

#[test]
fn a_reader_lives_through_a_main_process_killed_in_a_commit() {
    let run = interrupted();
    cut_off(&run.dir());
    let reader = run.reader();
    assert_as_before(&reader);
    cut_off(&run.dir());
    assert_as_before(&reader);
    assert_rolled_back(&run.dir());
}

/// Every file below `directory` that a supervisor leaves alone, with its content.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(content(&path)),
            // The supervisor lives on, and renews it.
            false if path.ends_with("holder.json") => {}
            false => drop(files.insert(path.clone(), std::fs::read(path).expect("a file"))),
        }
    }
    files
}

#[test]
fn a_foreign_run_cut_off_in_a_commit_is_read_and_not_touched() {
    let run = interrupted();
    cut_off(&run.dir());
    if let Err(error) = chown(run.dir().store(), Some(65534), None) {
        return leave_out("runs of other users", error);
    }
    let before = content(run.dir().path());
    assert_as_before(&run.reader());
    assert_eq!(run.cu(&["show", "0"]).code, Some(0));
    assert_eq!(content(run.dir().path()), before);
}

#[test]
fn a_cut_off_commit_is_left_to_a_main_process_elsewhere() {
    let run = interrupted();
    cut_off(&run.dir());
    // As on a file system where each machine keeps its locks to itself.
    std::fs::write(run.dir().lock(), "process 1 on another-machine\n").expect("the lock's text");
    let before = content(run.dir().path());
    assert_as_before(&run.reader());
    assert_eq!(run.cu(&["status"]).code, Some(0));
    assert_eq!(content(run.dir().path()), before);
    // Nothing answers there, so it is dead.
    std::fs::write(run.output(0, "barrier"), "").expect("the barrier");
    let exit = run.cu(&["resume"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_rolled_back(&run.dir());
}

#[test]
fn a_run_cut_off_in_a_commit_is_read_on_a_read_only_medium() {
    let run = interrupted();
    let tell = |run: &Run| {
        assert_as_before(&run.reader());
        for arguments in [&["status"][..], &["show", "0"], &["list"], &["logs", "0"]] {
            let exit = run.cu(arguments);
            assert_eq!(
                (exit.code, exit.stderr.as_str()),
                (Some(0), ""),
                "{arguments:?}: {exit:?}"
            );
        }
        let refused = run.cu(&["resume"]);
        assert!(
            refused.stderr.contains("Read-only file system"),
            "{refused:?}"
        );
        assert!(!refused.stderr.contains("permissions"), "{refused:?}");
    };
    // The write-ahead log of a killed main process, without its index.
    std::fs::remove_file(beside(&run.dir(), "-shm")).expect("it was killed, and the index is left");
    let Some(medium) = Mount::read_only(run.dir().path()) else {
        return;
    };
    tell(&run);
    drop(medium);
    cut_off(&run.dir());
    let Some(_medium) = Mount::read_only(run.dir().path()) else {
        return;
    };
    tell(&run);
}
