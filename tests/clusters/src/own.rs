//! Slurms of a test's own, with settings or a fault of its own.

use crate::{SlurmCluster, SlurmSettings, Suite};

/// With lines of its own in slurm.conf.
pub fn with_lines(suite: Suite, lines: &[&str]) -> SlurmCluster {
    let settings = SlurmSettings {
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        ..SlurmSettings::default()
    };
    SlurmCluster::own(suite, &settings)
}

/// With a limit on how many jobs the user may have submitted, in its quality of service `small`.
pub fn with_a_submit_limit(suite: Suite, most: u32) -> SlurmCluster {
    let cluster = with_lines(suite, &["AccountingStorageEnforce=associations,limits,qos"]);
    for made in [
        &*format!("add qos small MaxSubmitJobsPerUser={most}"),
        "add account lab",
        "add user root account=lab",
        "add user cu account=lab qos=normal,small defaultqos=small",
    ] {
        let words: Vec<&str> = made.split(' ').collect();
        cluster.inside(&[&["sacctmgr", "-i"], &words[..]].concat());
    }
    cluster
}

/// With such lines, and without slurmdbd.
pub fn without_accounting(suite: Suite, lines: &[&str]) -> SlurmCluster {
    let settings = SlurmSettings {
        accounting: false,
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
    };
    SlurmCluster::own(suite, &settings)
}

/// A cluster whose prolog finds a node that is not well: the next one after each [`make_sick`].
pub fn with_a_prolog(suite: Suite) -> (SlurmCluster, tempfile::TempDir) {
    let directory = tempfile::Builder::new()
        .prefix("cu-prolog-")
        .tempdir_in("/tmp");
    let directory = directory.expect("/tmp can be written");
    let script = directory.path().join("prolog");
    let sick = directory.path().join("sick");
    let text = format!("#!/bin/sh\nrm {sick:?} 2>/dev/null && exit 1\nexit 0\n");
    std::fs::write(&script, text).expect("it is ours");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("it is ours");
    let prolog = format!("Prolog={}", script.display());
    (with_lines(suite, &[&prolog]), directory)
}

/// The next start of a job finds its node not well.
pub fn make_sick(directory: &tempfile::TempDir) {
    std::fs::write(directory.path().join("sick"), "").expect("it is ours");
}
