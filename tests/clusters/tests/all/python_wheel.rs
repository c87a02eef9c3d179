//! The command `cu` from the wheel of the Python package, on the oldest Debian of the tests.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use cu_cluster_tests::instance::clusters;
use cu_tests::python_package::{output, wheel};

/// Within a mount namespace of its own: shows the directory $1 as /mnt in the root $2, and runs a job
/// there. Nothing is written into the root.
const IN_THE_ROOT: &str = r#"set -e
mount --bind "$1" "$2/mnt"
mount --rbind /proc "$2/proc"
mount --rbind /dev "$2/dev"
exec chroot "$2" /bin/sh -c 'export HOME=/mnt; cd /mnt && cat /etc/debian_version && ./cu --version &&
    ./cu run --backend local --name oldest -- /bin/sh -c "/mnt/cu job finish answer=42" &&
    ./cu jobs --json'"#;

#[test]
fn cu_of_the_wheel_runs_with_an_older_c_library() {
    let scratch = tempfile::tempdir().unwrap();
    let wheel = wheel(scratch.path());
    // The root has no Python: what pip would install is taken out here.
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "-e"]).arg(wheel);
    let _ = output(unpack.arg(scratch.path().join("unpacked")));
    let script = std::fs::read_dir(scratch.path().join("unpacked")).unwrap();
    let mut script = script.map(|entry| entry.unwrap().path().join("scripts/cu"));
    let program = script.find(|path| path.exists()).unwrap();
    let seen = scratch.path().join("seen");
    std::fs::create_dir(&seen).unwrap();
    std::fs::copy(&program, seen.join("cu")).unwrap();
    let _ = output(Command::new("chmod").arg("755").arg(seen.join("cu")));

    let root = clusters().join("roots/bullseye");
    assert!(
        root.join("bin/sh").exists(),
        "{} is missing: run `tests/clusters/slurm install bullseye`",
        root.display()
    );
    let mut chroot = Command::new("unshare");
    chroot.args(["--mount", "sh", "-c", IN_THE_ROOT, "-"]);
    let said = output(chroot.arg(&seen).arg(&root));
    assert!(said.starts_with("11."), "{said}");
    assert!(said.contains("\"answer\""), "{said}");
    assert!(said.contains("42"), "{said}");
}
