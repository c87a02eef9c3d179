//! File systems that take nothing: a run on a read-only one is read and never half changed, and one whose disk fills
//! up, at whatever stage, says what to do and loses nothing.

use std::fs;
use std::time::Duration;

use cu_tests::mounts::Mount;
use cu_tests::process::{Exit, ends_within};
use cu_tests::run::{Run, scratch};

/// Resumes twice, and counts its attempts where there is always room.
fn counts(run_path: &str) -> [String; 3] {
    let script = format!("echo x >>{run_path}; [ $(wc -l <{run_path}) -ge 3 ] && exit 0; exit 3");
    ["sh".to_owned(), "-c".to_owned(), script]
}

fn assert_has(exit: &Exit, code: i32, parts: &[&str]) {
    let seen = format!("{}{}", exit.stdout, exit.stderr);
    assert_eq!(exit.code, Some(code), "{exit:?}");
    for part in parts {
        assert!(seen.contains(part), "{part:?} is missing in:\n{seen}");
    }
}

#[test]
fn a_read_only_run_is_read_and_a_change_says_why_not() {
    let run = Run::new(
        &["sh", "-c", "echo hello; exit {settings.code}"],
        "grid.code = [0, 1]",
    );
    assert_has(&run.start().wait(), 1, &[]);
    let paused = Run::new(&["true"], "");
    assert_has(&paused.start().wait(), 0, &[]);
    let (Some(first), Some(second)) = (
        Mount::read_only(run.dir().path()),
        Mount::read_only(paused.dir().path()),
    ) else {
        return;
    };
    let page = run.path("page.html").display().to_string();
    let archive = run.path("run.tar.gz").display().to_string();
    for arguments in [
        &["status"][..],
        &["show", "0"],
        &["jobs"],
        &["list"],
        &["logs", "0"],
        &["events"],
        &["report", "--output", &page],
        &["export", "--output", &archive],
    ] {
        assert_has(&run.cu(arguments), 0, &[]);
    }
    // What has ended is only shown.
    for arguments in [&["resume"][..], &["wait"], &["watch"]] {
        assert_has(
            &run.cu(arguments),
            1,
            &["run: failed, 1 of 2 jobs completed"],
        );
        assert_has(&paused.cu(arguments), 0, &["run: completed, 1 of 1"]);
    }
    let status = format!("`cu status {}`", run.dir().path().display());
    for arguments in [
        &["retry", "--failed"][..],
        &["rm", "run", "--yes"],
        &["update", "run", "resources.time_limit=4h"],
    ] {
        let parts = ["Read-only file system", &status];
        assert_has(&run.cu(arguments), 7, &parts);
    }
    drop((first, second));
    assert_has(&run.cu(&["rm", "run", "--yes"]), 0, &[]);
}

#[test]
fn no_run_is_begun_where_nothing_can_be_written() {
    let run = Run::new(&["true"], "");
    let results = run.path("results");
    fs::create_dir(&results).expect("the results directory");
    let Some(mount) = Mount::read_only(&results) else {
        return;
    };
    let parts = ["Read-only file system", "`--results-dir DIR`"];
    assert_has(&run.start().wait(), 7, &parts);
    drop(mount);
    assert_eq!(fs::read_dir(&results).expect("it is there").count(), 0);
}

/// Space by the page, and inodes one by one, up to where a run needs no more: it ends or waits at each stage.
#[test]
fn a_disk_that_is_full_at_any_stage_loses_nothing() {
    let sizes = [4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256];
    let sizes = sizes.map(|kibibytes| format!("size={kibibytes}k"));
    let inodes = (2..40)
        .step_by(2)
        .map(|inodes| format!("nr_inodes={inodes}"));
    let mut refused = 0;
    for options in sizes.into_iter().chain(inodes) {
        let counter = scratch();
        let count = counter.path().join("count");
        let run = Run::new(&counts(&count.display().to_string()), "");
        let results = run.path("results");
        fs::create_dir(&results).expect("the results directory");
        let Some(mount) = Mount::small(&results, &options) else {
            return;
        };
        let first = run.start();
        // It goes on by itself once there is room, or ends and says what to do.
        let is_heard = |text: &str| text.contains("o space left") || text.contains("disk is full");
        run.until("an end, or a word about the disk", || {
            let has_ended = ends_within(first.id(), Duration::ZERO);
            (has_ended || is_heard(&first.stderr())).then_some(())
        });
        mount.make_room();
        let exit = first.wait();
        let last = match exit.code {
            Some(0) => exit,
            Some(7) => {
                refused += 1;
                assert!(is_heard(&exit.stderr), "{options}: {exit:?}");
                let next = match run.dir().store().exists() {
                    true => format!("`cu resume {}`", run.dir().path().display()),
                    false => "type the same command again".to_owned(),
                };
                assert!(exit.stderr.contains("make room"), "{options}: {exit:?}");
                assert!(exit.stderr.contains(&next), "{options}: {exit:?}");
                let is_left = run.dir().path().exists();
                assert_eq!(is_left, run.dir().store().exists(), "{options}: {exit:?}");
                run.go_on().wait()
            }
            _ => panic!("{options}: {exit:?}"),
        };
        assert_eq!(last.code, Some(0), "{options}: {last:?}");
        let attempts = fs::read_to_string(&count).expect("it ran").lines().count();
        // One whose end could not be recorded is run again.
        assert!(attempts >= 3, "{options}: {attempts}");
        assert!(run.dir().all_data().exists(), "{options}");
    }
    assert!(refused > 5, "only {refused}");
}
