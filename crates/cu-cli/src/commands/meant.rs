//! What a person meant by `cu run WORD…` if WORD is not a config: a command, a script, or a run that exists.

use std::path::Path;

use crate::config::ENDINGS;
use crate::error::{Error, Result};
use crate::runs;
use crate::shell_word::shell_word;

/// Checks that `path` can be a config, and `keys` what follows one.
///
/// # Errors
/// If these are the words of a command, or `path` is a run.
pub fn check(path: &Path, keys: &[&String], results_dir: &Path) -> Result<()> {
    let ending = path.extension().and_then(|it| it.to_str());
    let is_called_config = ending.is_some_and(|ending| ENDINGS.contains(&ending));
    if is_called_config {
        return Ok(());
    }
    if let Some(word) = keys.iter().find(|word| !word.contains('=')) {
        let words = keys.iter().map(|word| shell_word(Path::new(word)));
        let words: Vec<_> = std::iter::once(shell_word(path)).chain(words).collect();
        return Err(Error::usage_hint(
            format!(
                "{} is not a config, and `{word}` is not KEY=VALUE",
                path.display()
            ),
            format!("to run a command, write `cu run -- {}`", words.join(" ")),
        ));
    }
    match path.to_str() {
        Some(called) if !path.is_file() && runs::exists(called, results_dir) => {
            let run = shell_word(path);
            Err(Error::usage_hint(
                format!("{called} is a run, and `cu run` takes a config"),
                format!("`cu resume {run}` continues it, `cu status {run}` shows it"),
            ))
        }
        _ => Ok(()),
    }
}

/// Whether the file begins as scripts do.
pub fn is_script(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|text| text.starts_with(b"#!"))
}

/// A script was given instead of a config.
pub fn script(path: &Path) -> Error {
    let text = std::fs::read(path).unwrap_or_default();
    let is_batch = String::from_utf8_lossy(&text)
        .lines()
        .any(|line| line.starts_with("#SBATCH"));
    let script = shell_word(path);
    let runs = match path.components().count() {
        1 => format!("`cu run -- ./{script}` runs it"),
        _ => format!("`cu run -- {script}` runs it"),
    };
    let hint = match is_batch {
        true => format!("{runs}; `cu sbatch {script}` submits it as sbatch does"),
        false => runs,
    };
    Error::usage_hint(
        format!("{} is a script, not a config", path.display()),
        hint,
    )
}
