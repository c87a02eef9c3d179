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
    // Somebody presses Ctrl-C.
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
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("interrupted");
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
