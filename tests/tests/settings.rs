//! A job's settings and the fence are ours: a program may clear its output directory, or write over what
//! lies there, and nothing of the job is lost.

use std::fs;
use std::time::Duration;

use cu_protocol::{Attempt, JobId};
use cu_tests::process::{ends_within, kill};
use cu_tests::run::Run;
use cu_tests::wait::until;
use serde_json::Value;

const JOB: JobId = JobId(0);

/// Removes all that is in the output directory, as trainers do at each start.
const CLEAR: &str = "find \"$CU_OUTPUT_DIR\" -mindepth 1 -delete; ";

/// A run whose state lies beside its config, so that clearing loses none of it.
fn clearing(script: &str, config: &str) -> Run {
    let config = format!("working_directory = \".\"\n{config}settings.rate = 7\n");
    Run::new(&["bash", "-c", &format!("{CLEAR}{script}")], &config)
}

/// Asks to be resumed until the third attempt, each of which needs its settings.
const RESUMED: &str = "grep -q '\"rate\": 7' \"$CU_SETTINGS\" || exit 9
    echo $CU_ATTEMPT >>ran; [ $(wc -l <ran) -ge 3 ] || exit 3";

#[test]
fn a_program_that_clears_its_output_directory_is_resumed() {
    let run = clearing(RESUMED, "");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?} {:#}", run.show(0));
    assert_eq!(fs::read_to_string(run.path("ran")).unwrap(), "0\n1\n2\n");
}

#[test]
fn a_program_that_cleared_its_output_directory_is_retried() {
    let run = clearing(&format!("[ -e mended ] || exit 5; {RESUMED}"), "");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    fs::write(run.path("mended"), "").unwrap();
    let retried = run.cu(&["retry", "0"]);
    assert_eq!(retried.code, Some(0), "{retried:?}");
    let exit = run.go_on().wait();
    assert_eq!(exit.code, Some(0), "{exit:?} {:#}", run.show(0));
}

#[test]
fn settings_that_a_program_wrote_over_are_renewed() {
    let script = "for file in \"$CU_SETTINGS\" \"$CU_OUTPUT_DIR/settings.json\"; do
        grep -q '\"rate\": 7' \"$file\" || exit 9; echo '{}' >\"$file\"; done
        [ $CU_ATTEMPT = 2 ] || exit 3";
    let run = Run::new(&["bash", "-c", script], "settings.rate = 7\n");
    let exit = run.start().wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {job:#}");
    assert_eq!(job["attempts"].as_array().unwrap().len(), 3, "{job:#}");
}

#[test]
fn a_directory_in_place_of_the_copy_holds_nothing_up() {
    let script = "rm -f settings.json; mkdir settings.json; touch settings.json/$CU_ATTEMPT
        [ $CU_ATTEMPT = 2 ] || exit 3; grep -q '\"rate\": 7' \"$CU_SETTINGS\"";
    let run = Run::new(&["bash", "-c", script], "settings.rate = 7\n");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?} {:#}", run.show(0));
}

/// The supervisor of the running attempt, from the fence's own record.
fn supervisor(run: &Run) -> u32 {
    until("a record of the supervisor", || {
        let record = fs::read(run.dir().attempt_holder(JOB)).ok()?;
        let record: Value = serde_json::from_slice(&record).ok()?;
        record["program"].as_object()?;
        record["supervisor"]["pid"].as_u64()?.try_into().ok()
    })
}

#[test]
fn the_fence_holds_though_the_output_directory_is_cleared() {
    let script = "[ $CU_ATTEMPT = 0 ] || { touch next; exit 0; }
        trap '' TERM USR1 INT; echo $$ >program
        while ! [ -e go ]; do sleep 0.02; done; [ -e next ] && touch overlap; exit 3";
    let run = clearing(script, "stop.grace = \"1h\"\n");
    let mut main_process = run.start();
    let program = until("the program", || {
        let text = fs::read_to_string(run.path("program")).ok()?;
        text.strip_suffix('\n')?.parse::<u32>().ok()
    });
    let supervisor = supervisor(&run);
    // Nobody is left who could say that the program lives.
    main_process.kill();
    kill(supervisor);
    assert!(ends_within(supervisor, Duration::from_secs(60)));
    fs::create_dir(run.dir().attempt(JOB, Attempt(1))).unwrap();
    fs::write(run.dir().newest_attempt(JOB), "1").unwrap();
    let next = run.spawn(&["exec", run.dir().path().to_str().unwrap(), "0", "1"]);
    until("the wait of attempt 1", || {
        next.stderr().contains("may still be running").then_some(())
    });
    assert!(!run.path("next").exists());
    fs::write(run.path("go"), "").unwrap();
    assert!(ends_within(program, Duration::from_secs(60)));
    let exit = next.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(run.path("next").exists() && !run.path("overlap").exists());
}
