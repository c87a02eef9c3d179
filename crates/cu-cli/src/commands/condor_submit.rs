//! `cu condor-submit`: makes a run of a submit description of HTCondor, as condor_submit would submit it, and
//! leaves a main process in the background.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use cu_core::{JobReport, JobState};
use cu_scheduler::htcondor::submit_file::{SubmitFile, expand};

use super::run::{Made, Order, free_name, make_run};
use super::submitted::{await_submission, id, name_of_run, say_how_to_follow};
use crate::args::{Arguments, Common, CondorSubmit, Watch};
use crate::backend::submit_job::{SubmitJobs, Text};
use crate::config::{Override, Source};
use crate::error::{Error, ExitCode, Result};
use crate::start::background;
use crate::start::foreground::report;
use crate::view::json::StatusJson;
use crate::{runs, terminal};

/// Makes the run, and starts a main process in the background.
///
/// # Errors
/// If an option or the file is wrong, or the run can't be made.
pub fn condor_submit(common: &Common, arguments: &CondorSubmit) -> Result<ExitCode> {
    let here = runs::absolute(Path::new("."))?;
    let line = CommandLine::read(&arguments.words)?;
    if line.asks_for_help {
        terminal::data(help().trim_end())?;
        return Ok(ExitCode::Done);
    }
    let mut overrides = line.overrides;
    let parsed = Source::command_line(overrides.clone())
        .within(&here)
        .parse()?;
    let commands = parsed.file.backend.htcondor.commands.as_ref();
    let file = line.file.as_deref();
    let text = read(file, &here)?;
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let description = SubmitFile {
        directory: &here,
        words: &line.passed,
        file,
        text: &text,
        queue: &line.queue,
        cluster: since.unwrap_or_default().as_secs(),
    };
    let name = file.unwrap_or("standard input");
    let expanded = background::runtime()?
        .block_on(expand(commands.map(|path| path.0.as_path()), &description));
    let expanded = expanded.map_err(|reason| {
        Error::usage_hint(
            format!("{name}: condor_submit does not take it: {reason}"),
            "`condor_submit -dry-run -` with the same words shows what it reads",
        )
    })?;
    let text = Text {
        name,
        lines: &text,
        cluster: description.cluster,
    };
    let jobs = SubmitJobs::new(&expanded, &text)?;
    let stem = name_of_run(jobs.name.as_deref().or(file).unwrap_or_default(), "batch");
    // What is typed counts more than what the file says.
    overrides.splice(0..0, jobs.overrides);
    let words = "cu condor-submit".to_owned();
    overrides.push(Override::option("backend.kind", "htcondor", words));
    let named = overrides.iter().any(|given| given.key == ["name"]);
    if !named {
        overrides.push(free_name(common, &stem));
    }
    let watch = Watch {
        detach: true,
        on_interrupt: None,
        no_progress: false,
    };
    let is_quiet = common.quiet || line.is_terse;
    if !is_quiet {
        let warnings = expanded.warnings.iter();
        warnings.for_each(|warning| terminal::warn(&format!("condor_submit: {warning}")));
        jobs.notes.iter().for_each(|note| terminal::say(note));
    }
    let parsed = Source::command_line(overrides).within(&here).parse()?;
    let most = parsed.file.backend.max_submitted;
    let count = jobs.each_job.len();
    let count = most.map_or(count, |most| count.min(most.get() as usize));
    let order = Order {
        parsed,
        free_name: (!named).then_some(stem),
        origin: None,
        script: None,
        planned: None,
        each_job: jobs.each_job,
        reads_stdin: false,
        watch: &watch,
        trust_parents: arguments.trust_parents,
        or_resume: false,
        dry_run: line.is_dry_run,
    };
    let run = match make_run(common, order)? {
        Made::Else(code) => return Ok(code),
        Made::Run(run) => run,
    };
    background::start(&run, common.verbose)?;
    let (status, jobs) = await_submission(&run, count)?;
    if jobs.iter().any(|job| job.state == JobState::Failed) {
        report(common, &run, &status)?;
        return Ok(ExitCode::JobsFailed);
    }
    if common.json {
        terminal::json(&StatusJson::of(&run, &status)?)?;
        return Ok(ExitCode::Done);
    }
    say_ids(&jobs[..count], line.is_terse)?;
    if !is_quiet {
        say_how_to_follow(&run, "these are the first attempts of the run's jobs");
    }
    Ok(ExitCode::Done)
}

/// Prints the ids as condor_submit does: by cluster.
fn say_ids(jobs: &[JobReport], is_terse: bool) -> Result<()> {
    let mut clusters: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for job in jobs {
        let Some(id) = id(job) else {
            terminal::warn(&format!(
                "HTCondor has not taken the first attempt of job {} yet; the main process tries again: {}",
                job.job, job.why
            ));
            continue;
        };
        match id
            .split_once('.')
            .map(|(cluster, proc)| (cluster.parse(), proc.parse()))
        {
            Some((Ok(cluster), Ok(proc))) => clusters.entry(cluster).or_default().push(proc),
            _ => terminal::data(id)?,
        }
    }
    for (cluster, procs) in clusters {
        let (first, last) = (procs.iter().min(), procs.iter().max());
        let text = match (is_terse, first, last) {
            (true, Some(first), Some(last)) => format!("{cluster}.{first} - {cluster}.{last}"),
            _ => format!("{} job(s) submitted to cluster {cluster}.", procs.len()),
        };
        terminal::data(&text)?;
    }
    Ok(())
}

/// The submit file, or what is on standard input.
fn read(file: Option<&str>, here: &Path) -> Result<String> {
    let mut text = Vec::new();
    match file {
        Some(path) => {
            text = std::fs::read(here.join(path)).map_err(|error| {
                Error::usage_hint(
                    format!("can't read the submit file {path}: {error}"),
                    "`cu condor-submit --help` says which words come before the file",
                )
            })?;
        }
        None if std::io::stdin().is_terminal() => {
            return Err(Error::usage_hint(
                "no submit file is given",
                "`cu condor-submit FILE`; `cu condor-submit --help` has examples",
            ));
        }
        None => {
            let read = std::io::stdin().read_to_end(&mut text);
            read.map_err(Error::read("read", Path::new("standard input")))?;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn help() -> String {
    use clap::CommandFactory;
    let mut cu = Arguments::command();
    let command = cu.find_subcommand_mut("condor-submit");
    command.map_or_else(String::new, |it| it.render_long_help().to_string())
}

/// The words behind `cu condor-submit`.
#[derive(Debug, Default)]
struct CommandLine {
    file: Option<String>,
    /// What condor_submit itself is to read.
    passed: Vec<String>,
    queue: Vec<String>,
    overrides: Vec<Override>,
    is_terse: bool,
    is_dry_run: bool,
    asks_for_help: bool,
}

/// What becomes of an option of condor_submit.
#[derive(Clone, Copy)]
enum Meaning {
    Pass,
    PassWithValue,
    Queue,
    Terse,
    DryRun,
    AccessPoint,
    Ignore,
    Help,
    Refuse(&'static str),
}

/// The options of condor_submit, each with how much of it must be written at least.
#[rustfmt::skip]
const OPTIONS: [(&str, usize, Meaning); 23] = [
    ("append", 1, Meaning::PassWithValue),
    ("batch-name", 1, Meaning::PassWithValue),
    ("queue", 1, Meaning::Queue),
    ("name", 1, Meaning::AccessPoint),
    ("terse", 2, Meaning::Terse),
    ("verbose", 1, Meaning::Ignore),
    ("dry-run", 2, Meaning::DryRun),
    ("debug", 2, Meaning::Ignore),
    ("disable", 2, Meaning::Pass),
    ("maxjobs", 3, Meaning::PassWithValue),
    ("single-cluster", 2, Meaning::Ignore),
    ("unused", 1, Meaning::Pass),
    ("allow-crlf-script", 8, Meaning::Pass),
    ("help", 1, Meaning::Help),
    ("remote", 1, Meaning::Refuse("files are not sent to another access point: log in there")),
    ("spool", 2, Meaning::Refuse("files are not sent to the access point: jobs find them on a shared file system")),
    ("pool", 2, Meaning::Refuse("cu asks the pool of this machine: log in at an access point of the other")),
    ("addr", 2, Meaning::Refuse("cu knows an access point by its name: `-name NAME`")),
    ("password", 2, Meaning::Refuse("cu can't ask for it again before each attempt")),
    ("interactive", 1, Meaning::Refuse("a chain of jobs has no terminal: take plain condor_submit")),
    ("factory", 2, Meaning::Refuse("cu submits the attempts; backend.max_submitted=N bounds how many")),
    ("dump", 2, Meaning::Refuse("take plain condor_submit for it, or `-dry-run` to see what cu submits")),
    ("capabilities", 1, Meaning::Refuse("take plain condor_submit")),
];

impl CommandLine {
    fn read(words: &[String]) -> Result<Self> {
        let mut line = Self::default();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let option = word.trim_start_matches('-');
            if option.is_empty() || option == word {
                line.take_plain(word)?;
                continue;
            }
            let is_it = |(name, least, _): &&(&str, usize, Meaning)| {
                option.len() >= *least && name.starts_with(option)
            };
            let known = OPTIONS.iter().find(is_it).ok_or_else(|| {
                Error::usage_hint(
                    format!("`{word}` is not an option of condor_submit"),
                    "options of cu come before `condor-submit`",
                )
            })?;
            let mut value = || {
                let lacking = || Error::usage(format!("`{word}` needs a value behind it"));
                words.next().cloned().ok_or_else(lacking)
            };
            match known.2 {
                Meaning::Pass => line.passed.push(word.clone()),
                Meaning::PassWithValue => line.passed.extend([format!("-{}", known.0), value()?]),
                Meaning::AccessPoint => {
                    let name = value()?;
                    let words = format!("{word} {name}");
                    let key = "backend.htcondor.access_point";
                    line.overrides.push(Override::option(key, name, words));
                }
                Meaning::Queue => {
                    line.queue.push("-queue".to_owned());
                    while let Some(more) = words.next_if(|it| !it.starts_with('-')) {
                        line.queue.push(more.clone());
                    }
                }
                Meaning::Terse => line.is_terse = true,
                Meaning::DryRun => {
                    line.is_dry_run = true;
                    // The file to which condor_submit would write.
                    words.next_if(|next| *next == "-");
                }
                Meaning::Ignore => {}
                Meaning::Help => line.asks_for_help = true,
                Meaning::Refuse(reason) => {
                    return Err(Error::usage(format!("`{word}`: {reason}")));
                }
            }
        }
        Ok(line)
    }

    /// A macro of condor_submit, a key of the config, or the file.
    fn take_plain(&mut self, word: &str) -> Result<()> {
        let key = word.split_once('=').map(|(key, _)| key.trim());
        match key.filter(|_| !Path::new(word).exists()) {
            // Names of macros and commands have no dot, but for attributes of the ad.
            Some(key) if key.contains('.') && !key.to_ascii_lowercase().starts_with("my.") => {
                self.overrides.push(Override::parse(word)?);
            }
            Some(_) => self.passed.push(word.to_owned()),
            None if self.file.is_some() => {
                return Err(Error::usage_hint(
                    format!("`{word}` is a second submit file"),
                    "each submit file is a run of its own",
                ));
            }
            None => self.file = (word != "-").then(|| word.to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Result<CommandLine> {
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        CommandLine::read(&words)
    }

    #[test]
    fn words_are_macros_keys_or_the_file() {
        let line = read("-a x=1 N=3 stop.after=5min -te My.A=2 a.sub -queue x in a,b -batch b")
            .expect("words");
        assert_eq!(line.file.as_deref(), Some("a.sub"));
        let expected = ["-append", "x=1", "N=3", "My.A=2", "-batch-name", "b"];
        assert_eq!(line.passed, expected);
        assert_eq!(line.queue, ["-queue", "x", "in", "a,b"]);
        assert_eq!(line.overrides.len(), 1);
        assert!(line.is_terse && !line.is_dry_run);
        let line = read("-dry-run - -name ap2 -").expect("words");
        assert!(line.is_dry_run && line.file.is_none());
        assert_eq!(line.overrides[0].value.as_str(), Some("ap2"));
    }

    #[test]
    fn an_option_that_no_chain_can_have_is_refused() {
        for (words, expected) in [
            ("-spool a.sub", "`-spool`: files are not sent"),
            ("-i a.sub", "`-i`: a chain of jobs has no terminal"),
            ("-x a.sub", "`-x` is not an option of condor_submit"),
            ("a.sub b.sub", "`b.sub` is a second submit file"),
            ("a.sub -append", "`-append` needs a value"),
        ] {
            let error = read(words).expect_err(expected).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
