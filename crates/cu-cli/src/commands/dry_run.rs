//! `cu run --dry-run`: prints what `cu run` would make and submit, and what the scheduler answers to
//! it. Makes nothing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use cu_core::RunDir;
use cu_protocol::{Attempt, JobId};
use cu_run_dir::Template;
use cu_scheduler::{Preview, Submission, SubmissionName};
use serde_json::{Value, json};

use crate::args::Common;
use crate::backend::{self, Choice, Kind};
use crate::config::Config;
use crate::error::{Error, ExitCode, Result};
use crate::runs::scratch::{Scratch, make, new_id};
use crate::shell_word::shell_word;
use crate::start::background;
use crate::start::watched::this_program;
use crate::terminal;
use crate::text::plural;

/// Prints it.
///
/// # Errors
/// If the scheduler can't be asked.
pub fn dry_run(
    common: &Common,
    run: &RunDir,
    config: &Config,
    choice: &Choice,
) -> Result<ExitCode> {
    let asked = match choice.kind {
        // It has neither files nor a verdict, and opening it would make its directory.
        Kind::Local => None,
        kind => Some(background::runtime()?.block_on(ask(run, config, kind))?),
    };
    let exists = run.path().exists();
    if common.json {
        terminal::json(&in_json(run, config, choice, asked.as_ref()))?;
    } else {
        terminal::data(in_words(run, config, asked.as_ref())?.trim_end())?;
        if exists {
            let path = run.path().display();
            terminal::warn(&format!(
                "{path} exists already, so cu run would refuse this"
            ));
        }
    }
    let is_refused = |asked: &Asked| asked.previews.iter().any(|it| it.verdict.is_err());
    // As the run itself would end.
    Ok(match asked {
        _ if exists => ExitCode::Usage,
        Some(asked) if is_refused(&asked) => ExitCode::JobsFailed,
        _ => ExitCode::Done,
    })
}

/// A scheduler and its answers about the first attempts.
struct Asked {
    scheduler: String,
    previews: Vec<Preview>,
}

async fn ask(run: &RunDir, config: &Config, kind: Kind) -> Result<Asked> {
    let scratch = Scratch::new(&std::env::temp_dir())?;
    let there = RunDir::new(scratch.within(run.path()));
    let backend = backend::open(kind, &there, &config.parsed.file).await?;
    let batch = first_attempts(&there, config)?;
    for job in &batch {
        for directory in [&job.directory, &job.working_directory] {
            make(directory)?;
        }
    }
    let most = backend.capabilities().batch.max(1);
    let mut previews = Vec::new();
    for chunk in batch.chunks(most) {
        previews.extend(backend.preview(chunk).await);
    }
    let restore = |text: String| scratch.restore_paths(&text);
    let meant = |mut preview: Preview| {
        preview.path = restore(preview.path.to_string_lossy().into_owned()).into();
        preview.text = restore(preview.text);
        preview.verdict = preview.verdict.map(restore).map_err(restore);
        preview
    };
    Ok(Asked {
        scheduler: backend.to_string(),
        previews: previews.into_iter().map(meant).collect(),
    })
}

/// The submissions with which the main process would begin.
fn first_attempts(run: &RunDir, config: &Config) -> Result<Vec<Submission>> {
    let id = new_id()?;
    let program = this_program()?;
    let path = run.path().to_string_lossy().into_owned();
    let jobs = (0..).zip(&config.plan.jobs);
    let submission = |(number, job): (u32, &cu_core::JobPlan)| Submission {
        name: SubmissionName::new(id.to_string(), number, 0)
            .expect("32 hexadecimal digits are letters and digits"),
        command: [&program, "exec", &path, &number.to_string(), "0"]
            .map(str::to_owned)
            .to_vec(),
        environment: BTreeMap::new(),
        working_directory: run.output_dir(JobId(number)),
        directory: run.attempt(JobId(number), Attempt(0)),
        resources: job.resources.clone(),
        previous: None,
        avoid_hosts: Vec::new(),
    };
    Ok(jobs.map(submission).collect())
}

fn in_json(run: &RunDir, config: &Config, choice: &Choice, asked: Option<&Asked>) -> Value {
    let jobs = config.plan.jobs.iter().enumerate();
    let jobs: Vec<_> = jobs
        .map(|(number, job)| {
            let id = JobId(u32::try_from(number).unwrap_or(u32::MAX));
            let fill = |text: &Template| text.fill(&run.output_dir(id), id, Attempt(0));
            json!({
                "job": number,
                "command": job.command.iter().map(fill).collect::<Vec<_>>(),
                "working_directory": job.working_directory.as_ref().map(fill),
                "stdin": job.stdin.as_ref().map(fill),
                "settings": job.settings,
                "parameters": job.parameters,
            })
        })
        .collect();
    let submissions = asked.iter().flat_map(|asked| &asked.previews);
    let submissions: Vec<_> = submissions
        .map(|preview| {
            let (Ok(verdict) | Err(verdict)) = &preview.verdict;
            json!({
                "jobs": jobs_of(preview),
                "path": preview.path,
                "text": preview.text,
                "accepted": preview.verdict.is_ok(),
                "verdict": verdict,
            })
        })
        .collect();
    json!({
        "version": 1,
        "run_dir": run.path(),
        "exists": run.path().exists(),
        "config": config.effective,
        "backend": {
            "kind": choice.kind.name(),
            "reason": choice.reason,
            "scheduler": asked.map(|asked| &asked.scheduler),
        },
        "jobs": jobs,
        "to_come": config.plan.to_come,
        "submissions": submissions,
    })
}

fn in_words(run: &RunDir, config: &Config, asked: Option<&Asked>) -> Result<String> {
    let effective =
        toml::to_string(&config.effective).map_err(Error::internal("write the config as TOML"))?;
    let mut text = format!(
        "# cu run would make {}\n{effective}\n",
        run.path().display()
    );
    for (number, job) in config.plan.jobs.iter().enumerate() {
        let settings = Value::Object(job.settings.clone());
        // Writing to a String can't fail.
        let _ = writeln!(text, "# job {number}: {settings}");
        let id = JobId(u32::try_from(number).unwrap_or(u32::MAX));
        let output_dir = run.output_dir(id);
        let command = job.command.iter();
        let command = command.map(|word| word.fill(&output_dir, id, Attempt(0)));
        let command = command.map(|word| shell_word(Path::new(&word)));
        let command: Vec<_> = command.collect();
        let _ = writeln!(text, "#   {}", command.join(" "));
    }
    if config.plan.to_come > 0 {
        let _ = writeln!(
            text,
            "# {} are to come, each chosen when others have ended",
            plural(u64::from(config.plan.to_come), "more job")
        );
    }
    if let Some(asked) = asked {
        for preview in &asked.previews {
            let _ = write_preview(&mut text, &asked.scheduler, preview);
        }
    }
    Ok(text)
}

fn write_preview(text: &mut String, scheduler: &str, preview: &Preview) -> std::fmt::Result {
    let jobs = jobs_of(preview);
    let jobs = match (jobs.first(), jobs.last()) {
        (Some(first), Some(last)) if first != last => format!("jobs {first} to {last}"),
        (first, _) => format!("job {}", first.copied().unwrap_or_default()),
    };
    let path = preview.path.display();
    writeln!(
        text,
        "\n# {scheduler} would get this file for {jobs}: {path}"
    )?;
    writeln!(text, "{}", preview.text.trim_end())?;
    let (word, verdict) = match &preview.verdict {
        Ok(verdict) => ("it would accept this", verdict),
        Err(verdict) => ("it would refuse this", verdict),
    };
    writeln!(text, "# {word}:")?;
    let mut lines = verdict.lines();
    lines.try_for_each(|line| writeln!(text, "#   {line}"))
}

fn jobs_of(preview: &Preview) -> Vec<u32> {
    preview.names.iter().map(SubmissionName::job).collect()
}
