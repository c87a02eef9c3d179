//! A thousand jobs with two resumes each on a real cluster: `cu run` beside a plain loop that submits
//! each job by a command of its own.
//!
//! `cargo bench -p cu-benches --bench clusters -- slurm|htcondor [JOBS] [ROUNDS]`, as root: it brings
//! up a cluster of its own on this machine (see `tests/clusters`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cu_benches::static_programs;
use cu_benches::statistics::{median, seconds, three_digits};
use cu_cluster_tests::counted::CountedCommands;
use cu_cluster_tests::{CondorPool, Instance, SlurmCluster, SlurmSettings, Suite, wait};
use cu_core::machine::Event;
use cu_core::{Reader, RunDir};

const RESUMES: usize = 2;
/// How long all jobs together may take.
const PATIENCE: Duration = Duration::from_secs(3600);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let number = |at: usize, default: usize| match words.get(at) {
        Some(word) => word
            .parse()
            .with_context(|| format!("{word:?} is no number")),
        None => Ok(default),
    };
    let (jobs, rounds) = (number(1, 1000)?, number(2, 1)?);
    match words.first().map(String::as_str) {
        Some("slurm") => {
            let cluster = SlurmCluster::own(Suite::Trixie, &SlurmSettings::default());
            compare("Slurm 24.11", &cluster, &SLURM, jobs, rounds)
        }
        Some("htcondor") => {
            let pool = CondorPool::own("");
            compare("HTCondor 23.9", &pool, &HTCONDOR, jobs, rounds)
        }
        // `cargo bench --benches` runs what needs no root.
        None => {
            println!("clusters: left out; name one: slurm or htcondor");
            Ok(())
        }
        Some(other) => bail!("no cluster {other:?}; there are slurm and htcondor"),
    }
}

/// What differs between the kinds of cluster.
struct Kind {
    /// For `cu run`.
    backend: &'static str,
    /// What is written for the plain loop, once, and for each job.
    script: &'static str,
    /// What submits a job of the plain loop, and its arguments: from script and the job's folder.
    submit: &'static str,
    arguments: fn(&str, &str) -> Vec<String>,
    /// Prints nothing as soon as no job is left.
    queue: &'static [&'static str],
    /// The commands whose calls are told.
    told: &'static [&'static str],
}

/// Each job submits itself again as long as its program says so: the usual chain.
const SLURM: Kind = Kind {
    backend: "slurm",
    script: r#"#!/bin/sh
#SBATCH --output=/dev/null
cd "$1" || exit
CU_SETTINGS=$1/settings.json CU_OUTPUT_DIR=$1 PROGRAM
[ $? -eq 3 ] || exit
echo sbatch >>CALLS
exec sbatch SCRIPT "$1"
"#,
    submit: "sbatch",
    arguments: |script, folder| vec![script.to_owned(), folder.to_owned()],
    queue: &["squeue", "--noheader"],
    told: &["sbatch", "squeue", "sacct", "scontrol"],
};

/// The scheduler puts each job back as long as its program says so.
const HTCONDOR: Kind = Kind {
    backend: "htcondor",
    script: r#"executable = PROGRAM
initialdir = $(folder)
environment = "CU_SETTINGS=$(folder)/settings.json CU_OUTPUT_DIR=$(folder)"
should_transfer_files = NO
log = $(folder)/log
on_exit_remove = ExitCode =!= 3
request_cpus = 1
request_memory = 64
queue
"#,
    submit: "condor_submit",
    arguments: |script, folder| vec![format!("folder={folder}"), script.to_owned()],
    queue: &["condor_q", "-all", "-af", "ClusterId"],
    told: &["condor_submit", "condor_q", "condor_history", "condor_rm"],
};

/// What one contender took.
struct Turn {
    /// Until the cluster had all jobs.
    handed_over: f64,
    /// Until all were done.
    done: f64,
    calls: BTreeMap<String, usize>,
}

/// Where one contender works.
struct Place<'a> {
    cluster: &'a Instance,
    kind: &'a Kind,
    jobs: usize,
    program: PathBuf,
    cu: PathBuf,
    folder: PathBuf,
    commands: CountedCommands,
}

fn compare(title: &str, cluster: &Instance, kind: &Kind, jobs: usize, rounds: usize) -> Result<()> {
    let built = static_programs()?;
    let work = cluster.work_directory();
    let _user = cluster.become_user();
    let programs = work.path().join("programs");
    fs::create_dir(&programs)?;
    for name in ["cu", "smallest_job"] {
        fs::copy(built.join(name), programs.join(name))?;
    }
    let place = |name: String| -> Result<Place<'_>> {
        let folder = work.path().join(name);
        fs::create_dir(&folder)?;
        Ok(Place {
            cluster,
            kind,
            jobs,
            program: programs.join("smallest_job"),
            cu: programs.join("cu"),
            commands: CountedCommands::new(cluster, &folder),
            folder,
        })
    };
    let (mut plain, mut run) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        plain.push(plain_loop(&place(format!("plain-{round}"))?)?);
        run.push(cu_run(&place(format!("run-{round}"))?)?);
    }
    let told = kind.told.join(" | ");
    println!("{title}, {jobs} jobs with {RESUMES} resumes each, {rounds} in turns\n");
    println!("| | handed over | a second | all done | attempts a second | ratio | {told} |");
    println!(
        "| --- | --- | --- | --- | --- | --- |{}",
        " --- |".repeat(kind.told.len())
    );
    for (name, turns) in [("plain loop", &plain), ("`cu run`", &run)] {
        let of = |value: fn(&Turn) -> f64| {
            let values: Vec<f64> = turns.iter().map(value).collect();
            median(&values).context("there is at least one round")
        };
        let ratios: Vec<f64> = turns
            .iter()
            .zip(&plain)
            .map(|(own, plain)| plain.done / own.done)
            .collect();
        let (handed_over, done) = (of(|turn| turn.handed_over)?, of(|turn| turn.done)?);
        let attempts = jobs * (RESUMES + 1);
        let calls = |command: &&str| {
            turns[0]
                .calls
                .get(*command)
                .copied()
                .unwrap_or(0)
                .to_string()
        };
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            seconds(handed_over),
            three_digits(jobs as f64 / handed_over),
            seconds(done),
            three_digits(attempts as f64 / done),
            three_digits(median(&ratios).context("there is at least one round")?),
            kind.told.iter().map(calls).collect::<Vec<_>>().join(" | "),
        );
    }
    Ok(())
}

/// Submits one job after the other, and waits until the last is done.
fn plain_loop(place: &Place<'_>) -> Result<Turn> {
    let script = place.folder.join("script");
    let text = place
        .kind
        .script
        .replace("PROGRAM", path(&place.program)?)
        .replace("SCRIPT", path(&script)?)
        .replace("CALLS", path(place.commands.log())?);
    fs::write(&script, text)?;
    let folders: Vec<PathBuf> = (0..place.jobs)
        .map(|job| place.folder.join(job.to_string()))
        .collect();
    for folder in &folders {
        fs::create_dir(folder)?;
        fs::write(
            folder.join("settings.json"),
            format!("{{\"resumes\": {RESUMES}}}"),
        )?;
    }
    let begun = Instant::now();
    for folder in &folders {
        let mut submit = Command::new(place.commands.directory().join(place.kind.submit));
        submit.args((place.kind.arguments)(path(&script)?, path(folder)?));
        succeed(submit.current_dir(&place.folder))?;
    }
    let handed_over = begun.elapsed().as_secs_f64();
    let mut open = folders;
    wait::until("the plain loop's jobs to be done", PATIENCE, || {
        while open
            .last()
            .is_some_and(|folder| folder.join("metrics.csv").exists())
        {
            open.pop();
        }
        open.is_empty().then_some(())
    });
    let done = begun.elapsed().as_secs_f64();
    wait_for_an_empty_queue(place);
    Ok(Turn {
        handed_over,
        done,
        calls: place.commands.calls(),
    })
}

fn cu_run(place: &Place<'_>) -> Result<Turn> {
    let config = place.folder.join("run.toml");
    let jobs: Vec<usize> = (0..place.jobs).collect();
    let backend = place.kind.backend;
    fs::write(
        &config,
        format!(
            "name = \"run\"\n\
             results_dir = {:?}\n\
             command = [{:?}]\n\
             settings.resumes = {RESUMES}\n\
             grid.job = {jobs:?}\n\
             resources.memory = \"64MiB\"\n\
             backend.kind = {backend:?}\n\
             backend.{backend}.commands = {:?}\n",
            place.folder,
            place.program,
            place.commands.directory(),
        ),
    )?;
    let begun = Instant::now();
    let mut run = Command::new(&place.cu);
    succeed(run.arg("run").arg(&config).current_dir(&place.folder))?;
    let done = begun.elapsed().as_secs_f64();
    wait_for_an_empty_queue(place);
    let events = Reader::open(&RunDir::new(place.folder.join("run")))?.events()?;
    let accepted = events.iter().filter_map(|recorded| match &recorded.event {
        Event::Submitted { attempt, .. } if attempt.0 == 0 => Some(recorded.at),
        _ => None,
    });
    let last = accepted.max().context("a job was submitted")?;
    let first = events.first().context("a run has a history")?.at;
    ensure!(last >= first, "the clock was set back");
    Ok(Turn {
        handed_over: last.since(first).as_secs_f64(),
        done,
        calls: place.commands.calls(),
    })
}

/// Ended jobs may still be there for a moment.
fn wait_for_an_empty_queue(place: &Place<'_>) {
    let (command, arguments) = (place.kind.queue[0], &place.kind.queue[1..]);
    wait::until("an empty queue", PATIENCE, || {
        place
            .cluster
            .ask(command, arguments)
            .trim()
            .is_empty()
            .then_some(())
    });
}

fn path(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
