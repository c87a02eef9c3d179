//! From the options of a person's batch script to the config of a run. What the chain of jobs has to decide
//! itself becomes a key, with a note about what changes; all else is passed on to sbatch as it is.

use std::path::Path;
use std::time::Duration;

use cu_scheduler::slurm::batch_options::BatchOption;

use crate::config::{Override, literally};
use crate::error::{Error, Result};

/// The output of a job whose options name none.
const DEFAULT_OUTPUT: &str = "slurm-%j.out";
/// Where a key comes from that no option stands for.
const DEFAULTS: &str = "cu sbatch";
/// How long before the time limit Slurm sends a signal that has no time.
const DEFAULT_WARNING: Duration = Duration::from_secs(60);

/// What the options of a batch script mean for a run.
#[derive(Debug, Default)]
pub struct BatchJob {
    /// The keys of the config.
    pub overrides: Vec<Override>,
    /// What is not as sbatch would do it: one sentence each, for people.
    pub notes: Vec<String>,
    /// The name of the job, if one was given.
    pub name: Option<String>,
    /// Whether to wait for the end of the run.
    pub waits: bool,
    /// Whether only to ask the scheduler.
    pub is_test: bool,
    /// Whether to print ids only.
    pub is_parsable: bool,
    /// Whether to print no notes.
    pub is_quiet: bool,
    /// Options that go to each attempt as they are.
    sbatch: Vec<String>,
    /// The same for the first attempt alone.
    first_attempt: Vec<String>,
}

impl BatchJob {
    /// The run that `options` describe, for the script `script_name` that is submitted in the directory `here`.
    ///
    /// # Errors
    /// The first option that can't be one of a chain.
    pub fn new(options: &[BatchOption], script_name: &str, here: &Path) -> Result<Self> {
        let mut job = Self::default();
        let name = options.iter().find(|option| option.name == "job-name");
        job.name = name.and_then(|option| option.value.clone());
        let name = job.name.as_deref().unwrap_or(script_name).to_owned();
        let directory = options.iter().find(|option| option.name == "chdir");
        let words = directory.map_or(DEFAULTS, |option| option.words.as_str());
        let given = directory.and_then(|option| option.value.as_deref());
        let directory = here.join(given.unwrap_or_default());
        let directory = directory.to_string_lossy().trim_end_matches('/').to_owned();
        job.key("working_directory", literally(&directory), words);
        job.sbatch.push(format!("--chdir={directory}"));
        let place = Place {
            name: &name,
            here,
            directory: &directory,
        };
        for option in options {
            job.take(option, &place)?;
        }
        let is_there = |name: &str| options.iter().any(|option| option.name == name);
        if !is_there("output") {
            job.key(
                "backend.slurm.output",
                place.pattern(DEFAULT_OUTPUT),
                DEFAULTS,
            );
            if !is_there("error") {
                job.note(format!(
                    "the output of each attempt is also in {DEFAULT_OUTPUT}, as with sbatch"
                ));
            }
        }
        // What a script reads, as sbatch would set it.
        let here = here.to_string_lossy();
        for (variable, value) in [
            ("SLURM_JOB_NAME", name.as_str()),
            ("SLURM_SUBMIT_DIR", &*here),
        ] {
            job.key(
                &format!("environment.{variable}"),
                literally(value),
                DEFAULTS,
            );
        }
        let (sbatch, first) = (job.sbatch.clone(), job.first_attempt.clone());
        job.key("backend.slurm.sbatch", sbatch, DEFAULTS);
        if !first.is_empty() {
            job.key("backend.slurm.first_attempt", first, DEFAULTS);
        }
        Ok(job)
    }

    fn key(&mut self, key: &str, value: impl Into<toml::Value>, words: &str) {
        self.overrides
            .push(Override::option(key, value, words.to_owned()));
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn take(&mut self, option: &BatchOption, place: &Place<'_>) -> Result<()> {
        let Place { name, here, .. } = place;
        let words = option.words.as_str();
        let value = option.value.as_deref().unwrap_or_default();
        let wrong = |reason: &str| Error::usage(format!("`{words}`: {reason}"));
        let path = |value: &str| here.join(value).to_string_lossy().into_owned();
        match option.name.as_str() {
            key @ ("account" | "partition" | "qos" | "constraint" | "reservation") => {
                self.key(&format!("backend.slurm.{key}"), value, words);
            }
            "clusters" => self.key("backend.slurm.cluster", value, words),
            "time" => match time(value) {
                Some(Some(limit)) => {
                    let seconds = format!("{}s", limit.as_secs());
                    self.key("resources.time_limit", seconds, words);
                    self.note(format!(
                        "`{words}` is the limit of each attempt; the run takes as many as it needs"
                    ));
                }
                Some(None) => self.sbatch.push("--time=UNLIMITED".to_owned()),
                None => return Err(wrong("this is not a time of Slurm, such as 30 or 1-12:00:00")),
            },
            "signal" => {
                let (signal, before) = signal(value).ok_or_else(|| {
                    wrong(
                        "a chain knows [B:]SIGNAL[@SECONDS] with one of the signals HUP, INT, TERM, USR1, \
                         USR2",
                    )
                })?;
                self.key("stop.signal", signal.clone(), words);
                let seconds = before.as_secs();
                self.key("stop.before_limit", format!("{seconds}s"), words);
                self.note(format!(
                    "`{words}`: {seconds} s before the time limit cu sends SIG{signal} to those processes of \
                     the script that handle it; once they have ended, the next attempt follows"
                ));
            }
            "input" if value == "/dev/null" => {}
            "input" if value.contains('%') => {
                return Err(wrong("cu does not know patterns in the name of an input"));
            }
            "input" => self.key("stdin", literally(&path(value)), words),
            key @ ("output" | "error") => {
                self.key(&format!("backend.slurm.{key}"), place.pattern(value), words);
                if value != "/dev/null" {
                    let more = match value.contains("%j") || value.contains("%J") || value.contains("%A") {
                        true => "each attempt has a job id, and so a file, of its own",
                        false => "all attempts add to it",
                    };
                    self.note(format!("`{words}`: {more}"));
                }
            }
            "open-mode" => {
                let mode = match value.chars().next() {
                    Some('a' | 'A') => "append",
                    Some('t' | 'T') => "truncate",
                    _ => return Err(wrong("it is append or truncate")),
                };
                self.key("backend.slurm.open_mode", mode, words);
            }
            "job-name" => self.note(format!(
                "`{words}`: the run is called so; squeue shows its jobs as {name}:…, and the script finds \
                 {name} in $SLURM_JOB_NAME"
            )),
            "array" => {
                return Err(Error::usage_hint(
                    format!("`{words}`: an array can't become a chain"),
                    "each job of a run is a chain: `cu run CONFIG` with `[grid] task = [0, 1, 2]` and \
                     `[environment] SLURM_ARRAY_TASK_ID = \"{settings.task}\"` in the config makes one for \
                     each task",
                ));
            }
            "dependency" if value.contains("singleton") => {
                return Err(wrong(
                    "singleton goes by the names of jobs, and each job of a chain has a name of its own",
                ));
            }
            "dependency" | "begin" | "hold" | "kill-on-invalid-dep" => {
                self.first_attempt.push(option.word());
                self.note(format!("`{words}` holds for the first attempt alone"));
            }
            "requeue" | "no-requeue" => self.note(format!(
                "`{words}` has no effect: after a lost node or a preemption cu submits the next attempt \
                 itself"
            )),
            "parsable" => self.is_parsable = true,
            "wait" => self.waits = true,
            "test-only" => self.is_test = true,
            "quiet" => self.is_quiet = true,
            "chdir" | "verbose" | "ignore-pbs" | "wrap" => {}
            "time-min" => {
                self.sbatch.push(option.word());
                self.note(format!(
                    "`{words}`: Slurm may give an attempt less than its time limit, of which only Slurm 22.05 \
                     and newer tell it"
                ));
            }
            "mail-type" => {
                self.sbatch.push(option.word());
                self.note(format!("`{words}`: Slurm mails about each attempt"));
            }
            "deadline" if value.starts_with("now") => {
                self.sbatch.push(option.word());
                self.note(format!("`{words}` counts from the submission of each attempt"));
            }
            // sbatch reads these files, in another directory than this.
            "export-file" | "nodefile" | "bbf" => {
                self.sbatch.push(format!("--{}={}", option.name, path(value)));
            }
            "nodelist" if value.contains('/') => {
                self.sbatch.push(format!("--nodelist={}", path(value)));
            }
            _ => self.sbatch.push(option.word()),
        }
        Ok(())
    }
}

/// What the meaning of an option depends on.
struct Place<'a> {
    /// The job's name.
    name: &'a str,
    /// Where the command was typed.
    here: &'a Path,
    /// Where the script starts.
    directory: &'a str,
}

impl Place<'_> {
    /// The pattern of an output, absolute, with the job's name in it: ours is another one.
    fn pattern(&self, value: &str) -> String {
        let literal = |text: &str| text.replace('%', "%%");
        let value = value.replace("%x", &literal(self.name));
        match value.starts_with('/') {
            true => value,
            false => format!("{}/{value}", literal(self.directory)),
        }
    }
}

/// A time limit as sbatch reads it: minutes, minutes:seconds, hours:minutes:seconds, days-hours and so on.
/// The inner `None` means that there is no limit.
fn time(text: &str) -> Option<Option<Duration>> {
    if ["UNLIMITED", "INFINITE", "-1", "0"].contains(&text.to_ascii_uppercase().as_str()) {
        return Some(None);
    }
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days), rest),
        None => (None, text),
    };
    let parts: Option<Vec<u64>> = rest
        .split(':')
        .map(|part| part.parse::<u32>().ok().map(u64::from))
        .collect();
    let parts = parts?;
    let (hours, minutes, seconds) = match (days, &parts[..]) {
        (Some(_), [hours]) => (*hours, 0, 0),
        (Some(_), [hours, minutes]) => (*hours, *minutes, 0),
        (None, [minutes]) => (0, *minutes, 0),
        (None, [minutes, seconds]) => (0, *minutes, *seconds),
        (_, [hours, minutes, seconds]) => (*hours, *minutes, *seconds),
        _ => return None,
    };
    let days = match days {
        Some(days) => u64::from(days.parse::<u32>().ok()?),
        None => 0,
    };
    let seconds = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    Some((seconds > 0).then(|| Duration::from_secs(seconds)))
}

/// The name and the time of `[B:]SIGNAL[@SECONDS]`.
fn signal(text: &str) -> Option<(String, Duration)> {
    let text = text.strip_prefix("B:").unwrap_or(text);
    let (name, before) = match text.split_once('@') {
        Some((name, seconds)) => (
            name,
            Duration::from_secs(seconds.parse::<u16>().ok()?.into()),
        ),
        None => (text, DEFAULT_WARNING),
    };
    let upper = name.to_ascii_uppercase();
    let name = match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "1" => "HUP",
        "2" => "INT",
        "10" => "USR1",
        "12" => "USR2",
        "15" => "TERM",
        name => name,
    };
    let is_known = ["HUP", "INT", "TERM", "USR1", "USR2"].contains(&name);
    is_known.then(|| (name.to_owned(), before))
}

#[cfg(test)]
mod tests {
    use cu_scheduler::slurm::batch_options::{command_line, in_effect};
    use proptest::prelude::*;

    use super::*;
    use crate::config::Source;

    fn job(words: &[&str]) -> Result<BatchJob> {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        let given = command_line(&words).expect("options").options;
        BatchJob::new(&in_effect(given), "train.sh", Path::new("/home/ada"))
    }

    #[test]
    fn options_become_keys_or_stay_as_they_are() {
        let job = job(&[
            "-pgpu",
            "-t",
            "1-2",
            "--signal=B:10@300",
            "-D",
            "in",
            "-o",
            "%x-%j",
            "-Ja b",
            "--mem-per-cpu=2G",
            "-c4",
            "-b",
            "22:00",
            "-H",
            "-F",
            "nodes",
            "--nice",
            "-W",
            "-Cx",
        ])
        .expect("a job");
        let parsed = Source::command_line(job.overrides).parse().expect("keys");
        let file = &parsed.file;
        let slurm = &file.backend.slurm;
        assert_eq!(slurm.partition.as_deref(), Some("gpu"));
        assert_eq!(slurm.constraint.as_deref(), Some("x"));
        assert_eq!(slurm.output.as_deref(), Some("/home/ada/in/a b-%j"));
        let limit = file.resources.time_limit.map(|it| it.0.as_secs());
        assert_eq!(limit, Some(26 * 3600));
        let stop = file.stop_policy();
        assert_eq!(stop.signal.name(), "USR1");
        assert_eq!(stop.before_limit, Some(Duration::from_secs(300)));
        assert_eq!(file.working_directory.as_deref(), Some("/home/ada/in"));
        assert_eq!(
            slurm.sbatch.as_deref(),
            Some(
                &[
                    "--chdir=/home/ada/in",
                    "--cpus-per-task=4",
                    "--mem-per-cpu=2G",
                    "--nice",
                    "--nodefile=/home/ada/nodes"
                ]
                .map(str::to_owned)[..]
            )
        );
        assert_eq!(
            slurm.first_attempt.as_deref(),
            Some(&["--begin=22:00", "--hold"].map(str::to_owned)[..])
        );
        assert_eq!(file.environment.0["SLURM_JOB_NAME"], "a b");
        assert!(job.waits && !job.is_test);
        assert_eq!(job.name.as_deref(), Some("a b"));
    }

    #[test]
    fn without_options_everything_is_as_sbatch_has_it() {
        let job = job(&[]).expect("a job");
        let parsed = Source::command_line(job.overrides).parse().expect("keys");
        let slurm = &parsed.file.backend.slurm;
        assert_eq!(slurm.output.as_deref(), Some("/home/ada/slurm-%j.out"));
        let expected = ["--chdir=/home/ada".to_owned()];
        assert_eq!(slurm.sbatch.as_deref(), Some(&expected[..]));
        assert_eq!(parsed.file.environment.0["SLURM_JOB_NAME"], "train.sh");
        assert_eq!(parsed.file.environment.0["SLURM_SUBMIT_DIR"], "/home/ada");
    }

    #[test]
    fn an_option_that_no_chain_can_have_is_refused() {
        for (words, expected) in [
            (&["-a", "0-3"][..], "`-a 0-3`: an array can't"),
            (&["-d", "singleton"], "singleton goes by"),
            (&["--signal=KILL@5"], "`--signal=KILL@5`: a chain knows"),
            (&["-t", "soon"], "`-t soon`: this is not a time"),
            (&["-i", "in-%j"], "patterns"),
            (&["--open-mode=x"], "append or truncate"),
        ] {
            let error = job(words).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn times_are_those_of_slurm() {
        for (text, expected) in [
            ("5", Some(Some(300))),
            ("5:30", Some(Some(330))),
            ("1:00:30", Some(Some(3630))),
            ("2-0", Some(Some(172_800))),
            ("0-1:30", Some(Some(5400))),
            ("1-0:0:5", Some(Some(86_405))),
            ("UNLIMITED", Some(None)),
            ("0", Some(None)),
            ("1h", None),
            ("", None),
            ("1:2:3:4", None),
            ("1-2-3", None),
        ] {
            let found = time(text).map(|limit| limit.map(|it| it.as_secs()));
            assert_eq!(found, expected, "{text}");
        }
        assert_eq!(
            signal("SIGUSR2"),
            Some(("USR2".to_owned(), DEFAULT_WARNING))
        );
    }

    proptest! {
        #[test]
        fn any_option_is_taken_or_refused(name in "(time|signal|output|array|begin|mem|x)", value in ".{0,12}") {
            let option = format!("--{name}={value}");
            let _ = job(&[&option]);
            let _ = (time(&value), signal(&value));
        }
    }
}
