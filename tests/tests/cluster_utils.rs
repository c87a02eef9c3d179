//! What users of cluster_utils do besides a grid search of a program in the current directory.

use std::process::Stdio;

use cu_tests::cluster_utils::{Project, said};
use cu_tests::wait::until;
use serde_json::Value;

/// Two values of one parameter, and two of another.
const CONFIG: &str = r#"{"optimization_procedure_name": "same", "results_dir": "r", "script_relative_path": "main.py",
    "fixed_params": {"x": "{z * 2}", "n": null}, "hyperparam_list": [{"param": "z", "values": [2, 3]},
    {"param": "a.b", "values": [0.5, "s"]}]}"#;

#[test]
fn without_run_in_working_dir_a_clone_of_the_commit_runs() {
    let program = "import os\nfrom cluster_utils import finalize_job, initialize_job\nparams = initialize_job()\n\
                   ready = os.path.exists('ready')\n\
                   finalize_job({'version': 1, 'here': os.getcwd(), 'ready': ready}, params)\n";
    let project = Project::new(program);
    project.write("a.json", CONFIG);
    project.executable("prepare.sh", "#!/bin/sh\n[ -e ready ] || touch ready\n");
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
        let output = project
            .command("git", &[&identity, arguments].concat())
            .output();
        let output = output.expect("git");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "main.py"]);
    git(&["commit", "--quiet", "--message", "A program"]);
    let first = git(&["rev-parse", "HEAD"]);
    let arguments = ["a.json", "environment_setup.pre_job_script='prepare.sh'"];
    // What is not committed is not there.
    let refused = project.grid_search(&arguments);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let words = "`environment_setup.pre_job_script='prepare.sh'`: `environment_setup.pre_job_script`: there is no file ";
    assert!(said(&refused).contains(words), "{}", said(&refused));
    git(&["add", "prepare.sh"]);
    git(&["commit", "--quiet", "--message", "Prepare"]);
    let second = git(&["rev-parse", "HEAD"]);
    project.write("main.py", "raise SystemExit('edited')\n");
    let output = project.grid_search(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let warning = "uncommitted changes, which are not in the clone";
    assert!(said(&output).contains(warning), "{}", said(&output));
    let place = project.path().join("r/same/clone");
    let table = project.file("r/same/all_data.csv");
    let expected = format!(",1,{},True,", place.display());
    assert_eq!(table.matches(&expected).count(), 4, "{table}");
    let metadata: Value =
        serde_json::from_str(&project.file("r/same/metadata.json")).expect("JSON");
    assert_eq!(metadata["git"]["commit"], second.as_str());
    assert_eq!(metadata["git"]["dirty"], true);
    // The script has left a file.
    assert!(
        said(&output).contains("is kept: ready in it"),
        "{}",
        said(&output)
    );
    let url = format!("git_params.url='file://{}'", project.path().display());
    let commit = format!("git_params.commit='{first}'");
    let output = project.grid_search(&[
        "a.json",
        &url,
        &commit,
        "git_params.depth=1",
        "git_params.remove_local_copy=False",
        "optimization_procedure_name='second'",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(project.file("r/second/all_data.csv").lines().count(), 5);
    assert!(project.path().join("r/second/clone/main.py").exists());
    assert!(!project.path().join("r/second/clone/prepare.sh").exists());
    for (override_, words) in [
        ("git_params.branch='none'", "can't clone "),
        (
            "git_params.commit='main'",
            "`git_params.commit = \"main\"`: `git.commit`: ",
        ),
        (
            "git_params.url='ext::sh -c id'",
            "names a program that git would run",
        ),
        (
            "script_relative_path='no.py'",
            "no.py: the commit that was cloned does not have it",
        ),
    ] {
        let output =
            project.grid_search(&["a.json", "optimization_procedure_name='bad'", override_]);
        assert_eq!(output.status.code(), Some(2), "{override_}: {output:?}");
        assert!(
            said(&output).contains(words),
            "{override_}: {}",
            said(&output)
        );
    }
}

/// Job N ends once there is a file `goN`.
const WAITING: &str = r#"
import pathlib, time
from cluster_utils import finalize_job, initialize_job

params = initialize_job()
while not pathlib.Path(f"go{params.id}").exists():
    # Nobody stays behind if the test fails.
    assert pathlib.Path("main.py").exists()
    time.sleep(0.01)
finalize_job({"y": params.z}, params)
"#;

#[test]
fn an_aborted_grid_has_its_files_as_far_as_it_got() {
    let project = Project::new(WAITING);
    project.write("a.json", CONFIG);
    let started = |arguments: &[&str]| {
        let mut cu = project.command(cu_tests::cu::cu_binary(), arguments);
        cu.stdout(Stdio::null()).stderr(Stdio::null());
        cu.spawn().expect("cu")
    };
    let here = [
        "grid-search",
        "a.json",
        "local_run=True",
        "run_in_working_dir=True",
    ];
    let mut main_process = started(&[&here[..], &["--set=backend.local.cpus=4"]].concat());
    let rows = || {
        let table = std::fs::read_to_string(project.path().join("r/same/all_data.csv"));
        table.unwrap_or_default().lines().skip(1).count()
    };
    project.write("go0", "");
    until("the row of the first job", || (rows() == 1).then_some(()));
    main_process.kill().expect("killed");
    main_process.wait().expect("its end");
    assert_eq!(rows(), 1);
    for name in ["metadata.json", "cluster_run.log"] {
        assert!(project.path().join("r/same").join(name).exists(), "{name}");
    }
    // Somebody ends it, as Ctrl-C does, which a process in the background would ignore.
    let mut resumed = started(&["resume", "r/same"]);
    project.write("go1", "");
    let jobs = || {
        let output = project
            .command(cu_tests::cu::cu_binary(), &["status", "--json", "r/same"])
            .output();
        let status: Value = serde_json::from_slice(&output.expect("cu").stdout).unwrap_or_default();
        status["jobs"]["completed"].as_u64()
    };
    until("the second job", || (jobs() == Some(2)).then_some(()));
    let pid = rustix::process::Pid::from_child(&resumed);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("interrupted");
    assert_eq!(resumed.wait().expect("its end").code(), Some(130));
    assert_eq!(rows(), 2);
    // Nobody is there whom `cu stop` could ask.
    let log = || project.file("r/same/cluster_run.log");
    assert_eq!(
        log().matches("Considering job failed").count(),
        0,
        "{}",
        log()
    );
    let mut stop = project.command(cu_tests::cu::cu_binary(), &["stop", "all", "r/same"]);
    let stopped = stop.output().expect("cu");
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
    assert_eq!(rows(), 2);
    assert_eq!(
        log().matches("Considering job failed").count(),
        2,
        "{}",
        log()
    );
}

/// Several searches one after the other, as a user's script starts them: the interpreter is `python`, and answers to
/// questions that `cu` does not ask are on standard input.
const SCRIPT: &str = r#"
set -eu
here=$(pwd)
python -m cluster_utils.grid_search grid.json "results_dir=\"$here/r\""
python -m cluster_utils.grid_search decorated.json "results_dir=\"$here/r\""
python -m cluster_utils.grid_search resumed.json "results_dir=\"$here/r\"" 'fixed_params.parts=3'
if python -m cluster_utils.grid_search nothing.json "results_dir=\"$here/r\""; then
    echo 'a search without results has succeeded' >&2
    exit 1
fi
python -c 'import cluster_utils; print("python is still", cluster_utils.__name__)'
"#;

const PLAIN: &str = r#"
from cluster_utils import finalize_job, initialize_job
params = initialize_job()
finalize_job({"sum": params.fn.x + params.fn.y, "type": params["kind"]["name"]}, params)
"#;

/// Job 3 fails on purpose.
const DECORATED: &str = r#"
from cluster_utils import cluster_main

@cluster_main(verbose=False)
def main(fn, kind, id, **more):
    if id == 3:
        raise RuntimeError("on purpose")
    return {"sum": fn["x"] + fn["y"], "type": kind["name"]}

main()
"#;

const RESUMED: &str = r#"
import pathlib
from cluster_utils import announce_early_results, exit_for_resume, read_params_from_cmdline, save_metrics_params
params = read_params_from_cmdline()
part = pathlib.Path(params.working_dir, "part")
done = int(part.read_text()) + 1 if part.exists() else 1
part.write_text(str(done))
announce_early_results({"done": done})
if done < params.parts:
    exit_for_resume()
save_metrics_params({"sum": params.fn.x + params.fn.y, "done": done}, params)
"#;

#[test]
fn a_script_of_searches_needs_no_change() {
    let project = Project::new(PLAIN);
    project.write("decorated.py", DECORATED);
    project.write("resumed.py", RESUMED);
    project.write(
        "nothing.py",
        "import cluster_utils\ncluster_utils.initialize_job()\n",
    );
    // What all have in common is imported; the job imports the rest by itself.
    project.write(
        "job.json",
        r#"{"kind": {"name": "{name}"}, "name": "imported"}"#,
    );
    project.write(
        "base.json",
        r#"{"results_dir": "elsewhere", "run_in_working_dir": true, "environment_setup": {},
            "cluster_requirements": {"request_cpus": 1}, "local_run": true,
            "fixed_params": {"__import_promise__": "./job.json", "fn.y": "{fn.x * 10}"}}"#,
    );
    for name in ["grid", "decorated", "resumed", "nothing"] {
        let script = if name == "grid" { "main" } else { name };
        let config = format!(
            r#"{{"__import__": "./base.json", "optimization_procedure_name": "{name}", "script_relative_path": "{script}.py",
                "hyperparam_list": [{{"param": "fn.x", "values": "{{list(range(2))}}"}},
                                    {{"param": "flag", "values": [true, false]}}]}}"#
        );
        project.write(&format!("{name}.json"), &config);
    }
    project.write("answers", "y\ny\n");
    let answers = std::fs::File::open(project.path().join("answers")).expect("a file");
    let mut bash = project.command("bash", &["-c", SCRIPT]);
    let output = bash.stdin(answers).output().expect("bash");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        said(&output)
    );
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("python is still cluster_utils"), "{said}");
    for (name, sums) in [
        ("grid", &["0", "0", "11", "11"][..]),
        ("decorated", &["0", "0", "11"]),
        ("resumed", &["0", "0", "11", "11"]),
    ] {
        let table = project.file(&format!("r/{name}/all_data.csv"));
        let mut lines = table.lines().map(|line| line.split(','));
        let at = lines
            .next()
            .and_then(|mut names| names.position(|it| it == "sum"))
            .expect("a column");
        let found: Vec<_> = lines.filter_map(|mut cells| cells.nth(at)).collect();
        assert_eq!(found, sums, "{name}: {table}");
    }
    let job = |name: &str, job: u32| {
        let run = format!("r/{name}");
        let output = project
            .command(
                cu_tests::cu::cu_binary(),
                &["show", &job.to_string(), &run, "--json"],
            )
            .output();
        serde_json::from_slice::<Value>(&output.expect("cu").stdout).expect("JSON")
    };
    assert_eq!(job("grid", 0)["metrics"]["type"], "imported");
    for number in 0..4 {
        let job = job("resumed", number);
        assert_eq!(job["attempts"].as_array().map(Vec::len), Some(3), "{job:#}");
        assert_eq!(job["metrics"]["done"], 3, "{job:#}");
    }
    assert!(
        !project
            .path()
            .join("r/nothing/all_data.csv")
            .metadata()
            .is_ok_and(|it| it.len() > 0)
    );
}

/// Messages are lost, doubled and reordered on their way; children and strangers speak for the job.
const CROWD: &str = r#"
import multiprocessing, os, pickle, random, socket, struct, sys, threading

ONE_TO_ONE = socket.socket.sendto
chance = random.Random(7)
kept = []

def sendto(self, data, address):
    """A network that loses a third, doubles a third, and lets messages overtake each other."""
    fate = chance.random()
    if fate > 0.33:
        kept.extend([data, data] if fate > 0.66 else [data])
    chance.shuffle(kept)
    while len(kept) > 20:
        ONE_TO_ONE(self, kept.pop(), address)

from cluster_utils import announce_early_results, announce_fraction_finished, finalize_job, initialize_job
params = initialize_job()  # also in each process of the pool below, which imports this file

def square(x):
    return x * x

class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)

def hostile():
    laughs = ["ha"]
    for _ in range(9):  # a thousand million words
        laughs = [laughs] * 10
    deep = []
    for _ in range(100):
        deep = [deep]
    yield pickle.dumps((6, (params.id, {"loss": Runs()})), 4)
    yield pickle.dumps((6, (params.id, {"loss": laughs})), 4)
    yield pickle.dumps((6, (params.id, {"loss": deep})), 4)
    yield pickle.dumps((6, (params.id, {"loss": 1.0})), 4)[:-3]
    yield pickle.dumps((6, (params.id + 1, {"loss": 1.0})), 4)
    yield b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b"1" * 60000  # a number of two billion bytes
    yield b"\x80\x04X" + struct.pack("<I", 2**32 - 1) + b"x" * 60000  # a text of four
    yield b""
    yield os.urandom(100)

if __name__ == "__main__":
    if params.kind == "network":
        socket.socket.sendto = sendto
        for step in range(250):
            announce_early_results({"loss": 1.0 / (step + 1)})
            announce_fraction_finished(step / 250)
    if params.kind == "children":
        with multiprocessing.get_context("spawn").Pool(3) as pool:
            assert pool.map(square, [1, 2, 3]) == [1, 4, 9]
            pool.close()
            pool.join()
        for child in range(3):
            if os.fork() == 0:
                sys.exit(0)
            os.wait()
    if params.kind == "hostile":
        address = next(word for word in sys.argv if word.startswith("--cluster-utils-server="))
        host, port = address.partition("=")[2].split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for data in hostile():
                out.sendto(data, (host, int(port)))
    finalize_job({"value": params.value}, params)
"#;

#[test]
fn lost_doubled_foreign_and_hostile_messages_change_no_result() {
    let project = Project::new(CROWD);
    let config = r#"{"optimization_procedure_name": "crowd", "results_dir": "r", "script_relative_path": "main.py",
        "run_in_working_dir": true, "local_run": true, "fixed_params": {"value": 42},
        "hyperparam_list": [{"param": "kind", "values": ["network", "children", "hostile"]}]}"#;
    project.write("crowd.json", config);
    let output = project.grid_search(&["crowd.json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let cu = |arguments: &[&str]| {
        let output = project
            .command(cu_tests::cu::cu_binary(), arguments)
            .output()
            .expect("cu");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (job, refused) in [("0", 0), ("1", 0), ("2", 9)] {
        let shown: Value =
            serde_json::from_str(&cu(&["show", job, "r/crowd", "--json"])).expect("JSON");
        assert_eq!(shown["state"], "completed", "{shown:#}");
        assert_eq!(shown["metrics"]["value"], 42, "{shown:#}");
        assert_eq!(shown["refused_messages"]["count"], refused, "{shown:#}");
        assert_eq!(
            shown["attempts"].as_array().map(Vec::len),
            Some(1),
            "{shown:#}"
        );
        assert_eq!(shown["early_results"].is_string(), job == "0", "{shown:#}");
    }
    let status = cu(&["status", "r/crowd"]);
    assert!(
        status.contains("refused 9 messages for cluster_utils in 1 job;"),
        "{status}"
    );
    let status: Value = serde_json::from_str(&cu(&["status", "r/crowd", "--json"])).expect("JSON");
    assert_eq!(status["refused_messages"], 9);
    assert!(!project.path().join("ran").exists(), "a message was run");
    let table = project.file("r/crowd/all_data.csv");
    assert_eq!(
        table.lines().filter(|line| line.contains(",42,")).count(),
        3,
        "{table}"
    );
}
