//! `cu grid-search` and `cu hp-optimization` on a real Slurm and a real HTCondor pool: configs and programs for the Python package cluster_utils,
//! with its real client from PyPI in the Python of the nodes.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cu_cluster_tests::runs::{assert_chain, assert_no_time_limit_was_reached, ends, ids};
use cu_cluster_tests::{CondorPool, Instance, SlurmCluster, Suite, place};
use cu_tests::python_package::{output, tools};
use cu_tests::run::{Place, Run};
use serde_json::{Value, json};

/// What a node has to have, of all that belongs to the client.
const CLIENT: [&str; 3] = ["cluster_utils", "smart_settings", "yaml"];

/// A directory in which somebody works with cluster_utils on a cluster. Its virtual environment is in `venv`.
struct Project(Run);

impl Project {
    /// The client of the machine's own Python is put where nodes see it, before this process is an ordinary user.
    fn client(work: &Path) {
        let packages = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let packages = output(Command::new(tools().join("python3")).args(["-c", packages]));
        let client = work.join("client");
        std::fs::create_dir(&client).expect("a directory");
        for package in CLIENT {
            let from = Path::new(&packages).join(package);
            let _ = output(Command::new("cp").arg("-r").arg(from).arg(&client));
        }
        let _ = output(Command::new("chmod").args(["-R", "a+rX"]).arg(&client));
    }

    fn new(cluster: &Instance, mut place: Place) -> Self {
        let home = place.directory.clone();
        // The user's defaults know the cluster, the configs don't.
        let defaults = home.join("xdg/cluster-utils");
        std::fs::create_dir_all(&defaults).expect("a directory");
        std::fs::write(defaults.join("config.toml"), &place.config).expect("a file");
        let variables = [
            ("HOME", home.clone()),
            ("XDG_CONFIG_HOME", home.join("xdg")),
        ];
        let variables = variables.map(|(name, path)| (name.into(), path.into_os_string()));
        place.environment.extend(variables);
        let project = Self(Run::at(place, &["true"], ""));
        let mut venv = cluster.on_login_node("/usr/bin/python3");
        venv.args(["-m", "venv", "--without-pip"])
            .arg(project.path("venv"));
        let _ = output(venv.current_dir(project.path("")));
        let site = std::fs::read_dir(project.path("venv/lib")).expect("a directory");
        let site = site
            .flatten()
            .next()
            .expect("a Python")
            .path()
            .join("site-packages/client.pth");
        std::fs::write(site, format!("{}\n", home.join("client").display())).expect("a file");
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    fn executable(&self, name: &str, text: &str) {
        self.write(name, text);
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o755))
            .expect("a mode");
    }

    /// A program of the examples, under the name that all configs here have.
    fn example(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples/cluster_utils")
            .join(name);
        self.write(
            "main.py",
            &std::fs::read_to_string(path).expect("an example"),
        );
    }

    fn grid_search(&self, config: Value, more: &[&str]) {
        self.run("grid-search", config, more);
    }

    /// Runs a config with these keys to its good end.
    fn run(&self, command: &str, mut config: Value, more: &[&str]) {
        config["optimization_procedure_name"] = "run".into();
        config["script_relative_path"] = "main.py".into();
        config["environment_setup"]["virtual_env_path"] = "venv".into();
        self.write("config.json", &config.to_string());
        let words = [&[command, "config.json"], more].concat();
        let exit = self.0.spawn(&words).wait();
        let logs = self.0.cu(&["logs", "0"]).stdout;
        assert_eq!(exit.code, Some(0), "{exit:?} {logs}");
    }

    /// `all_data.csv` by its columns.
    fn column(&self, name: &str) -> Vec<String> {
        let table =
            std::fs::read_to_string(self.path("results/run/all_data.csv")).expect("a table");
        let mut lines = table
            .lines()
            .map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        let names = lines.next().expect("names");
        let at = names
            .iter()
            .position(|it| it == name)
            .unwrap_or_else(|| panic!("no {name} in {table}"));
        lines.map(|cells| cells[at].clone()).collect()
    }
}

fn on_slurm(test: impl FnOnce(&SlurmCluster, &Project)) {
    // Its root has Python and Apptainer.
    let cluster = SlurmCluster::up(Suite::Trixie);
    let lane = cluster.lane();
    let work = cluster.work_directory();
    Project::client(work.path());
    let place = place::on_slurm(&cluster, &lane, work.path());
    let _user = cluster.become_user();
    test(&cluster, &Project::new(&cluster, place));
}

fn on_htcondor(test: impl FnOnce(&CondorPool, &Project)) {
    let pool = CondorPool::up();
    let lane = pool.lane();
    let work = pool.work_directory();
    Project::client(work.path());
    let place = place::on_htcondor(&pool, &lane, work.path());
    let _user = pool.become_user();
    test(&pool, &Project::new(&pool, place));
}

/// The first linked example of cluster_utils: 200 iterations with a checkpoint after 100, from a clone of a repository.
fn checkpointing_resumes_once(project: &Project) {
    project.example("main.py");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]);
        let _ = output(
            git.args(arguments)
                .current_dir(project.path(""))
                .env("HOME", project.path("")),
        );
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "main.py"]);
    git(&["commit", "--quiet", "--message", "A program"]);
    project.write("main.py", "raise SystemExit('edited')\n");
    let config = json!({
        "fixed_params": {"steps": 200, "steps_per_attempt": 100},
        "hyperparam_list": [{"param": "model.rate", "values": [0.5, 0.1]}],
        "cluster_requirements": {"request_cpus": 1, "memory_in_mb": 500},
    });
    project.grid_search(config, &[]);
    assert_eq!(project.column("steps"), ["200", "200"]);
    for number in [0, 1] {
        let job = project.0.show(number);
        assert_eq!(ends(&job), ["resume_requested", "completed"], "{job:#}");
        assert_eq!(job["fraction"], 1.0, "no progress arrived: {job:#}");
        assert_eq!(job["refused_messages"]["count"], 0, "{job:#}");
        let series = std::fs::read_to_string(job["early_results"].as_str().expect("a series"));
        assert_eq!(series.expect("a file").lines().count(), 5, "{job:#}");
    }
    assert!(!project.path("results/run/clone").exists(), "all is done");
}

#[test]
fn checkpointing_resumes_once_on_slurm() {
    on_slurm(|_, project| checkpointing_resumes_once(project));
}

#[test]
fn checkpointing_resumes_once_on_htcondor() {
    on_htcondor(|_, project| checkpointing_resumes_once(project));
}

/// The second one: it goes on counting until the signal before the time limit.
fn the_signal_repeats_and_skips_nothing(project: &Project) -> Value {
    project.example("timeout_signal.py");
    let config = json!({
        "run_in_working_dir": true,
        "fixed_params": {"iterations": 300, "seconds": 0.2},
        "cluster_requirements": {"request_time": "00:01:00", "signal_seconds_to_timeout": 20},
    });
    project.grid_search(config, &["--set", "stop.grace=10s"]);
    assert_eq!(project.column("iterations"), ["300"]);
    let job = assert_chain(&project.0, 1);
    let attempts = job["attempts"].as_array().expect("attempts");
    for attempt in &attempts[..attempts.len() - 1] {
        assert_eq!(attempt["stopped"]["sent"][0]["signal"], "USR1", "{job:#}");
        assert_eq!(attempt["stopped"]["killed"], false, "{job:#}");
    }
    let expected: String = (0..300).map(|iteration| format!("{iteration}\n")).collect();
    let counted = std::fs::read_to_string(project.0.output(0, "iterations.txt"));
    assert_eq!(counted.expect("a file"), expected);
    job
}

#[test]
fn the_timeout_signal_skips_no_iteration_on_slurm() {
    on_slurm(|cluster, project| {
        let job = the_signal_repeats_and_skips_nothing(project);
        assert_no_time_limit_was_reached(cluster, &job);
    });
}

#[test]
fn the_timeout_signal_skips_no_iteration_on_htcondor() {
    on_htcondor(|_, project| {
        the_signal_repeats_and_skips_nothing(project);
    });
}

/// One of its jobs is resumed, another one fails.
const SEARCHED: &str = r#"
import pathlib
from cluster_utils import cluster_main, exit_for_resume

@cluster_main
def main(x, working_dir, id, **more):
    resumed = pathlib.Path(working_dir, "resumed")
    if id == 1 and not resumed.exists():
        resumed.touch()
        exit_for_resume()
    if id == 3:
        raise ValueError("diverged")
    return {"loss": (x - 1) ** 2}

main()
"#;

fn a_search_has_as_many_jobs_as_it_asks_for(project: &Project) {
    project.write("main.py", SEARCHED);
    let config = json!({
        "run_in_working_dir": true,
        "fixed_params": {},
        "num_best_jobs_whose_data_is_kept": 2,
        "optimizer_str": "cem_metaoptimizer",
        "optimizer_settings": {"with_restarts": false, "num_jobs_in_elite": 5},
        "optimization_setting": {
            "metric_to_optimize": "loss", "minimize": true, "number_of_samples": 12, "n_jobs_per_iteration": 3,
        },
        "optimized_params": [{"param": "x", "distribution": "TruncatedNormal", "bounds": [-3.0, 3.0]}],
        "cluster_requirements": {"request_cpus": 1, "memory_in_mb": 100},
    });
    project.run("hp-optimization", config, &[]);
    let status = project.0.status();
    assert_eq!(status["jobs"]["total"], 12, "{status:#}");
    assert_eq!(status["jobs"]["completed"], 11, "{status:#}");
    assert_eq!(status["jobs"]["failed"], 1, "{status:#}");
    assert_eq!(status["resumes"], 1, "{status:#}");
    assert_eq!(project.column("loss").len(), 11);
    let mut numbers = project.column("_id");
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 11, "a job twice: {numbers:?}");
    let best = std::fs::read_dir(project.path("results/run/best_jobs")).expect("a directory");
    assert_eq!(best.count(), 2);
}

#[test]
fn a_search_has_as_many_jobs_as_it_asks_for_on_slurm() {
    on_slurm(|_, project| a_search_has_as_many_jobs_as_it_asks_for(project));
}

#[test]
fn a_search_has_as_many_jobs_as_it_asks_for_on_htcondor() {
    on_htcondor(|_, project| a_search_has_as_many_jobs_as_it_asks_for(project));
}

/// Shows what there is where it runs.
const WHERE: &str = r#"
import os, pathlib
from cluster_utils import announce_fraction_finished, finalize_job, initialize_job

params = initialize_job()
announce_fraction_finished(0.5)
mark = pathlib.Path("/mark")
metrics = {
    "where": os.environ["WHERE"],
    "prepared": pathlib.Path("prepared").read_text().strip(),
    "mark": mark.read_text().strip() if mark.exists() else "none",
}
finalize_job(metrics, params)
"#;

/// The variables are those of the node's shell: `name` is one that only it has, with a value that `is_there`.
fn environments_are_made_on_the_node(
    cluster: &Instance,
    project: &Project,
    name: &str,
    is_there: fn(&str, &Value) -> bool,
) {
    project.write("main.py", WHERE);
    project.executable(
        "prepare.sh",
        "#!/bin/sh\necho \"for $WHERE\" >prepared\nexit 1\n",
    );
    let client = project
        .path("")
        .parent()
        .expect("a directory")
        .join("client");
    let mut config = json!({
        "run_in_working_dir": true,
        "environment_setup": {
            "variables": {"WHERE": format!("in ${name}"), "PYTHONPATH": client},
            "pre_job_script": "prepare.sh",
        },
        "fixed_params": {"quote": "it's \"here\" $HOME"},
    });
    project.grid_search(config.clone(), &[]);
    let assert_found = |mark: &str| {
        let job = project.0.show(0);
        let found = project.column("where");
        let value = found[0].strip_prefix("in ").expect("the rest of the text");
        assert!(is_there(value, &job), "{found:?} {job:#}");
        assert_eq!(
            project.column("prepared"),
            [format!("for in {value}")],
            "{job:#}"
        );
        assert_eq!(project.column("mark"), [mark], "{job:#}");
        assert_eq!(
            project.column("quote"),
            ["\"it's \"\"here\"\" $HOME\""],
            "{job:#}"
        );
        assert_eq!(job["fraction"], 1.0, "{job:#}");
        assert_eq!(job["refused_messages"]["count"], 0, "{job:#}");
    };
    assert_found("none");

    // The same in a container.
    let mut make = cluster.on_login_node("/bin/sh");
    make.args(["-c", IMAGE])
        .current_dir(project.path(""))
        .env("HOME", project.path(""));
    let _ = output(&mut make);
    std::fs::remove_dir_all(project.path("results")).expect("removed");
    config["singularity"] =
        json!({"image": "image", "executable": "apptainer", "args": ["--bind=/usr"]});
    project.grid_search(config, &[]);
    assert_found("in the image");
}

/// An image in which all programs are those of the node, and a mark.
const IMAGE: &str = "
set -e
mkdir small
cd small
mkdir dev etc home proc root sys tmp usr var
for link in bin lib lib64 sbin; do ln -s usr/$link $link; done
echo 'in the image' >mark
cd ..
exec apptainer build --sandbox image small
";

#[test]
fn the_shell_and_container_of_a_slurm_node_are_used() {
    on_slurm(|cluster, project| {
        let is_its_job = |id: &str, job: &Value| ids(job)[0] == id;
        environments_are_made_on_the_node(cluster, project, "SLURM_JOB_ID", is_its_job);
    });
}

#[test]
fn the_shell_and_container_of_a_condor_node_are_used() {
    on_htcondor(|pool, project| {
        let is_a_slot = |slot: &str, _: &Value| slot.starts_with("slot");
        environments_are_made_on_the_node(pool, project, "_CONDOR_SLOT", is_a_slot);
    });
}
