//! Small fake clusters: the commands of Slurm and HTCondor as far as we use them, answering as
//! told. They show what real clusters do once in a year; the real ones are tested in
//! `tests/clusters`.
//!
//! One binary, `fake_cluster`, is linked into a directory under the names of the commands. Its
//! state lies in one directory per cluster, which the environment variable [`HOME`] names. A test
//! gives [`Rule`]s, which answer in the place of the cluster.

mod htcondor;
mod node;
mod slurm;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use tempfile::TempDir;

use crate::process::Exit;
use crate::run::{Place, Run, scratch};

/// The environment variable that names the directory of a fake cluster.
pub const HOME: &str = "FAKE_CLUSTER";

/// A script that resumes twice, then is done; `n` counts the attempts.
pub const TWO_RESUMES: &str = "n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) >n; \
                               [ $n -ge 2 ] || exit 3";

/// Checks that a command exited with 0.
///
/// # Panics
/// If it did not.
#[track_caller]
pub fn completed(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

/// Which cluster is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Slurm, of one partition and one node.
    Slurm,
    /// An HTCondor pool of one access point and one machine.
    Htcondor,
}

impl Kind {
    fn commands(self) -> &'static [&'static str] {
        match self {
            Self::Slurm => &slurm::COMMANDS,
            Self::Htcondor => &htcondor::COMMANDS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Slurm => "slurm",
            Self::Htcondor => "htcondor",
        }
    }
}

/// An answer in the place of the cluster's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The command.
    pub command: String,
    /// Which of its calls match: those that have this in their arguments, separated by blanks.
    pub arguments: String,
    /// Whether only calls of sbatch with a job array match.
    pub only_arrays: bool,
    /// How many matching calls come before it.
    pub skip: usize,
    /// How many calls it answers.
    pub times: usize,
    /// Whether the cluster does what is asked before, unseen.
    pub acts: bool,
    /// What is printed to standard output.
    pub stdout: String,
    /// What is printed to standard error.
    pub stderr: String,
    /// The exit code.
    pub code: i32,
}

impl Rule {
    /// Each call of `command` fails with these words on standard error.
    #[must_use]
    pub fn fails(command: &str, stderr: &str) -> Self {
        Self {
            command: command.into(),
            times: usize::MAX,
            stderr: format!("{stderr}\n"),
            code: 1,
            ..Self::default()
        }
    }

    /// Each call of `command` succeeds with this on standard output.
    #[must_use]
    pub fn prints(command: &str, stdout: &str) -> Self {
        Self {
            command: command.into(),
            times: usize::MAX,
            stdout: stdout.into(),
            ..Self::default()
        }
    }

    /// Only the calls with this in their arguments.
    #[must_use]
    pub fn with(mut self, arguments: &str) -> Self {
        self.arguments = arguments.into();
        self
    }

    /// Only one call, after `skip` others.
    #[must_use]
    pub fn once_after(mut self, skip: usize) -> Self {
        (self.skip, self.times) = (skip, 1);
        self
    }

    /// The cluster does what is asked, and then says this.
    #[must_use]
    pub fn though_it_acts(mut self) -> Self {
        self.acts = true;
        self
    }
}

/// A fake cluster in a directory of its own, for one test.
#[derive(Debug)]
pub struct Fake {
    kind: Kind,
    home: PathBuf,
    _scratch: TempDir,
}

impl Fake {
    /// A cluster without jobs, played by the binary `fake_cluster`.
    ///
    /// # Panics
    /// If it can't be set up.
    #[must_use]
    pub fn new(kind: Kind, fake_cluster: &str) -> Self {
        let scratch = scratch();
        let home = scratch.path().to_owned();
        for directory in ["bin", "jobs"] {
            fs::create_dir_all(home.join(directory)).unwrap();
        }
        for command in kind.commands() {
            symlink(fake_cluster, home.join("bin").join(command)).unwrap();
        }
        Self {
            kind,
            home,
            _scratch: scratch,
        }
    }

    /// A run of `script` on this cluster, which starts in the output directory. `backend` is added to
    /// the table of the backend, `config` to the whole.
    ///
    /// # Panics
    /// As [`Run::at`].
    #[must_use]
    pub fn run(&self, script: &str, backend: &str, config: &str) -> Run {
        let script = format!("cd \"$CU_OUTPUT_DIR\" && {script}");
        Run::at(self.place(backend), &["sh", "-c", &script], config)
    }

    /// A run of `command` on this cluster, with `config` in TOML.
    ///
    /// # Panics
    /// As [`Run::at`].
    #[must_use]
    pub fn run_program(&self, command: &[&str], config: &str) -> Run {
        Run::at(self.place(""), command, config)
    }

    /// A place for runs on this cluster. `config` is added to the table of its backend.
    ///
    /// # Panics
    /// If `PATH` is not set.
    #[must_use]
    fn place(&self, config: &str) -> Place {
        let kind = self.kind.name();
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.home.join("bin").display());
        let mut place = Place::this_machine();
        place.config = format!(
            "[backend]\nkind = \"{kind}\"\nrecord_grace = \"300ms\"\n\
             [backend.{kind}]\npoll = \"200ms\"\n{config}\n"
        );
        place.environment = vec![
            ("PATH".into(), path.into()),
            (HOME.into(), self.home.clone().into()),
        ];
        place
    }

    /// Adds a rule. Earlier ones go first.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn rule(&self, rule: Rule) {
        let _locked = lock(&self.home);
        let mut rules = rules(&self.home);
        rules.push(Counted { rule, calls: 0 });
        write(&self.home.join("rules.json"), &rules);
    }

    /// From now on no rule answers.
    pub fn forget_rules(&self) {
        let _locked = lock(&self.home);
        write(&self.home.join("rules.json"), &Vec::<Counted>::new());
    }

    /// How long a job waits before it starts.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn starts_after(&self, delay: Duration) {
        fs::write(self.home.join("delay"), delay.as_millis().to_string()).unwrap();
    }

    /// The first job of a Slurm gets this id. In a federation the cluster is in its upper bits.
    ///
    /// # Panics
    /// If it can't be written.
    pub fn ids_begin_at(&self, first: u32) {
        fs::write(self.home.join(slurm::OTHER_FIRST_ID), first.to_string()).unwrap();
    }

    /// The pool writes no event log from now on.
    ///
    /// # Panics
    /// If it can't be set up.
    pub fn writes_no_event_log(&self) {
        fs::write(self.home.join(htcondor::NO_LOG), "").unwrap();
    }

    /// The calls of a command so far: its arguments, separated by blanks.
    #[must_use]
    pub fn calls(&self, command: &str) -> Vec<String> {
        let text = fs::read_to_string(self.home.join("calls")).unwrap_or_default();
        let of_command = |line: &str| {
            let (name, arguments) = line.split_once(' ')?;
            (name == command).then(|| arguments.to_owned())
        };
        text.lines().filter_map(of_command).collect()
    }

    /// The ids of all jobs that were ever submitted.
    #[must_use]
    pub fn jobs(&self) -> Vec<String> {
        node::all(&self.home)
            .into_iter()
            .map(|job| job.id)
            .collect()
    }

    /// How each job is, in the order of [`jobs`](Self::jobs): `PENDING`, `RUNNING` or its end.
    #[must_use]
    pub fn states(&self) -> Vec<String> {
        let jobs = node::all(&self.home).into_iter();
        jobs.map(|job| job.state).collect()
    }

    /// Says why a job that waits does so.
    pub fn waits_for(&self, id: &str, reason: &str) {
        node::wait_for(&self.home, id, reason);
    }

    /// The directory of the cluster: `home/` in it is the home directory on its node.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Holds a job of HTCondor's: its processes get SIGTERM. A person's hold has the `code` 1.
    pub fn hold(&self, id: &str, reason: &str, code: u32) {
        node::set_hold_code(&self.home, id, code);
        node::end(&self.home, id, htcondor::TERM, node::HELD, reason);
    }

    /// Puts an end to a job from outside: its processes get `signal`, and `state` and `reason` are
    /// what the cluster says of it from then on.
    pub fn end_job(&self, id: &str, signal: i32, state: &str, reason: &str) {
        node::end(&self.home, id, signal, state, reason);
    }
}

/// A rule, and how many calls have matched it.
#[derive(Debug, Serialize, Deserialize)]
struct Counted {
    rule: Rule,
    calls: usize,
}

fn rules(home: &Path) -> Vec<Counted> {
    let text = fs::read(home.join("rules.json"));
    text.map(|text| serde_json::from_slice(&text).unwrap())
        .unwrap_or_default()
}

/// Writes the whole of `value`, so that nobody reads half of it.
fn write(path: &Path, value: &impl Serialize) {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(value).unwrap()).unwrap();
    fs::rename(new, path).unwrap();
}

/// Held while a command or a node reads and changes the cluster.
fn lock(home: &Path) -> File {
    let file = File::create(home.join("lock")).unwrap();
    file.lock().unwrap();
    file
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}

/// What the cluster does and prints: standard output, standard error, exit code.
#[derive(Debug, Default)]
struct Answer {
    stdout: String,
    stderr: String,
    code: i32,
}

impl Answer {
    fn print(stdout: impl Into<String>) -> Self {
        Self {
            stdout: stdout.into(),
            ..Self::default()
        }
    }

    fn refuse(stderr: impl Into<String>) -> Self {
        Self {
            stderr: stderr.into(),
            code: 1,
            ..Self::default()
        }
    }
}

/// The whole of the binary `fake_cluster`: plays the command it was called as, and returns the exit
/// code.
///
/// # Panics
/// If it is not called as a command of a cluster.
#[must_use]
pub fn play(arguments: &[String]) -> i32 {
    let home = PathBuf::from(std::env::var_os(HOME).expect("a fake cluster"));
    if let [_, word, id] = arguments
        && word == node::WORD
    {
        node::run(&home, id);
        return 0;
    }
    let command = Path::new(&arguments[0]).file_name().unwrap();
    let command = command.to_str().unwrap();
    let arguments = &arguments[1..];
    let answer = answer(&home, command, arguments);
    print!("{}", answer.stdout);
    eprint!("{}", answer.stderr);
    answer.code
}

fn answer(home: &Path, command: &str, arguments: &[String]) -> Answer {
    let _locked = lock(home);
    let line = arguments.join(" ").replace('\n', " ");
    let log = File::options()
        .append(true)
        .create(true)
        .open(home.join("calls"));
    writeln!(log.unwrap(), "{command} {line}").unwrap();
    let act = || match command.starts_with("condor_") {
        true => htcondor::act(home, command, arguments),
        false => slurm::act(home, command, arguments),
    };
    let Some(rule) = matching(home, command, &line) else {
        return act();
    };
    if rule.acts {
        act();
    }
    Answer {
        stdout: rule.stdout,
        stderr: rule.stderr,
        code: rule.code,
    }
}

/// The first rule that answers this call.
fn matching(home: &Path, command: &str, line: &str) -> Option<Rule> {
    let mut rules = rules(home);
    let mut found = None;
    for counted in &mut rules {
        let rule = &counted.rule;
        let matches = rule.command == command
            && line.contains(&rule.arguments)
            && (!rule.only_arrays || slurm::is_array(line));
        if found.is_some() || !matches {
            continue;
        }
        let (first, last) = (rule.skip, rule.skip.saturating_add(rule.times));
        if (first..last).contains(&counted.calls) {
            found = Some(rule.clone());
        }
        counted.calls += 1;
    }
    write(&home.join("rules.json"), &rules);
    found
}
