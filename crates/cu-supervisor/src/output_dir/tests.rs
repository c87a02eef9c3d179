//! Searches in directories that a test makes, by the clock of the file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::SystemTime;

use cu_protocol::Attempt;

use super::*;

#[test]
fn the_newest_checkpoint_is_the_one_of_the_newest_attempt() {
    let output = tempfile::tempdir().unwrap();
    assert_eq!(newest_checkpoint(output.path()), None);
    let checkpoints = output.path().join("checkpoints");
    fs::create_dir(&checkpoints).unwrap();
    for name in [
        "2.10.checkpoint",
        "10.2.checkpoint",
        "99.checkpoint",
        "junk",
    ] {
        fs::write(checkpoints.join(name), "").unwrap();
    }
    let expected = CheckpointId {
        attempt: Attempt(10),
        counter: 2,
    };
    assert_eq!(newest_checkpoint(output.path()), Some(expected));
}

/// The start of an attempt, as its holder's record dates it.
fn begun(output: &Path) -> Moment {
    let holder = output.join(".cu-holder.json");
    fs::write(&holder, "{}").unwrap();
    Moment::of_change(&holder).unwrap()
}

/// A start after everything that was done before, by the clock of the file system.
fn settled(output: &Path) -> Moment {
    let done = begun(output);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let start = begun(output);
        if start.at > done.at {
            return start;
        }
        assert!(Instant::now() < until, "the clock stands still");
    }
}

/// What was changed since then in a working directory, or in the output directory.
fn changed_at_work(output_dir: &Path, working_directory: &Path, start: Moment) -> OutputChange {
    let before = Before {
        checkpoint: None,
        start: Ok(start),
        copies: Vec::new(),
    };
    let places = Places {
        output_dir,
        working_directory: Some(working_directory),
    };
    super::look(places, before, Duration::from_secs(60)).output_changed
}

/// A start before, or after, everything that the test does.
fn shifted(start: Moment, seconds: i64) -> Moment {
    Moment {
        at: (start.at.0 + seconds, start.at.1),
        ..start
    }
}

/// A program that starts in the output directory.
fn only(output_dir: &Path) -> Places<'_> {
    Places {
        output_dir,
        working_directory: None,
    }
}

fn changed(output: &Path, start: Moment) -> OutputChange {
    let before = Before {
        checkpoint: None,
        start: Ok(start),
        copies: Vec::new(),
    };
    super::look(only(output), before, Duration::from_secs(60)).output_changed
}

#[test]
fn a_nested_file_is_a_change_and_our_own_files_are_not() {
    let output = tempfile::tempdir().unwrap();
    let before = shifted(begun(output.path()), -5);
    fs::write(output.path().join("settings.json"), "{}").unwrap();
    fs::write(output.path().join(".cu-lock"), "").unwrap();
    assert_eq!(changed(output.path(), before), OutputChange::Unchanged);

    let nested = output.path().join("a/b");
    fs::create_dir_all(&nested).unwrap();
    fs::write(nested.join("log"), "step 1").unwrap();
    assert_eq!(changed(output.path(), before), OutputChange::Changed);
    let later = shifted(before, 1000);
    assert_eq!(changed(output.path(), later), OutputChange::Unchanged);
}

#[test]
fn a_copy_of_what_it_prints_is_not_progress() {
    let (output, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let logs = work.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let start = settled(output.path());
    let copy = logs.join("slurm-17.out");
    fs::write(&copy, "the same each time").unwrap();
    let changed = || {
        let before = Before {
            checkpoint: None,
            start: Ok(start),
            copies: vec![copy.clone()],
        };
        let places = Places {
            output_dir: output.path(),
            working_directory: Some(work.path()),
        };
        super::look(places, before, Duration::from_secs(60)).output_changed
    };
    assert_eq!(changed(), OutputChange::Unchanged);
    fs::write(logs.join("model.pt"), "").unwrap();
    assert_eq!(changed(), OutputChange::Changed);
}

#[test]
fn one_changed_file_is_found_among_more_than_20000() {
    let output = tempfile::tempdir().unwrap();
    let old = output.path().join("old");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("0"), "").unwrap();
    for number in 1..21_000 {
        fs::hard_link(old.join("0"), old.join(number.to_string())).unwrap();
    }
    let later = shifted(begun(output.path()), 1000);
    assert_eq!(changed(output.path(), later), OutputChange::Unchanged);
    // All but this one are older: their time is that of the last link.
    let new = output.path().join("zz");
    fs::write(&new, "").unwrap();
    let start = Moment::of_change(&new).unwrap();
    assert_eq!(changed(output.path(), start), OutputChange::Changed);
}

#[test]
fn a_search_that_takes_too_long_is_unknown() {
    let output = tempfile::tempdir().unwrap();
    fs::write(output.path().join("log"), "step 1").unwrap();
    let later = shifted(begun(output.path()), 1000);
    let look = |start, patience| {
        let before = Before {
            checkpoint: None,
            start,
            copies: Vec::new(),
        };
        super::look(only(output.path()), before, patience).output_changed
    };
    let unknown = look(Ok(later), Duration::ZERO);
    assert!(matches!(unknown, OutputChange::Unknown(reason) if reason.contains("longer")));
    let missing = Err(ErrorKind::NotFound.into());
    let unknown = look(missing, Duration::from_secs(60));
    assert!(matches!(unknown, OutputChange::Unknown(reason) if reason.contains("start")));
}

#[test]
fn a_newer_checkpoint_is_a_change_however_long_a_look_takes() {
    let output = tempfile::tempdir().unwrap();
    let generation = |counter| CheckpointId {
        attempt: Attempt(1),
        counter,
    };
    fs::create_dir(output.path().join("checkpoints")).unwrap();
    fs::write(output.path().join("checkpoints/1.5.checkpoint"), "").unwrap();
    let later = shifted(begun(output.path()), 1000);
    for (before, expected) in [(4, OutputChange::Changed), (5, OutputChange::Unchanged)] {
        let before = Before {
            checkpoint: Some(generation(before)),
            start: Ok(later),
            copies: Vec::new(),
        };
        let left = super::look(only(output.path()), before, Duration::from_secs(60));
        assert_eq!(left.checkpoint, Some(generation(5)));
        assert_eq!(left.output_changed, expected);
    }
}

#[test]
fn a_write_behind_a_link_is_a_change() {
    let output = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let inner = elsewhere.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let file = inner.join("state");
    fs::write(&file, "0").unwrap();
    symlink(elsewhere.path(), output.path().join("directory")).unwrap();
    symlink(&file, output.path().join("file")).unwrap();
    // To itself, to nowhere, and to what is around it.
    symlink("loop", output.path().join("loop")).unwrap();
    symlink("nothing", output.path().join("dangling")).unwrap();
    symlink(output.path().parent().unwrap(), output.path().join("up")).unwrap();
    let start = shifted(begun(output.path()), 1000);
    assert_eq!(changed(output.path(), start), OutputChange::Unchanged);
    let written = Moment::of_change(&file).unwrap();
    assert_eq!(changed(output.path(), written), OutputChange::Changed);
}

#[test]
fn a_write_in_the_working_directory_is_a_change() {
    let project = tempfile::tempdir().unwrap();
    let output = project.path().join("results/run/working_directories/0");
    fs::create_dir_all(&output).unwrap();
    let look = |start| changed_at_work(&output, project.path(), start);
    // What others write into the run, and into other runs, is not this attempt's.
    let before = shifted(begun(&output), -5);
    fs::write(project.path().join("results/run/main.log"), "line").unwrap();
    fs::create_dir(project.path().join("results/another")).unwrap();
    assert_eq!(look(before), OutputChange::Unchanged);
    let source = project.path().join("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("state"), "1").unwrap();
    assert_eq!(look(before), OutputChange::Changed);
    assert_eq!(look(shifted(before, 1000)), OutputChange::Unchanged);
}

#[test]
fn a_link_that_cannot_be_followed_leaves_it_unknown() {
    let output = tempfile::tempdir().unwrap();
    // No file has a name so long: to look for it fails, for everybody.
    symlink("x".repeat(300), output.path().join("link")).unwrap();
    let start = shifted(begun(output.path()), 1000);
    let unknown = changed(output.path(), start);
    assert!(matches!(unknown, OutputChange::Unknown(reason) if reason.contains("link")));
    let missing = changed(&output.path().join("gone"), start);
    assert!(matches!(missing, OutputChange::Unknown(reason) if reason.contains("can't list")));
}

#[test]
fn another_file_system_may_have_another_clock() {
    let output = tempfile::tempdir().unwrap();
    fs::write(output.path().join("log"), "step 1").unwrap();
    let start = begun(output.path());
    let skew = i64::try_from(LARGEST_SKEW.as_secs()).unwrap();
    for (seconds, here, elsewhere) in [
        (-skew - 9, OutputChange::Changed, "changed"),
        (-skew + 9, OutputChange::Changed, "unknown"),
        (skew - 9, OutputChange::Unchanged, "unknown"),
        (skew + 9, OutputChange::Unchanged, "unchanged"),
    ] {
        let here_start = shifted(start, seconds);
        assert_eq!(changed(output.path(), here_start), here, "{seconds}");
        let elsewhere_start = Moment {
            device: start.device + 1,
            ..here_start
        };
        let found = match changed(output.path(), elsewhere_start) {
            OutputChange::Unchanged => "unchanged",
            OutputChange::Changed => "changed",
            OutputChange::Unknown(_) => "unknown",
        };
        assert_eq!(found, elsewhere, "{seconds}");
    }
}

#[test]
fn times_that_programs_set_are_not_believed() {
    let output = tempfile::tempdir().unwrap();
    let path = output.path().join("restored");
    let file = fs::File::create(&path).unwrap();
    let start = begun(output.path());
    let now = SystemTime::now();
    // As `touch --date` does, and a file server whose clock was wrong for a while.
    file.set_modified(now + Duration::from_secs(86_400))
        .unwrap();
    let later = shifted(start, 1000);
    assert_eq!(changed(output.path(), later), OutputChange::Unchanged);
    // As `rsync --times --inplace` does.
    file.set_modified(now - Duration::from_secs(86_400))
        .unwrap();
    assert_eq!(changed(output.path(), start), OutputChange::Changed);
}

#[test]
fn caches_and_other_runs_in_a_project_are_no_change() {
    let project = tempfile::tempdir().unwrap();
    let path = |name: &str| project.path().join(name);
    let output = path("results/run/working_directories/0");
    for directory in ["src/__pycache__", ".git", "old/run/attempts", "venv/bin"] {
        fs::create_dir_all(path(directory)).unwrap();
    }
    for mark in ["old/run/run.sqlite", "venv/pyvenv.cfg"] {
        fs::write(path(mark), "").unwrap();
    }
    fs::create_dir_all(&output).unwrap();
    let start = settled(&output);
    for name in [
        "src/__pycache__/a.pyc",
        ".git/index",
        "old/run/server.json",
        "old/run/attempts/stdout",
        "venv/bin/tool",
        "results/run/main.log",
    ] {
        fs::write(path(name), "").unwrap();
    }
    let look = || changed_at_work(&output, project.path(), start);
    assert_eq!(look(), OutputChange::Unchanged);
    fs::write(path("src/state"), "").unwrap();
    assert_eq!(look(), OutputChange::Changed);
}

#[test]
fn a_write_behind_a_link_of_the_working_directory_is_a_change() {
    let project = tempfile::tempdir().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let output = project.path().join("results/run/working_directories/0");
    fs::create_dir_all(&output).unwrap();
    symlink(scratch.path(), project.path().join("ckpt")).unwrap();
    symlink(project.path().join("results"), project.path().join("runs")).unwrap();
    let start = settled(&output);
    let look = || changed_at_work(&output, project.path(), start);
    // Other jobs write behind a link to our own results, too.
    fs::write(project.path().join("results/run/all_data.csv"), "").unwrap();
    assert_eq!(look(), OutputChange::Unchanged);
    fs::write(scratch.path().join("state"), "").unwrap();
    assert_eq!(look(), OutputChange::Changed);
}

#[test]
fn a_home_directory_is_not_searched_and_leaves_it_unknown() {
    let home = tempfile::tempdir().unwrap();
    let output = home.path().join("results/run/working_directories/0");
    fs::create_dir_all(&output).unwrap();
    let start = settled(&output);
    let until = Instant::now() + Duration::from_secs(60);
    let mut walk = Walk::new(&output, Some(home.path().to_owned()), start, until);
    walk.home = Some(home.path().to_owned());
    assert!(matches!(walk.walk(), OutputChange::Unknown(why) if why.contains("home directory")));
}

#[test]
fn a_change_at_the_top_shows_without_a_thread() {
    let scratch = tempfile::tempdir().unwrap();
    let output = scratch.path();
    let before = |start| Before {
        checkpoint: None,
        start: Ok(start),
        copies: Vec::new(),
    };
    for name in ["settings.json", ".cu-x"] {
        fs::write(output.join(name), "").unwrap();
    }
    let start = begun(output);
    fs::create_dir(output.join("directory")).unwrap();
    symlink("/nowhere", output.join("link")).unwrap();
    assert_eq!(glance(output, &before(start)), None, "there is no file");
    fs::write(output.join("file"), "").unwrap();
    let found = glance(output, &before(start)).map(|left| left.output_changed);
    let expected = start.is_on_a_disk().then_some(OutputChange::Changed);
    assert_eq!(found, expected);
    let later = settled(output);
    assert_eq!(glance(output, &before(later)), None, "it is old");
    let copied = Before {
        copies: vec![output.join("file")],
        ..before(start)
    };
    assert_eq!(glance(output, &copied), None, "it may be a copy of ours");
}
