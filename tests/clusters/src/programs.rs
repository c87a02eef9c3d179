//! The programs that jobs on a cluster run: linked statically, for the oldest cluster has an older C
//! library than this machine, and laid where jobs see them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::instance::clusters;
use crate::user::as_root;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Package and binary.
const PROGRAMS: [(&str, &str); 4] = [
    ("cu-cli", "cu"),
    ("cu-tests", "tiny_job"),
    ("cu-examples", "timeout_signal"),
    ("cu-examples", "digits"),
];

/// A statically linked program that everyone may execute, under a path that jobs see too: `cu`,
/// `tiny_job`, `timeout_signal` or `digits`. From the directory that `CU_STATIC_PROGRAMS` names, else
/// built here, so that the tests never run an old one.
///
/// # Panics
/// If it can't be built, or not be laid there.
#[must_use]
pub fn static_program(name: &str) -> PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    let directory = PROGRAMS.get_or_init(|| {
        as_root(|| {
            let given = std::env::var_os("CU_STATIC_PROGRAMS").map(PathBuf::from);
            lay_out(&given.unwrap_or_else(build))
        })
    });
    directory.join(name)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The directory of the programs, built.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| workspace().join("target"), PathBuf::from);
    let target = target.join("static");
    let mut command = Command::new(cargo);
    command.args(["build", "--target", TARGET, "--target-dir"]);
    command.arg(&target);
    for (package, binary) in PROGRAMS {
        command.args(["--package", package, "--bin", binary]);
    }
    command.current_dir(workspace());
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "{command:?}: {status}");
    target.join(TARGET).join("debug")
}

/// Copies the programs to where jobs see them: those of each instance of the clusters apart. Jobs that run the
/// earlier ones go on with those.
fn lay_out(built: &Path) -> PathBuf {
    let instance = std::env::var_os("CU_INSTANCE").unwrap_or_default();
    let directory = clusters().join("programs").join(instance);
    let lay_out = |name: &str| {
        fs::create_dir_all(&directory)?;
        let mut copy = tempfile::NamedTempFile::new_in(&directory)?;
        std::io::copy(&mut fs::File::open(built.join(name))?, &mut copy)?;
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755))?;
        copy.persist(directory.join(name))?;
        std::io::Result::Ok(())
    };
    for (_, name) in PROGRAMS {
        lay_out(name).unwrap_or_else(|error| panic!("{}: {error}", built.join(name).display()));
    }
    directory
}
