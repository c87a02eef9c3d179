//! A git repository with a program and the config of a run.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A home directory with a repository, in which the program prints its version and where it runs.
#[derive(Debug)]
pub struct Project(tempfile::TempDir);

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

impl Project {
    /// A home directory with a repository and one commit.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn new() -> Self {
        let project = Self(tempfile::tempdir().expect("a directory"));
        project.write(
            ".gitconfig",
            "[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n",
        );
        project.git("code", &["init", "--quiet"]);
        project.version(1);
        project
    }

    /// The home directory.
    ///
    /// # Panics
    /// If that fails.
    pub fn home(&self) -> PathBuf {
        self.0.path().canonicalize().expect("a path")
    }

    /// A path in it.
    ///
    /// # Panics
    /// If that fails.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    /// Writes a file, and the directories above it.
    ///
    /// # Panics
    /// If that fails.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    /// Writes a program.
    ///
    /// # Panics
    /// If that fails.
    pub fn executable(&self, name: &str, text: &str) {
        self.write(name, text);
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o755))
            .expect("a mode");
    }

    /// The text of a file.
    ///
    /// # Panics
    /// If that fails.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    /// A command with this home directory alone in its environment.
    ///
    /// # Panics
    /// If that fails.
    pub fn command(&self, program: impl AsRef<OsStr>, directory: &str) -> Command {
        std::fs::create_dir_all(self.path(directory)).expect("a directory");
        let mut command = Command::new(program);
        let search = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", search);
        command
            .current_dir(self.path(directory))
            .stdin(Stdio::null());
        command
    }

    /// What git prints.
    ///
    /// # Panics
    /// If that fails.
    pub fn git(&self, directory: &str, arguments: &[&str]) -> String {
        let output = self
            .command("git", directory)
            .args(arguments)
            .output()
            .expect("git");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits all that is there, with a program that prints this number. Returns the hash.
    pub fn version(&self, number: u32) -> String {
        self.executable(
            "code/main.sh",
            &format!("#!/bin/sh\necho version {number} in $PWD\n"),
        );
        self.git("code", &["add", "--all"]);
        self.git("code", &["commit", "--quiet", "--message", "A version"]);
        self.git("code", &["rev-parse", "HEAD"])
    }

    /// Writes the config, with this in its table `[git]`.
    ///
    /// # Panics
    /// If that fails.
    pub fn config(&self, git: &str) {
        self.write(
            "code/run.toml",
            &format!("name = \"a\"\ncommand = [\"./main.sh\"]\n[git]\n{git}\n"),
        );
    }

    /// `cu` in the repository.
    ///
    /// # Panics
    /// If that fails.
    pub fn start(&self, arguments: &[&str]) -> Command {
        let mut cu = self.command(crate::cu::cu_binary(), "code");
        cu.args(arguments);
        cu
    }

    /// Runs `cu` to its end.
    ///
    /// # Panics
    /// If that fails.
    pub fn cu(&self, arguments: &[&str]) -> Output {
        self.start(arguments).output().expect("cu")
    }

    /// Runs the config, which succeeds, and returns what cu and the program print.
    pub fn run(&self, overrides: &[&str]) -> (String, String) {
        let output = self.cu(&[&["run", "run.toml", "--backend=local"], overrides].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        (
            said(&output),
            self.read("code/results/a/attempts/0/0/stdout"),
        )
    }

    /// Runs the config, which is refused, and returns what cu says.
    pub fn refused(&self, overrides: &[&str]) -> String {
        let output = self.cu(&[&["run", "run.toml", "--backend=local"], overrides].concat());
        assert_eq!(output.status.code(), Some(2), "{overrides:?}: {output:?}");
        assert!(
            !self.path("code/results/a/run.sqlite").exists(),
            "a run was made"
        );
        assert!(
            !self.path("code/results/a/clone").exists(),
            "a clone was left"
        );
        said(&output)
    }

    /// What `cu` prints as JSON.
    ///
    /// # Panics
    /// If that fails.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.cu(arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    /// Where the clone of the run is.
    ///
    /// # Panics
    /// If that fails.
    pub fn clone_dir(&self) -> PathBuf {
        self.path("code/results/a/clone")
    }

    /// Removes the run.
    ///
    /// # Panics
    /// If that fails.
    pub fn remove_run(&self) {
        std::fs::remove_dir_all(self.path("code/results")).expect("removed");
    }
}

/// What a command prints for people.
#[must_use]
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
