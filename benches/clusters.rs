//! A thousand jobs with two resumes each on a real cluster: `cu run`, also with attempts that share
//! allocations, compared with a plain loop that submits each job by a command of its own.
//!
//! `cargo bench -p cu-benches --bench clusters -- slurm|htcondor [JOBS] [ROUNDS]`, as root: it brings
//! up a cluster of its own on this machine (see `tests/clusters`).
//!
//! `-- turnaround [JOBS] [ROUNDS]`: how long it is from the end of an attempt to the start of the next, by the
//! jobs' own clocks, in a busy run on Slurm with a slot for each job. `turnaround-default` in its place: the same
//! with Slurm's own times between two rounds of scheduling. `turnaround-htcondor` and `turnaround-htcondor-default`:
//! the same on HTCondor, in each way of resuming. `cu run` is on a login node there, so that its commands cost
//! what those of the plain loop's jobs cost.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cu_benches::static_programs;
use cu_benches::statistics::{median, quantile, seconds, three_digits};
use cu_cluster_tests::counted::CountedCommands;
use cu_cluster_tests::{CondorPool, Instance, SlurmCluster, SlurmSettings, Suite, wait};
use cu_core::machine::Event;
use cu_core::{Reader, RunDir};

const RESUMES: usize = 2;
/// The same where the turnaround is measured.
const MANY_RESUMES: usize = 6;
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
    let turnaround = words
        .first()
        .is_some_and(|word| word.starts_with("turnaround"));
    let (jobs, rounds) = match turnaround {
        true => (number(1, 36)?, number(2, 3)?),
        false => (number(1, 1000)?, number(2, 1)?),
    };
    match words.first().map(String::as_str) {
        Some("slurm") => {
            let cluster = SlurmCluster::own(Suite::Trixie, &SlurmSettings::default());
            compare("Slurm 24.11", &cluster, &SLURM, jobs, rounds)
        }
        Some(way @ ("turnaround" | "turnaround-default")) => {
            let all = "PartitionName=all Nodes=n[0-8] Default=YES MaxTime=INFINITE DefaultTime=60";
            let mut lines = vec![all.to_owned()];
            if way == "turnaround-default" {
                // The last line counts. Slurm's own defaults, which the tests' clusters shorten.
                lines.push("SchedulerParameters=batch_sched_delay=3".to_owned());
            }
            let settings = SlurmSettings {
                lines,
                ..SlurmSettings::default()
            };
            let cluster = SlurmCluster::own(Suite::Trixie, &settings);
            let ways = [("`cu run`", "")];
            compare_turnarounds("Slurm 24.11", &cluster, &SLURM, (jobs, rounds), &ways)
        }
        Some(way @ ("turnaround-htcondor" | "turnaround-htcondor-default")) => {
            let settings = match way {
                "turnaround-htcondor" => "",
                _ => HTCONDOR_DEFAULTS,
            };
            let pool = CondorPool::own(settings);
            let ways = [
                ("`cu run`, submit", "resume = \"submit\""),
                ("`cu run`, requeue", "resume = \"requeue\""),
                ("`cu run`, checkpoint", "resume = \"checkpoint\""),
            ];
            compare_turnarounds("HTCondor 23.9", &pool, &HTCONDOR, (jobs, rounds), &ways)
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
        Some(other) => bail!(
            "unknown cluster {other:?}; use slurm, htcondor, turnaround, turnaround-default, \
             turnaround-htcondor or turnaround-htcondor-default"
        ),
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

/// HTCondor's own intervals, which the tests' pools shorten.
const HTCONDOR_DEFAULTS: &str = "SCHEDD_INTERVAL = 300\nSCHEDD_MIN_INTERVAL = 5\nPERIODIC_EXPR_INTERVAL = 60\n\
                                 NEGOTIATOR_INTERVAL = 60\nNEGOTIATOR_CYCLE_DELAY = 20\n\
                                 NEGOTIATOR_MIN_INTERVAL = 5\n";

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
    resumes: usize,
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
            resumes: RESUMES,
            program: programs.join("smallest_job"),
            cu: programs.join("cu"),
            commands: CountedCommands::new(cluster, &directory),
            directory,
        })
    };
    let (mut plain, mut run, mut keep) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        plain.push(plain_loop(&place(format!("plain-{round}"))?)?);
        run.push(cu_run(&place(format!("run-{round}"))?, "")?);
        keep.push(cu_run(
            &place(format!("keep-{round}"))?,
            "keep = \"20min\"",
        )?);
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

/// Writes down when it starts and ends, and asks to be resumed as often as it is to be.
const CLOCKED: &str = r#"#!/bin/sh
cd "$CU_OUTPUT_DIR" || exit
date +%s.%N >>starts
sleep 3
n=$(wc -l <starts)
[ "$n" -gt RESUMES ] && touch metrics.csv
date +%s.%N >>ends
[ "$n" -gt RESUMES ] || exit 3
"#;

/// The least that as few calls of sbatch as ours can take: jobs that wait for each other, and then for one call that
/// hands over the next attempts of all. Nothing is decided, recorded or supervised.
const WAITS_FOR_ALL: &str = r#"#!/bin/sh
#SBATCH --output=/dev/null
#SBATCH --mem=64
cd "$1/$SLURM_ARRAY_TASK_ID" || exit
CU_OUTPUT_DIR=$PWD PROGRAM
[ $? -eq 3 ] || exit
round=$(wc -l <ends)
touch asked-$round
while [ ! -e ../leave-$round ]; do sleep 0.02; done
"#;

/// On the login node.
const ONE_CALL_FOR_ALL: &str = r#"#!/bin/sh
submit() { COMMANDS/sbatch --array=0-$((JOBS - 1)) job "$PWD" || exit; }
submit
for round in $(seq RESUMES); do
    until [ "$(ls -- */asked-$round 2>/dev/null | wc -l)" = JOBS ]; do sleep 0.02; done
    submit
    touch leave-$round
done
until [ "$(ls -- */metrics.csv 2>/dev/null | wc -l)" = JOBS ]; do sleep 0.1; done
"#;

fn one_call_for_all(place: &Place<'_>) -> Result<Turn> {
    let here = &place.directory;
    for job in 0..place.jobs {
        fs::create_dir(here.join(job.to_string()))?;
    }
    let job = WAITS_FOR_ALL.replace("PROGRAM", path(&place.program)?);
    fs::write(here.join("job"), job)?;
    let all = ONE_CALL_FOR_ALL
        .replace("COMMANDS", path(place.commands.directory())?)
        .replace("JOBS", &place.jobs.to_string())
        .replace("RESUMES", &place.resumes.to_string());
    fs::write(here.join("all"), all)?;
    let begun = Instant::now();
    let mut shell = place.cluster.on_login_node("sh");
    succeed(shell.arg("all").current_dir(here))?;
    let done = begun.elapsed().as_secs_f64();
    wait_for_an_empty_queue(place);
    Ok(Turn {
        handed_over: done,
        done,
        calls: place.commands.calls(),
    })
}

/// `ways`: names of contenders, and the keys of each in the table of the backend.
fn compare_turnarounds(
    title: &str,
    cluster: &Instance,
    kind: &Kind,
    (jobs, rounds): (usize, usize),
    ways: &[(&str, &str)],
) -> Result<()> {
    let built = static_programs()?;
    let work = cluster.work_directory();
    let _user = cluster.become_user();
    let (cu, program) = (work.path().join("cu"), work.path().join("clocked"));
    fs::copy(built.join("cu"), &cu)?;
    fs::write(
        &program,
        CLOCKED.replace("RESUMES", &MANY_RESUMES.to_string()),
    )?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let place = |name: String| -> Result<Place<'_>> {
        let directory = work.path().join(name);
        fs::create_dir(&directory)?;
        Ok(Place {
            cluster,
            kind,
            jobs,
            resumes: MANY_RESUMES,
            program: program.clone(),
            cu: cu.clone(),
            commands: CountedCommands::new(cluster, &directory),
            directory,
        })
    };
    println!("{title}, {jobs} jobs with {MANY_RESUMES} resumes each, in turns\n");
    println!(
        "| | turnaround: median | 95 % | ratio | all done | {} |",
        kind.submit
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let print = |name: &str, times: &[f64], turn: &Turn, ratio: f64| -> Result<()> {
        println!(
            "| {name} | {} | {} | {} | {} | {} |",
            seconds(median(times).context("jobs were resumed")?),
            seconds(quantile(times, 0.95).context("jobs were resumed")?),
            three_digits(ratio),
            seconds(turn.done),
            turn.calls.get(kind.submit).copied().unwrap_or(0),
        );
        Ok(())
    };
    let mut ratios = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        let plain = place(format!("plain-{round}"))?;
        let turn = plain_loop(&plain)?;
        let plain_times = turnarounds(&plain.directory, jobs)?;
        print("plain loop", &plain_times, &turn, 1.0)?;
        let usual = median(&plain_times).context("jobs were resumed")?;
        if kind.backend == SLURM.backend {
            let all = place(format!("all-{round}"))?;
            let turn = one_call_for_all(&all)?;
            let times = turnarounds(&all.directory, jobs)?;
            let ratio = median(&times).context("jobs were resumed")? / usual;
            print("one call for all", &times, &turn, ratio)?;
        }
        for (number, (name, keys)) in ways.iter().enumerate() {
            let run = place(format!("run-{round}-{number}"))?;
            let turn = cu_run(&run, keys)?;
            let times = turnarounds(&run.directory.join("run/working_directories"), jobs)?;
            let ratio = median(&times).context("jobs were resumed")? / usual;
            ratios[number].push(ratio);
            print(name, &times, &turn, ratio)?;
        }
    }
    for ((name, _), ratios) in ways.iter().zip(&ratios) {
        let ratio = median(ratios).context("there is at least one round")?;
        println!("\n{name}: median of the ratios: {}", three_digits(ratio));
    }
    Ok(())
}

/// From each end of an attempt to the next start, of all jobs whose directories are in `parent`.
fn turnarounds(parent: &Path, jobs: usize) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for job in 0..jobs {
        let times = |name: &str| -> Result<Vec<f64>> {
            let text = fs::read_to_string(parent.join(job.to_string()).join(name))?;
            Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
        };
        let (starts, ends) = (times("starts")?, times("ends")?);
        all.extend(
            starts
                .iter()
                .skip(1)
                .zip(&ends)
                .map(|(next, end)| next - end),
        );
    }
    Ok(all)
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
            format!("{{\"resumes\": {}}}", place.resumes),
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

/// `keys` are added to the table of the backend.
fn cu_run(place: &Place<'_>, keys: &str) -> Result<Turn> {
    let config = place.directory.join("run.toml");
    let jobs: Vec<usize> = (0..place.jobs).collect();
    let backend = place.kind.backend;
    fs::write(
        &config,
        format!(
            "name = \"run\"\n\
             results_dir = {:?}\n\
             command = [{:?}]\n\
             settings.resumes = {}\n\
             grid.job = {jobs:?}\n\
             resources.memory = \"64MiB\"\n\
             resources.time_limit = \"5min\"\n\
             [backend]\n\
             kind = {backend:?}\n\
             [backend.{backend}]\n\
             commands = {:?}\n\
             {keys}\n",
            place.directory,
            place.program,
            place.resumes,
            place.commands.directory(),
        ),
    )?;
    let begun = Instant::now();
    let mut run = place.cluster.on_login_node(&place.cu);
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
