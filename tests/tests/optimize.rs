//! Runs with `[optimize]`: an optimiser chooses their jobs one after another, whatever is killed meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cu_tests::chance::Chance;
use cu_tests::cu::cu_binary;
use cu_tests::run::Run;
use serde_json::Value;

const JOBS: u64 = 40;
const AT_ONCE: u64 = 4;
const KILLS: u32 = 20;
/// The longest life of a main process that is killed.
const LONGEST_LIFE: Duration = Duration::from_millis(700);

const SEARCH: &str = r#"
[settings]
name = "fixed"
[optimize]
metric = "loss"
jobs = 40
at_once = 4
seed = 7
[optimize.parameters]
x = { low = -3.0, high = 3.0 }
net.layers = { low = 1, high = 8 }
kind = ["a", "b"]
"#;

/// Its first attempt is noted, and the last jobs wait for the file `go`.
const PROGRAM: &str = r#"
echo "$CU_JOB_ID" >> ../../../../ran
until [ "$CU_JOB_ID" -lt 30 ] || [ -e ../../../../go ]; do sleep 0.02; done
exec "$CU" job finish loss=$(awk "BEGIN { print ($1 - 1)^2 + $2 * 0.1 }")
"#;

fn run(config: &str) -> Run {
    let command = [
        "/bin/sh",
        "-c",
        PROGRAM,
        "program",
        "{settings.x}",
        "{settings.net.layers}",
    ];
    let cu = cu_binary().display();
    Run::new(&command, &format!("environment.CU = \"{cu}\"\n{config}"))
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Checks that each job was asked for once, and has run once.
fn assert_whole(run: &Run) {
    let status = run.status();
    assert_eq!(status["state"], "completed", "{status}");
    assert_eq!(status["jobs"]["completed"], JOBS, "{status}");
    assert_eq!(status["jobs"]["to_come"], 0, "{status}");
    let jobs = run.reader().jobs().expect("a readable run");
    for (number, job) in (0_u32..).zip(&jobs) {
        assert_eq!(job.job.0, number);
        let names: Vec<_> = job.parameters.keys().map(String::as_str).collect();
        assert_eq!(names, ["kind", "net.layers", "x"], "job {number}");
        assert!(job.metrics.contains_key("loss"), "job {number}");
    }
    let mut ran = lines(&run.path("ran"));
    ran.sort_by_key(|line| line.parse::<u64>().expect("a number"));
    let expected: Vec<_> = (0..JOBS).map(|job| job.to_string()).collect();
    assert_eq!(ran, expected, "each program has run once");
    let store = rusqlite::Connection::open(run.dir().store()).expect("a database");
    let added = "SELECT count(*), count(DISTINCT job) FROM events WHERE event = '\"added\"'";
    let added: (u64, u64) = store
        .query_row(added, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("a count");
    assert_eq!(added, (JOBS - AT_ONCE, JOBS - AT_ONCE));
}

#[test]
fn killed_twenty_times_it_asks_for_each_job_once() {
    let run = run(SEARCH);
    let mut chance = Chance::from_environment();
    for _ in 0..KILLS {
        let mut main_process = run.go_on();
        let ended = main_process.wait_at_most(chance.up_to(LONGEST_LIFE));
        assert!(ended.is_none(), "{ended:?}");
        let _ = main_process.kill();
    }
    std::fs::write(run.path("go"), "").expect("a file");
    let exit = run.go_on().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_whole(&run);
    let settings = std::fs::read_to_string(run.dir().settings(cu_protocol::JobId(39)));
    let settings: Value = serde_json::from_str(&settings.expect("settings")).expect("JSON");
    assert_eq!(settings["name"], "fixed");
    assert!(settings["net"]["layers"].is_i64(), "{settings}");
}

#[test]
fn an_optimiser_finds_better_than_it_began_with() {
    let run = run(SEARCH);
    std::fs::write(run.path("go"), "").expect("a file");
    let exit = run.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_whole(&run);
    let best = &run.status()["best"];
    assert_eq!(best["of"], JOBS);
    let loss = best["value"].as_f64().expect("a number");
    assert!(loss < 1.0, "{best}");
    let said = run.cu(&["status"]).stdout;
    let line = format!("best of 40 jobs: job {}, loss = ", best["job"]);
    assert!(said.contains(&line), "{said}");
    assert!(exit.stdout.contains(&line), "{exit:?}");
    let shown = run.cu(&["show", &best["job"].to_string()]).stdout;
    assert!(shown.contains("\nrank 1 of 40 jobs by loss"), "{shown}");
    let table = lines(&run.dir().all_data());
    assert_eq!(table[0], "job,kind,net.layers,x,loss");
    assert_eq!(table.len() as u64, JOBS + 1);
}

#[test]
fn the_directories_of_the_best_jobs_are_kept() {
    let run = run(&format!(
        "{SEARCH}\n[optimize.early_stopping]\nrule = \"bad_jobs\"\n"
    ));
    std::fs::write(run.path("go"), "").expect("a file");
    let keys = ["optimize.keep_best=2", "optimize.remove_output_dirs=true"];
    let config = run.config().display().to_string();
    let exit = run.cu(&[&["run", &config], &keys[..]].concat());
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let mut jobs = run.reader().jobs().expect("a readable run");
    let loss = |job: &cu_core::JobReport| job.metrics["loss"].to_string().parse::<f64>().unwrap();
    jobs.sort_by(|one, other| loss(one).total_cmp(&loss(other)));
    let names = |directory: &Path| -> BTreeMap<String, usize> {
        let entries = std::fs::read_dir(directory).expect("a directory").flatten();
        let count = |path: &Path| std::fs::read_dir(path).expect("a directory").count();
        entries
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    count(&entry.path()),
                )
            })
            .collect()
    };
    let kept = names(&run.dir().path().join("best_jobs"));
    let best: Vec<_> = jobs.iter().take(2).map(|job| job.job.to_string()).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(best.iter().all(|job| kept[job] > 0), "{kept:?} {best:?}");
    assert!(names(&run.dir().all_output_dirs()).is_empty());
}

/// Each job announces its number, in the order of the numbers, and waits for the file `go`.
const ANNOUNCING: &str = r#"
until [ "$CU_JOB_ID" = 0 ] || [ -s "$ATTEMPTS/$((CU_JOB_ID - 1))/early_results.csv" ]; do sleep 0.02; done
"$CU" job metrics loss="$CU_JOB_ID"
until [ -e ../../../../go ]; do sleep 0.02; done
exec "$CU" job finish loss=-1
"#;

#[test]
fn jobs_that_do_not_get_better_are_ended_early() {
    let run = Run::new(
        &["/bin/sh", "-c", ANNOUNCING],
        "[backend.local]\ncpus = 4\n[optimize]\nmetric = \"loss\"\njobs = 6\nat_once = 4\n\
         early_stopping.rule = \"successive_halving\"\nparameters.x = [1, 2]\n",
    );
    let attempts = run.dir().path().join("attempts").display().to_string();
    let keys = [
        format!("environment.ATTEMPTS={attempts}"),
        format!("environment.CU={}", cu_binary().display()),
    ];
    let config = run.config().display().to_string();
    let main_process = run.spawn(&["run", &config, &keys[0], &keys[1]]);
    let is_alone = || {
        let dir = run.dir();
        let reader = cu_core::Reader::open(&dir).ok()?;
        (reader.status().ok()?.jobs.completed == 5).then_some(())
    };
    run.until("five ended jobs", is_alone);
    std::fs::write(run.path("go"), "").expect("a file");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    let jobs = run.reader().jobs().expect("a readable run");
    let losses: Vec<_> = jobs
        .iter()
        .map(|job| job.metrics["loss"].to_string())
        .collect();
    assert_eq!(losses, ["-1", "1", "2", "3", "4", "5"]);
    assert!(
        jobs[5].why.contains("early stopping ended it"),
        "{}",
        jobs[5].why
    );
    let log = std::fs::read_to_string(run.dir().log()).expect("a log");
    let reason = "job 1 is ended early: value 1 ranks 2 of the 2 trials";
    assert!(log.contains(reason), "{log}");
}

#[test]
fn an_update_reaches_the_jobs_that_are_to_come() {
    let run = run(SEARCH);
    let main_process = run.start();
    run.until("jobs that wait", || {
        (lines(&run.path("ran")).len() > 32).then_some(())
    });
    let updated = run.cu(&["update", "run", "stop.grace=7s", "resources.time_limit=1h"]);
    assert_eq!(updated.code, Some(0), "{updated:?}");
    std::fs::write(run.path("go"), "").expect("a file");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert_whole(&run);
    let store = rusqlite::Connection::open(run.dir().store()).expect("a database");
    let plans = "SELECT count(*) FROM jobs WHERE json_extract(plan, '$.stop.grace') IS NOT NULL \
                 AND plan LIKE '%3600%'";
    let plans: u64 = store
        .query_row(plans, [], |row| row.get(0))
        .expect("a count");
    assert_eq!(plans, JOBS, "the last jobs as well");
}

#[test]
fn a_stopped_search_gets_no_more_jobs() {
    let run = run(SEARCH);
    let waits = ["optimize.jobs=100", "settings.name=waits"];
    let config = run.config().display().to_string();
    let main_process = run.spawn(&["run", &config, waits[0], waits[1]]);
    run.until("jobs that wait", || {
        (lines(&run.path("ran")).len() > 30).then_some(())
    });
    let stopped = run.cu(&["stop", "all"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let exit = main_process.wait();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let status = run.status();
    assert_eq!(status["state"], "stopped", "{status}");
    assert!(status["jobs"]["total"].as_u64() < Some(60), "{status}");
}
