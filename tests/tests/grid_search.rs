//! `cu grid-search` in the place of the main process of cluster_utils: its configs and programs as they are, with the
//! real client from PyPI.

use std::path::Path;
use std::process::Stdio;

use cu_tests::cluster_utils::{Project, said};
use cu_tests::fake::{Fake, Kind};
use cu_tests::wait::until;
use serde_json::Value;

const PROGRAM: &str = r#"
import os, pathlib
from cluster_utils import cluster_main, exit_for_resume

@cluster_main
def main(fn, flag, working_dir, id, **more):
    resumed = pathlib.Path(working_dir, "resumed")
    if id == 1 and not resumed.exists():
        resumed.touch()
        exit_for_resume()
    if id == 2:
        raise ValueError("diverged")
    return {"loss": fn.x * 0.5, "half": fn.half, "home": os.environ["PLACE"], "ready": pathlib.Path("ready").exists()}

main()
"#;

const CONFIG: &str = r#"{
  "optimization_procedure_name": "grid",
  "results_dir": "runs of {$USER}",
  "run_in_working_dir": true,
  "script_relative_path": "main.py",
  "remove_jobs_dir": true,
  "environment_setup": {"variables": {"PLACE": "$HOME/a \"b\""}, "pre_job_script": "prepare.sh"},
  "cluster_requirements": {"request_cpus": 999, "request_gpus": 8, "cuda_requirement": null, "bid": 800},
  "fixed_params": {"z": 1e-7, "fn.half": "{fn.x / 2}", "fn.list": [1, 2]},
  "restarts": 2,
  "sample": null,
  "generate_report": "when_finished",
  "hyperparam_list": [
    {"param": "fn.x", "values": [2, 1]},
    {"param": ["flag", "a"], "values": [[true, "p, q"]]}
  ]
}"#;

#[test]
fn results_and_numbers_are_those_of_cluster_utils() {
    let project = Project::new(PROGRAM);
    project.write("grid.json", CONFIG);
    project.executable("prepare.sh", "#!/bin/sh\ntouch ready\nexit 1\n");
    let output = project.grid_search(&["grid.json", "local_run=True"]);
    let said = said(&output);
    // One job has failed, and others have results.
    assert_eq!(output.status.code(), Some(0), "{said}");
    for warning in [
        "unknown key `sample` has no effect; did you mean `samples`?",
        "`generate_report`: `cu` makes no PDF",
        "ValueError: diverged",
    ] {
        let all = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
        assert!(all.contains(warning), "{all}");
    }
    let run = "runs of ada/grid";
    let directory = |job| {
        format!(
            "{}/{run}/working_directories/{job}",
            project.path().display()
        )
    };
    let table = project.file(&format!("{run}/all_data.csv"));
    let place = format!("\"{}/a \"\"b\"\"\"", project.path().display());
    let row = |job, x, loss| {
        let half = loss;
        let directory = directory(job);
        format!(
            "0,{x},{{fn.x / 2}},\"[1, 2]\",True,\"p, q\",1e-07,{directory},{job},{job},{loss},{half},{place},True"
        )
    };
    let expected = [
        ",fn.x,fn.half,fn.list,flag,a,z,working_dir,id,_id,loss,half,home,ready".to_owned(),
        row(0, 2, "1.0"),
        row(1, 1, "0.5"),
        row(3, 1, "0.5"),
    ];
    let without_time = |line: &str| line.rsplit_once(',').map(|(rest, _)| rest.to_owned());
    let lines: Vec<_> = table.lines().filter_map(without_time).collect();
    assert_eq!(lines, expected, "{table}");
    assert!(
        table.starts_with(",fn.x")
            && table
                .lines()
                .next()
                .is_some_and(|it| it.ends_with(",time_elapsed"))
    );
    let metadata: Value =
        serde_json::from_str(&project.file(&format!("{run}/metadata.json"))).expect("JSON");
    assert_eq!(metadata["run_type"], "GRID_SEARCH");
    let log = project.file(&format!("{run}/cluster_run.log"));
    for (words, times) in [
        (
            "- cluster_utils - INFO - Job with id 1 submitted with cluster id ",
            1,
        ),
        ("Job with id 1 re-submitted with", 1),
        ("Job 1 exited to be resumed.", 1),
        ("Job 1 started on hostname ", 2),
        ("finished successfully.", 3),
        (
            "Job 2 has ended without results. Considering job failed.",
            1,
        ),
    ] {
        assert_eq!(log.matches(words).count(), times, "{words}: {log}");
    }
    let choice = project.file(&format!("{run}/working_directories/3/param_choice.csv"));
    assert!(
        choice.starts_with("fn.x,fn.half,fn.list,flag,a,z,working_dir,id\r\n1,0.5,"),
        "{choice}"
    );
    // Again: there it would ask whether to delete everything.
    let again = project.grid_search(&["grid.json", "local_run=True"]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    let goes_on = project.grid_search(&["grid.json", "load_existing_results=True"]);
    assert_eq!(goes_on.status.code(), Some(0), "{goes_on:?}");
    assert_eq!(project.file(&format!("{run}/all_data.csv")), table);
}

/// The same config in each format. It needs Python in a place where all read it, and in one where the job does.
const SAME: [(&str, &str); 3] = [
    (
        "a.json",
        r#"{"optimization_procedure_name": "same", "results_dir": "r", "run_in_working_dir": true,
        "script_relative_path": "main.py", "fixed_params": {"x": "{z * 2}", "n": null},
        "hyperparam_list": [{"param": "z", "values": "{list(range(2, 4))}"}, {"param": "a.b", "values": [0.5, "s"]}]}"#,
    ),
    (
        "a.yaml",
        "optimization_procedure_name: same\nresults_dir: r\nrun_in_working_dir: true\nscript_relative_path: main.py\n\
         fixed_params: {x: '{z * 2}', n: null}\nhyperparam_list:\n- param: z\n  values: '{list(range(2, 4))}'\n\
         - param: a.b\n  values: [0.5, s]\n",
    ),
    (
        "a.toml",
        "optimization_procedure_name = 'same'\nresults_dir = 'r'\nrun_in_working_dir = true\n\
         script_relative_path = 'main.py'\n[[hyperparam_list]]\nparam = 'z'\nvalues = '{list(range(2, 4))}'\n\
         [[hyperparam_list]]\nparam = 'a.b'\nvalues = [0.5, 's']\n[fixed_params]\nx = '{z * 2}'\n",
    ),
];

#[test]
fn all_formats_make_the_same_jobs_with_and_without_python() {
    let project = Project::new(PROGRAM);
    let expected = |null: bool| {
        let job = |z: i32, b: Value| match null {
            true => serde_json::json!({"z": z, "a": {"b": b}, "x": "{z * 2}", "n": null}),
            false => serde_json::json!({"z": z, "a": {"b": b}, "x": "{z * 2}"}),
        };
        [
            job(2, 0.5.into()),
            job(2, "s".into()),
            job(3, 0.5.into()),
            job(3, "s".into()),
        ]
    };
    for (name, text) in SAME {
        project.write(name, text);
        assert_eq!(
            project.planned(&[name]),
            expected(name != "a.toml"),
            "{name}"
        );
        if name == "a.yaml" {
            continue;
        }
        // A Python that has no packages.
        project.executable(
            "bare/python3",
            "#!/bin/sh\nexec /usr/bin/env -i /usr/bin/python3 -I -S \"$@\"\n",
        );
        let bare = project.path().join("bare");
        let mut cu = project.command(
            cu_tests::cu::cu_binary(),
            &["grid-search", "--dry-run", "--json", name],
        );
        let output = cu
            .env("PATH", format!("{}:/bin", bare.display()))
            .output()
            .expect("cu");
        let planned: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let jobs = planned["jobs"]
            .as_array()
            .expect("jobs")
            .iter()
            .map(|job| job["settings"].clone());
        assert_eq!(
            jobs.collect::<Vec<_>>(),
            expected(name != "a.toml"),
            "{name}"
        );
    }
    // With the whole of Python.
    let values =
        "hyperparam_list=[{'param': 'z', 'values': [1, 2, 3]}, {'param': 'y', 'values': [4, 5]}]";
    let drawn = project.planned(&[
        "a.json",
        values,
        "fixed_params={}",
        "samples=40",
        "restarts=2",
    ]);
    assert_eq!(drawn.len(), 80);
    let kinds: std::collections::BTreeSet<_> = drawn.iter().map(ToString::to_string).collect();
    assert!((2..=6).contains(&kinds.len()), "{kinds:?}");
    let first: Vec<_> = drawn[..40].iter().collect();
    assert_ne!(
        first,
        drawn[40..].iter().collect::<Vec<_>>(),
        "the second restart drew the same"
    );
}

#[test]
fn a_wrong_value_is_named_with_file_key_and_cure() {
    let project = Project::new(PROGRAM);
    project.write("a.json", SAME[0].1);
    project.write("twice.json", "{\"a\": 1,\n\"a\": 2}");
    project.write("broken.toml", "a = 1\nb =\n");
    for (arguments, expected) in [
        (&["a.json", "results_dir=r"][..], "'results_dir=\"r\"'"),
        (
            &["a.json", "restarts=0"],
            "`restarts=0`: `restarts`: expected 1 or more",
        ),
        (
            &["a.json", "script_relative_path='no.py'"],
            "there is no file ",
        ),
        (
            &["a.json", "script_relative_path=None"],
            "a.json: `script_relative_path` is missing",
        ),
        (
            &["a.json", "run_in_working_dir=False"],
            "run_in_working_dir=True",
        ),
        (
            &["a.json", "singularity.image='no.sif'"],
            "`singularity.image`: there is no image ",
        ),
        (
            &["a.json", "environment_setup.variables={'A-B': 1}"],
            "`environment_setup.variables.A-B`: ",
        ),
        (
            &["a.json", "fixed_params.z=1"],
            "the parameter `z` is given twice",
        ),
        (
            &["a.json", "--set", "stop.aftre=1s"],
            "did you mean `stop.after`?",
        ),
        (
            &["a.json", "optimization_procedure_name='a/b'"],
            "`name`: a run's name can't contain `/`",
        ),
        (&["twice.json"], "twice.json: "),
        (&["broken.toml"], "broken.toml: "),
        (&["none.json"], "there is no config none.json"),
    ] {
        let output = project.grid_search(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(
            said(&output).contains(expected),
            "{arguments:?}: {}",
            said(&output)
        );
    }
    assert!(!project.path().join("r").exists(), "a run was made");
}

#[test]
fn exit_code_0_without_results_is_no_success() {
    let project = Project::new("import cluster_utils\ncluster_utils.initialize_job()\n");
    project.write("a.json", SAME[0].1);
    let output = project.grid_search(&["a.json", "local_run=True"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let warning = "4 jobs ended with exit code 0 and without results";
    assert!(said(&output).contains(warning), "{}", said(&output));
    let log = project.file("r/same/cluster_run.log");
    assert_eq!(log.matches("Considering job failed.").count(), 4, "{log}");
    let waited = project
        .command(cu_tests::cu::cu_binary(), &["wait", "r/same"])
        .output()
        .expect("cu");
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
}

/// Takes the place of a container's command: prints its options, and runs what follows the image.
const SINGULARITY: &str = r#"#!/bin/sh
while [ "${1%.sif}" = "$1" ]; do echo "$1" >>"$WHERE/options"; shift; done
shift
exec "$@"
"#;

#[test]
fn a_job_in_a_container_has_its_environment_and_messages() {
    let program = "import os\nfrom cluster_utils import finalize_job, initialize_job\n\
                   params = initialize_job()\n\
                   finalize_job({'place': os.environ['APPTAINERENV_PLACE'], 'here': os.getcwd()}, params)\n";
    let project = Project::new(program);
    project.write("a.json", SAME[0].1);
    project.write("science.sif", "");
    project.write(
        "venv/bin/activate",
        "export WHERE=$PWD PATH=$PWD/tools:$PATH\n",
    );
    project.executable("tools/apptainer", SINGULARITY);
    let output = project.grid_search(&[
        "a.json",
        "local_run=True",
        "hyperparam_list=None",
        "environment_setup={'virtual_env_path': 'venv', 'variables': {'PLACE': '$WHERE/x'}}",
        "singularity={'image': 'science.sif', 'executable': 'apptainer', 'args': ['--nv', '--env={job}']}",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let here = project.path().display();
    let table = project.file("r/same/all_data.csv");
    assert!(table.contains(&format!(",{here}/x,{here},")), "{table}");
    let options = project.file("options");
    let expected =
        format!("exec\n--bind=/tmp,{here}/r/same,{here}\n--pwd={here}\n--nv\n--env={{job}}\n");
    assert_eq!(options, expected);
}

/// What a cluster is asked for on both clusters, and on each.
const CLUSTERS: [(Kind, &[&str]); 2] = [
    (
        Kind::Slurm,
        &[
            "--cpus-per-task=2",
            "--mem=500M",
            "--time=90",
            "--signal=B:USR1@30",
            "--partition=\"main\"",
            "--nice=5",
        ],
    ),
    (
        Kind::Htcondor,
        &["request_cpus = 2", "request_memory = 500", "+MaxTime = 5"],
    ),
];

#[test]
fn a_cluster_is_asked_for_what_the_config_requires() {
    for (kind, expected) in CLUSTERS {
        let site = Fake::new(kind, env!("CARGO_BIN_EXE_fake_cluster"));
        let project = Project::new(WAITING);
        project.write("a.json", SAME[0].1);
        project.write("go", "");
        let (kind, extra) = match kind {
            Kind::Slurm => ("slurm", "{'nice': 5}"),
            Kind::Htcondor => ("htcondor", "{'+MaxTime': 5}"),
        };
        let backend = format!("--backend={kind}");
        let poll = format!("--set=backend.{kind}.poll=200ms");
        let requirements = format!(
            "cluster_requirements={{'request_cpus': 2, 'request_gpus': 0, 'memory_in_mb': 500, 'request_time': \
             '1:30:00', 'signal_seconds_to_timeout': 30, 'partition': 'main', 'extra_submission_options': {extra}}}"
        );
        let variables = "environment_setup.variables={'SEEN': '$HOME'}";
        let arguments = [
            "grid-search",
            "a.json",
            &backend,
            &poll,
            &requirements,
            variables,
        ];
        let output = project.cu_at(&site, &arguments).output().expect("cu");
        assert_eq!(output.status.code(), Some(0), "{kind}: {output:?}");
        let asked = texts_below(&project.path().join("r/same"));
        for words in expected {
            let options = asked
                .lines()
                .filter(|line| line.starts_with("#SBATCH") || line.contains(" = "));
            let options: Vec<_> = options.collect();
            assert!(
                asked.contains(words),
                "{kind}: {words} is not in {options:#?}"
            );
        }
        let table = project.file("r/same/all_data.csv");
        assert_eq!(table.lines().count(), 5, "{kind}: {table}");
    }
}

/// All texts in a directory.
fn texts_below(directory: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.push_str(&texts_below(&path));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            all.push_str(&text);
        }
    }
    all
}

/// Each attempt waits for a file.
const WAITING: &str = r#"
import pathlib, time
from cluster_utils import finalize_job, initialize_job

params = initialize_job()
pathlib.Path(params.working_dir, "begun").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.01)
finalize_job({"y": params.z}, params)
"#;

#[test]
fn a_killed_grid_search_goes_on_to_the_same_files() {
    let project = Project::new(WAITING);
    project.write("a.json", SAME[0].1);
    let arguments = [
        "grid-search",
        "a.json",
        "local_run=True",
        "--set=backend.local.cpus=1",
    ];
    let mut cu = project.command(cu_tests::cu::cu_binary(), &arguments);
    let mut main_process = cu
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("cu");
    let begun = project.path().join("r/same/working_directories/0/begun");
    until("the first job", || begun.exists().then_some(()));
    main_process.kill().expect("killed");
    main_process.wait().expect("its end");
    assert!(!project.path().join("r/same/metadata.json").exists());
    project.write("go", "");
    let resumed = project
        .command(cu_tests::cu::cu_binary(), &["resume", "r/same"])
        .output()
        .expect("cu");
    assert_eq!(resumed.status.code(), Some(0), "{resumed:?}");
    let table = project.file("r/same/all_data.csv");
    let values: Vec<_> = table
        .lines()
        .filter_map(|line| line.rsplit(',').nth(1))
        .collect();
    assert_eq!(values, ["y", "2", "2", "3", "3"], "{table}");
    let log = project.file("r/same/cluster_run.log");
    assert_eq!(log.matches("finished successfully.").count(), 4, "{log}");
}
