//! Checks that no other user can replace runs in a results directory.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cu_system::files::PRIVATE_FILE;
use cu_system::trust::{self, Others, Risk};
use cu_system::users;

use crate::error::{Error, Result};
use crate::shell_word::shell_word;

/// Checks who else may replace runs in `results_dir` (absolute), where a run is to be made. Returns
/// warnings.
///
/// Runs are private, but another user who may rename in a directory above can put his own run there,
/// with commands that we would start. Members of a group get a warning, since laboratories share
/// directories so. Other users are an error, unless the user trusts them.
///
/// # Errors
/// If users who are not trusted may, and `trusts_parents` is not set.
pub fn check(results_dir: &Path, trusts_parents: bool) -> Result<Vec<String>> {
    let risks = risks(results_dir)?;
    let is_serious = |risk: &&Risk| !matches!(risk.by, Others::Group(_));
    match risks.iter().find(is_serious) {
        Some(risk) if !trusts_parents => Err(Error::usage_hint(
            format!("no run is safe in {}: {risk}", results_dir.display()),
            remedy(risk),
        )),
        _ => Ok(risks
            .iter()
            .map(|risk| format!("{risk}, and so could replace runs"))
            .collect()),
    }
}

/// Has git ignore a results directory that we have made. Nobody's file is replaced, and a run needs none of this.
pub fn keep_out_of_git(results_dir: &Path) {
    let text = "# Made by cu with this directory: results are not for version control.\n*\n";
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(PRIVATE_FILE);
    let file = options.open(results_dir.join(".gitignore"));
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        tracing::debug!(%error, "no .gitignore was made");
    }
}

/// The directories on the way into `results_dir` in which others may rename.
///
/// # Errors
/// If one can't be examined.
pub fn risks(results_dir: &Path) -> Result<Vec<Risk>> {
    // For a run in it.
    let run: PathBuf = results_dir.join("run");
    trust::risks(&run).map_err(Error::write("examine", results_dir))
}

/// The advice about a danger.
pub fn remedy(risk: &Risk) -> String {
    use std::os::unix::fs::MetadataExt;
    let directory = shell_word(&risk.directory);
    let found = risk.directory.metadata();
    let is_ours = found.is_ok_and(|found| found.uid() == users::own());
    let elsewhere = "choose another directory with `--results-dir DIR`, or trust these users with \
                     `--trust-parents`";
    match risk.by {
        Others::Everybody if is_ours => {
            format!(
                "`chmod +t {directory}` lets users rename only their own files there; or {elsewhere}"
            )
        }
        _ => elsewhere.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_in_which_all_may_rename_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let results = directory.path().join("shared/results");
        fs::create_dir_all(&results).expect("a directory");
        assert_eq!(check(&results, false).expect("ours"), [""; 0]);
        let shared = directory.path().join("shared");
        let mode = |mode| {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(&shared, mode).expect("it is ours");
        };
        mode(0o777);
        let error = check(&results, false).expect_err("all may");
        assert_eq!(error.exit_code(), 2);
        let hint = error.hint().expect("what to do");
        assert!(
            hint.starts_with(&format!("`chmod +t {}`", shared.display())),
            "{hint}"
        );
        assert_eq!(check(&results, true).expect("meant").len(), 1);
        mode(0o1777);
        assert_eq!(check(&results, false).expect("sticky"), [""; 0]);
    }
}
