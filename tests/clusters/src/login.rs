//! A user who types commands at a login node or access point.

use std::fs::{self, Permissions};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cu_tests::process::kill_marked;

use crate::Instance;
use crate::programs::static_program;

const MARK: &str = "CU_TESTS_SCRATCH";

/// A user of `cluster`, in a directory that jobs see. Dropping it kills what the user left running there, such as the
/// main processes of a test that failed.
#[derive(Debug)]
pub struct Login<'a, C> {
    /// Where the commands are.
    pub cluster: &'a C,
    /// The user's directory.
    pub directory: &'a Path,
    /// What is in the environment of each command.
    variables: Vec<(&'static str, String)>,
}

impl<'a, C: Deref<Target = Instance>> Login<'a, C> {
    /// A user in `directory`, each of whose commands has `variables` in its environment.
    #[must_use]
    pub fn new(cluster: &'a C, directory: &'a Path, variables: &[(&'static str, &str)]) -> Self {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| (*name, (*value).to_owned()));
        Self {
            cluster,
            directory,
            variables: variables.collect(),
        }
    }

    /// Writes a file, relative to the user's directory.
    pub fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.directory.join(name);
        fs::create_dir_all(path.parent().expect("it has one"))
            .expect("the directory is the user's");
        fs::write(&path, text).expect("the directory is the user's");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is the user's");
        path
    }

    /// A program that is started in the directory `here`, which is made.
    #[must_use]
    pub fn typed(&self, program: &Path, here: &str, words: &[&str]) -> Command {
        let here = self.directory.join(here);
        fs::create_dir_all(&here).expect("the directory is the user's");
        let mut path = self.cluster.commands().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(here)
            .env("PATH", path)
            .env("CU_TRUST_PARENTS", "1")
            .env(MARK, self.directory)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A command of the cluster's.
    #[must_use]
    pub fn command(&self, name: &str, here: &str, words: &[&str]) -> Command {
        self.typed(&self.cluster.commands().join(name), here, words)
    }

    /// `cu`, linked statically.
    #[must_use]
    pub fn cu(&self, here: &str, words: &[&str]) -> Command {
        self.typed(&static_program("cu"), here, words)
    }
}

impl<C> Drop for Login<'_, C> {
    fn drop(&mut self) {
        kill_marked(&format!("{MARK}={}", self.directory.display()));
    }
}
