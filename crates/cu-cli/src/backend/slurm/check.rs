//! Checks whether a config suits Slurm.

use std::path::Path;
use std::time::Duration;

use cu_core::RunDir;
use cu_scheduler::slurm::batch_options::has_lines;
use cu_system::files;

use super::keys::Resume;
use super::options::options;
use crate::backend::keep;
use crate::backend::kind::Kind;
use crate::backend::shared::wrong_option;
use crate::config::{Error, Parsed};
use crate::shell_word::shell_word;

/// How often Slurm looks whether a warning is due. It sends one when the next look would be late.
const LOOKS: Duration = Duration::from_secs(30);
/// The longest time before the time limit for which Slurm can be asked to warn.
const EARLIEST_WARNING: Duration = Duration::from_secs(65_535);

/// A longer file is not a batch script, in bytes.
const LONGEST_SCRIPT: u64 = 4 << 20;

/// Checks a config for Slurm. Returns warnings about what is probably not meant.
///
/// # Errors
/// The first key with a value that Slurm never takes.
pub fn check(run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, Error> {
    let file = &parsed.file;
    let wrong = |wrong| wrong_option(Kind::Slurm, parsed, wrong);
    options(run, file).check().map_err(wrong)?;
    let container = &file.backend.slurm.container;
    if container.image.is_none() && (container.command.is_some() || container.arguments.is_some()) {
        let reason = "it is missing: a container's command and arguments need an image";
        return Err(parsed.wrong("backend.slurm.container.image", reason));
    }
    let in_place = file.backend.slurm.resume == Some(Resume::Requeue);
    keep::check(
        Kind::Slurm,
        parsed,
        file.backend.slurm.keep,
        in_place.then_some("requeue"),
    )?;
    let before = file.stop_policy().before_limit;
    if before.is_some_and(|before| before > EARLIEST_WARNING) {
        let reason = "Slurm's warning comes at most 65535 s before the time limit";
        return Err(parsed.wrong("stop.before_limit", reason));
    }
    let shown = |time: Duration| humantime::format_duration(time).to_string();
    let mut warnings = Vec::from_iter(unread_lines(parsed));
    let slurm = &file.backend.slurm;
    if slurm.array_throttle.is_some() && slurm.array.is_some_and(|array| array < 2) {
        warnings.push(
            "backend.slurm.array_throttle has no effect without arrays: backend.slurm.array is \
             less than 2"
                .to_owned(),
        );
    }
    let Some(limit) = file.resources.time_limit.map(|limit| limit.0) else {
        warnings.push(
            "resources.time_limit is not set: attempts run as long as their partition lets them by \
             default"
                .to_owned(),
        );
        return Ok(warnings);
    };
    let whole = Duration::from_secs(60 * limit.as_secs_f64().div_euclid(60.0) as u64);
    if whole != limit {
        warnings.push(format!(
            "resources.time_limit = {}: Slurm counts whole minutes and makes it {}",
            shown(limit),
            shown(whole + Duration::from_secs(60))
        ));
    }
    if let Some(before) = before {
        if before < 2 * LOOKS {
            warnings.push(format!(
                "stop.before_limit = {}: Slurm looks every 30 s only, so that its warning comes up \
                 to 30 s earlier than that; with less than 1m there may be no time left to save if \
                 Slurm is busy",
                shown(before)
            ));
        }
        if before + LOOKS >= limit {
            warnings.push(format!(
                "stop.before_limit = {} is close to resources.time_limit, which is {}: Slurm may \
                 warn an attempt as soon as it starts",
                shown(before),
                shown(limit)
            ));
        }
    }
    Ok(warnings)
}

/// A warning if the program, or the script that an interpreter is given, has `#SBATCH` lines.
fn unread_lines(parsed: &Parsed) -> Option<String> {
    let words = parsed.file.command.iter().flatten().take(2);
    let mut scripts = words.filter(|word| {
        let read = files::read(&parsed.directory().join(word), LONGEST_SCRIPT);
        read.is_ok_and(|text| has_lines(&text))
    });
    let script = scripts.next()?;
    let word = shell_word(Path::new(script));
    Some(format!(
        "{script} has #SBATCH lines, which this command does not read; `cu sbatch {word}` does"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::tests::parsed;

    fn run() -> RunDir {
        RunDir::new("/results/digits")
    }

    fn checked(overrides: &[&str]) -> Result<Vec<String>, Error> {
        check(&run(), &parsed("", overrides)?)
    }

    #[test]
    fn a_wrong_option_is_an_error_at_its_key() {
        for (overrides, expected) in [
            (
                &["backend.slurm.qos=\"a b\""][..],
                "`backend.slurm.qos=\"a b\"`: `backend.slurm.qos`: ",
            ),
            (
                &["backend.slurm.container.arguments=[\"--nv\"]"],
                "`backend.slurm.container.image`: it is missing",
            ),
            (
                &["backend.slurm.keep=20min"],
                "`backend.slurm.keep`: it needs resources.time_limit",
            ),
            (
                &["backend.slurm.keep=0s", "resources.time_limit=1h"],
                "`backend.slurm.keep`: it is too short",
            ),
            (
                &[
                    "backend.slurm.keep=20min",
                    "backend.slurm.resume=requeue",
                    "resources.time_limit=1h",
                ],
                "backend.slurm.resume = requeue needs one: leave out one of the two",
            ),
            (
                &["stop.before_limit=1day", "resources.time_limit=2days"],
                "`stop.before_limit`: Slurm's warning comes at most",
            ),
        ] {
            let error = checked(overrides).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn lines_for_sbatch_in_a_command_are_pointed_at() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = directory.path().join("job.sh");
        std::fs::write(&script, "#!/bin/sh\n#SBATCH -n1\n").expect("a file");
        let script = script.to_str().expect("UTF-8");
        for (command, is_pointed_at) in [
            (format!("command=[{script:?}]"), true),
            (format!("command=[\"bash\", {script:?}]"), true),
            (format!("command=[\"bash\", \"-c\", {script:?}]"), false),
        ] {
            let warnings = checked(&[&command, "resources.time_limit=1h"]).expect("consistent");
            let named = warnings.iter().any(|it| it.contains("`cu sbatch "));
            assert_eq!(named, is_pointed_at, "{warnings:?}");
        }
    }

    #[test]
    fn times_that_slurm_changes_are_warnings() {
        for (overrides, expected) in [
            (&[][..], "as long as their partition lets them"),
            (&["resources.time_limit=90s"], "makes it 2m"),
            (
                &["resources.time_limit=1h", "stop.before_limit=50s"],
                "up to 30 s earlier",
            ),
            (
                &["resources.time_limit=2min", "stop.before_limit=90s"],
                "as soon as it starts",
            ),
        ] {
            let warnings = checked(overrides).expect("consistent");
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
        let no_arrays = [
            "resources.time_limit=1h",
            "backend.slurm.array=0",
            "backend.slurm.array_throttle=5",
        ];
        let warnings = checked(&no_arrays).expect("consistent");
        assert!(warnings[0].contains("without arrays"), "{warnings:?}");
        let fine = ["resources.time_limit=1h", "stop.before_limit=2min"];
        assert_eq!(checked(&fine).expect("consistent"), [""; 0]);
    }
}
