//! Programs for the Python package cluster_utils run as they are, with the real package from PyPI.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cu_tests::python_package::{output, tools};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A directory with a program and its config, in the environment that has cluster_utils.
struct Project(tempfile::TempDir);

impl Project {
    fn new(program: &str, config: &str) -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        std::fs::write(scratch.path().join("main.py"), program).expect("a file");
        std::fs::write(scratch.path().join("run.toml"), config).expect("a file");
        Self(scratch)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut cu = Command::new(cu_tests::cu::cu_binary());
        cu.args(arguments).current_dir(self.0.path());
        cu.env("PATH", format!("{}:/usr/bin:/bin", tools().display()));
        cu
    }

    fn cu(&self, arguments: &[&str]) -> String {
        output(&mut self.command(arguments))
    }

    fn fails(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().expect("cu");
        assert!(!output.status.success(), "{output:?}");
        output
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.cu(arguments)).expect("JSON")
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.path().join(name)).expect(name)
    }
}

/// The content of a file of the example.
fn example(name: &str) -> String {
    let path = root().join("examples/cluster_utils").join(name);
    std::fs::read_to_string(path).expect("a file")
}

#[test]
fn the_warning_before_a_limit_repeats_and_skips_nothing() {
    let config = example("timeout_signal.toml").replace("timeout_signal.py", "main.py");
    let project = Project::new(&example("timeout_signal.py"), &config);
    let _ = project.cu(&["run", "run.toml", "--backend=local"]);
    let shown = project.json(&["show", "0", "--json"]);
    assert_eq!(shown["metrics"]["iterations"], 80, "{shown:#}");
    let attempts = shown["attempts"].as_array().expect("attempts");
    let (_, resumed) = attempts.split_last().expect("one");
    assert!(!resumed.is_empty(), "the warning did not come");
    for attempt in resumed {
        assert_eq!(attempt["end"], "resume_requested", "{shown:#}");
        assert_eq!(attempt["stopped"]["cause"], "time_limit", "{shown:#}");
        assert_eq!(attempt["stopped"]["killed"], false, "{shown:#}");
    }
    let expected: String = (0..80).map(|iteration| format!("{iteration}\n")).collect();
    let directory = shown["output_dir"].as_str().expect("a path");
    assert_eq!(
        project.file(&format!("{directory}/iterations.txt")),
        expected
    );
}

#[test]
fn the_example_resumes_and_arrives_whole() {
    let project = Project::new(&example("main.py"), &example("run.toml"));
    let _ = project.cu(&["run", "run.toml", "--backend=local"]);
    let table = project.file("results/cluster_utils/all_data.csv");
    assert!(
        table.starts_with("job,model.rate,loss,steps,time_elapsed\n"),
        "{table}"
    );
    for job in ["0", "1"] {
        let shown = project.json(&["show", job, "--json"]);
        assert_eq!(shown["metrics"]["steps"], 200, "{shown:#}");
        assert_eq!(shown["fraction"], 1.0, "{shown:#}");
        assert_eq!(
            shown["attempts"].as_array().map(Vec::len),
            Some(2),
            "{shown:#}"
        );
        assert_eq!(shown["attempts"][0]["end"], "resume_requested", "{shown:#}");
        assert_eq!(shown["refused_messages"]["count"], 0, "{shown:#}");
        let series = project.file(shown["early_results"].as_str().expect("a file"));
        let lines: Vec<_> = series.lines().skip(1).map(|line| line.split(',')).collect();
        let of: Vec<_> = lines.into_iter().filter_map(|mut it| it.next()).collect();
        assert_eq!(of, ["0", "0", "1", "1"], "{series}");
    }
    let shown = project.cu(&["show", "0"]);
    assert!(shown.contains("announced early results 4 times"), "{shown}");
    let status = project.json(&["status", "--json"]);
    assert_eq!(status["refused_messages"], 0, "{status:#}");
}

#[test]
fn the_config_on_the_page_runs_the_example() {
    let page = std::fs::read_to_string(root().join("docs/cluster_utils.md")).expect("a file");
    let config = page.split("```toml\n").nth(1).expect("a first config");
    let config = config.split("```").next().expect("its end");
    let project = Project::new(&example("main.py"), config);
    let _ = project.cu(&["run", "run.toml", "--backend=local"]);
    let shown = project.json(&["show", "0", "--json"]);
    assert_eq!(shown["metrics"]["steps"], 200, "{shown:#}");
}

/// All that can go wrong on the client's side, one job for each.
const TROUBLE: &str = r#"
import os, pathlib, pickle, socket, sys
import cluster_utils

params = cluster_utils.initialize_job()
kind = params.kind
metrics = {"value": params.value, "text": "a, b"}

def send(data):
    address = next(word for word in sys.argv if word.startswith("--cluster-utils-server="))
    host, port = address.partition("=")[2].split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(data, (host, int(port)))

class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)

if kind == "raises":
    def deep():
        raise ValueError("the loss is NaN")
    deep()
if kind == "forks":
    for child in range(3):
        if os.fork() == 0:
            sys.exit(0)  # its interpreter says that the job has ended
        os.wait()
if kind == "no results":
    sys.exit(0)
if kind == "path":
    metrics["path"] = pathlib.Path("x")
if kind == "large":
    metrics["long"] = "x" * 60_000
    metrics["longer"] = "y" * 60_000
if kind == "evil":
    send(pickle.dumps((6, (params.id, {"loss": Evil()})), 4))
    send(pickle.dumps((6, (params.id + 1, {"loss": 1.0})), 4))
    send(pickle.dumps((6, (params.id, {"loss": 1.0})), 4)[:-3])
cluster_utils.finalize_job(metrics, params)
"#;

const KINDS: [&str; 7] = [
    "raises",
    "forks",
    "no results",
    "path",
    "large",
    "evil",
    "it's \"ä\" {x}",
];

#[test]
fn a_client_in_trouble_loses_no_result_and_no_traceback() {
    let config = format!(
        "name = \"trouble\"\ncommand = [\"python3\", \"main.py\", \"{{cluster_utils}}\", \"value=42\"]\n\
         [settings]\nvalue = 1\n[grid]\nkind = {KINDS:?}\n"
    );
    let project = Project::new(TROUBLE, &config);
    let run = project.fails(&["run", "run.toml", "--backend=local"]);
    // While it goes on on one, and in the report at the end on the other.
    let printed = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
    let shown = KINDS.map(|kind| {
        let job = KINDS.iter().position(|it| *it == kind).expect("a kind");
        (kind, project.json(&["show", &job.to_string(), "--json"]))
    });
    for (kind, shown) in &shown {
        let has_results = !["raises", "no results"].contains(kind);
        let expected = if has_results { 42.into() } else { Value::Null };
        assert_eq!(shown["metrics"]["value"], expected, "{kind}: {shown:#}");
        let state = if *kind == "raises" {
            "failed"
        } else {
            "completed"
        };
        assert_eq!(shown["state"], state, "{kind}: {shown:#}");
        let refused = if *kind == "evil" { 3 } else { 0 };
        // A path in the results can't be pickled into plain data; the file has it as text.
        let refused = if *kind == "path" { 1 } else { refused };
        assert_eq!(
            shown["refused_messages"]["count"], refused,
            "{kind}: {shown:#}"
        );
    }
    // Its own main process would lose the traceback. Here it is where one looks for it.
    for text in [
        &printed,
        &project.cu(&["show", "0"]),
        &project.cu(&["logs", "0"]),
    ] {
        assert!(text.contains("ValueError: the loss is NaN"), "{text}");
    }
    assert!(
        project.cu(&["logs", "0"]).contains("in deep"),
        "no lines of code"
    );
    let status = project.cu(&["status"]);
    let line = "refused 4 messages for cluster_utils in 2 jobs; `cu show 3` shows the reasons";
    assert!(status.contains(line), "{status}");
    let evil = project.cu(&["show", "5"]);
    for reason in [
        "3 messages for cluster_utils were refused:",
        "\n  it names posix.system, which is not plain data",
        "\n  it speaks for job 6",
        "\n  it is cut short",
    ] {
        assert!(evil.contains(reason), "{evil}");
    }
}
