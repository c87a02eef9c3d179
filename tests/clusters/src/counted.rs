//! A cluster's commands, each call of which is counted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::Instance;

/// The commands of a cluster behind scripts that write down each call.
#[derive(Debug)]
pub struct CountedCommands {
    directory: PathBuf,
    calls: PathBuf,
}

impl CountedCommands {
    /// Those of `cluster`, in new directory `commands` of `parent`.
    ///
    /// # Panics
    /// If it can't be made.
    #[must_use]
    pub fn new(cluster: &Instance, parent: &Path) -> Self {
        let counted = Self {
            directory: parent.join("commands"),
            calls: parent.join("calls"),
        };
        fs::create_dir(&counted.directory).expect("a new directory");
        for command in fs::read_dir(cluster.commands()).expect("the directory of its commands") {
            let command = command.expect("it can be read").path();
            let name = command.file_name().expect("commands have names");
            let text = format!(
                "#!/bin/sh\necho {} >>{}\nexec {} \"$@\"\n",
                name.display(),
                counted.calls.display(),
                command.display()
            );
            let script = counted.directory.join(name);
            fs::write(&script, text).expect("a new directory can be written");
            let executable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&script, executable).expect("a new file's owner may");
        }
        counted
    }

    /// The directory that is taken in place of the cluster's own.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file with the name of each that was called, one a line, for who calls them elsewhere.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.calls
    }

    /// How often each was called until now.
    ///
    /// # Panics
    /// If the file of calls can't be read.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        if self.calls.exists() {
            let text = fs::read_to_string(&self.calls).expect("it is ours");
            for name in text.lines() {
                *calls.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
        calls
    }
}
