//! `cu hp-optimization` in the place of the main process of cluster_utils: its configs and programs as they are, with the
//! real client from PyPI.

use std::collections::BTreeSet;
use std::time::Duration;

use cu_core::{Reader, RunDir};
use cu_tests::chance::Chance;
use cu_tests::cluster_utils::{Project, said};
use cu_tests::fake::{Fake, Kind};
use cu_tests::process::Process;

const PROGRAM: &str = r#"
import pathlib
from cluster_utils import announce_early_results, cluster_main, exit_for_resume

@cluster_main
def main(x, n, opt, working_dir, id, **more):
    if id == 3:
        raise ValueError("diverged")
    resumed = pathlib.Path(working_dir, "resumed")
    if id == 1 and not resumed.exists():
        resumed.touch()
        exit_for_resume()
    return {"loss": (x - 1) ** 2 + n * 0.1, "kind": opt.kind, "flag": True}

main()
"#;

const CONFIG: &str = r#"{
  "optimization_procedure_name": "search",
  "results_dir": "r",
  "run_in_working_dir": true,
  "script_relative_path": "main.py",
  "local_run": true,
  "fixed_params": {"w": 1e-7, "opt.rate": 0.5},
  "num_best_jobs_whose_data_is_kept": 2,
  "optimizer_str": "cem_metaoptimizer",
  "optimizer_settings": {"with_restarts": true, "num_jobs_in_elite": 6},
  "optimization_setting": {"metric_to_optimize": "loss", "minimize": true, "number_of_samples": 12,
    "n_jobs_per_iteration": 4, "n_completed_jobs_before_resubmit": 2},
  "optimized_params": [
    {"param": "x", "distribution": "TruncatedNormal", "bounds": [-3.0, 3.0]},
    {"param": "n", "distribution": "IntLogNormal", "bounds": [1, 100]},
    {"param": "opt.kind", "distribution": "Discrete", "options": ["sgd", "adam", "a, b"]}
  ]
}"#;

/// The cells of a table.
fn cells(text: &str) -> Vec<Vec<String>> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(text.as_bytes());
    let rows = reader.into_records().map(|row| row.expect("a row"));
    rows.map(|row| row.iter().map(str::to_owned).collect())
        .collect()
}

#[test]
fn tables_of_results_are_those_of_cluster_utils() {
    let project = Project::new(PROGRAM);
    project.write("search.json", CONFIG);
    let output = project.hp_optimization(&["search.json"]);
    // One job has failed, and others have results.
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let all = cells(&project.file("r/search/all_data.csv"));
    let columns =
        "|_id|_iteration|flag|id|kind|loss|n|opt.kind|opt.rate|time_elapsed|w|working_dir|x";
    assert_eq!(all[0].join("|"), columns);
    assert_eq!(all.len(), 12);
    let column = |name: &str| all[0].iter().position(|it| it == name).expect(name);
    let numbers = |name: &str| -> Vec<f64> {
        let at = column(name);
        all[1..]
            .iter()
            .map(|row| row[at].parse().expect("a number"))
            .collect()
    };
    let losses = numbers("loss");
    assert!(losses.is_sorted(), "{losses:?}");
    let index: Vec<_> = all[1..].iter().map(|row| row[0].clone()).collect();
    assert_eq!(
        index,
        (0..11).map(|row| row.to_string()).collect::<Vec<_>>()
    );
    let iterations: BTreeSet<_> = numbers("_iteration")
        .into_iter()
        .map(|it| it as u32)
        .collect();
    assert_eq!(iterations, BTreeSet::from([1, 2, 3]));
    assert!(
        all[1..]
            .iter()
            .all(|row| row[column("flag")] == "True" && row[column("w")] == "1e-07")
    );
    let reduced = cells(&project.file("r/search/reduced_data.csv"));
    assert_eq!(
        reduced[0].join("|"),
        "|x|n|opt.kind|loss|job_restarts|loss__std"
    );
    let restarts = reduced[1..]
        .iter()
        .map(|row| row[5].parse::<usize>().expect("a number"));
    assert_eq!(restarts.sum::<usize>(), 11);
    assert!(
        reduced[1..]
            .iter()
            .all(|row| (row[5] == "1") == row[6].is_empty()),
        "{reduced:?}"
    );
    // Working directories are removed, but for copies of the best.
    let left = |path: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(project.path().join(path))
            .expect(path)
            .flatten();
        entries
            .map(|entry| entry.file_name().into_string().expect("UTF-8"))
            .collect()
    };
    assert_eq!(
        left("r/search/working_directories"),
        BTreeSet::from(["3".to_owned()])
    );
    let best = &all[1][column("id")];
    let copies = left("r/search/best_jobs");
    assert_eq!(copies.len(), 2);
    assert!(
        copies.contains(&format!("directories_{best}")),
        "{copies:?}"
    );
    let choice = project.file(&format!(
        "r/search/best_jobs/directories_{best}/param_choice.csv"
    ));
    assert!(choice.starts_with("x,n,opt.kind,"), "{choice}");
    let metadata = project.file("r/search/metadata.json");
    assert!(metadata.contains("HP_OPTIMIZATION"), "{metadata}");
    let log = project.file("r/search/cluster_run.log");
    for (words, times) in [
        ("finished successfully.", 11),
        ("Job 1 exited to be resumed.", 1),
        (
            "Job 3 has ended without results. Considering job failed.",
            1,
        ),
    ] {
        assert_eq!(log.matches(words).count(), times, "{words}: {log}");
    }
}

#[test]
fn on_a_cluster_jobs_come_one_after_another() {
    for (kind, name) in [(Kind::Slurm, "slurm"), (Kind::Htcondor, "htcondor")] {
        let site = Fake::new(kind, env!("CARGO_BIN_EXE_fake_cluster"));
        let project = Project::new(PROGRAM);
        project.write("search.json", CONFIG);
        let backend = format!("--backend={name}");
        let poll = format!("--set=backend.{name}.poll=200ms");
        let arguments = [
            "hp-optimization",
            "search.json",
            "local_run=False",
            &backend,
            &poll,
        ];
        let output = project.cu_at(&site, &arguments).output().expect("cu");
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        let all = cells(&project.file("r/search/all_data.csv"));
        assert_eq!(all.len(), 12, "{name}");
    }
}

#[test]
fn optimizers_that_cu_lacks_have_their_nearest_relatives() {
    let project = Project::new(PROGRAM);
    project.write("search.json", CONFIG);
    let cma = [
        "search.json",
        "optimizer_str=\"nevergrad\"",
        "optimizer_settings={'opt_alg': 'cma'}",
        "optimization_setting.number_of_samples=6",
    ];
    let output = project.hp_optimization(&cma);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let warning = "`cu` does not have nevergrad's cma; cmaes takes its place";
    assert!(said(&output).contains(warning), "{output:?}");
    let kept = project.file("r/search/run.toml");
    assert!(kept.contains("method = \"cmaes\""), "{kept}");
}

#[test]
fn without_results_it_ends_with_1() {
    let project = Project::new("import cluster_utils\ncluster_utils.initialize_job()\n");
    project.write("search.json", CONFIG);
    let output =
        project.hp_optimization(&["search.json", "optimization_setting.number_of_samples=4"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let warning = "4 jobs ended with exit code 0 and without results";
    assert!(said(&output).contains(warning), "{}", said(&output));
}

#[test]
fn a_wrong_value_is_named_with_file_key_and_cure() {
    let project = Project::new(PROGRAM);
    project.write("search.json", CONFIG);
    for (given, expected) in [
        (
            "optimizer_str='gridsearch'",
            "for a grid, there is `cu grid-search`",
        ),
        (
            "optimizer_str='cma'",
            "expected cem_metaoptimizer, nevergrad, cem, tpe, cmaes, random",
        ),
        (
            "optimization_setting.metric_to_optimize=None",
            "`optimization_setting.metric_to_optimize` is missing",
        ),
        (
            "optimization_setting.number_of_samples=None",
            "number_of_samples` is missing",
        ),
        (
            "optimization_setting.number_of_samples=0",
            "`optimize.jobs`",
        ),
        (
            "optimized_params=[]",
            "`optimized_params`: expected a list of",
        ),
        (
            "optimized_params=[{'param': 'x', 'distribution': 'Normal', 'bounds': [0, 1]}]",
            "the parameter x: there is no distribution \"Normal\"",
        ),
        (
            "optimized_params=[{'param': 'x', 'distribution': 'IntNormal', 'bounds': [3, 1]}]",
            "its lower bound 3 is greater than its upper bound 1",
        ),
        (
            "optimized_params=[{'param': 'w', 'distribution': 'IntNormal', 'bounds': [1, 3]}]",
            "the parameter `w` is given twice",
        ),
        (
            "optimizer_settings.num_jobs_in_elite=0",
            "it is 0 and must be at least 1",
        ),
        (
            "early_killing_params.how_many_stds='x'",
            "expected a number, found \"x\"",
        ),
    ] {
        let killing = "kill_bad_jobs_early=True";
        let output = project.hp_optimization(&["search.json", killing, given]);
        assert_eq!(output.status.code(), Some(2), "{given}: {output:?}");
        assert!(
            said(&output).contains(expected),
            "{given}: {}",
            said(&output)
        );
    }
    assert!(!project.path().join("r").exists(), "a run was made");
}

/// The equivalent of their configs that resume, in TOML.
const RESUMING: &str = r#"
optimization_procedure_name = "resuming"
results_dir = "r"
run_in_working_dir = true
script_relative_path = "main.py"
local_run = true
remove_working_dirs = false
num_best_jobs_whose_data_is_kept = 0
optimizer_str = "cem_metaoptimizer"
[optimizer_settings]
with_restarts = false
[optimization_setting]
metric_to_optimize = "y"
minimize = false
number_of_samples = 30
n_jobs_per_iteration = 5
[[optimized_params]]
param = "u"
distribution = "TruncatedLogNormal"
bounds = [1e-3, 1.0]
"#;

/// Each asks once to be resumed. The last jobs wait for the file `go`.
const RESUMED: &str = r#"
import pathlib, time
from cluster_utils import exit_for_resume, finalize_job, initialize_job

params = initialize_job()
steps = pathlib.Path(params.working_dir, "steps")
with steps.open("a") as file:
    print("step", file=file)
if len(steps.read_text().splitlines()) == 1:
    exit_for_resume()
while params.id >= 22 and not pathlib.Path("go").exists():
    time.sleep(0.02)
finalize_job({"y": params.u}, params)
"#;

const KILLS: u32 = 20;
const LONGEST_LIFE: Duration = Duration::from_millis(900);

#[test]
fn killed_twenty_times_it_ends_with_the_same_number_of_jobs() {
    let project = Project::new(RESUMED);
    project.write("resuming.toml", RESUMING);
    let mut chance = Chance::from_environment();
    let cu = cu_tests::cu::cu_binary();
    let is_made = || project.path().join("r/resuming/run.sqlite").exists();
    let go_on = || {
        let arguments: &[&str] = match is_made() {
            true => &["resume", "r/resuming"],
            false => &["hp-optimization", "resuming.toml"],
        };
        Process::start(project.command(cu, arguments), project.path())
    };
    for _ in 0..KILLS {
        let mut main_process = go_on();
        let ended = main_process.wait_at_most(chance.up_to(LONGEST_LIFE));
        assert!(ended.is_none(), "{ended:?}");
        let _ = main_process.kill();
    }
    project.write("go", "");
    let exit = go_on().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let run = RunDir::new(project.path().join("r/resuming"));
    let jobs = Reader::open(&run)
        .and_then(|reader| reader.jobs())
        .expect("a readable run");
    assert_eq!(jobs.len(), 30);
    let table = cells(&project.file("r/resuming/all_data.csv"));
    assert_eq!(table.len(), 31);
    let at = table[0].iter().position(|it| it == "y").expect("y");
    let values: Vec<f64> = table[1..]
        .iter()
        .map(|row| row[at].parse().expect("a number"))
        .collect();
    assert!(values.is_sorted_by(|one, other| one >= other), "{values:?}");
    for job in &jobs {
        let steps = project.file(&format!("r/resuming/working_directories/{}/steps", job.job));
        assert_eq!(steps.lines().count(), 2, "job {}", job.job);
    }
    let store = rusqlite::Connection::open(run.store()).expect("a database");
    let added = "SELECT count(*), count(DISTINCT job) FROM events WHERE event = '\"added\"'";
    let added: (u64, u64) = store
        .query_row(added, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a count");
    assert_eq!(added, (25, 25), "each further job was asked for once");
}
