//! Why there is no run where one was looked for, and what to type instead: a config was named, another directory,
//! a run that is spelled otherwise, or there is none yet.

use std::path::{Path, PathBuf};

use cu_core::RunDir;

use super::{absolute, candidates};
use crate::config::{ENDINGS, Source};
use crate::error::Error;
use crate::shell_word::shell_word;

/// There is no run `called` so, as a path or in `results_dir`.
pub fn called(called: &str, results_dir: &Path) -> Error {
    let shown = absolute(results_dir).unwrap_or_else(|_| results_dir.to_owned());
    if is_config(Path::new(called)) {
        return of_config(called, results_dir);
    }
    if let Some((link, target)) = broken_link(called, results_dir) {
        return Error::NoRun {
            message: format!(
                "{} is a link to {}, which does not exist",
                link.display(),
                target.display()
            ),
            hint: "if the run was moved, name the directory where it is now".to_owned(),
        };
    }
    let message = format!(
        "there is no run {called}: neither a run directory nor a name in {}",
        shown.display()
    );
    let hint = match nearest(called, results_dir) {
        _ if called.contains(['<', '>', '=']) => format!(
            "to choose jobs by their settings or state, write `--where {}`",
            shell_word(Path::new(called))
        ),
        Some(name) => format!("did you mean {name}? `cu list` shows all runs"),
        None => "`cu list` shows the runs of a results directory".to_owned(),
    };
    Error::NoRun { message, hint }
}

/// There is no run in `results_dir`, or none `of_yours`.
pub fn newest(results_dir: &Path, of_yours: &str) -> Error {
    let shown = absolute(results_dir).unwrap_or_else(|_| results_dir.to_owned());
    Error::NoRun {
        message: format!("there is no run{of_yours} in {}", shown.display()),
        hint:
            "`cu run -- COMMAND` makes one; if yours is elsewhere, go to the directory where you \
               started it, or name it with --results-dir"
                .to_owned(),
    }
}

fn is_config(path: &Path) -> bool {
    let ending = path.extension().and_then(|it| it.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending)) && path.is_file()
}

fn of_config(path: &str, results_dir: &Path) -> Error {
    let name = Source::read(Path::new(path), Vec::new()).and_then(Source::parse);
    let name = name.map(|config| config.file.name).ok().flatten();
    let run = name.filter(|name| is_run(&results_dir.join(name)));
    Error::NoRun {
        message: format!("{path} is a config, not a run"),
        hint: match run {
            Some(name) => format!("name its run: {}", shell_word(Path::new(&name))),
            None => format!("`cu run {}` makes its run", shell_word(Path::new(path))),
        },
    }
}

fn is_run(path: &Path) -> bool {
    RunDir::new(path).store().exists()
}

fn broken_link(called: &str, results_dir: &Path) -> Option<(PathBuf, PathBuf)> {
    let candidates = candidates(called, results_dir).into_iter();
    let mut links = candidates.filter_map(|path| Some((path.read_link().ok()?, path)));
    links.next().map(|(target, link)| (link, target))
}

/// The run whose name is the most similar.
fn nearest(called: &str, results_dir: &Path) -> Option<String> {
    let allowed = (called.chars().count() / 3).max(1);
    let entries = std::fs::read_dir(results_dir).ok()?.flatten();
    let runs = entries.filter(|entry| is_run(&entry.path()));
    let near = runs.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let distance = strsim::damerau_levenshtein(called, &name);
        (distance <= allowed && distance < called.chars().count()).then_some((distance, name))
    });
    near.min().map(|(_, name)| name)
}
