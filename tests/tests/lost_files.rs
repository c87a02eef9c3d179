//! A file of a run is lost while attempts run and no main process lives: the run continues with a
//! message, and no message of an attempt is lost.

use cu_tests::checker::assert_kept;
use cu_tests::history::History;
use cu_tests::process::Process;
use cu_tests::run::Run;
use cu_tests::wait::BOUND;
use rustix::process::Signal;

/// A run whose job waits, with its main process.
fn running() -> (Run, Process) {
    let config = "settings.behaviour = \"waits\"\nsettings.barrier = \"barrier\"\n";
    let run = Run::new(&[env!("CARGO_BIN_EXE_tiny_job")], config);
    let main_process = run.start();
    run.await_file(&run.output(0, "here"));
    run.until("the start, recorded", || {
        (run.reader().status().expect("a status").jobs.running == 1).then_some(())
    });
    (run, main_process)
}

fn interrupted() -> Run {
    let (run, mut main_process) = running();
    main_process.kill();
    run
}

#[test]
fn a_truncated_index_of_the_log_kills_but_does_no_other_harm() {
    let (run, mut main_process) = running();
    let index = run.dir().path().join("run.sqlite-shm");
    let index = std::fs::File::options().write(true).open(index);
    index.and_then(|index| index.set_len(0)).expect("cut short");
    std::fs::write(run.output(0, "barrier"), "").expect("the barrier");
    let exit = main_process.wait_at_most(BOUND).expect("it ends");
    assert_eq!(exit.signal, Some(Signal::BUS.as_raw()), "{exit:?}");
    assert_goes_on(&run, "had the run before and was killed", false);
}

/// Checks that the run is resumed, prints `words`, and loses nothing.
fn assert_goes_on(run: &Run, words: &str, let_go_first: bool) {
    let let_go = || std::fs::write(run.output(0, "barrier"), "").expect("the barrier");
    if let_go_first {
        let_go();
        let attempts = run.dir().attempts(cu_protocol::JobId(0));
        run.await_file(&attempts.join("0").join("exit.json"));
    }
    let main_process = run.go_on();
    run.until("a word", || {
        main_process.stderr().contains(words).then_some(())
    });
    let_go();
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let log = std::fs::read_to_string(run.dir().log()).expect("a log");
    assert!(log.contains(words), "{log}");
    assert_kept(&History::read(&run.dir()).expect("a history"), 8);
}

#[test]
fn a_running_attempt_connects_again_after_the_secret_was_lost() {
    let run = interrupted();
    std::fs::remove_file(run.dir().secret()).expect("removed");
    assert_goes_on(&run, "secret is missing, and a new one is made", false);
}

#[test]
fn the_outbox_is_read_after_the_secret_was_lost() {
    let run = interrupted();
    std::fs::write(run.dir().secret(), "").expect("emptied");
    assert_goes_on(&run, "secret is damaged", true);
}

#[test]
fn the_next_main_process_reports_that_the_last_was_killed() {
    let run = interrupted();
    assert_goes_on(&run, "had the run before and was killed", false);
    let exit = run.cu(&["resume"]);
    assert!(
        !exit.stderr.contains("killed"),
        "it ended by itself: {exit:?}"
    );
}
