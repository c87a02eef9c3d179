//! `cu run`, end to end: what the program gets, what the run leaves, what is said at the end.

use crate::support::{Bench, COUNT};
use serde_json::json;

#[test]
fn commands_that_start_at_once_are_runs_each() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    let running: Vec<_> = (0..8)
        .map(|_| bench.start(&["run", "--", "./count.sh", "1"]))
        .collect();
    for one in running {
        let ended = one.end();
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let listed = bench.json(&["list", "--json"]);
    let mut names: Vec<_> = listed.as_array().expect("a list").iter().collect();
    names.sort_by_key(|run| run["name"].to_string());
    let names: Vec<_> = names.iter().map(|run| run["name"].as_str()).collect();
    let numbered = (2..=8).map(|number| format!("count-{number}"));
    let expected: Vec<_> = std::iter::once("count".to_owned())
        .chain(numbered)
        .collect();
    assert_eq!(
        names,
        expected
            .iter()
            .map(|name| Some(name.as_str()))
            .collect::<Vec<_>>()
    );
    let config = bench.read("results/count-8/run.toml");
    assert!(config.contains("name = \"count-8\"\n"), "{config}");
}

#[test]
fn all_attempts_share_one_output_directory() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    let ended = bench.cu(&["run", "--", "./count.sh", "4"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let first = ended.stdout.lines().next();
    assert_eq!(first, Some("job 0: completed after 4 attempts (3 resumes)"));
    assert_eq!(
        bench.read("results/count/working_directories/0/count"),
        "4\n"
    );
    assert!(!bench.path("results/count/working_directories/1").exists());
    let shown = bench.json(&["show", "0", "--json"]);
    let ends: Vec<_> = shown["attempts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|attempt| attempt["end"].as_str().expect("an end").to_owned())
        .collect();
    let resumed = "resume_requested";
    assert_eq!(ends, [resumed, resumed, resumed, "completed"]);
}

#[test]
fn words_reach_the_program_unchanged() {
    let bench = Bench::new();
    bench.program(
        "words.sh",
        "#!/bin/sh\nprintf '%s|' \"$@\" > words; printf '%s' \"$WORD\" >> words\n",
    );
    let hostile = "a $(touch F) `id` b\n\"'\\ *;&";
    let variable = format!("WORD={hostile}");
    let ended = bench.cu(&[
        "run",
        "--env",
        &variable,
        "--",
        "./words.sh",
        hostile,
        "",
        "-x",
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let words = bench.read("results/words/working_directories/0/words");
    assert_eq!(words, format!("{hostile}||-x|{hostile}"));
    assert!(!bench.path("F").exists());
    assert!(!bench.path("results/words/working_directories/0/F").exists());
}

#[test]
fn a_grid_is_one_job_each_with_its_settings() {
    let bench = Bench::new();
    bench.program("train.sh", "#!/bin/sh\ncp \"$CU_SETTINGS\" seen.json\n");
    bench.write(
        "run.toml",
        "name = \"grid\"\ncommand = [\"./train.sh\"]\n\
         [settings]\nseed = 1\nnote = \"x\"\n[grid]\nopt.lr = [0.1, 0.01]\n",
    );
    let ended = bench.cu(&[
        "run",
        "run.toml",
        "settings.seed=7",
        "--setting",
        "note=a b",
        "--json",
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let status = ended.json();
    assert_eq!(status["jobs"]["completed"], 2);
    assert_eq!(
        status,
        bench.json(&["status", "--json"]),
        "cu run ends with the status"
    );
    for (job, lr) in [(0, 0.1), (1, 0.01)] {
        let seen = bench.read(format!("results/grid/working_directories/{job}/seen.json"));
        let seen: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
        assert_eq!(seen, json!({"seed": 7, "note": "a b", "opt": {"lr": lr}}));
        let shown = bench.json(&["show", &job.to_string(), "--json"]);
        assert_eq!(shown["parameters"], json!({"opt.lr": lr}));
    }
    let kept = bench.read("results/grid/run.toml");
    assert!(kept.contains("seed = 7"), "overrides are kept: {kept}");
}

#[test]
fn the_program_starts_where_it_is_told() {
    let bench = Bench::new();
    let pwd = ["--", "sh", "-c", "pwd > \"$CU_OUTPUT_DIR/here\""];
    std::fs::create_dir(bench.path("in")).expect("a directory");
    for (number, options, expected) in [
        (1, &[][..], ""),
        (2, &["--working-directory", "in"], "in"),
        (
            3,
            &["--working-directory", "{output_dir}"],
            "results/run3/working_directories/0",
        ),
    ] {
        let name = format!("run{number}");
        let arguments = [&["run", "--name", &name], options, &pwd].concat();
        let ended = bench.cu(&arguments);
        assert_eq!(ended.code, 0, "{ended:?}");
        let here = bench.read(format!("results/{name}/working_directories/0/here"));
        let expected = bench.path(expected).canonicalize().expect("it exists");
        assert_eq!(here.trim_end(), expected.to_str().expect("UTF-8"));
    }
}

#[test]
fn a_dry_run_makes_nothing() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    let ended = bench.cu(&[
        "run",
        "--dry-run",
        "--stop-after",
        "50min",
        "--",
        "./count.sh",
        "4",
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("after = \"50min\""), "{ended:?}");
    assert!(!bench.path("results").exists());
    let shown = bench.json(&["run", "--dry-run", "--json", "--", "./count.sh", "4"]);
    assert_eq!(shown["jobs"][0]["command"], json!(["./count.sh", "4"]));
    assert_eq!(
        shown["jobs"][0]["working_directory"],
        bench.path("").to_string_lossy().trim_end_matches('/')
    );
    assert_eq!(shown["exists"], false);
    assert!(!bench.path("results").exists());
}

#[test]
fn a_dry_run_fails_where_the_run_would() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    let ran = bench.cu(&["run", "--name", "a", "--", "./count.sh", "1"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let dry = |words: &[&str]| {
        let ended = bench.cu(&[&["run", "--dry-run"], words, &["--", "./count.sh", "1"]].concat());
        (ended.code, ended.stdout)
    };
    assert_eq!(dry(&["--name", "a"]).0, 2);
    assert_eq!(dry(&["resources.cpus=100000"]).0, 2);
    // Keys without an option go before the command.
    let (code, shown) = dry(&["backend.slurm.partition=gpu"]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("partition = \"gpu\""), "{shown}");
}

#[test]
fn a_failed_job_says_why_and_makes_exit_code_1() {
    let bench = Bench::new();
    bench.program("broken.sh", "#!/bin/sh\necho trouble >&2; exit 7\n");
    let ended = bench.cu(&["run", "--", "./broken.sh"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended
            .stdout
            .starts_with("job 0 failed (exit code 7): trouble\n"),
        "{ended:?}"
    );
    assert!(ended.stdout.contains("code 7"), "{ended:?}");
    let logs = bench.cu(&["logs", "0", "--stderr"]);
    assert!(logs.stdout.ends_with("trouble\n"), "{logs:?}");
    let shown = bench.cu(&["show", "0"]);
    let words = "last line of its stderr: trouble\n";
    assert!(shown.stdout.contains(words), "{shown:?}");
    let shown = bench.json(&["show", "0", "--json"]);
    assert_eq!(shown["state"], "failed");
    assert_eq!(shown["attempts"][0]["exit_code"], 7);
}

#[test]
fn endless_resumes_without_progress_fail_the_job() {
    let bench = Bench::new();
    bench.program("stuck.sh", "#!/bin/sh\nexit 85\n");
    let ended = bench.cu(&[
        "run",
        "--resume-exit-code",
        "85",
        "--stuck-after",
        "2",
        "--",
        "./stuck.sh",
    ]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let status = bench.json(&["status", "--json"]);
    assert_eq!(
        (&status["attempts"], &status["state"]),
        (&json!(2), &json!("failed"))
    );
}

#[test]
fn an_unmodified_program_is_stopped_and_resumed() {
    let bench = Bench::new();
    // Only its first attempt waits to be stopped.
    bench.program(
        "legacy.sh",
        "#!/bin/sh\n[ -e stopped ] && exit 0\ntrap 'touch stopped; exit 3' TERM\n\
         while :; do sleep 0.05; done\n",
    );
    let ended = bench.cu(&[
        "run",
        "--stop-after",
        "200ms",
        "--signal",
        "TERM",
        "--",
        "./legacy.sh",
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .stdout
            .starts_with("job 0: completed after 2 attempts (1 resume)"),
        "{ended:?}"
    );
}

#[test]
fn runs_of_a_results_directory_are_listed_newest_first() {
    let bench = Bench::new();
    bench.program("count.sh", COUNT);
    for name in ["first", "second"] {
        let ended = bench.cu(&[
            "run",
            "--results-dir",
            "out",
            "--name",
            name,
            "--",
            "./count.sh",
            "1",
        ]);
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let mut command = bench.command(&["list", "--json"]);
    let output = command
        .env("CU_RESULTS_DIR", "out")
        .output()
        .expect("cu runs");
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names: Vec<_> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|run| &run["name"])
        .collect();
    assert_eq!(names, ["second", "first"]);
    let newest = bench.json(&["status", "--json", "--results-dir", "out"]);
    assert_eq!(newest["name"], "second");
    let named = bench.json(&["status", "first", "--json", "--results-dir", "out"]);
    assert_eq!(named["name"], "first");
    assert_eq!(bench.json(&["list", "--json"]), json!([]));
}

#[test]
fn a_shell_script_goes_through_cu_job() {
    let bench = Bench::new();
    let script = "#!/bin/sh
set -e
cu=$1
\"$cu\" job started
\"$cu\" job checkpoint load state || echo 0 > state
n=$(($(cat state) + $(\"$cu\" job settings get step)))
echo $n > state
\"$cu\" job progress 0.$n
if [ $n -lt 6 ]; then
    \"$cu\" job checkpoint save state
    rm state
    exec \"$cu\" job exit-for-resume
fi
\"$cu\" job finish steps=$n note=fine
";
    bench.program("job.sh", script);
    let cu = env!("CARGO_BIN_EXE_cu");
    let ended = bench.cu(&["run", "--setting", "step=2", "--", "./job.sh", cu]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let line = "job 0: completed after 3 attempts (2 resumes): note = fine, steps = 6";
    assert_eq!(ended.stdout.lines().next(), Some(line), "{ended:?}");
    let logs = bench.cu(&["logs", "0"]).stdout;
    assert!(
        logs.contains("job 0, attempt 2, from checkpoint 1.0"),
        "{logs}"
    );
}

#[test]
fn the_time_limit_ends_an_unmodified_program() {
    let bench = Bench::new();
    bench.write(
        "run.toml",
        "name = \"long\"\ncommand = [\"sleep\", \"600\"]\n[resources]\ntime_limit = \"1s\"\n\
         [resume]\ntime_limits = 0\n[backend]\nkind = \"local\"\n",
    );
    let begun = std::time::Instant::now();
    let ended = bench.cu(&["run", "run.toml"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    // The grace of 30 s is for programs that handle SIGTERM.
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(20),
        "{ended:?}"
    );
    let attempts = &bench.json(&["show", "0", "--json"])["attempts"];
    assert_eq!(attempts[0]["end"], "time_limit", "{attempts}");
    assert_eq!(attempts[0]["signal"], 15, "{attempts}");
}

#[test]
fn a_config_in_json_or_yaml_runs_and_its_edits_are_noticed() {
    let bench = Bench::new();
    bench.program("work.sh", "#!/bin/sh\nexit 1\n");
    let json = "{\"name\": \"j\", \"command\": [\"./work.sh\"], \"grid\": {\"lr\": [0.1, 0.2]},\n\
                \"resume\": {\"failure_retries\": 0}}\n";
    let yaml =
        "name: y\ncommand: [./work.sh]\ngrid:\n  lr: [0.1, 0.2]\nresume:\n  failure_retries: 0\n";
    for (run, file, text, edited) in [
        (
            "j",
            "r.json",
            json,
            json.replace("retries\": 0", "retries\": 1"),
        ),
        (
            "y",
            "r.yaml",
            yaml,
            yaml.replace("retries: 0", "retries: 1"),
        ),
    ] {
        bench.write(file, text);
        assert_eq!(
            bench.cu(&["run", file, "backend.kind=local"]).code,
            1,
            "{file}"
        );
        let jobs = bench.json(&["jobs", run, "--json"]);
        assert_eq!(jobs["jobs"][1]["parameters"]["lr"], 0.2, "{jobs}");
        bench.write(file, &edited);
        assert_eq!(bench.cu(&["retry", "all", run]).code, 0);
        let noticed = bench.cu(&["resume", run]);
        assert!(
            noticed.stderr.contains("resume.failure_retries"),
            "{noticed:?}"
        );
        let updated = bench.cu(&["update", run, "--from-config"]);
        assert!(!updated.stderr.contains("TOML"), "{updated:?}");
    }
}

#[test]
fn a_config_of_cluster_utils_is_named_and_pointed_on() {
    let bench = Bench::new();
    bench.write(
        "grid.json",
        "{\"optimization_procedure_name\": \"x\", \"script_relative_path\": \"main.py\", \"hyperparam_list\": []}",
    );
    let refused = bench.cu(&["run", "grid.json"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("`cu grid-search grid.json`"),
        "{refused:?}"
    );
}

#[test]
fn git_ignores_results_that_cu_made_a_place_for() {
    let bench = Bench::new();
    bench.write(".gitignore", "mine\n");
    for _ in 0..2 {
        assert_eq!(bench.cu(&["run", "--", "true"]).code, 0);
    }
    assert!(bench.read("results/.gitignore").ends_with("\n*\n"));
    assert_eq!(
        bench.json(&["list", "--json"]).as_array().map(Vec::len),
        Some(2)
    );
    // Not in a directory of somebody's.
    assert_eq!(
        bench.cu(&["run", "--results-dir", ".", "--", "true"]).code,
        0
    );
    assert_eq!(bench.read(".gitignore"), "mine\n");
}

#[test]
fn the_kept_working_directory_is_as_people_write_it() {
    let bench = Bench::new();
    assert_eq!(bench.cu(&["run", "--name", "r", "--", "true"]).code, 0);
    let config = bench.read("results/r/run.toml");
    let line = config
        .lines()
        .find(|line| line.starts_with("working_directory"));
    assert!(!line.expect("it is kept").ends_with("/.\""), "{config}");
}
