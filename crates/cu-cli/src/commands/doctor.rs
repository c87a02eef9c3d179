//! `cu doctor`: checks a cluster, or this machine, before a run relies on it. With `--submit` a short job
//! checks the nodes.

use std::path::Path;

use cu_core::RunDir;
use cu_scheduler::Level;
use cu_system::causes::in_one_line;
use owo_colors::OwoColorize;
use serde_json::json;

use super::config::Given;
use crate::args::{Common, Doctor};
use crate::backend::{self, Choice, Finding, Kind};
use crate::config::{Config, File, Override, Parsed};
use crate::error::{Error, ExitCode, Result};
use crate::examine::{Nodes, Probe, Proof, examine_host, examine_place};
use crate::git::Wanted;
use crate::runs;
use crate::runs::scratch::Scratch;
use crate::start::background;
use crate::start::interrupt::Sources;
use crate::terminal;
use crate::text::plural;
use crate::text::visible::printable;

/// The results so far.
#[derive(Debug, Default)]
struct Examination {
    choice: Option<Choice>,
    scheduler: Option<String>,
    findings: Vec<Finding>,
}

impl Examination {
    /// Takes a success; an error becomes a finding.
    fn take<T>(&mut self, subject: &'static str, outcome: Result<T>) -> Option<T> {
        outcome
            .map_err(|error| self.findings.push(problem(subject, &error)))
            .ok()
    }

    fn worst(&self) -> Level {
        let levels = self.findings.iter().map(|finding| finding.level);
        levels.max().unwrap_or(Level::Good)
    }
}

/// Examines and prints.
///
/// # Errors
/// If the config can't be read.
pub fn doctor(common: &Common, arguments: &Doctor) -> Result<ExitCode> {
    let (config, parsed) = read(arguments)?;
    let file = &parsed.file;
    let results_dir = common.results_dir_for(file.results_dir.as_ref());
    let results_dir = runs::absolute(results_dir)?;
    let mut examination = Examination::default();
    let choice = backend::choose(&parsed);
    examination.choice = examination.take("scheduler", choice.map_err(Error::from));
    if config {
        let outcome = of_config(&parsed, &results_dir, examination.choice.as_ref());
        let warnings = examination.take("config", outcome);
        let warnings = warnings.into_iter().flatten();
        let findings = warnings.map(|warning| Finding::new("config", Level::Warning, warning));
        examination.findings.extend(findings);
    }
    let kind = examination.choice.as_ref().map(|choice| choice.kind);
    let proof = background::runtime()?.block_on(async {
        match kind {
            Some(kind) => {
                let words = (common, arguments);
                at_cluster(&mut examination, kind, &results_dir, file, words).await
            }
            None => Ok(Proof::Found(Vec::new())),
        }
    })?;
    let nodes = match kind {
        Some(Kind::Local) => Nodes::None,
        _ if proof.is_good() => Nodes::Proven,
        _ => Nodes::Unproven,
    };
    let place = examine_place(&results_dir, nodes);
    examination.findings.extend(place);
    examination.findings.extend(examine_host(nodes));
    match proof {
        Proof::Interrupted => {
            terminal::say("interrupted: the probe was cancelled");
            return Ok(ExitCode::Interrupted);
        }
        Proof::Found(findings) => examination.findings.extend(findings),
    }
    report(common, &examination)?;
    Ok(match examination.worst() {
        Level::Problem => ExitCode::ProblemFound,
        _ => ExitCode::Done,
    })
}

/// Whether a file was named, and the config that the arguments describe.
fn read(arguments: &Doctor) -> Result<(bool, Parsed)> {
    let backend = arguments.backend.as_ref().map(|kind| {
        let words = format!("--backend {kind}");
        Override::option("backend.kind", kind.clone(), words)
    });
    let given = Given::read(&arguments.config_and_overrides, backend, &arguments.profile)?;
    Ok((given.is_named, given.source.parse()?))
}

/// Warnings about values of a config that are allowed but probably not meant.
fn of_config(parsed: &Parsed, results_dir: &Path, choice: Option<&Choice>) -> Result<Vec<String>> {
    let name = parsed.file.name.as_deref().unwrap_or_default();
    let run = RunDir::new(results_dir.join(name));
    let config = Config::new(Wanted::before(parsed, &run)?)?;
    let mut warnings = config.warnings;
    if let Some(choice) = choice {
        warnings.extend(choice.warning.clone());
        warnings.extend(backend::check(choice.kind, &run, parsed)?);
    }
    Ok(warnings)
}

/// Asks the scheduler, and submits a probe if the arguments ask for one. Otherwise it makes nothing.
async fn at_cluster(
    examination: &mut Examination,
    kind: Kind,
    results_dir: &Path,
    file: &File,
    (common, arguments): (&Common, &Doctor),
) -> Result<Proof> {
    let probe = match arguments.submit {
        true => examination.take("probe", Probe::new(results_dir)),
        false => None,
    };
    let place = probe.as_ref().map(Probe::place);
    if kind == Kind::Local && place.is_none() {
        let text = "attempts run on this machine; a restart ends them";
        let finding = Finding::new("scheduler", Level::Good, text);
        examination.findings.push(finding);
        return Ok(Proof::Found(Vec::new()));
    }
    // In the place of a run, so that the backend sees the same file system.
    let mut ancestors = results_dir.ancestors();
    let existing = ancestors.find(|path| path.is_dir()).unwrap_or(results_dir);
    let Some(scratch) = examination.take("scheduler", Scratch::new(existing)) else {
        return Ok(Proof::Found(Vec::new()));
    };
    let place = place.unwrap_or_else(|| RunDir::new(scratch.within(&results_dir.join("RUN"))));
    let opened = backend::open(kind, &place, file).await;
    let Some(backend) = examination.take("scheduler", opened) else {
        return Ok(Proof::Found(Vec::new()));
    };
    examination.scheduler = Some(backend.to_string());
    let findings = backend::examine(kind, &*backend).await.into_iter();
    let meant = findings.map(|finding| Finding {
        text: scratch.restore_paths(&finding.text),
        ..finding
    });
    examination.findings.extend(meant);
    match probe {
        Some(probe) => {
            if !common.quiet {
                terminal::say("submitting a probe and waiting for it; Ctrl-C cancels it");
            }
            // Before there is a job that Ctrl-C must cancel.
            let mut sources = Sources::listen()?;
            let outcome = probe.run(&*backend, arguments.wait, sources.next());
            let outcome = outcome.await;
            Ok(examination
                .take("probe", outcome)
                .unwrap_or(Proof::Found(Vec::new())))
        }
        None => Ok(Proof::Found(Vec::new())),
    }
}

/// An error as a finding: message and causes, and the hint as advice.
fn problem(subject: &'static str, error: &Error) -> Finding {
    let finding = Finding::new(subject, Level::Problem, in_one_line(error));
    match error.hint() {
        // This hint names `cu doctor` itself.
        Some(_) if matches!(error, Error::Backend { .. }) => finding,
        Some(hint) => finding.advise(hint),
        None => finding,
    }
}

fn report(common: &Common, examination: &Examination) -> Result<()> {
    if common.json {
        return terminal::json(&in_json(examination));
    }
    terminal::data_styled(&in_words(examination))
}

fn in_json(examination: &Examination) -> serde_json::Value {
    let findings: Vec<_> = examination
        .findings
        .iter()
        .map(|finding| {
            json!({
                "level": finding.level.to_string(),
                "subject": finding.subject,
                "text": finding.text,
                "advice": finding.advice,
            })
        })
        .collect();
    let choice = examination.choice.as_ref();
    json!({
        "version": 1,
        "backend": choice.map(|choice| choice.kind.name()),
        "reason": choice.map(|choice| &choice.reason),
        "scheduler": examination.scheduler,
        "worst": examination.worst().to_string(),
        "findings": findings,
    })
}

fn in_words(examination: &Examination) -> String {
    let mut text = match (&examination.choice, &examination.scheduler) {
        (Some(choice), Some(scheduler)) => {
            format!("{}, {}\n", printable(scheduler), choice.reason)
        }
        (Some(choice), None) => format!("{}, {}\n", choice.kind, choice.reason),
        (None, _) => String::new(),
    };
    for finding in &examination.findings {
        // As wide as the longest level, so that the texts line up.
        let level = format!("{:<9}", finding.level.to_string());
        let level = match finding.level {
            Level::Good => level.green().to_string(),
            Level::Note => level,
            Level::Warning => level.yellow().bold().to_string(),
            Level::Problem => level.red().bold().to_string(),
        };
        let lines = printable(&finding.text).replace('\n', "\n           ");
        text.push_str(&format!("{level}{}: {lines}\n", finding.subject));
        if let Some(advice) = &finding.advice {
            text.push_str(&format!("         → {}\n", printable(advice)));
        }
    }
    let count = |level| {
        let of_level = |finding: &&Finding| finding.level == level;
        examination.findings.iter().filter(of_level).count() as u64
    };
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    text.push_str(&match (problems, warnings) {
        (0, 0) => "no problems, no warnings".to_owned(),
        _ => format!(
            "{}, {}",
            plural(problems, "problem"),
            plural(warnings, "warning")
        ),
    });
    text
}
