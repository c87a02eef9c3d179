//! A run for each test, in a directory of its own. The real `cu` starts, kills, resumes and queries
//! it, and it is cleaned up also if the test fails.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cu_core::{Reader, RunDir};
use cu_protocol::{Attempt, JobId};
use cu_run_dir::StartedFile;
use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use crate::cu::cu_binary;
use crate::process::{Exit, Process, freeze, kill, kill_marked, marked, thaw};
use crate::wait::{BOUND, until_within};

/// Names the scratch directory in the environment of every process of a run.
const MARK: &str = "CU_TESTS_SCRATCH";

/// Short waits, so that tests are fast. They don't change what is decided. Programs write into their
/// output directories.
const QUICK: &str = r#"
working_directory = "{output_dir}"
[stop]
grace = "500ms"
[resume]
backoff = "10ms"
backoff_max = "100ms"
"#;

const THIS_MACHINE: &str = r#"
[backend]
kind = "local"
record_grace = "100ms"
[backend.local]
cpus = 4
"#;

/// The surroundings of a run.
#[derive(Clone, Debug)]
pub struct Place {
    /// The binary `cu`.
    pub cu: PathBuf,
    /// The directory for scratch directories.
    pub directory: PathBuf,
    /// The common part of every config, in TOML.
    pub config: String,
    /// Added to the environment of every `cu`.
    pub environment: Vec<(OsString, OsString)>,
    /// The longest time that any step may take.
    pub patience: Duration,
}

impl Place {
    /// This machine, in memory where possible: no test of this package is about power failures.
    #[must_use]
    pub fn this_machine() -> Self {
        let memory = PathBuf::from("/dev/shm");
        Self {
            cu: cu_binary().to_owned(),
            directory: if memory.is_dir() {
                memory
            } else {
                std::env::temp_dir()
            },
            config: THIS_MACHINE.to_owned(),
            environment: Vec::new(),
            patience: BOUND,
        }
    }
}

/// A directory that is removed after the test.
///
/// # Panics
/// If it can't be made.
#[must_use]
pub fn scratch() -> TempDir {
    scratch_in(&Place::this_machine().directory)
}

fn scratch_in(directory: &Path) -> TempDir {
    let made = tempfile::Builder::new()
        .prefix("cu-tests-")
        .tempdir_in(directory);
    made.unwrap()
}

/// A run with its config. It exists from before `cu run` until after the test.
#[derive(Debug)]
pub struct Run {
    scratch: TempDir,
    place: Place,
}

impl Run {
    /// A run of `command` on this machine, with `config` in TOML over short waits. It is not started
    /// yet.
    ///
    /// # Panics
    /// If `config` is not valid TOML, or can't be written.
    #[must_use]
    pub fn new<S: AsRef<str>>(command: &[S], config: &str) -> Self {
        Self::at(Place::this_machine(), command, config)
    }

    /// The same in another place.
    ///
    /// # Panics
    /// If `config` is not valid TOML, or can't be written.
    #[must_use]
    pub fn at<S: AsRef<str>>(place: Place, command: &[S], config: &str) -> Self {
        let scratch = scratch_in(&place.directory);
        let mut table: Table = QUICK.parse().unwrap();
        merge(&mut table, place.config.parse().unwrap());
        merge(&mut table, config.parse().unwrap());
        table.insert("name".into(), "run".into());
        let words = command.iter().map(|word| word.as_ref().into()).collect();
        table.insert("command".into(), toml::Value::Array(words));
        let run = Self { scratch, place };
        std::fs::write(run.config(), toml::to_string(&table).unwrap()).unwrap();
        run
    }

    /// The config file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("config.toml")
    }

    /// A path in the run's scratch directory, for barriers and the like.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The run directory.
    #[must_use]
    pub fn dir(&self) -> RunDir {
        RunDir::new(self.path("results").join("run"))
    }

    /// The run, read by the library.
    ///
    /// # Panics
    /// If it can't be read.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::open(&self.dir()).unwrap()
    }

    /// The command `cu` with these arguments, not started yet.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.place.cu);
        command.args(arguments);
        command.envs(
            self.place
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        command.env("CU_RESULTS_DIR", self.path("results"));
        command.env(MARK, self.scratch.path());
        command.current_dir(self.scratch.path());
        command
    }

    /// Starts `cu` with these arguments.
    #[must_use]
    pub fn spawn(&self, arguments: &[&str]) -> Process {
        let process = Process::start(self.command(arguments), self.scratch.path());
        process.with_patience(self.place.patience)
    }

    /// Runs `cu` with these arguments to its end.
    #[must_use]
    pub fn cu(&self, arguments: &[&str]) -> Exit {
        self.spawn(arguments).wait()
    }

    /// Starts `cu run`.
    #[must_use]
    pub fn start(&self) -> Process {
        self.spawn(&["run", self.config().to_str().unwrap()])
    }

    /// Starts `cu resume`, or `cu run` if there is no run yet.
    #[must_use]
    pub fn go_on(&self) -> Process {
        match self.dir().store().exists() {
            true => self.spawn(&["resume", self.dir().path().to_str().unwrap()]),
            false => self.start(),
        }
    }

    /// The one JSON value that `cu` prints.
    ///
    /// # Panics
    /// If it fails, or prints anything else.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let exit = self.cu(&[arguments, &["--json"]].concat());
        assert_eq!(exit.code, Some(0), "{arguments:?}: {exit:?}");
        serde_json::from_str(&exit.stdout).unwrap()
    }

    /// `cu show JOB --json`.
    #[must_use]
    pub fn show(&self, job: u32) -> Value {
        self.json(&["show", &job.to_string()])
    }

    /// `cu status --json`.
    #[must_use]
    pub fn status(&self) -> Value {
        self.json(&["status"])
    }

    /// Waits until a program has made the file.
    pub fn await_file(&self, path: &Path) {
        self.until(&path.display().to_string(), || path.exists().then_some(()));
    }

    /// Polls `look` until it returns a value, within the patience of this place.
    ///
    /// # Panics
    /// If it returns none in that time.
    pub fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        until_within(self.place.patience, what, look)
    }

    /// Does `work` while the processes of the job's program stand still. Those of `cu` go on.
    pub fn while_its_programs_stand_still(&self, work: impl FnOnce()) {
        let mut stopped = Vec::new();
        loop {
            let programs = marked(&self.mark()).into_iter().filter(|pid| !is_cu(*pid));
            let new: Vec<u32> = programs.filter(|pid| !stopped.contains(pid)).collect();
            // A process may have started another before it was stopped.
            if new.is_empty() {
                break;
            }
            freeze(&new);
            stopped.extend(new);
        }
        work();
        thaw(&stopped);
    }

    /// Kills the copies of `cu exec` that stand by for the next attempts, and what they are copied from. The
    /// next attempt loads `cu` itself.
    pub fn kill_standbys(&self) {
        let supervises = |pid: &u32| {
            let started = self.dir().started(JobId(0), Attempt(0));
            let started = StartedFile::read(&started).ok().flatten();
            started.is_some_and(|started| started.supervisor == *pid)
        };
        let is_copy = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("--stand-by")
        };
        // One that is killed is replaced at once, as long as what it is copied from lives.
        until_within(self.place.patience, "the end of all copies", || {
            let all = marked(&self.mark()).into_iter();
            let standbys: Vec<_> = all.filter(|pid| is_copy(pid) && !supervises(pid)).collect();
            standbys.iter().for_each(|pid| kill(*pid));
            standbys.is_empty().then_some(())
        });
    }

    /// Kills the supervisors that have no attempt at the moment. Returns how many these were.
    pub fn kill_who_stands_by(&self) -> usize {
        let stands_by = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim_end() == "standing by")
        };
        let all = marked(&self.mark()).into_iter();
        all.filter(stands_by).map(kill).count()
    }

    fn mark(&self) -> String {
        format!("{MARK}={}", self.scratch.path().display())
    }

    /// Kills every process of the run.
    pub fn kill_all(&self) {
        kill_marked(&self.mark());
    }

    /// A file in the output directory of a job.
    #[must_use]
    pub fn output(&self, job: u32, name: &str) -> PathBuf {
        self.dir().output_dir(JobId(job)).join(name)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.kill_all();
        if std::thread::panicking() {
            // The files are about to be removed, and the log explains most.
            let log = std::fs::read_to_string(self.dir().log()).unwrap_or_default();
            eprintln!("the log of the main process:\n{log}");
        }
    }
}

/// Whether it is a supervisor, a main process or another command of `cu`.
fn is_cu(pid: u32) -> bool {
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    // Another test process may have put a newer one in its place.
    let names = ["cu", "cu (deleted)"];
    program
        .file_name()
        .is_some_and(|name| names.iter().any(|cu| name == *cu))
}

/// Copies the keys of `over` into `table`, and replaces existing ones.
fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(value)) => merge(below, value),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}
