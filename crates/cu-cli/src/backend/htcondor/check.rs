//! Checks whether a config suits HTCondor.

use cu_core::RunDir;

use super::keys::{Resume, Universe};
use super::options::options;
use crate::backend::keep;
use crate::backend::kind::Kind;
use crate::backend::shared::wrong_option;
use crate::config::{Error, Parsed};

/// Checks a config for HTCondor. Returns warnings about what is probably not meant.
///
/// # Errors
/// The first key with a value that HTCondor never takes.
pub fn check(run: &RunDir, parsed: &Parsed) -> Result<Vec<String>, Error> {
    let file = &parsed.file;
    let settings = &file.backend.htcondor;
    let vanilla = settings.universe.unwrap_or_default() == Universe::Vanilla;
    match (&settings.image, vanilla) {
        (Some(_), true) => {
            let reason = "an image needs backend.htcondor.universe = container or docker";
            return Err(parsed.wrong("backend.htcondor.image", reason));
        }
        (None, false) => {
            let reason = "it needs backend.htcondor.image";
            return Err(parsed.wrong("backend.htcondor.universe", reason));
        }
        _ => {}
    }
    if settings.transfer == Some(true) {
        let reason = "attempts work in the run directory, and files are not transferred: set \
                      results_dir to a directory that the access point and the machines share, and \
                      leave this off";
        return Err(parsed.wrong("backend.htcondor.transfer", reason));
    }
    if settings.allowed_execute_duration.is_some() {
        let reason = "HTCondor keeps this limit only where files are transferred: set \
                      resources.time_limit";
        return Err(parsed.wrong("backend.htcondor.allowed_execute_duration", reason));
    }
    let wrong = |wrong| wrong_option(Kind::Htcondor, parsed, wrong);
    options(run, file).check().map_err(wrong)?;
    let in_place = match settings.resume {
        Some(Resume::Requeue) => Some("requeue"),
        Some(Resume::Checkpoint) => Some("checkpoint"),
        Some(Resume::Submit) | None => None,
    };
    keep::check(Kind::Htcondor, parsed, settings.keep, in_place)?;
    let mut warnings = Vec::new();
    if ["/tmp", "/var/tmp"]
        .iter()
        .any(|path| run.path().starts_with(path))
    {
        warnings.push(format!(
            "{} is below /tmp: on most pools jobs see a /tmp of their own, and are held; \
             --results-dir names another place",
            run.path().display()
        ));
    }
    let checkpoint = settings.resume == Some(Resume::Checkpoint);
    if !checkpoint && (settings.max_restarts.is_some() || settings.slot_wait.is_some()) {
        warnings.push(
            "backend.htcondor.max_restarts and slot_wait have no effect without \
             backend.htcondor.resume = checkpoint"
                .to_owned(),
        );
    }
    if checkpoint && file.resources.time_limit.is_some() {
        warnings.push(
            "with backend.htcondor.resume = checkpoint, resources.time_limit counts over all \
             attempts that follow each other in one slot"
                .to_owned(),
        );
    }
    let no_gpus = file.resources.gpus.unwrap_or_default() == 0;
    if no_gpus && (settings.gpu_memory.is_some() || settings.cuda_requirement.is_some()) {
        warnings.push(
            "backend.htcondor.gpu_memory and cuda_requirement have no effect without resources.gpus"
                .to_owned(),
        );
    }
    Ok(warnings)
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
                &["backend.htcondor.transfer=true"][..],
                "`backend.htcondor.transfer`: ",
            ),
            (
                &["backend.htcondor.allowed_execute_duration=1h"],
                "`backend.htcondor.allowed_execute_duration`: ",
            ),
            (
                &["backend.htcondor.image=debian"],
                "`backend.htcondor.image`: an image needs",
            ),
            (
                &["backend.htcondor.universe=docker"],
                "`backend.htcondor.universe`: it needs",
            ),
            (
                &["backend.htcondor.keep=20min"],
                "`backend.htcondor.keep`: it needs resources.time_limit",
            ),
            (
                &[
                    "backend.htcondor.keep=20min",
                    "backend.htcondor.resume=checkpoint",
                    "resources.time_limit=1h",
                ],
                "backend.htcondor.resume = checkpoint needs one: leave out one of the two",
            ),
            (
                &["backend.htcondor.resume=requeue", "resume.exit_code=254"],
                "`resume.exit_code`: 254 is taken",
            ),
        ] {
            let error = checked(overrides).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn keys_without_an_effect_are_warnings() {
        for (overrides, expected) in [
            (
                &["backend.htcondor.slot_wait=2min"][..],
                "have no effect without backend.htcondor.resume",
            ),
            (
                &["backend.htcondor.gpu_memory=8GiB"],
                "have no effect without resources.gpus",
            ),
            (
                &[
                    "backend.htcondor.resume=checkpoint",
                    "resources.time_limit=1h",
                ],
                "counts over all attempts",
            ),
        ] {
            let warnings = checked(overrides).expect("consistent");
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
        assert_eq!(checked(&[]).expect("consistent"), [""; 0]);
        let below = RunDir::new("/tmp/results/digits");
        let warnings = check(&below, &parsed("", &[]).expect("a config")).expect("consistent");
        assert!(warnings[0].contains("below /tmp"), "{warnings:?}");
    }
}
