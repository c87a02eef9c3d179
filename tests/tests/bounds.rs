//! Bounds on what jobs leave and say: past them nothing is taken for something else, and nothing is
//! dropped in silence.

use cu_tests::run::{Run, scratch};

/// Runs to its end, and returns what `cu show 0` prints.
fn show_after(run: &Run) -> String {
    let exit = run.start().wait();
    let shown = run.cu(&["show", "0"]);
    assert_eq!(exit.code, Some(0), "{exit:?}\n{shown:?}");
    shown.stdout
}

#[test]
fn one_changed_file_among_21000_is_progress() {
    // The one that changes is the oldest, which the file system lists last.
    let program = r#"
        mkdir -p many && echo step >> many/first
        [ "$CU_ATTEMPT" -gt 0 ] || (cd many && seq 21000 | xargs touch)
        [ "$CU_ATTEMPT" -ge 5 ] || exit 3
    "#;
    let run = Run::new(&["sh", "-c", program], "");
    let shown = show_after(&run);
    assert!(shown.contains("job 0 is completed"), "{shown}");
}

#[test]
fn what_is_written_behind_a_link_is_progress() {
    let program = r#"
        [ -e elsewhere ] || ln -s "$0" elsewhere
        echo step >> elsewhere/steps
        [ "$CU_ATTEMPT" -ge 5 ] || exit 3
    "#;
    let elsewhere = scratch();
    let path = elsewhere.path().to_str().expect("UTF-8");
    let run = Run::new(&["sh", "-c", program, path], "");
    let shown = show_after(&run);
    assert!(shown.contains("job 0 is completed"), "{shown}");
}
