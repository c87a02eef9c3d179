//! The store meets what it can't use: nothing there, a newer version, damage, another main process,
//! a creation that was killed. A clear error, and nothing is lost. And it still reads what its first
//! version wrote.
#![cfg(feature = "unstable")]

mod support;

use std::fs::Permissions;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use cu_core::{
    AttemptEnd, Error, JobPlan, JobState, LoopOptions, NewRun, Policy, Reader, ResumeLoop, RunDir,
    RunPlan, RunState, create_run,
};
use cu_protocol::JobId;
use cu_scheduler::simulated::{Simulated, SimulatedOptions};
use tempfile::TempDir;

fn plan() -> RunPlan {
    let job = JobPlan::new(vec!["/bin/true".to_owned()]);
    RunPlan::new("stored".to_owned(), Policy::default(), vec![job; 2])
}

fn scratch() -> (TempDir, RunDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let run = RunDir::new(directory.path().join("run"));
    (directory, run)
}

async fn open(run: &RunDir) -> Result<ResumeLoop, Error> {
    let cluster = Simulated::new(SimulatedOptions::default(), |run| async move {
        support::program_exits(&run, 0)
    });
    open_with(run, cluster).await
}

async fn open_with(run: &RunDir, cluster: Simulated) -> Result<ResumeLoop, Error> {
    let supervisor = vec!["/bin/true".to_owned()];
    let options = LoopOptions::new(supervisor, IpAddr::V4(Ipv4Addr::LOCALHOST));
    ResumeLoop::open(run.clone(), Arc::new(cluster), options).await
}

fn sqlite(run: &RunDir) -> rusqlite::Connection {
    rusqlite::Connection::open(run.store()).expect("the store is a database")
}

#[tokio::test]
async fn a_directory_without_a_run_is_left_as_it_is() {
    let (_directory, run) = scratch();
    std::fs::create_dir(run.path()).expect("a directory");
    let error = open(&run).await.expect_err("there is no run");
    assert!(matches!(error, Error::NoRun { .. }), "{error}");
    assert!(matches!(Reader::open(&run), Err(Error::NoRun { .. })));
    let left = std::fs::read_dir(run.path()).expect("a directory").count();
    assert_eq!(left, 0, "something was left there");
}

#[tokio::test]
async fn a_newer_version_is_refused_and_not_touched() {
    let (_directory, run) = scratch();
    create_run(&run, &plan()).expect("a new run");
    sqlite(&run)
        .pragma_update(None, "user_version", 99)
        .expect("written");
    let before = std::fs::read(run.store()).expect("the store");
    let error = open(&run).await.expect_err("it is newer");
    assert!(
        matches!(error, Error::NewerVersion { found: 99, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains(&run.path().display().to_string())
    );
    assert_eq!(before, std::fs::read(run.store()).expect("the store"));
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_not_touched() {
    for (at, with) in [(0, 64), (100, 3996), (8192, 4096)] {
        let (_directory, run) = scratch();
        create_run(&run, &plan()).expect("a new run");
        let mut bytes = std::fs::read(run.store()).expect("the store");
        let end = bytes.len().min(at + with);
        bytes[at..end].fill(0xAA);
        std::fs::write(run.store(), &bytes).expect("written");
        let error = open(&run).await.expect_err("it is damaged");
        assert!(matches!(error, Error::Damaged { .. }), "{at}: {error}");
        assert_eq!(
            bytes,
            std::fs::read(run.store()).expect("the store"),
            "{at}"
        );
    }
}

#[tokio::test]
async fn a_second_main_process_is_refused_with_the_holder() {
    let (_directory, run) = scratch();
    create_run(&run, &plan()).expect("a new run");
    let first = open(&run).await.expect("the first");
    let error = open(&run).await.expect_err("the second");
    let Error::InUse { holder, .. } = &error else {
        panic!("{error}");
    };
    assert!(holder.contains(&std::process::id().to_string()), "{holder}");
    let status = Reader::open(&run).and_then(|reader| reader.status());
    assert_eq!(status.expect("a status").state, RunState::Running);
    drop(first);
    let status = Reader::open(&run).and_then(|reader| reader.status());
    assert_eq!(status.expect("a status").state, RunState::Interrupted);
    open(&run).await.expect("the first has gone");
}

#[tokio::test]
async fn a_main_process_elsewhere_is_found_without_its_lock() {
    let (_directory, run) = scratch();
    create_run(&run, &plan()).expect("a new run");
    let endless = Simulated::new(SimulatedOptions::default(), |_| std::future::pending());
    let first = open_with(&run, endless).await.expect("the first");
    let main_process = tokio::spawn(first.run());
    // Another file is another lock.
    std::fs::remove_file(run.lock()).expect("it was there");
    std::fs::write(run.lock(), "process 7 on login2\n").expect("written");
    let error = open(&run).await.expect_err("the second");
    let Error::InUse { holder, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(holder, "process 7 on login2");
    main_process.abort();
    let _ = main_process.await;
    open(&run).await.expect("the first has gone");
}

#[tokio::test]
async fn a_creation_that_was_killed_can_be_repeated() {
    let (_directory, run) = scratch();
    create_run(&run, &plan()).expect("a new run");
    // As if it had been killed before the last rename, with a half-written database.
    std::fs::remove_file(run.store()).expect("it was there");
    std::fs::write(run.path().join("run.sqlite.new"), b"SQLite format 3\0half").expect("written");
    assert!(matches!(Reader::open(&run), Err(Error::NoRun { .. })));
    create_run(&run, &plan()).expect("the same run again");
    open(&run).await.expect("it is a run now");
    let error = create_run(&run, &plan()).expect_err("there is one");
    assert!(matches!(error, Error::RunExists { .. }), "{error}");
}

/// As an earlier version made each job with the run.
fn made_with_the_run(run: &RunDir, job: JobId) {
    for directory in [run.output_dir(job), run.attempts(job)] {
        std::fs::create_dir_all(directory).expect("a directory");
    }
    for file in [run.settings(job), run.job_spec(job)] {
        std::fs::write(file, "{}").expect("a file");
    }
}

#[test]
fn a_run_of_many_jobs_is_made_without_a_file_for_each() {
    let (_directory, run) = scratch();
    create_run(&run, &plan()).expect("a new run of two jobs");
    for directory in [run.all_output_dirs(), run.all_attempts()] {
        let made = std::fs::read_dir(directory).expect("it is there");
        assert_eq!(made.count(), 0);
    }
}

#[test]
fn leftovers_of_a_killed_creation_do_not_enter_the_next() {
    let (_directory, run) = scratch();
    create_run(&run, &plan()).expect("a new run of two jobs");
    std::fs::remove_file(run.store()).expect("as if it had been killed before its last step");
    for job in [0, 1].map(JobId) {
        made_with_the_run(&run, job);
    }
    let mut smaller = plan();
    smaller.jobs.truncate(1);
    create_run(&run, &smaller).expect("a run of one job");
    for job in [0, 1].map(JobId) {
        assert!(!run.output_dir(job).exists());
        assert!(!run.attempts(job).exists());
    }
}

#[test]
fn files_of_a_deleted_store_do_not_enter_the_next() {
    let (_directory, run) = scratch();
    create_run(&run, &plan()).expect("a new run");
    let log = run.path().join("run.sqlite-wal");
    let kept = run.path().join("kept");
    let connection = sqlite(&run);
    let changes = "PRAGMA journal_mode = WAL; UPDATE facts SET value = 'old' WHERE name = 'name'";
    connection.execute_batch(changes).expect("written");
    std::fs::copy(&log, &kept).expect("a write-ahead log");
    connection.close().expect("closed");
    std::fs::remove_file(run.store()).expect("deleted");
    std::fs::rename(&kept, &log).expect("the log is left");
    create_run(&run, &plan()).expect("a new run");
    let status = Reader::open(&run).and_then(|reader| reader.status());
    assert_eq!(status.expect("a status").name, "stored");
}

#[test]
fn no_run_is_made_over_somebodys_work() {
    let (_directory, run) = scratch();
    create_run(&run, &plan()).expect("a new run");
    made_with_the_run(&run, JobId(0));
    made_with_the_run(&run, JobId(1));
    let result = run.output_dir(JobId(1)).join("result.npy");
    std::fs::write(&result, "three days").expect("written");
    std::fs::remove_file(run.store()).expect("the store is lost");
    let error = create_run(&run, &plan()).expect_err("there is work");
    assert!(matches!(error, Error::Plan(_)), "{error}");
    assert!(
        error.to_string().contains("working_directories/1"),
        "{error}"
    );
    assert!(result.exists() && run.settings(JobId(0)).exists());
}

#[test]
fn of_two_who_make_a_run_at_once_one_does() {
    let (_directory, run) = scratch();
    let plan = plan();
    let first = NewRun::begin(&run, &plan).expect("the first");
    let error = NewRun::begin(&run, &plan).expect_err("the second");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    first.finish(&mut |_| {}).expect("a new run");
    let error = NewRun::begin(&run, &plan).expect_err("there is one");
    assert!(matches!(error, Error::RunExists { .. }), "{error}");

    // And at full speed: the outcome is one run, made by one of them.
    let (_directory, run) = scratch();
    let made: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| create_run(&run, &plan)))
            .collect();
        makers
            .into_iter()
            .filter_map(|maker| maker.join().expect("no panic").ok())
            .collect()
    });
    assert_eq!(made.len(), 1);
    let stored: String = sqlite(&run)
        .query_row("SELECT value FROM facts WHERE name = 'run'", [], |row| {
            row.get(0)
        })
        .expect("a run");
    assert_eq!(stored, made[0].to_string());
}

#[test]
fn a_path_that_is_not_utf_8_is_refused_at_once() {
    use std::os::unix::ffi::OsStrExt;
    let (directory, _) = scratch();
    let run = RunDir::new(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff")));
    let error = create_run(&run, &plan()).expect_err("no UTF-8");
    assert!(matches!(error, Error::Plan(_)), "{error}");
    assert!(!run.path().exists(), "nothing was made");
}

#[test]
fn a_store_that_can_not_be_opened_is_not_called_damaged() {
    let (_directory, run) = scratch();
    std::fs::create_dir_all(run.store()).expect("a directory in its place");
    let error = Reader::open(&run).expect_err("no database");
    assert!(matches!(error, Error::Read { .. }), "{error}");
}

fn mode(path: &Path) -> u32 {
    let found = std::fs::metadata(path).expect("it is there");
    found.permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn a_run_is_private_even_in_an_old_directory() {
    for is_new in [true, false] {
        let (_directory, run) = scratch();
        if !is_new {
            std::fs::create_dir(run.path()).expect("a directory");
            set_mode(run.path(), 0o777);
            std::fs::write(run.secret(), "guess me").expect("a file");
            set_mode(&run.secret(), 0o666);
        }
        let old = std::fs::File::open(run.secret()).ok();
        create_run(&run, &plan()).expect("a new run");
        assert_eq!(mode(run.path()), 0o700);
        assert_eq!(mode(&run.all_output_dirs()), 0o700);
        assert_eq!(mode(&run.secret()), 0o600);
        let known = old.map(|file| std::io::read_to_string(file).expect("it was opened"));
        assert_ne!(
            known,
            Some(std::fs::read_to_string(run.secret()).expect("a secret"))
        );
    }
}

#[tokio::test]
async fn a_secret_that_others_can_read_is_not_trusted() {
    let (_directory, run) = scratch();
    create_run(&run, &plan()).expect("a new run");
    set_mode(&run.secret(), 0o640);
    let error = open(&run)
        .await
        .expect_err("others can read it")
        .to_string();
    assert!(
        error.contains("secret") && error.contains("mode 640"),
        "{error}"
    );
    set_mode(&run.secret(), 0o600);
    open(&run).await.expect("no other process has it");
}

#[test]
fn plans_that_can_never_run_are_refused() {
    let (_directory, run) = scratch();
    let refused = |change: &dyn Fn(&mut RunPlan)| {
        let mut plan = plan();
        change(&mut plan);
        match create_run(&run, &plan) {
            Err(Error::Plan(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(&|plan| plan.jobs.clear()).contains("no jobs"));
    assert!(refused(&|plan| plan.jobs[1].command.clear()).contains("job 1 has no command"));
    assert!(refused(&|plan| plan.jobs[0].resources.cpus = 0).contains("0 processors"));
    assert!(!run.path().exists(), "nothing was made");
}

/// Written by version 0.1.0: two jobs of four attempts each.
#[test]
fn the_first_format_is_still_read() {
    let (_directory, run) = scratch();
    std::fs::create_dir(run.path()).expect("a directory");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1/run.sqlite");
    std::fs::copy(fixture, run.store()).expect("the fixture");
    let reader = Reader::open(&run).expect("it is read");
    let status = reader.status().expect("a status");
    assert_eq!(
        (status.name.as_str(), status.state),
        ("fixture", RunState::Completed)
    );
    assert_eq!((status.attempts, status.resumes), (8, 6));
    for job in reader.jobs().expect("its jobs") {
        assert_eq!(job.state, JobState::Completed);
        let ends: Vec<_> = job
            .attempts
            .iter()
            .filter_map(|attempt| attempt.end)
            .collect();
        let asked = AttemptEnd::ResumeRequested;
        assert_eq!(ends, [asked, asked, asked, AttemptEnd::Completed]);
        assert!(job.parameters.contains_key("rate"));
    }
    assert!(!reader.events().expect("its events").is_empty());
}

#[tokio::test]
async fn an_upgrade_from_format_1_keeps_the_metrics() {
    let (_directory, run) = scratch();
    std::fs::create_dir(run.path()).expect("a directory");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1/run.sqlite");
    std::fs::copy(fixture, run.store()).expect("the fixture");
    // As that version wrote them.
    let written = r#"UPDATE jobs SET body =
        json_set(body, '$.metrics', json('{"a":0.1,"b":{"float":"NaN"},"c":"=x","d":1}'))"#;
    sqlite(&run).execute(written, []).expect("written");
    let metrics = || -> Vec<_> {
        let jobs = Reader::open(&run).expect("it is read").jobs();
        jobs.expect("jobs")
            .into_iter()
            .map(|job| job.metrics)
            .collect()
    };
    let before = metrics();
    assert!(
        before.iter().all(|metrics| metrics.len() == 4),
        "{before:?}"
    );
    std::fs::write(run.secret(), "0".repeat(64)).expect("a secret");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(run.secret(), private).expect("it is ours");
    drop(open(&run).await.expect("it is opened"));
    let format: i64 = sqlite(&run)
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a number");
    assert_eq!(format, 4);
    assert_eq!(metrics(), before);
}

/// Makes the store of `run` what an earlier version wrote.
fn turn_back_to(format: i64, run: &RunDir) {
    let earlier = "DROP INDEX jobs_by_state; DROP INDEX updates; DROP INDEX additions;
         DELETE FROM facts WHERE name = 'tally'";
    let store = sqlite(run);
    store
        .execute_batch(earlier)
        .expect("without what it lacked");
    store
        .pragma_update(None, "user_version", format)
        .expect("set");
}

#[tokio::test]
async fn stores_of_formats_2_and_3_are_brought_up_to_date() {
    for earlier in [2, 3] {
        let (_directory, run) = scratch();
        create_run(&run, &plan()).expect("a new run");
        let status = || {
            let reader = Reader::open(&run).expect("it is read");
            reader.status().expect("a status")
        };
        let before = status();
        assert_eq!((before.jobs.total, before.jobs.to_come), (2, 0));
        turn_back_to(earlier, &run);
        assert_eq!(status(), before);
        drop(open(&run).await.expect("it is opened"));
        let store = sqlite(&run);
        let count = |from: &str| -> i64 {
            let count = format!("SELECT count(*) FROM {from}");
            store
                .query_row(&count, [], |row| row.get(0))
                .expect("a number")
        };
        let format: i64 = store
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .expect("a number");
        assert_eq!(format, 4);
        assert_eq!(count("facts WHERE name = 'tally'"), 1);
        assert_eq!(
            count("sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"),
            3
        );
        let now = status();
        assert_eq!((now.jobs, now.attempts), (before.jobs, before.attempts));
    }
}
