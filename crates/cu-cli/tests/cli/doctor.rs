//! `cu doctor`: what it says, what it proves, and that it leaves nothing behind.

use std::fs;

use serde_json::Value;

use crate::support::{Bench, Ended};

fn doctor(bench: &Bench, arguments: &[&str]) -> Ended {
    let mut command = bench.command(&[&["doctor"], arguments].concat());
    // Clusters of the host are none of ours.
    command.env("PATH", bench.path("commands"));
    Ended::from(command.output().expect("cu runs"))
}

/// The finding about `subject`.
fn finding<'a>(report: &'a Value, subject: &str) -> &'a Value {
    let mut findings = report["findings"].as_array().expect("a list").iter();
    let found = findings.find(|finding| finding["subject"] == subject);
    found.unwrap_or_else(|| panic!("nothing about {subject} in {report:#}"))
}

#[test]
fn this_machine_is_examined_and_nothing_is_made() {
    let bench = Bench::new();
    let ended = doctor(&bench, &["--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = ended.json();
    assert_eq!(report["backend"], "local");
    for subject in ["scheduler", "permissions", "clock of files", "free space"] {
        assert_eq!(finding(&report, subject)["level"], "good", "{report:#}");
    }
    assert_eq!(finding(&report, "python3")["level"], "note");
    assert!(!bench.path("results").exists());

    let ended = doctor(&bench, &[]);
    let words = "good     permissions: ";
    assert!(ended.stdout.contains(words), "{ended:?}");
}

#[test]
fn a_problem_is_exit_code_9() {
    let bench = Bench::new();
    let ended = doctor(&bench, &["--backend", "slurm", "--json"]);
    assert_eq!(ended.code, 9, "{ended:?}");
    let report = ended.json();
    assert_eq!(report["worst"], "problem");
    let scheduler = finding(&report, "scheduler");
    assert_eq!(scheduler["level"], "problem");
    assert!(scheduler["advice"].is_string(), "{report:#}");
    // It reports the rest nevertheless, as for a cluster.
    finding(&report, "network");
    let ended = doctor(&bench, &["--backend", "slurm"]);
    assert!(ended.stdout.contains("1 problem"), "{ended:?}");
}

#[test]
fn a_config_may_have_an_equals_sign_in_its_path() {
    let bench = Bench::new();
    fs::create_dir(bench.path("rate=0.1")).expect("a directory");
    bench.write(
        "rate=0.1/run.toml",
        "name = \"a\"\ncommand = [\"/bin/sh\"]\n[stop]\nafter = \"2h\"\n",
    );
    let ended = doctor(
        &bench,
        &["rate=0.1/run.toml", "resources.time_limit=1h", "--json"],
    );
    assert_eq!(ended.code, 9, "{ended:?}");
    let report = ended.json();
    let text = finding(&report, "config")["text"].as_str().expect("a text");
    assert!(text.contains("less than resources.time_limit"), "{text}");
}

#[test]
fn a_config_is_examined_too() {
    let bench = Bench::new();
    bench.write("typo.toml", "name = \"a\"\ncommand = [\"absent\"]\n");
    let ended = doctor(&bench, &["typo.toml", "--json"]);
    assert_eq!(ended.code, 9, "{ended:?}");
    let config = finding(&ended.json(), "config").clone();
    let text = config["text"].as_str().expect("a text");
    assert!(text.contains("typo.toml, line 2"), "{text}");

    let config = "name = \"a\"\ncommand = [\"/bin/sh\"]\nresults_dir = \"there\"\n\
                  resources.time_limit = \"1h\"\n";
    bench.write("risky.toml", config);
    let ended = doctor(&bench, &["risky.toml", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = ended.json();
    assert_eq!(finding(&report, "config")["level"], "warning");
    let place = finding(&report, "results directory")["text"].to_string();
    assert!(place.contains("/there is on "), "{place}");
    // A key by hand, for a config and without one.
    for arguments in [
        &["risky.toml", "backend.kind=slurm"][..],
        &["backend.kind=slurm"],
    ] {
        let ended = doctor(&bench, &[arguments, &["--json"]].concat());
        assert_eq!(ended.code, 9, "{ended:?}");
        let text = finding(&ended.json(), "scheduler")["text"].to_string();
        assert!(text.contains("`backend.kind=slurm`"), "{text}");
    }
    assert_eq!(doctor(&bench, &["nowhere.toml"]).code, 2);
    assert_eq!(doctor(&bench, &["risky.toml", "risky.toml"]).code, 2);
}

#[test]
fn a_probe_proves_it_and_leaves_nothing() {
    let bench = Bench::new();
    let ended = doctor(&bench, &["--submit", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = ended.json();
    for subject in ["probe", "connection"] {
        assert_eq!(finding(&report, subject)["level"], "good", "{report:#}");
    }
    let left = fs::read_dir(bench.path("results")).expect("made for the probe");
    assert_eq!(left.count(), 0, "the probe's directory is gone");
}

#[test]
fn a_probe_without_a_question_fails() {
    let bench = Bench::new();
    let ended = bench.cu(&["probe", "nowhere"]);
    assert_eq!(ended.code, 6, "{ended:?}");
    assert!(ended.stderr.contains("nowhere"), "{ended:?}");
}
