//! Where runs are made: on which file system, who may write there, how much room there is, and
//! whether its clock is ours.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cu_core::{FileSystem, Sharing};
use cu_scheduler::{Finding, Level};
use cu_system::trust::{Others, Risk};
use rustix::fs::{Access, StatVfs, access, statvfs};

use super::Nodes;
use crate::runs::results_dir;
use crate::text::moment::rounded;
use crate::text::size;

/// With less room than this, a run may fill it up.
const LITTLE_ROOM: u64 = 1 << 30;
/// With less room than this, a run can't even be made.
const NO_ROOM: u64 = 16 << 20;
/// A run has some ten files a job and some five an attempt.
const FEW_FILES: u64 = 10_000;
/// A file's time is told in coarse steps, and it takes a moment to write one.
const TOLERANCE: Duration = Duration::from_secs(2);

/// What is to be said of `results_dir` (absolute) to those whose attempts run on `nodes`.
pub fn examine(results_dir: &Path, nodes: Nodes) -> Vec<Finding> {
    let mut ancestors = results_dir.ancestors();
    let Some(existing) = ancestors.find(|path| path.is_dir()) else {
        let text = format!("{} has no parent directory", results_dir.display());
        return vec![Finding::new("results directory", Level::Problem, text)];
    };
    let mut findings = vec![file_system(results_dir, existing, nodes)];
    findings.extend(permissions(results_dir, existing));
    match statvfs(existing) {
        Ok(stat) => findings.push(room(&stat)),
        Err(error) => {
            let text = format!("how much is free can't be told: {error}");
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
            "name a directory that the nodes see with results_dir or --results-dir; \
             `cu doctor --submit` proves that they do",
        )
    };
    let temporary = ["/tmp", "/var/tmp"];
    let temporary = temporary.iter().any(|path| results_dir.starts_with(path));
    match (nodes, sharing) {
        (Nodes::None, Some(Sharing::Memory)) => {
            let more = ", which is gone when this machine is restarted";
            finding(Level::Note, more)
        }
        (Nodes::None, _) => finding(Level::Good, ""),
        (Nodes::Proven, _) => finding(Level::Good, ", and a node has seen it"),
        (Nodes::Unproven, _) if temporary => {
            let more = ", below a directory for temporary files: nodes have one of their own, and \
                        jobs often one each";
            doubtful(Level::Warning, more)
        }
        (Nodes::Unproven, Some(Sharing::Shared)) => finding(Level::Good, ""),
        (Nodes::Unproven, Some(Sharing::Own | Sharing::Memory)) => {
            let more = ", which other machines seldom see: attempts on them find no run there";
            doubtful(Level::Warning, more)
        }
        (Nodes::Unproven, None) => doubtful(Level::Note, "; whether nodes see that is not known"),
    }
}

fn permissions(results_dir: &Path, existing: &Path) -> Vec<Finding> {
    let finding = |level, text: String| Finding::new("permissions", level, text);
    if let Err(error) = access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        let text = format!("no run can be made in {}: {error}", existing.display());
        return vec![finding(Level::Problem, text).advise("name another with --results-dir")];
    }
    let risks = match results_dir::risks(results_dir) {
        Ok(risks) => risks,
        Err(error) => return vec![finding(Level::Note, error.to_string())],
    };
    if risks.is_empty() {
        let text = "runs can be made, and nobody else can touch them".to_owned();
        return vec![finding(Level::Good, text)];
    }
    let finding = |risk: &Risk| {
        let text = format!("{risk}, and so move or remove runs");
        match risk.by {
            Others::Group(_) => finding(Level::Note, text),
            _ => finding(Level::Warning, text).advise(results_dir::remedy(risk)),
        }
    };
    risks.iter().map(finding).collect()
}

fn room(stat: &StatVfs) -> Finding {
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems make room for files as they go, and say 0 of 0.
    let files = Some(stat.f_favail).filter(|_| stat.f_files > 0);
    let text = format!("{} are free, quotas aside", size(bytes));
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
        let text = "the results directory has the time of this host";
        Finding::new("clock of files", Level::Good, text)
    } else {
        let text = format!(
            "the clock of this host and that of the results directory differ by {}: times of \
             attempts are told wrongly",
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
        assert_eq!(found.next(), None, "told once");
        finding
    }

    #[test]
    fn a_folder_of_ones_own_is_good_for_this_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let findings = examine(&folder.path().join("results/a"), Nodes::None);
        for subject in ["permissions", "clock of files"] {
            assert_eq!(of(&findings, subject).level, Level::Good, "{findings:?}");
        }
        assert!(of(&findings, "results directory").level <= Level::Note);
        assert!(!folder.path().join("results").exists(), "nothing is made");
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0, "nothing is left");
    }

    #[test]
    fn a_temporary_directory_is_none_for_other_machines() {
        let level = |nodes| {
            let findings = examine(Path::new("/tmp/results"), nodes);
            of(&findings, "results directory").level
        };
        assert_eq!(level(Nodes::Unproven), Level::Warning);
        assert_eq!(level(Nodes::Proven), Level::Good);
    }

    #[test]
    fn who_else_may_write_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let mode = |mode| {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(folder.path(), permissions).expect("it is ours");
            let findings = examine(folder.path(), Nodes::None);
            of(&findings, "permissions").level
        };
        assert_eq!(mode(0o700), Level::Good);
        assert_eq!(mode(0o777), Level::Warning);
        assert_eq!(mode(0o1777), Level::Good);
    }

    #[test]
    fn the_advice_can_be_pasted() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("my results");
        fs::create_dir(&folder).expect("a folder");
        let permissions = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&folder, permissions).expect("it is ours");
        let findings = examine(&folder, Nodes::None);
        let advice = of(&findings, "permissions").advice.clone();
        let expected = format!("`chmod +t '{}'`", folder.display());
        assert!(advice.is_some_and(|advice| advice.starts_with(&expected)));
    }
}
