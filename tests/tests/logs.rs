//! `cu logs` shows both streams of any jobs, whole or in part, and says so where a killed program left
//! nothing.

use cu_tests::run::Run;
use serde_json::Value;

const BOTH: &str = "echo \"out $CU_JOB_ID\"; echo \"err $CU_JOB_ID\" >&2";

fn grid(script: &str, jobs: u32) -> Run {
    let values: Vec<_> = (0..jobs).map(|job| job.to_string()).collect();
    let config = format!("[grid]\ni = [{}]", values.join(","));
    Run::new(&["sh", "-c", script], &config)
}

#[test]
fn both_streams_are_shown_and_each_alone() {
    let run = grid(BOTH, 1);
    assert_eq!(run.start().wait().code, Some(0));
    let logs = run.cu(&["logs"]).stdout;
    let expected = "out 0\n--- attempt 0: standard error ---\nerr 0\n";
    assert!(logs.ends_with(expected), "{logs}");
    let attempt = |option| run.cu(&["logs", "0", "--attempt", "0", option]).stdout;
    assert_eq!(attempt("--stdout"), "out 0\n");
    assert_eq!(attempt("--stderr"), "err 0\n");
}

#[test]
fn several_jobs_name_themselves_and_one_of_many_is_asked_for() {
    let run = grid(BOTH, 3);
    assert_eq!(run.start().wait().code, Some(0));
    let path = run.dir().path().display().to_string();
    for words in [["0,2", &path], [&path, "0,2"]] {
        let logs = run.cu(&[&["logs"][..], &words[..]].concat()).stdout;
        assert!(logs.starts_with("--- job 0, attempt 0 ("), "{logs}");
        let second = "\n--- job 2, attempt 0: standard error ---\nerr 2\n";
        assert!(logs.ends_with(second), "{logs}");
        assert!(!logs.contains("out 1"), "{logs}");
    }
    for command in ["logs", "show"] {
        let exit = run.cu(&[command]);
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.contains("3 jobs, numbered from 0"), "{exit:?}");
        let exit = run.cu(&[command, &path, "1"]);
        assert_eq!(exit.code, Some(0), "{exit:?}");
    }
}

#[test]
fn a_job_and_a_run_go_in_any_order_and_one_job_by_itself() {
    let (one, two) = (grid(BOTH, 1), grid(BOTH, 2));
    for run in [&one, &two] {
        assert_eq!(run.start().wait().code, Some(0));
    }
    for words in [&["0", "run"][..], &["run", "0"]] {
        for (command, expected) in [("show", "job 0 is completed"), ("logs", "out 0")] {
            let exit = two.cu(&[&[command], words].concat());
            assert_eq!(exit.code, Some(0), "{exit:?}");
            assert!(exit.stdout.contains(expected), "{exit:?}");
        }
        let exit = two.cu(&[&["stop"], words].concat());
        assert!(exit.stderr.contains("completed"), "{exit:?}");
    }
    let path = one.dir().path().display().to_string();
    for words in [&[][..], &[path.as_str()]] {
        for (command, expected) in [("show", "job 0 is completed"), ("logs", "out 0")] {
            let exit = one.cu(&[&[command], words].concat());
            assert_eq!(exit.code, Some(0), "{exit:?}");
            assert!(exit.stdout.contains(expected), "{exit:?}");
        }
    }
}

#[test]
fn the_last_lines_and_recent_attempts_are_enough() {
    let run = grid("seq 1 1000; printf unfinished; echo bad >&2", 1);
    assert_eq!(run.start().wait().code, Some(0));
    let logs = run.cu(&["logs", "-n", "3"]).stdout;
    assert_eq!(logs, "unfinished\n--- attempt 0: standard error ---\nbad\n");
    let logs = run.cu(&["logs", "--stdout", "--lines", "2"]).stdout;
    assert_eq!(logs, "1000\nunfinished");
    let logs = run.cu(&["logs", "--since", "1day"]).stdout;
    assert!(logs.contains("\n1000\n"), "{logs}");
    run.until("a moment after the end", || {
        let logs = run.cu(&["logs", "--since", "1ms"]).stdout;
        logs.is_empty().then_some(())
    });
    assert_eq!(run.cu(&["logs", "--since", "soon"]).code, Some(2));
}

#[test]
fn json_is_one_object_a_line() {
    let run = grid("printf 'one\\ntwo'; echo \"err\" >&2", 2);
    assert_eq!(run.start().wait().code, Some(0));
    let follow = run.cu(&["logs", "all", "--json", "-f"]).stdout;
    let lines = follow.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<_> = lines.map(|line| line.expect("an object")).collect();
    assert_eq!(lines.len(), 6, "{follow}");
    for expected in [
        serde_json::json!({"job": 0, "attempt": 0, "stream": "stdout", "line": "two"}),
        serde_json::json!({"job": 1, "attempt": 0, "stream": "stderr", "line": "err"}),
    ] {
        assert!(lines.contains(&expected), "{expected} in {follow}");
    }
}

#[test]
fn output_of_a_killed_python_is_not_lost() {
    let script = "import os, signal\nprint('epoch 1')\nos.kill(os.getpid(), signal.SIGKILL)";
    let run = Run::new(&["python3", "-c", script], "");
    assert_eq!(run.start().wait().code, Some(1));
    let logs = run.cu(&["logs"]).stdout;
    assert!(logs.contains("\nepoch 1\n"), "{logs}");
    // The user's own word counts.
    let config = "[environment]\nPYTHONUNBUFFERED = \"\"";
    let run = Run::new(&["python3", "-c", script], config);
    assert_eq!(run.start().wait().code, Some(1));
    let logs = run.cu(&["logs"]).stdout;
    assert!(!logs.contains("epoch"), "{logs}");
    let silence = "--- attempt 0 wrote nothing to standard output; it failed ---\n";
    assert!(logs.contains(silence), "{logs}");
}
