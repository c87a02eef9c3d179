//! Leftovers of dead writers are removed, files of living writers are not, and two writers of one
//! attempt do not harm each other.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use cu_checkpoint::fs::RealFileSystem;
use cu_checkpoint::{
    AtomicFile, AtomicOptions, Checkpoints, Durability, Generation, remove_stale_temporaries,
};
use support::names;
use support::peculiar::{Peculiar, Peculiarity};

/// Makes the leftovers of a dead writer of `attempt`.
fn leave(directory: &Path, attempt: u32) {
    fs::write(
        directory.join(format!(".cu-tmp-{attempt}-aaaaaaaa")),
        "half",
    )
    .unwrap();
    let litter = directory.join(format!(".cu-tmp-{attempt}-bbbbbbbb"));
    fs::create_dir_all(litter.join("sub")).unwrap();
    fs::write(litter.join("sub/file"), "half").unwrap();
    fs::write(litter.join(".cu-manifest"), "").unwrap();
    // A directory whose removal was interrupted: its manifest is gone already.
    let litter = directory.join(format!(".cu-tmp-{attempt}-cccccccc"));
    fs::create_dir_all(litter.join("sub")).unwrap();
}

#[test]
fn temporaries_of_dead_writers_are_swept_others_are_not() {
    let scratch = tempfile::tempdir().unwrap();
    let open = |attempt| {
        Checkpoints::open(scratch.path())
            .unwrap()
            .for_attempt(attempt)
    };
    // Each has a handle, and both are in the middle of a checkpoint.
    let (mut first, mut second) = (open(0), open(0));
    let mut stream = first.writer().unwrap();
    stream.write_all(&[1; 100_000]).unwrap();
    let files = second.directory().unwrap();
    fs::write(files.path().join("file"), "whole").unwrap();
    leave(scratch.path(), 0);
    leave(scratch.path(), 3);

    assert_eq!(open(3).save(&0).unwrap(), Generation::new(3, 0));
    assert_eq!(
        names(&RealFileSystem, scratch.path()).len(),
        3,
        "1 checkpoint, 2 in the making"
    );
    stream.commit().unwrap();
    files.commit().unwrap();
    assert_eq!(
        names(&RealFileSystem, scratch.path()),
        ["0.0.checkpoint", "0.1.checkpoint", "3.0.checkpoint"]
    );
}

#[test]
fn an_outdated_attempt_sweeps_nothing_of_a_later_one() {
    let scratch = tempfile::tempdir().unwrap();
    // Not locked, as the temporaries of a writer on another host may appear.
    leave(scratch.path(), 4);
    let later = names(&RealFileSystem, scratch.path());
    let mut zombie = Checkpoints::open(scratch.path()).unwrap().for_attempt(3);
    zombie.save(&0).unwrap();
    let left = names(&RealFileSystem, scratch.path());
    assert!(later.iter().all(|name| left.contains(name)), "{left:?}");
    // Its successor sweeps them.
    let mut last = Checkpoints::open(scratch.path()).unwrap().for_attempt(4);
    last.save(&0).unwrap();
    assert_eq!(
        names(&RealFileSystem, scratch.path()),
        ["3.0.checkpoint", "4.0.checkpoint"]
    );
}

#[test]
fn files_of_other_names_are_not_swept() {
    let scratch = tempfile::tempdir().unwrap();
    leave(scratch.path(), 0);
    for name in [".cu-tmp", "cu-tmp-0-a", "notes.txt", ".hidden"] {
        fs::write(scratch.path().join(name), "keep").unwrap();
    }
    let writing = AtomicFile::create(scratch.path().join("table.csv")).unwrap();
    assert_eq!(remove_stale_temporaries(scratch.path()).unwrap(), 3);
    writing.commit().unwrap();
    assert_eq!(
        names(&RealFileSystem, scratch.path()),
        [".cu-tmp", ".hidden", "cu-tmp-0-a", "notes.txt", "table.csv"]
    );
    assert_eq!(
        remove_stale_temporaries(scratch.path().join("missing")).unwrap(),
        0
    );
}

#[test]
fn without_locks_only_earlier_attempts_are_swept() {
    let scratch = tempfile::tempdir().unwrap();
    for attempt in [2, 3, 4] {
        leave(scratch.path(), attempt);
    }
    let mut checkpoints = Checkpoints::open_on(
        Arc::new(Peculiar::always(Peculiarity::NoLocks)),
        scratch.path(),
    )
    .unwrap()
    .for_attempt(3);
    checkpoints.save(&1).unwrap();
    let left = names(&RealFileSystem, scratch.path());
    assert_eq!(left.len(), 7, "{left:?}");
    assert!(
        left.iter().all(|name| !name.starts_with(".cu-tmp-2-")),
        "{left:?}"
    );
}

/// Between its creation and its lock, the temporary of a living writer looks like that of a dead one.
#[test]
fn a_writer_whose_temporary_is_swept_at_once_takes_another() {
    for times in 1..4 {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir(scratch.path().join("checkpoints")).unwrap();
        let open = || {
            let fs = Arc::new(Peculiar::times(Peculiarity::SweptAtOnce, times));
            Checkpoints::open_on(fs, scratch.path().join("checkpoints")).unwrap()
        };
        open().save(&times).unwrap();
        let mut checkpoints = open();
        let files = checkpoints.directory().unwrap();
        fs::write(files.path().join("file"), "whole").unwrap();
        files.commit().unwrap();
        assert_eq!(
            names(&RealFileSystem, &scratch.path().join("checkpoints")),
            ["0.0.checkpoint", "0.1.checkpoint"]
        );
    }
}

#[test]
fn writers_of_one_attempt_do_not_replace_what_others_saved() {
    let scratch = tempfile::tempdir().unwrap();
    let saved: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let all = std::num::NonZeroUsize::MAX;
                let mut checkpoints = Checkpoints::open(scratch.path()).unwrap().keep_last(all);
                scope.spawn(move || {
                    (0..25)
                        .map(|value| checkpoints.save(&value).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    let distinct: std::collections::BTreeSet<_> = saved.iter().collect();
    assert_eq!(distinct.len(), 100, "two saves got the same generation");
    let newest = Checkpoints::open(scratch.path())
        .unwrap()
        .load::<i32>()
        .unwrap()
        .unwrap();
    assert_eq!(Some(&newest.generation), saved.iter().max());
}

#[test]
fn a_reader_never_misses_a_checkpoint_while_others_are_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let open = || {
        let one = std::num::NonZeroUsize::MIN;
        Checkpoints::open(scratch.path()).unwrap().keep_last(one)
    };
    let mut writer = open();
    let mut save = move |value: u32| {
        let files = writer.directory().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(files.path().join(name), value.to_string()).unwrap();
        }
        files.commit().unwrap();
    };
    save(0);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..200).for_each(save);
            is_over.store(true, std::sync::atomic::Ordering::Release);
        });
        let reader = open();
        let mut last = None;
        while !is_over.load(std::sync::atomic::Ordering::Acquire) {
            let found = reader
                .load_directory()
                .unwrap()
                .expect("there is always one");
            assert!(found.skipped.is_empty(), "{:?}", found.skipped);
            assert!(
                last <= Some(found.generation),
                "an older one was found later"
            );
            last = Some(found.generation);
        }
    });
}

#[test]
fn a_file_without_power_failure_durability_is_still_atomic() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("heartbeat");
    let options = AtomicOptions::new()
        .durability(Durability::ProcessDeath)
        .mode(0o600);
    options.write(&path, "1").unwrap();
    let mut file = options.create(&path).unwrap();
    file.write_all(b"2").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "1");
    file.commit().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "2");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    drop(options.create(&path).unwrap());
    assert_eq!(names(&RealFileSystem, scratch.path()), ["heartbeat"]);
    let error = options
        .write(scratch.path().join("missing/file"), "")
        .unwrap_err();
    assert!(error.to_string().contains("missing/file"), "{error}");
}
