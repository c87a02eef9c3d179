//! A thousand jobs with two resumes each on a real cluster: `cu run`, also with attempts that share
//! allocations, compared with a plain loop that submits each job by a command of its own.
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
/// The longest time for all jobs together.
const PATIENCE: Duration = Duration::from_secs(3600);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let number = |at: usize, default: usize| match words.get(at) {
        Some(word) => word
            .parse()
            .with_context(|| format!("{word:?} is not a number")),
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
            println!("clusters: left out; to run it, name one: slurm or htcondor");
            Ok(())
        }
        Some(other) => bail!("there is no cluster {other:?}; use slurm or htcondor"),
    }
}

/// The differences between the kinds of cluster.
struct Kind {
    /// The backend of `cu run`.
    backend: &'static str,
    /// The script of the plain loop, written once and for each job.
    script: &'static str,
    /// The command that submits a job of the plain loop, and its arguments, made of the script and
    /// the job's directory.
    submit: &'static str,
    arguments: fn(&str, &str) -> Vec<String>,
    /// Prints nothing once no job is left.
    queue: &'static [&'static str],
    /// The commands whose calls are counted.
    told: &'static [&'static str],
}

/// Each job submits itself again as long as its program asks for it: the usual chain.
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
    arguments: |script, directory| vec![script.to_owned(), directory.to_owned()],
    queue: &["squeue", "--noheader"],
    told: &["sbatch", "squeue", "sacct", "scontrol"],
};

/// The scheduler puts each job back as long as its program asks for it.
const HTCONDOR: Kind = Kind {
    backend: "htcondor",
    script: r#"executable = PROGRAM
initialdir = $(directory)
environment = "CU_SETTINGS=$(directory)/settings.json CU_OUTPUT_DIR=$(directory)"
should_transfer_files = NO
log = $(directory)/log
on_exit_remove = ExitCode =!= 3
request_cpus = 1
request_memory = 64
queue
"#,
    submit: "condor_submit",
    arguments: |script, directory| vec![format!("directory={directory}"), script.to_owned()],
    queue: &["condor_q", "-all", "-af", "ClusterId"],
    told: &["condor_submit", "condor_q", "condor_history", "condor_rm"],
};

/// The times of one contender.
struct Turn {
    /// Until the cluster had accepted all jobs.
    handed_over: f64,
    /// Until all jobs were done.
    done: f64,
    calls: BTreeMap<String, usize>,
}

/// The directory of one contender.
struct Place<'a> {
    cluster: &'a Instance,
    kind: &'a Kind,
    jobs: usize,
    program: PathBuf,
    cu: PathBuf,
    directory: PathBuf,
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
        let directory = work.path().join(name);
        fs::create_dir(&directory)?;
        Ok(Place {
            cluster,
            kind,
            jobs,
            program: programs.join("smallest_job"),
            cu: programs.join("cu"),
            commands: CountedCommands::new(cluster, &directory),
            directory,
        })
    };
    let (mut plain, mut run, mut keep) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        plain.push(plain_loop(&place(format!("plain-{round}"))?)?);
        run.push(cu_run(&place(format!("run-{round}"))?, false)?);
        keep.push(cu_run(&place(format!("keep-{round}"))?, true)?);
    }
    let told = kind.told.join(" | ");
    println!("{title}, {jobs} jobs with {RESUMES} resumes each, {rounds} in turns\n");
    println!("| | handed over | a second | all done | attempts a second | ratio | {told} |");
    println!(
        "| --- | --- | --- | --- | --- | --- |{}",
        " --- |".repeat(kind.told.len())
    );
    for (name, turns) in [
        ("plain loop", &plain),
        ("`cu run`", &run),
        ("`cu run`, `keep`", &keep),
    ] {
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
    let script = place.directory.join("script");
    let text = place
        .kind
        .script
        .replace("PROGRAM", path(&place.program)?)
        .replace("SCRIPT", path(&script)?)
        .replace("CALLS", path(place.commands.log())?);
    fs::write(&script, text)?;
    let directories: Vec<PathBuf> = (0..place.jobs)
        .map(|job| place.directory.join(job.to_string()))
        .collect();
    for directory in &directories {
        fs::create_dir(directory)?;
        fs::write(
            directory.join("settings.json"),
            format!("{{\"resumes\": {RESUMES}}}"),
        )?;
    }
    let begun = Instant::now();
    for directory in &directories {
        let mut submit = Command::new(place.commands.directory().join(place.kind.submit));
        submit.args((place.kind.arguments)(path(&script)?, path(directory)?));
        succeed(submit.current_dir(&place.directory))?;
    }
    let handed_over = begun.elapsed().as_secs_f64();
    let mut open = directories;
    wait::until("the plain loop's jobs to be done", PATIENCE, || {
        while open
            .last()
            .is_some_and(|directory| directory.join("metrics.csv").exists())
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

fn cu_run(place: &Place<'_>, keeps: bool) -> Result<Turn> {
    let config = place.directory.join("run.toml");
    let jobs: Vec<usize> = (0..place.jobs).collect();
    let backend = place.kind.backend;
    let keep = match keeps {
        true => format!("backend.{backend}.keep = \"20min\"\n"),
        false => String::new(),
    };
    fs::write(
        &config,
        format!(
            "name = \"run\"\n\
             results_dir = {:?}\n\
             command = [{:?}]\n\
             settings.resumes = {RESUMES}\n\
             grid.job = {jobs:?}\n\
             resources.memory = \"64MiB\"\n\
             resources.time_limit = \"5min\"\n\
             backend.kind = {backend:?}\n\
             {keep}\
             backend.{backend}.commands = {:?}\n",
            place.directory,
            place.program,
            place.commands.directory(),
        ),
    )?;
    let begun = Instant::now();
    let mut run = Command::new(&place.cu);
    succeed(run.arg("run").arg(&config).current_dir(&place.directory))?;
    let done = begun.elapsed().as_secs_f64();
    wait_for_an_empty_queue(place);
    let events = Reader::open(&RunDir::new(place.directory.join("run")))?.events()?;
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

/// Ended jobs may stay in the queue for a moment.
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
