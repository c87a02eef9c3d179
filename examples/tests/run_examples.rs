//! Every example, run through the real `cu` to its result.
#![allow(clippy::unwrap_used)]

mod cu;

use std::path::Path;

use cu::{Run, command, examples, metric, output};

/// The sum of the digits of all numbers up to 2000 times `steps`: the result of the scripts in
/// `unmodified`.
fn sum_of_digits(steps: u64) -> String {
    let digits = |number: u64| {
        number
            .to_string()
            .bytes()
            .map(|digit| u64::from(digit - b'0'))
            .sum::<u64>()
    };
    let sum: u64 = (1..=2000 * steps).map(digits).sum();
    format!("{sum}\n")
}

#[test]
fn digits_in_many_attempts_is_bit_for_bit_digits_in_one() {
    let command = command(&[env!("CARGO_BIN_EXE_digits")]);
    let common = ["digits/run.toml", &command, "settings.epochs=30"];
    let straight = Run::completed(&[&common[..], &["stop.after=1h"]].concat());
    assert_eq!(straight.resumes(), 0);

    // With a limit on time alone a slow machine would need more attempts than a fast one.
    let short = ["stop.after=300ms", "settings.epochs_per_attempt=5"];
    let chopped = Run::completed(&[&common[..], &short].concat());
    assert!(chopped.resumes() >= 5, "{}", chopped.resumes());
    chopped.assert_chain("resume_requested");

    for name in ["test_accuracy", "train_loss", "epochs"] {
        assert_eq!(chopped.metric(name), straight.metric(name), "{name}");
    }
    assert_eq!(chopped.metric("epochs"), "30");
    let shown = &chopped.job["metrics"]["test_accuracy"];
    assert_eq!(shown.to_string(), chopped.metric("test_accuracy"));
    assert!(shown.as_f64().unwrap() > 0.85, "{shown}");
}

#[test]
fn digits_by_hand_is_started_again_until_it_is_done() {
    let here = tempfile::tempdir().unwrap();
    let settings = r#"{"seed": 1, "epochs": 3, "learning_rate": 0.01, "batch_size": 20, "epochs_per_attempt": 2}"#;
    std::fs::write(here.path().join("settings.json"), settings).unwrap();
    let digits = || {
        output(
            &[env!("CARGO_BIN_EXE_digits"), "settings.json"],
            here.path(),
        )
    };
    assert_eq!(digits().status.code(), Some(3));
    assert!(!here.path().join("metrics.csv").exists());
    assert_eq!(digits().status.code(), Some(0));
    let metrics = std::fs::read_to_string(here.path().join("metrics.csv")).unwrap();
    assert_eq!(metric(&metrics, "epochs"), "3");
}

#[test]
fn timeout_signal_never_runs_into_its_limit() {
    let run = Run::completed(&[
        "timeout_signal/run.toml",
        &command(&[env!("CARGO_BIN_EXE_timeout_signal")]),
        // The warning comes after a second, and leaves five for saving, enough on a loaded machine,
        // too.
        "resources.time_limit=6s",
        "stop.before_limit=5s",
        "stop.grace=4s",
        "settings.steps=150",
    ]);
    run.assert_chain("resume_requested");
    assert_eq!(run.metric("steps"), "150");
    let said = std::fs::read_to_string(run.run_dir.join("attempts/0/0/stdout")).unwrap();
    assert!(said.starts_with("saved at step "), "{said}");
}

#[test]
fn shell_finds_the_longest_collatz_chain() {
    let run = Run::completed(&["shell/run.toml", "stop.after=500ms"]);
    run.assert_chain("resume_requested");
    assert_eq!(run.metric("number"), "6171");
    assert_eq!(run.metric("steps"), "261");
}

#[test]
fn python_in_attempts_throws_the_darts_of_python_by_hand() {
    // Python may take longer to start than an attempt lasts.
    let settings = [
        "stop.after=500ms",
        "settings.steps=600",
        "resume.stuck_after=1000",
    ];
    let run = Run::completed(&[&["python/run.toml"], &settings[..]].concat());
    run.assert_chain("resume_requested");

    let here = tempfile::tempdir().unwrap();
    std::fs::write(
        here.path().join("settings.json"),
        r#"{"seed": 1, "steps": 600}"#,
    )
    .unwrap();
    let program = examples().join("python/job.py");
    let by_hand = output(
        &["python3", program.to_str().unwrap(), "settings.json"],
        here.path(),
    );
    assert_eq!(by_hand.status.code(), Some(0), "{by_hand:?}");
    let metrics = std::fs::read_to_string(here.path().join("metrics.csv")).unwrap();
    assert_eq!(run.metric("darts"), "6000000");
    assert_eq!(run.metric("pi"), metric(&metrics, "pi"));
}

#[test]
fn python_at_its_time_limit_repeats_and_skips_nothing() {
    let run = Run::completed(&["python/timeout_signal.toml"]);
    run.assert_chain("resume_requested");
    assert!(run.resumes() >= 1, "the warning did not come");
    let expected: String = (0..80).map(|iteration| format!("{iteration}\n")).collect();
    assert_eq!(run.file("iterations.txt"), expected);
}

#[test]
fn unmodified_needs_no_config() {
    let program = examples().join("unmodified/legacy.sh");
    let program = ["--", program.to_str().unwrap(), "100"];
    let options = [
        "--stop-after",
        "500ms",
        "--working-directory",
        "{output_dir}",
    ];
    let run = Run::completed(&[&options[..], &program].concat());
    run.assert_chain("resume_requested");
    assert_eq!(run.job["attempts"][0]["exit_code"], 3);
    assert_eq!(run.file("result.txt"), sum_of_digits(100));
}

#[test]
fn unmodified_with_its_config() {
    let command = command(&["{config_dir}/legacy.sh", "100"]);
    let run = Run::completed(&["unmodified/run.toml", &command, "stop.after=500ms"]);
    run.assert_chain("resume_requested");
    assert_eq!(run.file("result.txt"), sum_of_digits(100));
}

#[test]
fn unmodified_with_arguments_of_a_grid() {
    let steps = "grid.steps=[30, 60]";
    let run = Run::completed(&["unmodified/grid.toml", steps, "stop.after=500ms"]);
    assert_eq!(run.status["jobs"]["total"], 2);
    for (job, steps) in [("0", 30), ("1", 60)] {
        let output_dir = run.run_dir.join("working_directories").join(job);
        let result = std::fs::read_to_string(output_dir.join("result.txt"));
        assert_eq!(result.unwrap(), sum_of_digits(steps));
    }
}

#[test]
fn unmodified_behind_a_wrapper_loses_no_step() {
    let command = command(&["{config_dir}/wrapper.sh", "100"]);
    let run = Run::completed(&["unmodified/wrapped.toml", &command, "stop.after=500ms"]);
    run.assert_chain("resume_requested");
    assert_eq!(run.file("result.txt"), sum_of_digits(100));
    let last = run
        .run_dir
        .join("attempts/0")
        .join(run.resumes().to_string());
    let said = std::fs::read_to_string(last.join("stdout")).unwrap();
    assert!(said.starts_with("going on after step "), "{said}");
    assert!(
        said.ends_with("legacy.sh has ended with exit code 0\n"),
        "{said}"
    );
}

#[test]
fn unmodified_that_is_killed_goes_on_from_its_last_state() {
    // Some seconds of work, in attempts of one second.
    let command = command(&["{config_dir}/periodic.sh", "100"]);
    let run = Run::completed(&[
        "unmodified/periodic.toml",
        &command,
        "resources.time_limit=1s",
        "resume.time_limits=500",
    ]);
    run.assert_chain("time_limit");
    assert_eq!(run.file("result.txt"), sum_of_digits(100));
}

#[test]
fn embedded_runs_the_loop_on_a_scheduler_of_its_own() {
    let here = tempfile::tempdir().unwrap();
    let run_dir = here.path().join("run");
    let embedded = || {
        output(
            &[env!("CARGO_BIN_EXE_embedded"), run_dir.to_str().unwrap()],
            Path::new("/"),
        )
    };
    let first = embedded();
    let said = String::from_utf8(first.stdout).unwrap();
    assert!(
        first.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&first.stderr)
    );
    // Each of five jobs has ten steps, and an attempt does four.
    assert!(
        said.ends_with("15 attempts, 10 of them resumes\n"),
        "{said}"
    );
    let metrics =
        std::fs::read_to_string(run_dir.join("working_directories/0/metrics.csv")).unwrap();
    let zeta: f64 = metric(&metrics, "zeta").parse().unwrap();
    let terms = 1e6;
    // The missing terms add up to a little less than this.
    assert!(
        (zeta + 1.0 / terms - std::f64::consts::PI.powi(2) / 6.0).abs() < 1e-9,
        "{zeta}"
    );

    let again = embedded();
    assert!(!again.status.success());
    let error = String::from_utf8(again.stderr).unwrap();
    assert!(error.contains(run_dir.to_str().unwrap()), "{error}");
}
