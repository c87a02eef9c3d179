//! The binary `cu` for jobs: linked statically, for the oldest cluster has an older C library than
//! this machine, and laid where jobs see it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::instance::clusters;
use crate::user::as_root;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A statically linked `cu` that everyone may execute, under a path that jobs see too: the one that
/// `CU_BIN_STATIC` names, else one that is built here, so that the tests never run an old one.
///
/// # Panics
/// If it can't be built, or not be laid there.
pub fn static_cu() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        as_root(|| match std::env::var_os("CU_BIN_STATIC") {
            Some(path) => lay_out(Path::new(&path)),
            None => lay_out(&build()),
        })
    })
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| workspace().join("target"), PathBuf::from);
    let mut command = Command::new(cargo);
    command.args(["build", "--package=cu-cli", "--bin=cu", "--target", TARGET]);
    command.args(["--message-format=json", "--target-dir"]);
    command.arg(target.join("static"));
    command.current_dir(workspace());
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let output = command.output().expect("cargo can be started");
    assert!(
        output.status.success(),
        "cu can't be built: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    let executable = messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_ours = message["target"]["name"] == "cu";
        let path = message["executable"].as_str().filter(|_| is_ours)?;
        Some(PathBuf::from(path))
    });
    executable.expect("cargo names the binary it has built")
}

/// Copies the binary to where jobs see it. Who runs the one before goes on with that.
fn lay_out(binary: &Path) -> PathBuf {
    let lay_out = || {
        let folder = clusters().join("programs");
        fs::create_dir_all(&folder)?;
        let mut copy = tempfile::NamedTempFile::new_in(&folder)?;
        std::io::copy(&mut fs::File::open(binary)?, &mut copy)?;
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755))?;
        let path = folder.join("cu");
        copy.persist(&path)?;
        std::io::Result::Ok(path)
    };
    lay_out().unwrap_or_else(|error| panic!("{}: {error}", binary.display()))
}
