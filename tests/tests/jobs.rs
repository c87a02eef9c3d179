//! `cu jobs`: every job with what was set, what was measured and what became of it; and the same choice of
//! jobs for commands that change a run.

use cu_tests::cu::cu_binary;
use cu_tests::run::Run;
use serde_json::{Value, json};

/// Six jobs: those with `lr` 0.1 fail, the others measure `loss`.
fn ended() -> Run {
    let cu = cu_binary().display();
    let script = format!(
        "lr=$({cu} job settings get lr)\n\
         if [ $lr = 0.1 ]; then echo no memory >&2; exit 7; fi\n\
         {cu} job finish loss=$lr note='a, \"b\"'"
    );
    let run = Run::new(
        &["sh", "-c", &script],
        "grid.lr = [0.1, 0.01, 0.001]\ngrid.seed = [1, 2]\n",
    );
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    run
}

/// The lines of `cu jobs` with these arguments, as words.
fn table(run: &Run, arguments: &[&str]) -> Vec<String> {
    let exit = run.cu(&[&["jobs"], arguments].concat());
    assert_eq!(exit.code, Some(0), "{arguments:?}: {exit:?}");
    assert!(!exit.stdout.contains(" \n"), "blanks end a line: {exit:?}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    exit.stdout.lines().map(words).collect()
}

fn numbers(jobs: &Value) -> Vec<u64> {
    let jobs = jobs["jobs"].as_array().expect("a list");
    let number = |job: &Value| job["job"].as_u64().expect("a number");
    jobs.iter().map(number).collect()
}

#[test]
fn every_job_is_listed_with_settings_metrics_and_state() {
    let run = ended();
    let lines = table(&run, &[]);
    assert_eq!(lines.len(), 7, "{lines:?}");
    assert!(
        lines[0].starts_with("job state lr seed attempts done loss note run_time host"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("0 failed 0.1 1 1 "), "{lines:?}");
    assert!(
        lines[3].starts_with("2 completed 0.01 1 1 100 % 0.01 "),
        "{lines:?}"
    );

    let jobs = run.json(&["jobs"]);
    assert_eq!(numbers(&jobs), [0, 1, 2, 3, 4, 5]);
    let job = &jobs["jobs"][4];
    assert_eq!(job["parameters"], json!({"lr": 0.001, "seed": 1}));
    assert_eq!(job["metrics"], json!({"loss": 0.001, "note": "a, \"b\""}));
    assert_eq!(job["end"], "completed");
    assert_eq!(jobs["jobs"][0]["exit_code"], 7);
    assert!(job["run_seconds"].is_number(), "{job}");
}

#[test]
fn a_choice_is_filtered_sorted_and_cut() {
    let run = ended();
    let chosen = |arguments: &[&str]| numbers(&run.json(&[&["jobs"], arguments].concat()));
    assert_eq!(chosen(&["--failed"]), [0, 1]);
    assert_eq!(
        chosen(&["--state", "completed,failed", "-n", "3"]),
        [0, 1, 2]
    );
    assert_eq!(chosen(&["--queued"]), [0_u64; 0]);
    assert_eq!(
        chosen(&["--where", "settings.lr<0.1", "--where", "seed=2"]),
        [3, 5]
    );
    assert_eq!(chosen(&["--where", "metrics.loss>=0.01"]), [2, 3]);
    assert_eq!(chosen(&["--sort", "loss"]), [4, 5, 2, 3, 0, 1]);
    // Jobs without a value come last in this direction, too.
    assert_eq!(chosen(&["--sort", "loss", "--reverse"]), [2, 3, 4, 5, 0, 1]);
    let lines = table(&run, &["--failed", "--columns", "job,settings,exit_code"]);
    assert_eq!(lines, ["job lr seed exit_code", "0 0.1 1 7", "1 0.1 2 7"]);
}

#[test]
fn a_key_that_no_job_has_is_refused_and_the_right_one_named() {
    let run = ended();
    for arguments in [
        ["--where", "losss<1"],
        ["--sort", "metrics"],
        ["--columns", "job,losss"],
        ["--where", "run_time>5"],
        ["--state", "finished"],
    ] {
        let exit = run.cu(&[&["jobs"], &arguments[..]].concat());
        assert_eq!(exit.code, Some(2), "{arguments:?}: {exit:?}");
        assert_eq!(exit.stdout, "", "{arguments:?}: {exit:?}");
    }
    let exit = run.cu(&["jobs", "--where", "losss<1"]);
    assert!(
        exit.stderr.contains("did you mean `metrics.loss`?"),
        "{exit:?}"
    );
}

#[test]
fn csv_has_all_jobs_and_comes_back_as_it_was_measured() {
    let run = ended();
    let exit = run.cu(&["jobs", "--csv", "--columns", "job,state,settings,metrics"]);
    let expected = "job,state,settings.lr,settings.seed,metrics.loss,metrics.note\n\
                    0,failed,0.1,1,,\n\
                    1,failed,0.1,2,,\n\
                    2,completed,0.01,1,0.01,\"a, \"\"b\"\"\"\n\
                    3,completed,0.01,2,0.01,\"a, \"\"b\"\"\"\n\
                    4,completed,0.001,1,0.001,\"a, \"\"b\"\"\"\n\
                    5,completed,0.001,2,0.001,\"a, \"\"b\"\"\"\n";
    assert_eq!(exit.stdout, expected, "{exit:?}");
    let all = run.cu(&["jobs", "--csv"]);
    let header = all.stdout.lines().next().expect("a header");
    for name in ["run_time", "queue_time", "host", "why", "output_dir"] {
        assert!(header.split(',').any(|column| column == name), "{header}");
    }
}

#[test]
fn commands_that_change_a_run_take_the_same_choice() {
    let run = ended();
    let retried = run.json(&["retry", "--where", "seed=1", "--failed"]);
    assert_eq!(retried["jobs"], 1, "{retried}");
    let waiting = run.json(&["jobs", "--queued"]);
    assert_eq!(numbers(&waiting), [0]);
    let stopped = run.json(&["stop", "1-5", "--queued"]);
    assert_eq!(stopped["jobs"], 0, "{stopped}");
    let exit = run.cu(&["stop", "--where", "seed=7"]);
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(exit.stderr.contains("there are no such jobs"), "{exit:?}");
    let waiting = run.json(&["jobs", "--queued"]);
    assert_eq!(numbers(&waiting), [0], "it was not stopped");
}
