//! Runs the tests of `cu_job.py` under each Python, and checks that Rust and Python write the same
//! files and read each other's checkpoints.
//!
//! `CU_PYTHON` may name the Pythons to test with, separated by colons; otherwise it is `python3`.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod support;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use cu_client::{Checkpoints, Generation, Options, Settings};
use support::{End, Process, program};

fn pythons() -> Vec<String> {
    let named = std::env::var("CU_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    named.split(':').map(str::to_owned).collect()
}

fn python_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// Runs Python in the directory of cu_job.py.
fn run(python: &str, arguments: &[&str]) -> End {
    let version = Command::new(python).arg("--version").output();
    let found = version.is_ok_and(|output| output.status.success());
    assert!(
        found,
        "`{python}` does not run: install Python 3.8 or newer, or name one in CU_PYTHON"
    );
    let mut command = Command::new(python);
    command
        .args(arguments)
        .current_dir(python_directory())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("CU_") {
            command.env_remove(variable);
        }
    }
    Process::start(command).end()
}

/// Runs a Python program that is given a directory.
fn python(program: &str, directory: &Path) {
    for python in pythons() {
        let end = run(&python, &["-c", program, directory.to_str().unwrap()]);
        assert!(end.status.success(), "{python}: {end:?}");
    }
}

/// Runs the tests in one file, class by class, so that each has the whole patience of a test.
fn own_tests_pass(module: &str) {
    let file = python_directory().join(module).with_extension("py");
    let text = std::fs::read_to_string(file).unwrap();
    let classes: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("class ")?.split('(').next())
        .collect();
    assert_ne!(classes, [""; 0]);
    for python in pythons() {
        for class in &classes {
            let end = run(&python, &["-m", "unittest", &format!("{module}.{class}")]);
            assert!(end.status.success(), "{python}: {class}:\n{}", end.stderr);
            let ran = end.stderr.lines().find(|line| line.starts_with("Ran "));
            assert_ne!(ran, None, "{}", end.stderr);
            assert!(!end.stderr.contains("Ran 0 tests"), "{}", end.stderr);
        }
    }
}

#[test]
fn its_own_tests_pass() {
    own_tests_pass("test_cu_job");
}

#[test]
fn its_own_tests_of_checkpoints_pass() {
    own_tests_pass("test_checkpoints");
}

#[test]
fn its_own_tests_of_signals_pass() {
    own_tests_pass("test_signals");
}

#[test]
fn its_own_tests_of_children_pass() {
    own_tests_pass("test_children");
}

#[test]
fn its_own_tests_of_what_cluster_utils_has_pass() {
    own_tests_pass("test_cluster_utils");
}

#[test]
fn no_file_of_its_own_tests_is_left_out() {
    let source = include_str!("python.rs");
    for entry in std::fs::read_dir(python_directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name
            .strip_suffix(".py")
            .filter(|_| name.starts_with("test_"))
        {
            let call = format!("own_tests_pass(\"{module}\")");
            assert!(source.contains(&call), "{name} is not run here");
        }
    }
}

#[test]
fn python_reads_what_rust_saved() {
    let directory = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(directory.path().join("checkpoints"))
        .unwrap()
        .for_attempt(3);
    for byte in [b'o', b'n'] {
        let mut writer = checkpoints.writer().unwrap();
        writer.write_all(&vec![byte; 3_000_000]).unwrap();
        writer.commit().unwrap();
    }
    python(
        "import cu_job, sys
data = cu_job.Job(output_dir=sys.argv[1]).load_bytes()
assert data == b'n' * 3_000_000, (len(data), data[:10])",
        directory.path(),
    );
    // A checkpoint of a Rust value is intact, but Python can't read it.
    checkpoints.save(&1_u64).unwrap();
    python(
        "import cu_job, sys
try:
    cu_job.Job(output_dir=sys.argv[1]).load_bytes()
except cu_job.CheckpointError as error:
    assert 'a value' in str(error), error
else:
    sys.exit('nothing was raised')",
        directory.path(),
    );
}

#[test]
fn rust_reads_what_python_saved() {
    for python in pythons() {
        let directory = tempfile::tempdir().unwrap();
        let program = "import cu_job, os, sys
os.environ['CU_ATTEMPT'] = '3'
job = cu_job.Job(output_dir=sys.argv[1])
for byte in b'o', b'm', b'n':
    with job.checkpoint_writer() as file:
        for _ in range(3000):
            file.write(byte * 1000)";
        let end = run(
            &python,
            &["-c", program, directory.path().to_str().unwrap()],
        );
        assert!(end.status.success(), "{end:?}");

        let checkpoints = Checkpoints::open(directory.path().join("checkpoints")).unwrap();
        let mut found = checkpoints.reader().unwrap().unwrap();
        assert_eq!(found.generation, Generation::new(3, 2));
        assert_eq!(found.skipped, []);
        let mut bytes = Vec::new();
        found.value.read_to_end(&mut bytes).unwrap();
        assert!(bytes == vec![b'n'; 3_000_000]);
        let kept = checkpoints.generations().unwrap();
        assert_eq!(kept, [Generation::new(3, 2), Generation::new(3, 1)]);
    }
}

/// Runs a program with the door of shells, in a directory whose checkpoints are used.
fn shell(name: &str, directory: &Path) {
    let mut command = program(name);
    command
        .env("CU_OUTPUT_DIR", directory)
        .current_dir(directory);
    let end = Process::start(command).end();
    assert!(end.status.success(), "{name}: {end:?}");
}

/// Saves a directory with the name of who saved it, as Python programs do.
const SAVE_DIRECTORY: &str = "import cu_job, sys
with cu_job.Job(output_dir=sys.argv[1]).save_dir() as path:
    (path / 'empty').mkdir()
    (path / 'model').mkdir()
    (path / 'model' / 'weights ä').write_text('python')";

/// Loads one, and compares the name.
const LOAD_DIRECTORY: &str = "import cu_job, os, sys
path = cu_job.Job(output_dir=sys.argv[1]).load_dir()
assert sorted(os.listdir(path)) == ['.cu-manifest', 'empty', 'model'], os.listdir(path)
saved = (path / 'model' / 'weights ä').read_text()
expected = (path.parent.parent / 'expected').read_text()
assert saved == expected, (saved, expected)";

#[test]
fn each_door_loads_directories_of_every_other() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut checkpoints = Checkpoints::open(directory.join("checkpoints")).unwrap();
    for saved_by in ["rust", "python", "shell"] {
        std::fs::write(directory.join("expected"), saved_by).unwrap();
        match saved_by {
            "rust" => {
                let files = checkpoints.directory().unwrap();
                std::fs::create_dir(files.path().join("empty")).unwrap();
                std::fs::create_dir(files.path().join("model")).unwrap();
                std::fs::write(files.path().join("model/weights ä"), saved_by).unwrap();
                files.commit().unwrap();
            }
            "python" => python(SAVE_DIRECTORY, directory),
            _ => shell("saves_a_directory", directory),
        }
        let found = checkpoints.load_directory().unwrap().unwrap();
        assert_eq!(found.skipped, []);
        let weights = std::fs::read_to_string(found.value.join("model/weights ä")).unwrap();
        assert_eq!(weights, saved_by);
        assert!(found.value.join("empty").is_dir());
        python(LOAD_DIRECTORY, directory);
        shell("loads_a_directory", directory);
    }
}

#[test]
fn both_write_the_same_results() {
    let settings = r#"{
        "seed": 12345678901234567890, "rate": 1e-05, "tiny": 5e-324, "huge": 1.5e+300, "zero": -0.0,
        "whole": 1e16, "below": 123456789012345.6, "on": true, "off": false, "nothing": null,
        "text": "quote \" comma , line\nbreak", "letters": "äß😀\u0000\u007f", "empty": "",
        "list": [1, 2.5, "it's", "\"", "both ' and \"", null, true, [], "\t\\\n"],
        "nested": {"deep": {"er": 1}, "none": {}}, "dotted.name": 1
    }"#;
    let metrics = r#"{
        "accuracy": 0.925, "count": 3, "good": true, "note": "a,b", "loss": {"train": 1e-7},
        "none": null, "time_elapsed": 1.0
    }"#;
    let directory = tempfile::tempdir().unwrap();
    let given = directory.path().join("given.json");
    std::fs::write(&given, settings).unwrap();
    std::fs::write(directory.path().join("given_metrics.json"), metrics).unwrap();

    let by_rust = directory.path().join("rust");
    let metrics: serde_json::Value = serde_json::from_str(metrics).unwrap();
    Options::<Settings>::new()
        .settings_file(&given)
        .output_dir(&by_rust)
        .leave_signals_alone()
        .leave_panics_alone()
        .initialize()
        .unwrap()
        .finalize(&metrics)
        .unwrap();
    python(
        "import cu_job, json, sys
from pathlib import Path
given = Path(sys.argv[1])
metrics = json.loads((given / 'given_metrics.json').read_text())
cu_job.Job(given / 'given.json', given / 'python').finalize(metrics)",
        directory.path(),
    );
    for name in ["settings.json", "param_choice.csv", "metrics.csv"] {
        let read = |by: &Path| std::fs::read_to_string(by.join(name)).unwrap();
        let by_python = read(&directory.path().join("python"));
        assert_eq!(read(&by_rust), by_python, "{name}");
    }
}
