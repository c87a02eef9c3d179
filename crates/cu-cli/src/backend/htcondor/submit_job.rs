//! From the ads of a person's submit description to the config of a run. What the chain of jobs has to decide
//! itself becomes a key, with a note about what changes; all else goes into the ad of each attempt as it is.

use std::path::Path;

use cu_scheduler::htcondor::submit_file::{
    Expanded, GETENV, JobAd, REQUIREMENTS, arguments, environment,
};

use super::submit_attributes::{Use, command_of, use_of};
use crate::config::{Override, literally};
use crate::error::{Error, Result};

/// Where a key comes from that no line stands for.
const DEFAULTS: &str = "cu condor-submit";
/// The universes in which a chain can be, by number.
const VANILLA: &str = "5";
/// The one value of `on_exit_remove` that we know how to keep: what `max_retries` makes of it.
const RETRIES: &str = "NumJobCompletions > JobMaxRetries || ExitCode =?= 0";

/// A submit description, for messages.
pub struct Text<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its lines, if it could be read.
    pub lines: &'a str,
    /// The number for which `$(Cluster)` stands.
    pub cluster: u64,
}

/// The meaning of a submit description for a run.
#[derive(Debug, Default)]
pub struct SubmitJobs {
    /// The keys of the config that all jobs share.
    pub overrides: Vec<Override>,
    /// Those of each job.
    pub each_job: Vec<Vec<Override>>,
    /// The differences to condor_submit: one sentence each, for people.
    pub notes: Vec<String>,
    /// The batch name, if one was given.
    pub name: Option<String>,
    /// Lines for the description of each attempt.
    extra: Vec<String>,
}

impl SubmitJobs {
    /// The run that the ads describe.
    ///
    /// # Errors
    /// The first thing that can't be one of a chain.
    pub fn new(expanded: &Expanded, text: &Text<'_>) -> Result<Self> {
        let mut jobs = Self::default();
        let Some((first, others)) = expanded.jobs.split_first() else {
            return Err(Error::usage_hint(
                format!("{}: it queues no job", text.name),
                "end it with `queue`",
            ));
        };
        let said = |ad| said_of_all(ad, &expanded.defaults);
        let shared = said(first);
        for (number, other) in (1..).zip(others) {
            let differs = difference(&shared, &said(other));
            if let Some(attribute) = differs {
                return Err(text.wrong(
                    attribute,
                    &format!(
                        "it is another value for job {number} than for job 0, and the jobs of one run share it"
                    ),
                    "queue the jobs in two files, or give them one value",
                ));
            }
        }
        for (attribute, value) in &shared {
            jobs.take(first, attribute, value, text)?;
        }
        jobs.defaults(first, &expanded.defaults, text);
        let inherits = inherits(first);
        for ad in &expanded.jobs {
            jobs.each_job.push(of_job(ad, inherits, text)?);
        }
        jobs.note_names(&expanded.jobs, text);
        let extra = std::mem::take(&mut jobs.extra);
        if !extra.is_empty() {
            jobs.key("backend.htcondor.extra", extra, DEFAULTS);
        }
        let surroundings = if inherits { "inherit" } else { "clean" };
        jobs.key("backend.htcondor.environment", surroundings, DEFAULTS);
        Ok(jobs)
    }

    fn key(&mut self, key: &str, value: impl Into<toml::Value>, words: &str) {
        self.overrides
            .push(Override::option(key, value, words.to_owned()));
    }

    /// The lines that put the ad's own attributes into the ad of each attempt.
    fn pass_on(&mut self, name: &str, value: &str) {
        // A dollar sign would mean something to HTCondor once more.
        let value = value.replace('$', "$(DOLLAR)");
        self.extra.push(format!("{name} = {value}"));
    }

    fn take(&mut self, ad: &JobAd, attribute: &str, value: &str, text: &Text<'_>) -> Result<()> {
        let words = text.words(attribute);
        let unquoted = ad.text(attribute);
        let plain = unquoted.as_deref().unwrap_or(value);
        match use_of(attribute, value) {
            Use::Ours => {}
            Use::Key(key) => self.key(key, plain, &words),
            Use::Command(command) => self.pass_on(command, value),
            Use::NoEffect(why) => self.notes.push(format!("`{words}` has no effect: {why}")),
            Use::Refused(reason, hint) => return Err(text.wrong(attribute, reason, hint)),
            Use::PassedOn => match attribute.strip_prefix("Request") {
                // A resource of the pool's own. Its command changes the requirements, too.
                Some(resource) if !resource.is_empty() => {
                    self.pass_on(&format!("request_{resource}"), value);
                }
                _ => self.pass_on(&format!("+{attribute}"), value),
            },
            Use::PassedOnWith(note) => {
                self.pass_on(&format!("+{attribute}"), value);
                self.notes.push(format!("`{words}`: {note}"));
            }
            Use::Resource => {
                if ad.number(attribute).is_none() {
                    self.pass_on(&format!("+{attribute}"), value);
                }
            }
            Use::Known => self.known(ad, attribute, value, text)?,
        }
        Ok(())
    }

    /// An attribute whose meaning needs more than a table.
    fn known(&mut self, ad: &JobAd, attribute: &str, value: &str, text: &Text<'_>) -> Result<()> {
        let words = text.words(attribute);
        let number = ad.number(attribute);
        match attribute.to_ascii_lowercase().as_str() {
            "jobuniverse" if value == VANILLA => {}
            "jobuniverse" => {
                return Err(text.wrong(
                    attribute,
                    "a chain runs in the universe vanilla, container or docker",
                    "leave the line out for a program of one machine; other universes can't be resumed by cu",
                ));
            }
            image @ ("containerimage" | "dockerimage") => {
                let universe = if image == "dockerimage" { "docker" } else { "container" };
                let image = ad.text(attribute).unwrap_or_default();
                self.key("backend.htcondor.universe", universe, &words);
                self.key("backend.htcondor.image", image, &words);
            }
            "requestdisk" => match number {
                Some(kibibytes) => {
                    let bytes = format!("{kibibytes}KiB");
                    self.key("backend.htcondor.request_disk", bytes, &words);
                }
                None => self.pass_on("+RequestDisk", value),
            },
            "jobmaxvacatetime" => {
                let seconds = number.filter(|seconds| *seconds >= 7).ok_or_else(|| {
                    text.wrong(
                        attribute,
                        "a chain needs at least 7 whole seconds between SIGTERM and SIGKILL",
                        "write a number of seconds, or leave it out for 65",
                    )
                })?;
                let grace = (seconds - 5) * 500;
                self.key("stop.grace", format!("{grace}ms"), &words);
                self.notes.push(format!(
                    "`{words}`: cu asks the program at once, sends SIGTERM after half of the time, and SIGKILL \
                     before all of it is over"
                ));
            }
            "killsig" => {
                let name = ad.text(attribute).unwrap_or_else(|| value.to_owned());
                let name = name.trim_start_matches("SIG").to_ascii_uppercase();
                if !["HUP", "INT", "TERM", "USR1", "USR2"].contains(&name.as_str()) {
                    return Err(text.wrong(
                        attribute,
                        "cu asks a program to stop by one of the signals HUP, INT, TERM, USR1 and USR2",
                        "take one that the program handles",
                    ));
                }
                self.key("stop.signal", name, &words);
            }
            "successcheckpointexitcode" => {
                let code = number.and_then(|code| i64::try_from(code).ok());
                let code = code.filter(|code| (1..=255).contains(code)).ok_or_else(|| {
                    text.wrong(
                        attribute,
                        "an exit code from 1 to 255 is expected",
                        "it means `submit me again` to cu, too",
                    )
                })?;
                self.key("resume.exit_code", code, &words);
                self.notes.push(format!(
                    "`{words}`: the next attempt is a new submission, in whichever slot is free; \
                     backend.htcondor.resume=checkpoint before the file goes on in the same slot"
                ));
            }
            "onexitremove" if value == RETRIES => {}
            "onexitremove" => {
                return Err(text.wrong(
                    attribute,
                    "cu decides whether another attempt follows",
                    "leave it out: an exit code of 3 (resume.exit_code) asks for the next attempt, and \
                     `max_retries` repeats one that failed",
                ));
            }
            "jobmaxretries" => {
                let retries = number.and_then(|it| i64::try_from(it).ok()).unwrap_or(0);
                self.key("resume.failure_retries", retries, &words);
            }
            "transferinput" => self.inputs(ad, text)?,
            "transferoutputremaps" | "transferoutput" => {
                let is_renamed = attribute.eq_ignore_ascii_case("TransferOutputRemaps");
                let outputs = ad.text(attribute).unwrap_or_default();
                if is_renamed || outputs.contains('/') {
                    return Err(text.wrong(
                        attribute,
                        "files are not transferred: what the program writes stays where it writes it",
                        "let the program write to the place on the shared file system, and leave the line out",
                    ));
                }
            }
            "shouldtransferfiles" if value == "\"YES\"" => self.notes.push(format!(
                "`{words}`: nothing is transferred. The program starts in {}, on a file system that the \
                 machines share",
                ad.text("Iwd").unwrap_or_default()
            )),
            _ => {}
        }
        Ok(())
    }

    /// The input files: the program must find them where it starts, as it would in a scratch directory.
    fn inputs(&self, ad: &JobAd, text: &Text<'_>) -> Result<()> {
        let directory = ad.text("Iwd").unwrap_or_default();
        let list = ad.text("TransferInput").unwrap_or_default();
        for input in list.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let path = Path::new(&directory).join(input);
            let is_there = path.parent() == Some(Path::new(&directory)) && !input.ends_with('/');
            if input.contains("://") || !is_there {
                return Err(text.wrong(
                    "TransferInput",
                    &format!(
                        "files are not transferred, and the program would not find {input} where it starts, in \
                         {directory}"
                    ),
                    "put a link to it there, or give the program its path, and leave it out of the line",
                ));
            }
        }
        Ok(())
    }

    /// The keys that hold if the description says nothing.
    fn defaults(&mut self, ad: &JobAd, defaults: &JobAd, text: &Text<'_>) {
        if let Some(own) = ad.get(REQUIREMENTS).filter(|own| *own != "undefined") {
            let words = text.words("Requirements");
            self.key("backend.htcondor.requirements", own, &words);
        }
        // Without these, cu would ask for values of its own.
        for name in ["RequestCpus", "RequestMemory"] {
            let same = ad.get(name) == defaults.get(name);
            if let Some(value) = ad.get(name).filter(|_| same && ad.number(name).is_none()) {
                self.pass_on(&format!("+{name}"), value);
            }
        }
        self.name = ad.text("JobBatchName");
    }

    /// Notes about what carries another name in a chain.
    fn note_names(&mut self, jobs: &[JobAd], text: &Text<'_>) {
        let number = text.cluster.to_string();
        let is_used = |(name, value): (&str, &str)| {
            let counts = use_of(name, value) != Use::Ours || command_of(name).is_some();
            counts && value.contains(&number)
        };
        if jobs.iter().any(|ad| ad.attributes().any(is_used)) {
            self.notes.push(format!(
                "$(Cluster) is {number} in all attempts, so that files keep their names: each attempt is a \
                 cluster of its own"
            ));
        }
        if jobs[0].get("UserLog").is_some() {
            let words = text.words("UserLog");
            self.notes.push(format!(
                "`{words}` is not written: HTCondor logs all jobs of the run in backend/htcondor/events.log of \
                 its directory, and `cu show` reports it"
            ));
        }
        if jobs[0].get("AllowedJobDuration").is_some() {
            let words = text.words("AllowedJobDuration");
            self.notes.push(format!(
                "`{words}` is the limit of each attempt; the run takes as many as it needs"
            ));
        }
    }
}

/// The attributes of an ad that differ from those of any job, without those that each job has for itself.
fn said_of_all<'a>(ad: &'a JobAd, defaults: &JobAd) -> Vec<(&'a str, &'a str)> {
    let all = ad.attributes();
    let said = all.filter(|(name, value)| defaults.get(name) != Some(*value));
    said.filter(|(name, value)| match use_of(name, value) {
        Use::Ours => false,
        Use::Resource => ad.number(name).is_none(),
        _ => true,
    })
    .collect()
}

/// The first attribute that is not the same in both.
fn difference<'a>(these: &[(&'a str, &'a str)], those: &[(&'a str, &'a str)]) -> Option<&'a str> {
    let lacks = |one: &[(&'a str, &'a str)], pair: &&(&'a str, &'a str)| !one.contains(pair);
    let more = these.iter().find(|pair| lacks(those, pair));
    let more = more.or_else(|| those.iter().find(|pair| lacks(these, pair)));
    more.map(|(name, _)| *name)
}

/// Whether the job gets all variables of who submits it.
fn inherits(ad: &JobAd) -> bool {
    let word = ad.text(GETENV).unwrap_or_default().to_ascii_lowercase();
    ["true", "t", "yes", "y", "1"].contains(&word.trim())
}

/// The keys that each job has for itself.
fn of_job(ad: &JobAd, inherits: bool, text: &Text<'_>) -> Result<Vec<Override>> {
    let mut keys = Vec::new();
    let mut key = |key: &str, value: toml::Value, words: String| {
        keys.push(Override::option(key, value, words));
    };
    let wrong =
        |name: &str, reason: String| text.wrong(name, &reason, "write it in the new syntax");
    let directory = ad.text("Iwd").unwrap_or_default();
    let path = |name: &str| {
        let file = ad.text(name).filter(|file| file != "/dev/null")?;
        let path = Path::new(&directory).join(file);
        Some(literally(&path.to_string_lossy()))
    };
    let program = ad.text("Cmd").unwrap_or_default();
    let program = Path::new(&directory)
        .join(program)
        .to_string_lossy()
        .into_owned();
    let given = arguments(ad).map_err(|reason| wrong("Arguments", reason))?;
    let command = std::iter::once(&program).chain(&given);
    let command: Vec<String> = command.map(|word| literally(word)).collect();
    key("command", command.into(), text.words("Cmd"));
    let there = literally(&directory).into();
    key("working_directory", there, text.words("Iwd"));
    if let Some(path) = path("In") {
        key("stdin", path.into(), text.words("In"));
    }
    for (attribute, name, unit) in [
        ("RequestCpus", "resources.cpus", ""),
        ("RequestGPUs", "resources.gpus", ""),
        ("RequestMemory", "resources.memory", "MiB"),
        ("AllowedJobDuration", "resources.time_limit", "s"),
    ] {
        let Some(number) = ad.number(attribute) else {
            continue;
        };
        let value = match unit {
            "" => toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX)),
            unit => format!("{number}{unit}").into(),
        };
        key(name, value, text.words(attribute));
    }
    let variables = environment(ad).map_err(|reason| wrong("Environment", reason))?;
    let is_here = |name: &str, value: &str| std::env::var(name).is_ok_and(|ours| ours == value);
    let variables = variables.into_iter();
    let variables = variables.filter(|(name, value)| !(inherits && is_here(name, value)));
    let copies = [("Out", "CU_STDOUT_COPY"), ("Err", "CU_STDERR_COPY")];
    let copies = copies.into_iter();
    let copies = copies.filter_map(|(attribute, name)| Some((name.to_owned(), path(attribute)?)));
    let variables = variables.map(|(name, value)| (name, literally(&value)));
    for (name, value) in variables.chain(copies) {
        keys.push(Override {
            key: vec!["environment".to_owned(), name],
            value: value.into(),
            typed: None,
            words: text.words("Environment"),
        });
    }
    Ok(keys)
}

impl Text<'_> {
    /// The line that gives an attribute, as it was written; the command's name if it is elsewhere.
    fn words(&self, attribute: &str) -> String {
        match self.line(attribute) {
            Some((_, line)) => line.to_owned(),
            None => command_of(attribute).map_or_else(|| format!("+{attribute}"), str::to_owned),
        }
    }

    /// The number of the last line that gives an attribute, and the line.
    fn line(&self, attribute: &str) -> Option<(usize, &str)> {
        let command = command_of(attribute).unwrap_or(attribute);
        let is_it = |line: &str| {
            let key = line
                .split_once('=')
                .map(|(key, _)| key.trim().to_ascii_lowercase());
            let key = key.unwrap_or_default();
            let key = key
                .strip_prefix('+')
                .or(key.strip_prefix("my."))
                .unwrap_or(&key);
            let key = key.trim();
            key.eq_ignore_ascii_case(command) || key.eq_ignore_ascii_case(attribute)
        };
        let lines = (1..).zip(self.lines.lines().map(str::trim));
        lines.filter(|(_, line)| is_it(line)).last()
    }

    fn wrong(&self, attribute: &str, reason: &str, hint: &str) -> Error {
        let place = match self.line(attribute) {
            Some((number, _)) => format!("{}:{number}", self.name),
            None => self.name.to_owned(),
        };
        let words = self.words(attribute);
        Error::usage_hint(format!("{place}: `{words}`: {reason}"), hint.to_owned())
    }
}

#[cfg(test)]
mod tests;
