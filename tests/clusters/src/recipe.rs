//! Runs a recipe of `examples/recipes` with the real program, as Debian has it, three times: at one go, in at least
//! four attempts on the local backend, and in as many on a real Slurm. All in the root of one Debian release, so that
//! the versions are the same on every machine.
//!
//! No time decides where an attempt is cut: it is asked to stop once it has got further, and stands still from then
//! until it is asked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{SlurmCluster, Suite, place};
use cu_tests::run::{Place, Run};
use toml::Table;

/// How often each chopped run is asked to stop. The last attempt ends by itself.
const STOPS: usize = 3;

/// How a recipe is tested.
pub struct Recipe {
    /// Where it is in `examples`.
    pub directory: &'static str,
    /// Words behind its command, such as those that make the program reproducible.
    pub more_words: &'static [&'static str],
    /// More variables, in TOML.
    pub environment: &'static str,
    /// More of the config on Slurm, in TOML.
    pub on_slurm: &'static str,
    /// How long it may take from the request to SIGTERM, and from there to SIGKILL.
    pub grace: &'static str,
    /// How long it may take until it looks for the file by which it is asked, however short its steps are.
    pub looks_every: Duration,
    /// A number that changes when the program has got further.
    pub steps: fn(&Traces) -> u128,
    /// Its result, as far as two runs must have the same.
    pub result: fn(&Path) -> String,
}

/// Where the program of one attempt leaves traces.
pub struct Traces {
    /// The directory in which it works.
    pub work: PathBuf,
    /// Its standard output.
    pub stdout: PathBuf,
}

impl Traces {
    /// How many lines of the output begin so, after spaces.
    pub fn lines_that_begin(&self, begins: fn(&str) -> bool) -> u128 {
        let output = std::fs::read(&self.stdout).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        output.lines().filter(|line| begins(line.trim())).count() as u128
    }

    /// When this file was last changed, in nanoseconds; 0 if it isn't there.
    pub fn changed(&self, name: &str) -> u128 {
        let changed = std::fs::metadata(self.work.join(name)).and_then(|file| file.modified());
        let since = changed.map(|time| time.duration_since(std::time::UNIX_EPOCH));
        since.map_or(0, |since| since.expect("after 1970").as_nanos())
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether a recipe needs one of the large programs.
#[derive(Clone, Copy)]
pub struct Large(pub bool);

/// The result in four attempts is that of one, on both backends.
pub fn comes_out_the_same_in_attempts(recipe: &Recipe, Large(is_large): Large) {
    let cluster = SlurmCluster::up(Suite::Bookworm);
    cluster.add_programs(is_large);
    let lane = cluster.lane();
    let work = cluster.work_directory();
    let local = place::in_root(&cluster, work.path());
    let slurm = place::on_slurm(&cluster, &lane, work.path());
    let slurm = place::on_login_node(&cluster, slurm);
    let _user = cluster.become_user();

    let straight = new_run(&cluster, recipe, local.clone(), "");
    let exit = straight.start().wait();
    assert_eq!(exit.code, Some(0), "{exit:?} {}", said(&straight));
    let expected = result(recipe, &straight);
    let attempts = straight.show(0)["attempts"].clone();
    assert_eq!(attempts.as_array().map(Vec::len), Some(1), "{attempts:#}");

    for (place, more) in [(local, ""), (slurm, recipe.on_slurm)] {
        let run = new_run(&cluster, recipe, place, more);
        in_attempts(&run, recipe);
        assert_eq!(result(recipe, &run), expected, "{}", recipe.directory);
    }
}

fn result(recipe: &Recipe, run: &Run) -> String {
    let result = (recipe.result)(&run.path(""));
    assert!(!result.is_empty(), "{}: a result", recipe.directory);
    result
}

/// A run of the recipe as it stands there, in a directory with copies of its files.
fn new_run(cluster: &SlurmCluster, recipe: &Recipe, mut place: Place, more: &str) -> Run {
    let directory = repository().join("examples").join(recipe.directory);
    let text = std::fs::read_to_string(directory.join("run.toml")).expect("a recipe has a config");
    let mut config: Table = text.parse().expect("TOML");
    let command = config.remove("command").expect("a command");
    let command: Vec<String> = command.try_into().expect("a list of words");
    let more_words = recipe.more_words.iter().map(|word| (*word).to_owned());
    let command: Vec<String> = command.into_iter().chain(more_words).collect();
    let more_config = format!(
        "[resources]\nmemory = \"900MiB\"\n[environment]\n{}",
        recipe.environment
    );
    place.config.push_str(&more_config);
    // The default of a config, but not that of the runs of these tests.
    config.entry("working_directory").or_insert(".".into());
    let stop = config.entry("stop").or_insert_with(|| Table::new().into());
    let stop = stop.as_table_mut().expect("a table");
    stop.insert("grace".into(), recipe.grace.into());
    let config = format!("{more}\n{}", toml::to_string(&config).expect("TOML"));
    let home = place.directory.clone();
    // The root has no bytecode of Python.
    let bytecode = home.join("bytecode");
    place
        .environment
        .push(("PYTHONPYCACHEPREFIX".into(), bytecode.into()));
    place.environment.push(("HOME".into(), home.into()));
    let run = Run::at(place, &command, &config);
    let copied = Command::new("cp")
        .arg("-r")
        .arg(directory.join("."))
        // As if it were installed.
        .arg(repository().join("crates/cu-client/python/cu_job.py"))
        .arg(run.path(""))
        .status();
    assert!(
        copied.expect("cp").success(),
        "{} can't be copied",
        recipe.directory
    );
    if run.path("prepare.sh").exists() {
        let mut prepare = cluster.on_login_node("sh");
        let output = prepare.arg("prepare.sh").current_dir(run.path("")).output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "prepare.sh: {output:?}");
    }
    run
}

/// Asks each attempt but the last to stop, once it has got further.
fn in_attempts(run: &Run, recipe: &Recipe) {
    let mut main_process = run.start();
    for attempt in 0..STOPS {
        let files = run.dir().path().join(format!("attempts/0/{attempt}"));
        run.until("the start of an attempt", || {
            let ended = main_process.wait_at_most(Duration::ZERO);
            assert_eq!(ended, None, "{}", said(run));
            files.join("started.json").exists().then_some(())
        });
        let traces = Traces {
            work: run.path(""),
            stdout: files.join("stdout"),
        };
        let at_the_start = (recipe.steps)(&traces);
        run.until("a step of the program", || {
            let ended = main_process.wait_at_most(Duration::ZERO);
            assert_eq!(ended, None, "{}", said(run));
            ((recipe.steps)(&traces) != at_the_start).then_some(())
        });
        run.while_its_programs_stand_still(|| {
            // The main process hears of a start a moment later, and asks only what runs.
            run.until("the attempt to be asked", || {
                let _ = run.cu(&["checkpoint"]);
                files.join("stop").exists().then_some(())
            });
            // Its clock goes on meanwhile, so that it looks at its next step.
            let asked = Instant::now();
            run.until("the time at which the program looks", || {
                (asked.elapsed() >= recipe.looks_every).then_some(())
            });
        });
    }
    let exit = main_process.wait();
    let job = run.show(0);
    assert_eq!(exit.code, Some(0), "{exit:?} {}", said(run));
    let attempts = job["attempts"].as_array().expect("attempts");
    let ends: Vec<&str> = attempts
        .iter()
        .filter_map(|it| it["end"].as_str())
        .collect();
    let (last, before) = ends.split_last().expect("attempts");
    assert_eq!(*last, "completed", "{job:#}");
    assert_eq!(before.len(), STOPS, "{job:#}");
    assert!(
        before.iter().all(|end| *end == "resume_requested"),
        "{job:#}"
    );
}

/// What there is to see if a run went wrong: the job, and what its attempts said.
fn said(run: &Run) -> String {
    let job = run.cu(&["show", "0"]);
    let logs = run.cu(&["logs", "0"]);
    format!("{job:?}\n{}", logs.stdout)
}
