//! The state was lost or restored from a copy: the store is older than the backend's journal and the
//! attempts' files, or the journal is gone. Every job completes by its own work, and no step is done
//! twice.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use cu_core::machine::Event;
use cu_protocol::{JobId, Message};
use cu_tests::process::{Process, kill, kill_marked};
use cu_tests::run::Run;
use cu_tests::wait::until;
use serde_json::Value;

const JOBS: u32 = 3;
/// The attempt that completes a job.
const LAST: u32 = 4;
/// Each attempt takes one step, waits at its gate, and asks to be resumed unless it is the last.
const STEPS: &str = r#"cd "$CU_OUTPUT_DIR"; gates="$CU_TESTS_SCRATCH/gates"
    echo "$CU_ATTEMPT" >> steps
    while [ ! -e "$gates/$CU_ATTEMPT" ] && [ -d "$gates" ]; do sleep 0.02; done
    [ "$CU_ATTEMPT" -ge 4 ] || exit 3"#;

fn run_of(program: &str, jobs: u32, config: &str) -> Run {
    let seeds: Vec<_> = (0..jobs).collect();
    let config = format!("grid.seed = {seeds:?}\n{config}");
    let run = Run::new(&["sh", "-c", program], &config);
    fs::create_dir(run.path("gates")).unwrap();
    run
}

fn open_gate(run: &Run, attempt: u32) {
    fs::write(run.path("gates").join(attempt.to_string()), "").unwrap();
}

fn lines(run: &Run, job: u32, file: &str) -> Vec<String> {
    let text = fs::read_to_string(run.output(job, file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn await_line(run: &Run, job: u32, file: &str, line: &str) {
    until(&format!("`{line}` of job {job}"), || {
        lines(run, job, file)
            .iter()
            .any(|it| it == line)
            .then_some(())
    });
}

fn await_attempts(run: &Run, attempt: u32) {
    for job in 0..JOBS {
        await_line(run, job, "steps", &attempt.to_string());
    }
}

fn store_files(run: &Run) -> Vec<PathBuf> {
    let name = |suffix: &str| run.dir().path().join(format!("run.sqlite{suffix}"));
    ["", "-wal", "-shm"].map(name).to_vec()
}

fn store_copy(run: &Run) -> Vec<(Vec<u8>, PathBuf)> {
    let files = store_files(run).into_iter();
    let copies = files.filter_map(|path| Some((fs::read(&path).ok()?, path)));
    copies.collect()
}

fn restore(run: &Run, copy: Vec<(Vec<u8>, PathBuf)>) {
    for path in store_files(run) {
        fs::remove_file(path).ok();
    }
    for (content, path) in copy {
        fs::write(path, content).unwrap();
    }
}

fn assert_each_step_once(run: &Run, main_process: Process) {
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let expected: Vec<_> = (0..=LAST).map(|attempt| attempt.to_string()).collect();
    for job in 0..JOBS {
        assert_eq!(lines(run, job, "steps"), expected, "job {job}");
        let report = run.show(job);
        let asked = vec!["resume_requested"; LAST as usize];
        assert_eq!(ends(&report), [asked, vec!["completed"]].concat());
    }
}

fn ends(job: &Value) -> Vec<&str> {
    let attempts = job["attempts"].as_array().unwrap();
    attempts
        .iter()
        .map(|attempt| attempt["end"].as_str().unwrap_or("none"))
        .collect()
}

#[test]
fn a_store_restored_from_a_copy_fails_no_job() {
    // While attempts run, and after all have ended.
    for runs_on in [true, false] {
        let run = run_of(STEPS, JOBS, "");
        let mut main_process = run.start();
        await_attempts(&run, 0);
        main_process.kill();
        let copy = store_copy(&run);
        let mut main_process = run.go_on();
        (0..3).for_each(|attempt| open_gate(&run, attempt));
        await_attempts(&run, 3);
        if runs_on {
            main_process.kill();
        } else {
            (3..=LAST).for_each(|attempt| open_gate(&run, attempt));
            let exit = main_process.wait();
            assert_eq!(exit.code, Some(0), "{exit:?}");
        }
        restore(&run, copy);
        let main_process = run.go_on();
        (3..=LAST).for_each(|attempt| open_gate(&run, attempt));
        assert_each_step_once(&run, main_process);
    }
}

/// Only the files of the attempts are left: no attempt before the newest of them is started.
#[test]
fn no_attempt_before_the_newest_starts_from_a_restored_store() {
    let run = run_of(STEPS, JOBS, "");
    let mut main_process = run.start();
    await_attempts(&run, 0);
    main_process.kill();
    let copy = store_copy(&run);
    let mut main_process = run.go_on();
    (0..3).for_each(|attempt| open_gate(&run, attempt));
    await_attempts(&run, 3);
    main_process.kill();
    kill_marked(&format!(
        "CU_TESTS_SCRATCH={}",
        run.config().parent().unwrap().display()
    ));
    restore(&run, copy);
    fs::remove_dir_all(run.dir().path().join("backend/local")).unwrap();
    for attempt in 0..3 {
        for job in 0..JOBS {
            let files = run.dir().path().join(format!("attempts/{job}/{attempt}"));
            fs::remove_dir_all(files).unwrap();
        }
    }
    let main_process = run.go_on();
    (3..=LAST).for_each(|attempt| open_gate(&run, attempt));
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for job in 0..JOBS {
        assert_eq!(
            lines(&run, job, "steps"),
            ["0", "1", "2", "3", "4"],
            "job {job}"
        );
    }
}

#[test]
fn a_write_ahead_log_that_is_lost_fails_no_job() {
    let damages: [fn(&mut Vec<u8>); 3] = [
        Vec::clear,
        |log| log.truncate(log.len() / 3),
        |log| {
            let middle = log.len() / 3;
            log[middle] ^= 0xff;
        },
    ];
    for damage in damages {
        let run = run_of(STEPS, JOBS, "");
        let mut main_process = run.start();
        (0..3).for_each(|attempt| open_gate(&run, attempt));
        await_attempts(&run, 3);
        main_process.kill();
        let log = run.dir().path().join("run.sqlite-wal");
        let mut content = fs::read(&log).unwrap();
        assert!(content.len() > 3, "there is a log to lose");
        damage(&mut content);
        fs::write(&log, content).unwrap();
        fs::remove_file(run.dir().path().join("run.sqlite-shm")).ok();
        let main_process = run.go_on();
        (3..=LAST).for_each(|attempt| open_gate(&run, attempt));
        assert_each_step_once(&run, main_process);
    }
}

#[test]
fn without_the_journal_no_job_completes_by_the_end_of_another() {
    let program = r#"cd "$CU_OUTPUT_DIR"; echo "$CU_ATTEMPT" >> begun
        while [ ! -e "$CU_TESTS_SCRATCH/gates/0" ]; do sleep 0.02; done
        echo "$CU_ATTEMPT" >> done"#;
    let config =
        "resume.backoff = \"500ms\"\nresume.backoff_max = \"500ms\"\nbackend.record_grace = \"2s\"";
    let run = run_of(program, 2, config);
    let mut main_process = run.start();
    (0..2).for_each(|job| await_line(&run, job, "begun", "0"));
    // Job 1 waits to be submitted again, job 0 runs, and all is lost.
    let waits =
        |job: &Value| job["state"] == "waiting" || job["attempts"].as_array().unwrap().len() > 1;
    let started = until("the start of job 1 in the store", || {
        let events = run.reader().events().unwrap();
        events.into_iter().find_map(|event| match event.event {
            Event::Said {
                message: Message::Started(started),
                ..
            } if event.job == JobId(1) => Some(started),
            _ => None,
        })
    });
    kill(started.supervisor);
    kill(started.program);
    until("the loss of attempt 0 of job 1", || {
        waits(&run.show(1)).then_some(())
    });
    main_process.kill();
    kill_marked(&format!(
        "CU_TESTS_SCRATCH={}",
        run.config().parent().unwrap().display()
    ));
    fs::remove_file(run.dir().path().join("backend/local/journal")).unwrap();
    open_gate(&run, 0);
    let exit = run.go_on().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    for job in 0..2 {
        let job_report = run.show(job);
        let attempts = job_report["attempts"].as_array().unwrap();
        let completed = attempts.iter().find(|it| it["end"] == "completed").unwrap();
        let attempt = completed["attempt"].to_string();
        assert!(lines(&run, job, "done").contains(&attempt), "{job_report}");
    }
}
