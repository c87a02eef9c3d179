//! Checks the results directory: its file system, who may write there, its free space and its clock.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cu_core::{FileSystem, Sharing, check_locks};
use cu_scheduler::Level;
use cu_system::causes::in_one_line;
use cu_system::trust::{Others, Risk};
use rustix::fs::{Access, StatVfs, access, statvfs};

use super::Nodes;
use crate::backend::Finding;
use crate::error::Error;
use crate::runs::results_dir;
use crate::text::moment::rounded;
use crate::text::size;

/// With less free space than this, a run may fill it up.
const LITTLE_ROOM: u64 = 1 << 30;
/// With less free space than this, a run can't even be made.
const NO_ROOM: u64 = 16 << 20;
/// A run has some ten files a job and some five an attempt.
const FEW_FILES: u64 = 10_000;
/// File systems round the time of a file, and writing one takes a moment.
const TOLERANCE: Duration = Duration::from_secs(2);

/// The findings on `results_dir` (absolute) for attempts on `nodes`.
pub fn examine(results_dir: &Path, nodes: Nodes) -> Vec<Finding> {
    let mut ancestors = results_dir.ancestors();
    let Some(existing) = ancestors.find(|path| path.is_dir()) else {
        let text = format!("{} has no parent directory", results_dir.display());
        return vec![Finding::new("results directory", Level::Problem, text)];
    };
    let mut findings = vec![file_system(results_dir, existing, nodes)];
    findings.extend(permissions(results_dir, existing));
    findings.push(locks(existing));
    match statvfs(existing) {
        Ok(stat) => findings.push(room(&stat)),
        Err(error) => {
            let text = format!("can't find out how much is free: {error}");
            findings.push(Finding::new("free space", Level::Note, text));
        }
    }
    findings.extend(clock(existing));
    findings
}

fn file_system(results_dir: &Path, existing: &Path, nodes: Nodes) -> Finding {
    let FileSystem { name, sharing } = FileSystem::of(existing);
    let text = format!("{} is on {name}", results_dir.display());
    let finding =
        |level, more: &str| Finding::new("results directory", level, format!("{text}{more}"));
    let doubtful = |level, more: &str| {
        finding(level, more).advise(
            "set results_dir or --results-dir to a directory that the nodes see; \
             `cu doctor --submit` checks that",
        )
    };
    let temporary = ["/tmp", "/var/tmp"];
    let temporary = temporary.iter().any(|path| results_dir.starts_with(path));
    match (nodes, sharing) {
        (Nodes::None, Some(Sharing::Memory)) => {
            let more = ", which a restart of this machine empties";
            finding(Level::Note, more)
        }
        (Nodes::None, _) => finding(Level::Good, ""),
        (Nodes::Proven, _) => finding(Level::Good, ", and a node sees it"),
        (Nodes::Unproven, _) if temporary => {
            let more = ", in a directory for temporary files: each node has its own, and often each \
                        job";
            doubtful(Level::Warning, more)
        }
        (Nodes::Unproven, Some(Sharing::Shared)) => finding(Level::Good, ""),
        (Nodes::Unproven, Some(Sharing::Own | Sharing::Memory)) => {
            let more = ", which other machines rarely see: attempts there would not find the run";
            doubtful(Level::Warning, more)
        }
        (Nodes::Unproven, None) => doubtful(Level::Note, "; it is not known whether nodes see it"),
    }
}

fn permissions(results_dir: &Path, existing: &Path) -> Vec<Finding> {
    let finding = |level, text: String| Finding::new("permissions", level, text);
    if let Err(error) = access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        let text = format!("can't make runs in {}: {error}", existing.display());
        return vec![
            finding(Level::Problem, text).advise("choose another directory with --results-dir"),
        ];
    }
    let risks = match results_dir::risks(results_dir) {
        Ok(risks) => risks,
        Err(error) => return vec![finding(Level::Note, in_one_line(&error))],
    };
    if risks.is_empty() {
        let text = "runs can be made, and nobody else can change them".to_owned();
        return vec![finding(Level::Good, text)];
    }
    let finding = |risk: &Risk| {
        let text = format!("{risk}, and so could move or remove runs");
        match risk.by {
            Others::Group(_) => finding(Level::Note, text),
            _ => finding(Level::Warning, text).advise(results_dir::remedy(risk)),
        }
    };
    risks.iter().map(finding).collect()
}

/// Tries the locks that a run takes.
fn locks(existing: &Path) -> Finding {
    match check_locks(existing) {
        Ok(()) => Finding::new("locks", Level::Good, "a run can be locked".to_owned()),
        Err(error) => {
            let error = Error::from(error);
            let finding = Finding::new("locks", Level::Problem, in_one_line(&error));
            match error.hint() {
                Some(hint) => finding.advise(hint),
                None => finding,
            }
        }
    }
}

fn room(stat: &StatVfs) -> Finding {
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems create inodes as needed, and report 0 of 0.
    let files = Some(stat.f_favail).filter(|_| stat.f_files > 0);
    let text = format!("{} free, quotas not counted", size(bytes));
    let finding = |level, text| Finding::new("free space", level, text);
    match files {
        _ if bytes < NO_ROOM => finding(Level::Problem, text),
        Some(0) => finding(Level::Problem, "no more files can be made".to_owned()),
        Some(files) if files < FEW_FILES => finding(
            Level::Warning,
            format!("only {files} more files can be made"),
        ),
        _ if bytes < LITTLE_ROOM => finding(Level::Warning, text),
        _ => finding(Level::Good, text),
    }
}

/// Compares our clock with that of the file server, if a file can be made.
fn clock(existing: &Path) -> Option<Finding> {
    let path = existing.join(format!(".cu-doctor-{}", std::process::id()));
    let before = SystemTime::now();
    let written = File::create_new(&path).and_then(|file| file.metadata()?.modified());
    let after = SystemTime::now();
    // It may never have been made; then there is nothing to remove.
    let _ = fs::remove_file(&path);
    let written = written.ok()?;
    let early = before.duration_since(written).unwrap_or_default();
    let late = written.duration_since(after).unwrap_or_default();
    let off = early.max(late);
    Some(if off <= TOLERANCE {
        let text = "the clock of the results directory agrees with that of this host";
        Finding::new("clock of files", Level::Good, text)
    } else {
        let text = format!(
            "the clocks of this host and of the results directory differ by {}: times of \
             attempts will be wrong",
            rounded(off)
        );
        Finding::new("clock of files", Level::Warning, text).advise("have the clocks synchronised")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn of<'a>(findings: &'a [Finding], subject: &str) -> &'a Finding {
        let mut found = findings.iter().filter(|finding| finding.subject == subject);
        let finding = found.next().expect("it is looked at");
        assert_eq!(found.next(), None, "reported once");
        finding
    }

    #[test]
    fn a_private_directory_is_good_for_this_machine() {
        let directory = tempfile::tempdir().expect("a directory");
        let findings = examine(&directory.path().join("results/a"), Nodes::None);
        for subject in ["permissions", "locks", "clock of files"] {
            assert_eq!(of(&findings, subject).level, Level::Good, "{findings:?}");
        }
        assert!(of(&findings, "results directory").level <= Level::Note);
        assert!(
            !directory.path().join("results").exists(),
            "nothing is made"
        );
        let left = fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(left, 0, "nothing is left");
    }

    #[test]
    fn a_temporary_directory_is_a_warning_on_clusters() {
        let level = |nodes| {
            let findings = examine(Path::new("/tmp/results"), nodes);
            of(&findings, "results directory").level
        };
        assert_eq!(level(Nodes::Unproven), Level::Warning);
        assert_eq!(level(Nodes::Proven), Level::Good);
    }

    #[test]
    fn other_writers_are_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        let mode = |mode| {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(directory.path(), permissions).expect("it is ours");
            let findings = examine(directory.path(), Nodes::None);
            of(&findings, "permissions").level
        };
        assert_eq!(mode(0o700), Level::Good);
        assert_eq!(mode(0o777), Level::Warning);
        assert_eq!(mode(0o1777), Level::Good);
    }

    #[test]
    fn the_advice_can_be_pasted() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path().join("my results");
        fs::create_dir(&directory).expect("a directory");
        let permissions = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&directory, permissions).expect("it is ours");
        let findings = examine(&directory, Nodes::None);
        let advice = of(&findings, "permissions").advice.clone();
        let expected = format!("`chmod +t '{}'`", directory.display());
        assert!(advice.is_some_and(|advice| advice.starts_with(&expected)));
    }
}
