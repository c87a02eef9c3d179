//! What the clusters share: they are brought up and taken down by scripts, have a directory of
//! commands, see the work directories of the tests, and daemons that can be stopped.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::user::{USER, User, as_root};

/// How long a script may take: it bounds all that it does itself, and builds a Debian root if need
/// be.
const SECONDS: &str = "1500";

/// Which clusters this process knows to be up.
static UP: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Where everything lies: `CU_CLUSTERS`, as for the scripts.
#[must_use]
pub fn clusters() -> PathBuf {
    let given = std::env::var_os("CU_CLUSTERS");
    given.map_or_else(|| PathBuf::from("/var/tmp/cu-clusters"), PathBuf::from)
}

/// One cluster, up.
#[derive(Debug)]
pub struct Instance {
    script: PathBuf,
    /// Which of several clusters a script is about: a suite, or nothing.
    which: Option<&'static str>,
    name: String,
    home: PathBuf,
    own: bool,
}

impl Instance {
    /// The one that all tests share, by the name that `CU_INSTANCE` gives, as for the scripts. It
    /// stays up.
    pub(crate) fn shared(script: &str, which: Option<&'static str>) -> Self {
        let name = std::env::var("CU_INSTANCE").unwrap_or_else(|_| "shared".to_owned());
        let instance = Self::describe(script, which, name, false);
        let mut up = UP.lock().unwrap_or_else(PoisonError::into_inner);
        if !up.contains(&instance.home) {
            instance.run("up", &[], &[]);
            up.insert(instance.home.clone());
        }
        instance
    }

    /// A fresh one, with these `settings` and more `environment` for its script. It is removed when
    /// it is dropped.
    pub(crate) fn own(
        script: &str,
        which: Option<&'static str>,
        settings: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("own-{}-{number}", std::process::id());
        let instance = Self::describe(script, which, name, true);
        as_root(|| {
            let file = tempfile::NamedTempFile::new().expect("/tmp can be written");
            fs::write(file.path(), settings).expect("/tmp can be written");
            let path = file.path().to_str().expect("/tmp is UTF-8");
            let mut environment = environment.to_vec();
            environment.push(("CU_SETTINGS", path));
            instance.run("up", &[], &environment);
        });
        instance
    }

    fn describe(script: &str, which: Option<&'static str>, name: String, own: bool) -> Self {
        let directory = match which {
            Some(suite) => format!("{script}-{suite}"),
            None => script.to_owned(),
        };
        Self {
            script: Path::new(env!("CARGO_MANIFEST_DIR")).join(script),
            which,
            home: clusters().join(directory).join(&name),
            name,
            own,
        }
    }

    /// By which name the script knows it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its own directory, with `log/`, for those who want to look.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The directory of its commands: for PATH, or for an option of a backend. Root acts in them as
    /// the user `cu`, or as whom `CU_USER` names: `colleague`, `root`.
    #[must_use]
    pub fn commands(&self) -> PathBuf {
        self.home.join("bin")
    }

    /// One of its commands, not yet run.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.commands().join(name))
    }

    /// A command that runs `program` in the cluster, as on a login node, as the user `cu`: it sees
    /// what jobs see, and calls the cluster's commands directly. It must be linked statically, or
    /// be one that lies there.
    #[must_use]
    pub fn on_login_node(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("in-cluster");
        command.arg(program);
        command
    }

    /// Makes this thread the user's, who submits.
    ///
    /// # Panics
    /// If this is not root.
    #[must_use]
    pub fn become_user(&self) -> User {
        User::become_it()
    }

    /// A new directory that jobs see under the same path. It belongs to the user `cu`.
    #[must_use]
    pub fn work_directory(&self) -> WorkDirectory {
        as_root(|| {
            let directory = tempfile::Builder::new().prefix("cu-cluster-").tempdir();
            let directory = directory.expect("/tmp can be written");
            chown(directory.path(), Some(USER), Some(USER)).expect("root may give it away");
            let permissions = Permissions::from_mode(0o755);
            fs::set_permissions(directory.path(), permissions).expect("root may");
            WorkDirectory {
                directory: Some(directory),
            }
        })
    }

    /// Ends a daemon (SIGTERM, or `condor_off`), and returns when it is gone. It stays away.
    pub fn stop(&self, daemon: &str) {
        self.daemon("stop", daemon);
    }

    /// Ends a daemon by SIGKILL, and returns when it is gone. It stays away.
    pub fn kill(&self, daemon: &str) {
        self.daemon("kill", daemon);
    }

    /// Stops a daemon by SIGSTOP: it is there and does not answer.
    pub fn pause(&self, daemon: &str) {
        self.daemon("pause", daemon);
    }

    /// Brings back a daemon that was ended, killed or stopped, and returns when it answers.
    pub fn start(&self, daemon: &str) {
        self.daemon("start", daemon);
    }

    /// What a command prints that root runs in the cluster's own root and namespace.
    ///
    /// # Panics
    /// If it fails.
    pub fn inside(&self, command: &[&str]) -> String {
        self.run("run", command, &[])
    }

    fn daemon(&self, action: &str, daemon: &str) {
        self.run(action, &[daemon], &[]);
    }

    /// Runs the script, as root: what it printed.
    ///
    /// # Panics
    /// If it fails: with what it said.
    pub(crate) fn run(
        &self,
        action: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> String {
        as_root(|| {
            let mut command = Command::new("timeout");
            command.args(["--kill-after=10", SECONDS]).arg(&self.script);
            command.arg(action).args(self.which).args(arguments);
            command.env("CU_INSTANCE", &self.name);
            command.envs(environment.iter().copied());
            let output = command.output().expect("`timeout` is there");
            let said = String::from_utf8_lossy(&output.stderr);
            let which = self.which.unwrap_or_default();
            let script = self.script.display();
            assert!(
                output.status.success(),
                "{script} {action} {which} {arguments:?}: {}\n{said}",
                output.status
            );
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// What the script prints for `action`.
    ///
    /// # Panics
    /// If it fails: with what it said.
    pub(crate) fn printed_by(&self, action: &str) -> String {
        self.run(action, &[], &[])
    }

    /// What one of its commands prints, run by root as root, whoever asks.
    ///
    /// # Panics
    /// If it fails.
    pub fn ask(&self, command: &str, arguments: &[&str]) -> String {
        let answer = self.try_ask(command, arguments);
        answer.unwrap_or_else(|said| panic!("{said}"))
    }

    /// The same, or what it said if it fails.
    pub(crate) fn try_ask(&self, command: &str, arguments: &[&str]) -> Result<String, String> {
        as_root(|| {
            let mut asked = self.command(command);
            asked.args(arguments).env("CU_USER", "root");
            asked.current_dir("/tmp");
            let output = asked.output().expect("the wrapper is there");
            if output.status.success() {
                return Ok(String::from_utf8(output.stdout).expect("schedulers speak UTF-8"));
            }
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!(
                "{command} {arguments:?}: {}\n{said}",
                output.status
            ))
        })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.own {
            return;
        }
        if std::thread::panicking() {
            // A second panic would end the process; `down` finds what is left.
            let _ = std::panic::catch_unwind(|| self.run("remove", &[], &[]));
        } else {
            self.run("remove", &[], &[]);
        }
    }
}

/// A directory that jobs see under the same path, removed when it is dropped.
#[derive(Debug)]
pub struct WorkDirectory {
    /// There until it is dropped.
    directory: Option<TempDir>,
}

impl WorkDirectory {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.as_ref().expect("it is not dropped").path()
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        // Both root and the user have written into it. What a job still writes may stay.
        let directory = self.directory.take();
        as_root(|| drop(directory));
    }
}
