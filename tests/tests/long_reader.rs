//! A process reads a run's store and does not end: a suspended `cu status`, a backup, a database viewer.
//! Runs with a rollback journal can't record anything meanwhile. The main process says so and waits. It
//! ends on request, and the run continues afterwards.

use std::time::Duration;

use cu_tests::checker::assert_kept;
use cu_tests::fuse::Fuse;
use cu_tests::history::History;
use cu_tests::process::{Exit, Process};
use cu_tests::run::{Place, Run};
use cu_tests::wait::BOUND;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};

/// A run on FUSE whose job has just ended, but the end can't be recorded.
struct Held {
    main_process: Process,
    reader: Connection,
    run: Run,
    _fuse: Fuse,
}

impl Held {
    /// `None` only if `CU_TESTS_UNPRIVILEGED=1` leaves this part out.
    fn start() -> Option<Self> {
        let fuse = Fuse::mount()?;
        let place = Place {
            directory: fuse.path().to_owned(),
            ..Place::this_machine()
        };
        let config = "settings.behaviour = \"waits\"\nsettings.barrier = \"barrier\"\n";
        let run = Run::at(place, &[env!("CARGO_BIN_EXE_tiny_job")], config);
        let main_process = run.start();
        run.await_file(&run.output(0, "here"));
        run.until("the start, recorded", || {
            (run.reader().status().expect("a status").jobs.running == 1).then_some(())
        });
        let reader = Connection::open(run.dir().store()).expect("the store");
        let begin = "BEGIN; SELECT count(*) FROM events;";
        reader.execute_batch(begin).expect("a read transaction");
        std::fs::write(run.output(0, "barrier"), "").expect("the barrier");
        Some(Self {
            main_process,
            reader,
            run,
            _fuse: fuse,
        })
    }

    fn send(&self, signal: Signal) {
        let main_process = Pid::from_raw(self.main_process.id().cast_signed());
        kill_process(main_process.expect("a process"), signal).expect("it lives");
    }

    /// Waits until the supervisor has written the exit record. It has sent the end to the main
    /// process before.
    fn await_end(&self) {
        let attempts = self.run.dir().attempts(cu_protocol::JobId(0));
        self.run.await_file(&attempts.join("0").join("exit.json"));
    }

    fn let_go(&self) {
        self.reader
            .execute_batch("COMMIT")
            .expect("the end of reading");
    }
}

fn assert_complete(run: &Run, exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_eq!(run.status()["state"], "completed");
    assert_kept(&History::read(&run.dir()).expect("a history"), 8);
}

#[test]
fn a_reader_that_stays_is_waited_for_and_people_are_told() {
    let Some(held) = Held::start() else { return };
    let told = held.run.until("a word to people", || {
        let said = held.main_process.stderr();
        said.contains("nothing can be recorded").then_some(said)
    });
    let reader = format!("held by process {} (", std::process::id());
    assert!(told.contains(&reader), "{told}");
    let log = std::fs::read_to_string(held.run.dir().log()).expect("a log");
    assert!(log.contains("nothing can be recorded"), "{log}");
    // Other readers still read it.
    assert_eq!(held.run.status()["jobs"]["running"], 1);
    let why = |run: &Run| run.show(0)["why"].as_str().unwrap_or_default().to_owned();
    assert!(why(&held.run).contains(&reader), "{}", why(&held.run));
    held.let_go();
    let exit = held.main_process.wait();
    assert!(!why(&held.run).contains(&reader), "{}", why(&held.run));
    assert!(exit.stderr.contains("recorded again, after"), "{exit:?}");
    assert_complete(&held.run, &exit);
}

/// Sends these signals to a main process that waits for a reader, and returns its end.
fn ended_by(signals: &[Signal]) {
    let Some(mut held) = Held::start() else {
        return;
    };
    held.await_end();
    for signal in signals {
        held.send(*signal);
        // The kernel may merge the same signal sent twice at once.
        let _ = held.main_process.wait_at_most(Duration::from_millis(300));
    }
    let exit = held.main_process.wait_at_most(BOUND).expect("it ends");
    assert_eq!(exit.code, Some(130), "{exit:?}");
    assert!(exit.stderr.contains("`cu resume "), "{exit:?}");
    held.let_go();
    let exit = held.run.go_on().wait();
    assert_complete(&held.run, &exit);
}

#[test]
fn a_main_process_that_waits_for_a_reader_can_be_detached() {
    ended_by(&[Signal::TERM]);
}

#[test]
fn a_main_process_that_waits_for_a_reader_heeds_ctrl_c() {
    ended_by(&[Signal::INT, Signal::INT]);
}
