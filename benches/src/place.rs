//! The binaries that the benchmarks time, and directories on a real disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The binary `cu`, built now by the release profile. It belongs to another package, so cargo does
/// not know that we need it.
///
/// # Errors
/// If it can't be built.
pub fn cu() -> Result<PathBuf> {
    let target = target()?;
    build(&target, |build| build.args(["--package", "cu-cli"]))?;
    Ok(target.join("release/cu"))
}

/// As [`cu`], with cargo's target directory, for a program that is not a benchmark: it runs as
/// `TARGET/release/NAME`.
///
/// # Errors
/// As for [`cu`].
pub fn built_cu() -> Result<(PathBuf, PathBuf)> {
    let executable = std::env::current_exe().context("can't find this executable")?;
    let target = executable
        .ancestors()
        .nth(2)
        .context("it is run by cargo")?;
    build(target, |build| build.args(["--package", "cu-cli"]))?;
    Ok((target.join("release/cu"), target.to_owned()))
}

/// A directory with `cu` and the program `smallest_job`, built now by the release profile and linked
/// statically, so that they run on machines with any C library. Those in the directory that
/// `CU_STATIC_PROGRAMS` names, if it is set.
///
/// # Errors
/// If they can't be built.
pub fn static_programs() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("CU_STATIC_PROGRAMS") {
        return Ok(given.into());
    }
    let target = target()?.join("static");
    let triple = "x86_64-unknown-linux-gnu";
    build(&target, |build| {
        build.env("RUSTFLAGS", "-C target-feature=+crt-static");
        build.args(["--target", triple, "--package", "cu-cli"]);
        build.args(["--package", "cu-benches", "--bin", "cu"]);
        build.args(["--bin", "smallest_job"])
    })?;
    Ok(target.join(triple).join("release"))
}

/// Builds the packages and binaries that `choose` adds into `target`.
fn build(target: &Path, choose: impl Fn(&mut Command) -> &mut Command) -> Result<()> {
    let mut build = Command::new(env!("CARGO"));
    // Removes cargo's variables about this package. Build scripts that depend on them would run
    // again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    build
        .args(["build", "--release", "--target-dir"])
        .arg(target);
    choose(&mut build).current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = build.status().context("can't start cargo")?;
    ensure!(status.success(), "{build:?}: {status}");
    Ok(())
}

/// A program of `src/bin`, by its name.
///
/// # Errors
/// If it was not built beside this benchmark, as `cargo bench` does.
pub fn built(name: &str) -> Result<PathBuf> {
    let path = target()?.join("release").join(name);
    ensure!(path.is_file(), "{} is missing", path.display());
    Ok(path)
}

/// The number at this place of the command line, behind the options that cargo adds.
///
/// # Errors
/// If it is something else.
pub fn number(at: usize, default: u64) -> Result<u64> {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"));
    match words.nth(at) {
        Some(word) => word
            .parse()
            .with_context(|| format!("{word:?} is not a number")),
        None => Ok(default),
    }
}

/// A directory below cargo's target directory, removed when dropped. Unlike `/tmp` it is on a disk,
/// and many benchmarks measure the wait for one.
///
/// # Errors
/// If it can't be made.
pub fn scratch() -> Result<tempfile::TempDir> {
    scratch_in(&target()?)
}

/// The same in this target directory.
///
/// # Errors
/// If it can't be made.
pub fn scratch_in(target: &Path) -> Result<tempfile::TempDir> {
    let parent = target.join("tmp");
    std::fs::create_dir_all(&parent).with_context(|| parent.display().to_string())?;
    tempfile::tempdir_in(&parent).with_context(|| parent.display().to_string())
}

/// Cargo's target directory: benchmarks run as `TARGET/release/deps/NAME`.
fn target() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("can't find this executable")?;
    let target = executable.ancestors().nth(3).map(Path::to_owned);
    target.context("a benchmark is started by `cargo bench`")
}
