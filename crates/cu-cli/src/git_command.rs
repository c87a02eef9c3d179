//! Calls `git`: it asks nobody for a password, runs no hooks, and leaves nothing running in the background.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cu_system::threads;
use rustix::process::{Pid, Signal, kill_process_group};

/// Why git did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It can't be started.
    #[error("can't run `git`")]
    NotStarted(#[source] io::Error),
    /// It ended with an error, and said this.
    #[error("{0}")]
    Failed(String),
    /// Something else failed.
    #[error("can't {0}")]
    System(&'static str, #[source] io::Error),
}

impl Failure {
    /// What to do about it, if that can be said.
    pub fn hint(&self) -> Option<String> {
        const HINTS: [(&[&str], &str); 5] = [
            (
                &["terminal prompts disabled", "Authentication failed"],
                "cu never asks for a password: let git know it from a credential helper, or use an ssh URL \
                 with a key in ssh-agent; `git ls-remote URL` in this shell shows whether it works",
            ),
            (
                &["Permission denied (", "Host key verification failed"],
                "cu never asks for a password: add the key to ssh-agent (`ssh-add`), and accept the host once \
                 with `git ls-remote URL`",
            ),
            (
                &["transport 'file' not allowed"],
                "git refuses submodules that are paths; `git config --global protocol.file.allow always` allows \
                 them, git.submodules = false leaves all submodules out",
            ),
            (
                &["dubious ownership"],
                "the repository belongs to another user; if you trust it, run the command that git names",
            ),
            (
                &["Remote branch"],
                "`git ls-remote --heads --tags URL` lists the branches and tags; git.commit takes a commit",
            ),
        ];
        match self {
            Self::NotStarted(_) => Some(
                "install git, or leave [git] out: then the programs run from where they are"
                    .to_owned(),
            ),
            Self::Failed(said) => {
                let is_said = |words: &&str| said.contains(*words);
                let hint = HINTS.iter().find(|(words, _)| words.iter().any(is_said));
                hint.map(|(_, hint)| (*hint).to_owned())
            }
            Self::System(..) => None,
        }
    }
}

/// Variables that make git work on another repository than the one where it is called, such as in a hook.
const OF_A_REPOSITORY: [&str; 13] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

const SETTINGS: [&str; 7] = [
    // No hooks of a template, nor those of the user's that are meant for repositories in which people work.
    "core.hooksPath=/dev/null",
    // It names a program.
    "core.fsmonitor=false",
    "protocol.ext.allow=never",
    // Nothing goes on in the background once a command has ended.
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "submodule.recurse=false",
];

/// `git` in `directory` with these arguments.
fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("--no-optional-locks").arg("-C").arg(directory);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    for name in OF_A_REPOSITORY {
        command.env_remove(name);
    }
    command
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GCM_INTERACTIVE", "never")
        .env_remove("SSH_ASKPASS");
    command
}

/// The text that git prints in `directory`.
///
/// # Errors
/// If it can't be started, or ends with an error.
pub fn ask<A: AsRef<OsStr>>(
    directory: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, Failure> {
    said(git(directory).args(arguments))
}

/// As [`ask`], for a command that may connect to another machine, which takes as long as it takes.
///
/// # Errors
/// As [`ask`].
pub fn fetch<A: AsRef<OsStr>>(
    directory: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, Failure> {
    let mut command = git(directory);
    if let Some(ssh) = ssh(directory) {
        command.env("GIT_SSH_COMMAND", ssh);
    }
    said(command.args(arguments))
}

/// What git prints in `directory`; `None` if it fails or takes longer than `patience`.
pub fn ask_within<A: AsRef<OsStr>>(
    patience: Duration,
    directory: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Option<String> {
    let mut command = git(directory);
    command.args(arguments).stderr(Stdio::null());
    let child = command
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .ok()?;
    let group = Pid::from_child(&child);
    match threads::within("git", patience, move || child.wait_with_output()) {
        Some(output) => printed(output.ok()?).ok(),
        None => {
            // It may have ended at this moment.
            let _ = kill_process_group(group, Signal::KILL);
            None
        }
    }
}

/// The ssh that git is to call so that it asks nobody; `None` if the user names a program that we can't tell so.
fn ssh(directory: &Path) -> Option<String> {
    let given = std::env::var("GIT_SSH_COMMAND").ok();
    let given = given.filter(|it| !it.is_empty());
    if given.is_none() && std::env::var_os("GIT_SSH").is_some() {
        return None;
    }
    let configured = || ask(directory, ["config", "--get", "core.sshCommand"]).ok();
    let command = given.or_else(configured).filter(|it| !it.is_empty());
    let command = command.unwrap_or_else(|| "ssh".to_owned());
    Some(format!("{command} -o BatchMode=yes"))
}

fn said(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    printed(output.output().map_err(Failure::NotStarted)?)
}

fn printed(output: Output) -> Result<String, Failure> {
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim();
            Err(Failure::Failed(match said.is_empty() {
                true => format!("git ended with {}", output.status),
                false => said.to_owned(),
            }))
        }
    }
}
