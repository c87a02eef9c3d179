//! Slurm's side of a fake cluster: sbatch, squeue, sacct, scancel, scontrol and sinfo, as far as a
//! run asks them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::node::{self, Job};
use super::{Answer, now};

pub const COMMANDS: [&str; 6] = ["sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"];

const FIRST_ID: usize = 1000;
/// The file with another one.
pub const OTHER_FIRST_ID: &str = "first-id";
const TERM: i32 = 15;
const KILL: i32 = 9;

pub fn act(home: &Path, command: &str, arguments: &[String]) -> Answer {
    match command {
        "sbatch" => sbatch(home, arguments),
        "squeue" => squeue(home),
        "sacct" => sacct(home, arguments),
        "scancel" => scancel(home, arguments),
        "scontrol" => scontrol(home, arguments),
        _ => Answer::default(),
    }
}

/// The options in a batch script.
struct Directives(String);

impl Directives {
    fn get(&self, option: &str) -> Option<String> {
        let prefix = format!("#SBATCH --{option}=");
        let value = self.0.lines().find_map(|line| line.strip_prefix(&prefix))?;
        Some(value.trim_matches('"').to_owned())
    }
}

/// Whether a call of sbatch submits an array.
pub fn is_array(arguments: &str) -> bool {
    let script = arguments.split(' ').next_back().unwrap();
    fs::read_to_string(script).is_ok_and(|text| Directives(text).get("array").is_some())
}

fn sbatch(home: &Path, arguments: &[String]) -> Answer {
    if arguments.iter().any(|argument| argument == "--test-only") {
        return Answer::default();
    }
    let script = PathBuf::from(arguments.last().unwrap());
    let text = fs::read_to_string(&script).unwrap();
    let directives = Directives(text);
    let bases = fs::read_dir(home.join("jobs")).unwrap().flatten();
    let is_script = |name: &str| name.ends_with(".script");
    let known = bases.filter(|entry| is_script(&entry.file_name().to_string_lossy()));
    let first = fs::read_to_string(home.join(OTHER_FIRST_ID));
    let base = first.map_or(FIRST_ID, |first| first.parse().unwrap()) + known.count();
    // Slurm keeps a copy of its own.
    let copy = home.join("jobs").join(format!("{base}.script"));
    fs::write(&copy, &directives.0).unwrap();
    let tasks: Vec<Option<u32>> = match directives.get("array") {
        Some(range) => {
            let last = range.split(['-', '%']).nth(1).unwrap().parse().unwrap();
            (0..=last).map(Some).collect()
        }
        None => vec![None],
    };
    for task in tasks {
        submit(home, &directives, &copy, base, task);
    }
    Answer::print(format!("{base}\n"))
}

fn submit(home: &Path, directives: &Directives, script: &Path, base: usize, task: Option<u32>) {
    let directory = PathBuf::from(directives.get("chdir").unwrap());
    let output = |option| {
        let pattern = directives.get(option).unwrap();
        let task = task.map(|task| task.to_string()).unwrap_or_default();
        // Slurm reads the pattern in the whole path.
        let pattern = directory.join(pattern);
        let pattern = pattern.to_str().unwrap().replace("%%", "\0");
        let path = pattern
            .replace("%a", &task)
            .replace("%j", &base.to_string());
        PathBuf::from(path.replace('\0', "%"))
    };
    let mut environment = vec![
        ("SLURM_JOB_ID".to_owned(), base.to_string()),
        ("SLURM_JOB_END_TIME".to_owned(), (now() + 3600).to_string()),
        ("SLURM_CLUSTER_NAME".to_owned(), "fake".to_owned()),
        ("SLURMD_NODENAME".to_owned(), "n1".to_owned()),
    ];
    let id = match task {
        Some(task) => {
            environment.push(("SLURM_ARRAY_TASK_ID".into(), task.to_string()));
            format!("{base}_{task}")
        }
        None => base.to_string(),
    };
    // The first line of the script says who reads it.
    let first = directives.0.lines().next().unwrap();
    let words = first.trim_start_matches("#!").split_whitespace();
    let mut command: Vec<String> = words.map(str::to_owned).collect();
    command.push(script.to_str().unwrap().to_owned());
    node::submit(
        home,
        Job {
            id,
            name: directives.get("job-name").unwrap(),
            command,
            environment,
            stdout: output("output"),
            stderr: output("error"),
            directory,
            reason: "None".into(),
            ..Job::default()
        },
    );
}

fn squeue(home: &Path) -> Answer {
    let mut text = String::new();
    for job in node::all(home) {
        let status = job.exit_code * 256 + job.exit_signal;
        let restarts = job.starts.saturating_sub(1);
        let _ = writeln!(
            text,
            "{}|{}|{status}|{restarts}|{}|{}|{}|n1|{}|{}|",
            job.id, job.state, job.submitted, job.started, job.ended, job.reason, job.name
        );
    }
    Answer::print(text)
}

fn sacct(home: &Path, arguments: &[String]) -> Answer {
    let after = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        arguments.get(at + 1)
    };
    let (ids, names) = (after("--jobs"), after("--name"));
    let listed = |list: Option<&String>, word: &str| {
        list.is_none_or(|list| list.split(',').any(|one| one == word))
    };
    let mut text = String::new();
    for job in node::all(home) {
        let base = job.id.split('_').next().unwrap();
        if !listed(ids, base) || !listed(names, &job.name) {
            continue;
        }
        let _ = writeln!(
            text,
            "{}|{}|{}:{}|{}|{}|{}|n1|{}|{}",
            job.id,
            job.state,
            job.exit_code,
            job.exit_signal,
            job.submitted,
            job.started,
            job.ended,
            job.reason,
            job.name
        );
    }
    Answer::print(text)
}

fn scancel(home: &Path, arguments: &[String]) -> Answer {
    let kills = arguments.iter().any(|argument| argument == "--signal=KILL");
    let ids = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'));
    for id in ids {
        match kills {
            true => node::signal(home, id, KILL),
            false => node::end_locked(home, id, TERM, "CANCELLED", "None"),
        }
    }
    Answer::default()
}

fn scontrol(home: &Path, arguments: &[String]) -> Answer {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [.., "config"] => Answer::print(format!(
            "Configuration data as of {}\n\
             AccountingStorageType = accounting_storage/slurmdbd\n\
             ClusterName = fake\n\
             SLURM_VERSION = 24.11.5\n",
            now()
        )),
        [.., "partition"] => Answer::print(
            "PartitionName=p Default=YES MaxTime=UNLIMITED DefaultTime=NONE State=UP\n",
        ),
        ["requeue", ids] => {
            for id in ids.split(',') {
                if let Some(mut job) = node::load(home, id).filter(Job::is_over) {
                    job.state = "PENDING".into();
                    node::save(home, &job);
                    node::wait_in_queue(home, &job);
                }
            }
            Answer::default()
        }
        _ => Answer::refuse(format!(
            "scontrol: error: invalid keyword: {}\n",
            words.join(" ")
        )),
    }
}
