//! Programs and configs for the Python package cluster_utils, with the real client from PyPI.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::fake::Fake;
use crate::python_package::tools;

/// A directory with a program, and a `python` whose cluster_utils has `cu` as its main process.
#[derive(Debug)]
pub struct Project(tempfile::TempDir);

const SHIM: &str = r#"#!/bin/sh
case "$1 $2" in
"-m cluster_utils.grid_search") command=grid-search ;;
"-m cluster_utils.hp_optimization") command=hp-optimization ;;
*) exec "$TOOLS/python3" "$@" ;;
esac
shift 2
exec "$CU" $command "$@"
"#;

impl Project {
    /// A directory with this program in `main.py`.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let project = Self(tempfile::tempdir().expect("a directory"));
        project.write("main.py", program);
        project.executable("shim/python", SHIM);
        project
    }

    /// The directory.
    ///
    /// # Panics
    /// If that fails.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, and the directories above it.
    ///
    /// # Panics
    /// If that fails.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    /// Writes a program.
    ///
    /// # Panics
    /// If that fails.
    pub fn executable(&self, name: &str, text: &str) {
        self.write(name, text);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.path().join(name), mode).expect("a mode");
    }

    /// The text of a file.
    ///
    /// # Panics
    /// If that fails.
    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect(name)
    }

    /// A command that starts there.
    ///
    /// # Panics
    /// If that fails.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let shim = self.path().join("shim");
        let search = format!("{}:{}:/usr/bin:/bin", shim.display(), tools().display());
        command
            .env("PATH", search)
            .env("TOOLS", tools())
            .env("CU", crate::cu::cu_binary());
        command
            .env("HOME", self.path())
            .env("USER", "ada")
            .args(arguments);
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// `cu` where the commands of this cluster are.
    ///
    /// # Panics
    /// If that fails.
    pub fn cu_at(&self, site: &Fake, arguments: &[&str]) -> Command {
        let mut cu = self.command(crate::cu::cu_binary(), arguments);
        let commands = site.home().join("bin");
        let search = format!("{}:{}:/usr/bin:/bin", commands.display(), tools().display());
        cu.env("PATH", search).env(crate::fake::HOME, site.home());
        cu
    }

    /// Starts `cluster_utils.grid_search`, with `cu` behind it, and waits for its end.
    ///
    /// # Panics
    /// If that fails.
    pub fn grid_search(&self, arguments: &[&str]) -> Output {
        self.module("cluster_utils.grid_search", arguments)
    }

    /// Starts `cluster_utils.hp_optimization`, with `cu` behind it, and waits for its end.
    ///
    /// # Panics
    /// If that fails.
    pub fn hp_optimization(&self, arguments: &[&str]) -> Output {
        self.module("cluster_utils.hp_optimization", arguments)
    }

    fn module(&self, module: &str, arguments: &[&str]) -> Output {
        let all = [&["-m", module], arguments].concat();
        self.command(self.path().join("shim/python"), &all)
            .output()
            .expect("python")
    }

    /// The settings of the jobs that a dry run shows.
    ///
    /// # Panics
    /// If that fails.
    pub fn planned(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.grid_search(&[&["--dry-run", "--json"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        let planned: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let jobs = planned["jobs"].as_array().expect("jobs").iter();
        jobs.map(|job| job["settings"].clone()).collect()
    }
}

/// The text that a command prints for people.
#[must_use]
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
