//! Builds the Python package `cu-job` as pip does it for a user, with a static `cu` without optimisation
//! in it, and installs it into virtual environments.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const TARGET: &str = "x86_64-unknown-linux-gnu";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a command to its end.
///
/// # Panics
/// If it can't be started or fails; with what it printed.
#[must_use]
pub fn output(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{printed}{errors}",
        output.status
    );
    printed.trim().to_owned()
}

/// The programs of a virtual environment that has maturin, mypy and the Python package
/// `cluster_utils`. It is made when it is missing, and kept.
///
/// # Panics
/// If it can't be made.
#[must_use]
pub fn tools() -> &'static Path {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let directory = output(&mut Command::new(workspace().join("tests/python-tools")));
        Path::new(&directory).join("bin")
    })
}

/// The wheel, built by pip.
///
/// # Panics
/// If it can't be built.
#[must_use]
pub fn wheel(directory: &Path) -> PathBuf {
    let built = directory.join("wheel");
    let mut pip = Command::new(tools().join("pip"));
    pip.args(["wheel", "--no-deps", "--no-index", "--no-build-isolation"]);
    pip.args(["--disable-pip-version-check", "--wheel-dir"]);
    pip.arg(&built).arg(workspace());
    // What cargo says to this test is not meant for the cargo that maturin calls.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let is_a_setting =
            ["CARGO_HOME", "CARGO_INCREMENTAL", "CARGO_NET_OFFLINE"].contains(&&*name);
        if name.starts_with("CARGO") && !is_a_setting {
            pip.env_remove(&*name);
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = [tools().to_owned()]
        .into_iter()
        .chain(std::env::split_paths(&path));
    pip.env("PATH", std::env::join_paths(path).unwrap());
    // Shares the dependencies with the programs of the clusters: the same profile, target and flags.
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| workspace().join("target"), PathBuf::from);
    pip.env(
        "CARGO_TARGET_DIR",
        std::path::absolute(target.join("static")).unwrap(),
    );
    pip.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let arguments =
        format!("--locked --profile dev --target {TARGET} --compatibility manylinux2014");
    pip.env("MATURIN_PEP517_ARGS", arguments);
    let _ = output(&mut pip);
    let mut wheels = std::fs::read_dir(&built).unwrap();
    let wheel = wheels.next().expect("a wheel").unwrap().path();
    assert!(wheels.next().is_none(), "more than one file in {built:?}");
    wheel
}

/// A virtual environment with the wheel and nothing else: the directory of its programs.
///
/// # Panics
/// If it can't be made, or the wheel not be installed.
#[must_use]
pub fn installed(directory: &Path) -> PathBuf {
    let wheel = wheel(directory);
    let environment = directory.join("environment");
    let mut venv = Command::new("python3");
    let _ = output(venv.args(["-m", "venv"]).arg(&environment));
    let programs = environment.join("bin");
    let mut pip = Command::new(programs.join("pip"));
    pip.args(["install", "--no-index", "--disable-pip-version-check"]);
    let _ = output(pip.arg(wheel));
    programs
}
