//! Runs examples through the real `cu`, in a results directory of each test's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// Seconds after which a command that hangs is killed, and its test fails.
const PATIENCE: &str = "180";

/// The directory of the examples.
pub fn examples() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The value that overrides `command` in a config.
pub fn command(words: &[&str]) -> String {
    format!("command={words:?}")
}

/// The binary `cu`: the one that `CU_BIN` names, or one that is built now, beside the examples and
/// by the same profile. It belongs to another package, so cargo does not know that we need it.
pub fn cu() -> &'static Path {
    static CU: OnceLock<PathBuf> = OnceLock::new();
    CU.get_or_init(|| {
        if let Some(given) = std::env::var_os("CU_BIN") {
            let given = PathBuf::from(given);
            assert!(
                given.is_file(),
                "CU_BIN is {}, which is not a file",
                given.display()
            );
            return given;
        }
        let profile_dir = Path::new(env!("CARGO_BIN_EXE_digits")).parent().unwrap();
        let profile = match profile_dir.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "cu-cli", "--bin", "cu"])
            .args(["--profile", profile, "--target-dir"])
            .arg(profile_dir.parent().unwrap())
            .current_dir(examples())
            .status()
            .unwrap();
        assert!(
            status.success(),
            "cu could not be built: cargo build -p cu-cli"
        );
        profile_dir.join("cu")
    })
}

/// Runs a command to its end, with `cu` in PATH and none of the variables of a job.
pub fn output(words: &[&str], directory: &Path) -> Output {
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("timeout");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CU_")) {
        command.env_remove(name);
    }
    let output = command
        .args(["--kill-after=5", PATIENCE])
        .args(words)
        .env(
            "PATH",
            format!("{}:{path}", cu().parent().unwrap().display()),
        )
        .current_dir(directory)
        .output()
        .expect("`timeout` of the coreutils is needed");
    assert_ne!(
        output.status.code(),
        Some(124),
        "{words:?} did not end in {PATIENCE} seconds"
    );
    output
}

/// A run that is over, with its first job.
pub struct Run {
    /// The directory around the run's. Removed when dropped.
    _results: TempDir,
    pub run_dir: PathBuf,
    /// `cu status --json`
    pub status: Value,
    /// `cu show 0 --json`
    pub job: Value,
}

impl Run {
    /// `cu run` with these arguments. The run must complete.
    pub fn completed(arguments: &[&str]) -> Self {
        let results = TempDir::new().unwrap();
        let in_results = |words: &[&str]| {
            let mut all = vec![cu().to_str().unwrap(), "--results-dir"];
            all.push(results.path().to_str().unwrap());
            all.extend(words);
            let output = output(&all, examples());
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.success(),
                "{all:?}: {}\n{stderr}",
                output.status
            );
            output.stdout
        };
        let json =
            |words: &[&str]| -> Value { serde_json::from_slice(&in_results(words)).unwrap() };
        in_results(&[&["run"], arguments].concat());
        let status = json(&["status", "--json"]);
        let job = json(&["show", "0", "--json"]);
        assert_eq!(status["state"], "completed");
        assert_eq!(status["jobs"]["completed"], status["jobs"]["total"]);
        let run_dir = PathBuf::from(status["run_dir"].as_str().unwrap());
        Self {
            _results: results,
            run_dir,
            status,
            job,
        }
    }

    pub fn resumes(&self) -> u64 {
        self.status["resumes"].as_u64().unwrap()
    }

    /// The one output directory of all attempts.
    pub fn output_dir(&self) -> PathBuf {
        let directories: Vec<_> = std::fs::read_dir(self.run_dir.join("working_directories"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(
            directories,
            [PathBuf::from(self.job["output_dir"].as_str().unwrap())]
        );
        directories[0].clone()
    }

    /// One file of the output directory.
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.output_dir().join(name)).unwrap()
    }

    /// A metric with all its digits, as in `metrics.csv`.
    pub fn metric(&self, name: &str) -> String {
        metric(&self.file("metrics.csv"), name)
    }

    /// Checks the chain: at least one resume, each attempt but the last with this end, the last one
    /// completed, and each with a submission of its own.
    pub fn assert_chain(&self, end: &str) {
        let attempts = self.job["attempts"].as_array().unwrap();
        assert!(self.resumes() >= 1, "{attempts:#?}");
        assert_eq!(attempts.len() as u64, self.resumes() + 1);
        assert_eq!(self.status["attempts"], self.resumes() + 1);
        let mut cluster_job_ids = std::collections::BTreeSet::new();
        for (number, attempt) in attempts.iter().enumerate() {
            let is_last = number + 1 == attempts.len();
            assert_eq!(attempt["attempt"], number, "{attempt:#}");
            assert_eq!(
                attempt["end"],
                if is_last { "completed" } else { end },
                "{attempt:#}"
            );
            assert!(cluster_job_ids.insert(attempt["cluster_job_id"].as_str().unwrap()));
        }
        assert_eq!(attempts.last().unwrap()["exit_code"], 0);
    }
}

/// A value of a CSV file with one row.
pub fn metric(csv: &str, name: &str) -> String {
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let [names, values] = &lines[..] else {
        panic!("not a header and a row: {csv:?}");
    };
    let column = names.iter().position(|column| *column == name);
    values[column.unwrap_or_else(|| panic!("no {name} in {csv:?}"))].to_owned()
}
