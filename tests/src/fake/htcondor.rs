//! HTCondor's side of a fake cluster: condor_submit, condor_q, condor_history, condor_rm and the
//! log of events, as far as a run asks them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Answer;
use super::node::{self, Job};

pub const COMMANDS: [&str; 7] = [
    "condor_submit",
    "condor_q",
    "condor_history",
    "condor_rm",
    "condor_version",
    "condor_config_val",
    "condor_status",
];

pub const TERM: i32 = 15;

/// The file whose existence says that no event is written.
pub const NO_LOG: &str = "no_log";

pub fn act(home: &Path, command: &str, arguments: &[String]) -> Answer {
    match command {
        "condor_submit" => submit(home, arguments),
        "condor_q" => queue(home),
        "condor_history" => history(home),
        "condor_rm" => remove(home, arguments),
        "condor_version" => Answer::print("$CondorVersion: 23.9.6 2024-08-08 $\n"),
        "condor_status" => Answer::print("[]\n"),
        "condor_config_val" if arguments == ["FULL_HOSTNAME"] => Answer::print("ap1\n"),
        _ => Answer::refuse("Not defined: \n"),
    }
}

/// A submit description: its settings, and the items behind `queue`.
struct Description {
    settings: HashMap<String, String>,
    items: Vec<String>,
}

impl Description {
    fn read(text: &str) -> Self {
        let (settings, items) = text.split_once("\nqueue").unwrap();
        let setting = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        };
        let lines = items.lines().skip(1).take_while(|line| *line != ")");
        Self {
            settings: settings.lines().filter_map(setting).collect(),
            items: lines.map(str::to_owned).collect(),
        }
    }

    fn get(&self, name: &str, item: &str) -> String {
        let value = self.settings[name].replace("$(cu_name)", item);
        value.replace("$(DOLLAR)", "$")
    }
}

fn submit(home: &Path, arguments: &[String]) -> Answer {
    if arguments.iter().any(|argument| argument == "-dry-run") {
        return Answer::default();
    }
    let text = fs::read_to_string(arguments.last().unwrap()).unwrap();
    let description = Description::read(&text);
    let numbers = node::all(home);
    let numbers = numbers.iter().filter_map(|job| job.id.split('.').next());
    let newest = numbers.filter_map(|number| number.parse().ok()).max();
    let cluster: u32 = newest.unwrap_or(0) + 1;
    let has_log = !home.join(NO_LOG).exists();
    for (proc, item) in description.items.iter().enumerate() {
        let get = |name| description.get(name, item);
        let mut command = vec![get("executable")];
        command.extend(get("arguments").split_whitespace().map(str::to_owned));
        let job = Job {
            id: format!("{cluster}.{proc}"),
            name: item.clone(),
            command,
            directory: get("initialdir").into(),
            stdout: PathBuf::from("/dev/null"),
            stderr: PathBuf::from("/dev/null"),
            log: match has_log {
                true => get("log").into(),
                false => PathBuf::new(),
            },
            ..Job::default()
        };
        let host = "Job submitted from host: <127.0.0.1:9618?alias=ap1>";
        note(&job, 0, host, &format!("    {item}\n"));
        node::submit(home, job);
    }
    let count = description.items.len();
    Answer::print(format!(
        "Submitting job(s).\n{count} job(s) submitted to cluster {cluster}.\n"
    ))
}

fn queue(home: &Path) -> Answer {
    ads(home, |job| !job.is_over())
}

fn history(home: &Path) -> Answer {
    ads(home, Job::is_over)
}

fn ads(home: &Path, is_wanted: impl Fn(&Job) -> bool) -> Answer {
    let jobs = node::all(home).into_iter().filter(is_wanted);
    let ads: Vec<_> = jobs.map(|job| ad(&job)).collect();
    match ads.is_empty() {
        true => Answer::default(),
        false => Answer::print(serde_json::to_string(&ads).unwrap()),
    }
}

fn ad(job: &Job) -> serde_json::Value {
    let (cluster, proc) = job.id.split_once('.').unwrap();
    let number = |text: &str| text.parse::<u32>().unwrap();
    let status = match job.state.as_str() {
        "PENDING" => 1,
        "RUNNING" => 2,
        "CANCELLED" => 3,
        node::HELD => 5,
        _ => 4,
    };
    let mut ad = json!({
        "ClusterId": number(cluster),
        "ProcId": number(proc),
        "JobStatus": status,
        "JobRunCount": job.starts,
        "CuStarts": 1,
        "CuAttempt": job.name,
    });
    match status {
        3 => ad["RemoveReason"] = json!(job.reason),
        5 => {
            ad["HoldReason"] = json!(job.reason);
            ad["HoldReasonCode"] = json!(job.hold_code);
        }
        4 if job.exit_signal > 0 => {
            ad["ExitBySignal"] = json!(true);
            ad["ExitSignal"] = json!(job.exit_signal);
        }
        4 => {
            ad["ExitBySignal"] = json!(false);
            ad["ExitCode"] = json!(job.exit_code);
        }
        _ => {}
    }
    ad
}

/// The part of a constraint that is true of this job.
fn constraint_of(job: &Job) -> String {
    let (cluster, proc) = job.id.split_once('.').unwrap();
    let name = &job.name;
    format!("(ClusterId == {cluster} && ProcId == {proc} && CuAttempt =?= \"{name}\")")
}

fn remove(home: &Path, arguments: &[String]) -> Answer {
    let mut reason = "via condor_rm (by user ada)";
    let mut words = arguments.iter();
    let mut answer = Answer::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-reason" => reason = words.next().unwrap(),
            "-constraint" => {
                let constraint = words.next().unwrap();
                let jobs = node::all(home).into_iter();
                let jobs = jobs.filter(|job| constraint.contains(&constraint_of(job)));
                for job in jobs.filter(|job| !job.is_over()) {
                    node::end_locked(home, &job.id, TERM, "CANCELLED", reason);
                }
            }
            id if node::load(home, id).is_some() => {
                node::end_locked(home, id, TERM, "CANCELLED", reason);
            }
            id => {
                let _ = writeln!(answer.stderr, "Job {id} not found");
            }
        }
    }
    answer
}

/// Appends an event to the job's log, if it has one.
fn note(job: &Job, event: u32, title: &str, text: &str) {
    if job.log.as_os_str().is_empty() {
        return;
    }
    let (cluster, proc) = job.id.split_once('.').unwrap();
    let time = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let time = time.trim_end_matches('Z').replace('T', " ");
    let log = File::options().append(true).create(true).open(&job.log);
    let event = format!("{event:03} ({cluster:0>3}.{proc:0>3}.000) {time} {title}\n{text}...\n");
    log.unwrap().write_all(event.as_bytes()).unwrap();
}

pub fn note_start(job: &Job) {
    let host = "Job executing on host: <127.0.0.1:9618>";
    note(job, 1, host, "\tSlotName: slot1@node7\n");
}

pub fn note_end(job: &Job) {
    if job.is_held() {
        if job.starts > 0 {
            note(job, 4, "Job was evicted.", "\t(0) CPU times\n");
        }
        let text = format!("\t{}\n\tCode {} Subcode 0\n", job.reason, job.hold_code);
        return note(job, 12, "Job was held.", &text);
    }
    if job.state == "CANCELLED" {
        if job.starts > 0 {
            note(job, 4, "Job was evicted.", "\t(0) CPU times\n");
        }
        return note(job, 9, "Job was aborted.", &format!("\t{}\n", job.reason));
    }
    let how = match job.exit_signal {
        0 => format!(
            "\t(1) Normal termination (return value {})\n",
            job.exit_code
        ),
        signal => format!("\t(0) Abnormal termination (signal {signal})\n"),
    };
    note(job, 5, "Job terminated.", &how);
}
