//! The options of the HTCondor backend, and a check for values that no pool takes.

use std::num::NonZeroU8;
use std::path::PathBuf;
use std::time::Duration;

use super::attributes;
use crate::InvalidOption;

/// The options of [`Htcondor::open`](super::Htcondor::open). All but the first have a default.
///
/// ```
/// use cu_scheduler::htcondor::{HtcondorOptions, Resume};
///
/// let mut options = HtcondorOptions::new("results/digits/backend/htcondor");
/// options.label = "digits".into();
/// options.resume = Resume::Requeue;
/// assert_eq!(options.check(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HtcondorOptions {
    /// The directory of the event log, the submit descriptions and the tickets. It is made if it is
    /// missing. The access point and the machines that run jobs must see it under the same path, so on
    /// most pools it can't be below `/tmp`.
    pub state_dir: PathBuf,
    /// The directory in which HTCondor starts jobs: `state_dir` if `None`. A job in a container sees
    /// nothing of the machine but this and its scratch directory, unless the pool shows it more
    /// (`SINGULARITY_BIND_EXPR`). So for containers it should hold `state_dir` and the jobs' directories.
    pub initial_dir: Option<PathBuf>,
    /// The name of the run for people: the batch name in `condor_q`. Empty for none.
    pub label: String,
    /// How an attempt follows another.
    pub resume: Resume,
    /// The exit code with which a command asks to be run again: 3 unless set. [`Resume::Requeue`]
    /// and [`Resume::Checkpoint`] tell HTCondor.
    pub resume_exit_code: NonZeroU8,
    /// The time from SIGTERM to SIGKILL: HTCondor's `job_max_vacate_time`. A machine may allow less
    /// (`MachineMaxVacateTime`, 10 minutes as a rule). 30 s unless set. Like all durations here it
    /// is rounded up to whole seconds.
    pub grace: Duration,
    /// The container or machine in which a job runs.
    pub universe: Universe,
    /// Whether a job gets the environment of this process.
    pub environment: Environment,
    /// Put before each command, each as one argument: `["unshare", "--net"]`. The first is an
    /// absolute path or found in the job's `PATH`.
    pub wrapper: Vec<String>,
    /// Disk space in the scratch directory in bytes; HTCondor's guess if `None`.
    pub request_disk: Option<u64>,
    /// The least memory of each GPU in bytes.
    pub gpu_memory: Option<u64>,
    /// The abilities that GPUs must have: `7.5` for at least that CUDA capability, an operator and
    /// a number (`<8.0`), or an expression on a GPU's properties for `require_gpus`.
    pub cuda_requirement: Option<String>,
    /// Limits that the pool counts, each as `NAME` or `NAME:COUNT`.
    pub concurrency_limits: Vec<String>,
    /// The group whose share is used.
    pub accounting_group: Option<String>,
    /// The user in whose name it is used.
    pub accounting_group_user: Option<String>,
    /// An expression on a machine; a greater value is preferred.
    pub rank: Option<String>,
    /// An expression on a machine that must be true.
    pub requirements: Option<String>,
    /// An expression on a job in the queue: one of which it is true is removed, whatever it does.
    pub periodic_remove: Option<String>,
    /// Only these machines, by full or short name; all if empty.
    pub hosts: Vec<String>,
    /// None of these machines.
    pub exclude_hosts: Vec<String>,
    /// The time limit of submissions that have none of their own. HTCondor counts it from the start, and
    /// with [`Resume::Checkpoint`] over all attempts in one slot.
    pub allowed_job_duration: Option<Duration>,
    /// The bid for a job, where a pool has that: the first argument of `submit_command`.
    pub bid: Option<u32>,
    /// The command that submits, and arguments that go before all others: `condor_submit` if
    /// empty, or `condor_submit_bid` with a `bid`.
    pub submit_command: Vec<String>,
    /// How held jobs are treated.
    pub holds: HoldPolicy,
    /// Lines `key = value` for the submit description.
    pub extra: Vec<String>,
    /// How often the queue is asked, beside the event log: 30 s unless set.
    pub poll: Duration,
    /// The directory of HTCondor's commands; `PATH` is searched if `None`.
    pub commands: Option<PathBuf>,
    /// The access point that has the jobs, as `condor_status -schedd` names it: the commands ask it by
    /// `-name`. The one that they speak to by themselves if `None`.
    pub access_point: Option<String>,
}

/// How an attempt follows another.
///
/// Measured on a pool of one machine that negotiates every second or two, from the start of an
/// attempt that ends at once to the start of the next, medians of 11:
///
/// | | cycle | id | slot, scratch directory | others run in between |
/// | --- | --- | --- | --- | --- |
/// | `Submit` | 1.6 s | new | new | yes |
/// | `Requeue` | 1.9 s | stays | new | yes |
/// | `Checkpoint` | 0.3 s, or up to 1.3 s if only the backend reports the end | stays | stay | no |
///
/// With HTCondor's own interval between negotiations, 60 s, the first two take up to a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// A new submission for each attempt: others get their turn in between, and every pool can do
    /// it. The choice unless there is a reason for another.
    #[default]
    Submit,
    /// The same cluster job goes on. It keeps its id and its place among the user's own jobs, and
    /// others get their turn in between. For pools that count submissions, and for people who
    /// follow one id.
    Requeue,
    /// The same cluster job goes on in the same slot, without waiting and without letting anybody
    /// else in: for short attempts, and for what is expensive to set up on a machine. When the
    /// restarts in one slot are used up, or more than half of the time limit, or when nothing is
    /// resubmitted in time, the slot is given up, and the next attempt is a [`Resume::Requeue`].
    Checkpoint {
        /// How many times it goes on in one slot; as often as it likes if `None`.
        max_restarts: Option<u32>,
        /// How long the slot is kept for the next attempt.
        wait: Duration,
    },
}

/// The container or machine in which a job runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Universe {
    /// On the machine as it is.
    #[default]
    Vanilla,
    /// In a container of whichever kind the machine has.
    Container {
        /// A file, an unpacked directory, or `docker://NAME`.
        image: String,
    },
    /// In a Docker container.
    Docker {
        /// The image's name.
        image: String,
    },
}

/// Whether a job gets the environment of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// All of it (`getenv = True`).
    #[default]
    Inherit,
    /// Nothing but what HTCondor and the submission set, and a `PATH` of the system's directories.
    Clean,
}

/// How held jobs are treated. A hold whose code says how the job ended (over its memory, over its time,
/// never started) is reported as that end, and the held job is removed, unless these two lists say
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldPolicy {
    /// Codes that wait for a person, whatever they mean.
    pub keep: Vec<i32>,
    /// Further codes that end the job, with an unknown cause.
    pub end: Vec<i32>,
}

impl HtcondorOptions {
    /// The defaults, with the state in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            ..Self::default()
        }
    }

    /// Checks for values that no pool takes.
    ///
    /// # Errors
    /// The first option that is wrong, and why.
    pub fn check(&self) -> Result<(), InvalidOption> {
        let require = |holds: bool, option: &'static str, reason: &str| {
            let reason = reason.to_owned();
            holds.then_some(()).ok_or(InvalidOption { option, reason })
        };
        require(
            self.allowed_job_duration != Some(Duration::ZERO),
            "allowed_job_duration",
            "must be longer than 0 s",
        )?;
        if self.resume != Resume::Submit {
            require(
                self.resume_exit_code.get() != super::script::SLOT_GIVEN_UP,
                "resume_exit_code",
                "254 is taken: it is how a job gives up its slot",
            )?;
        }
        require(!self.poll.is_zero(), "poll", "must be longer than 0 s")?;
        for (option, text) in self.lines() {
            let clean = !text.trim().is_empty() && !text.contains(['\n', '\r', '\0']);
            require(clean, option, "one line of text is expected")?;
        }
        if let Universe::Container { image } | Universe::Docker { image } = &self.universe {
            let plain = !image.contains("$$");
            require(
                plain,
                "universe",
                "HTCondor can't be given an image with two dollar signs in its name",
            )?;
        }
        for (option, text) in self.names() {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
            let plain = !text.is_empty() && text.bytes().all(plain);
            require(
                plain,
                option,
                "letters, digits, `.`, `_` and `-` are expected",
            )?;
        }
        let limit = "`NAME` or `NAME:COUNT` is expected, of letters, digits, `.` and `_`";
        for text in &self.concurrency_limits {
            require(is_limit(text), "concurrency_limits", limit)?;
        }
        if self.wrapper.iter().any(|argument| argument.contains('\0')) {
            require(false, "wrapper", "an argument contains a zero byte")?;
        }
        for line in &self.extra {
            check_extra(line).map_err(|reason| InvalidOption {
                option: "extra",
                reason,
            })?;
        }
        Ok(())
    }

    /// Options that go into the description as one line of free text.
    fn lines(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let image = match &self.universe {
            Universe::Vanilla => None,
            Universe::Container { image } | Universe::Docker { image } => Some(image),
        };
        let single = [
            ("universe", image),
            ("cuda_requirement", self.cuda_requirement.as_ref()),
            ("rank", self.rank.as_ref()),
            ("requirements", self.requirements.as_ref()),
            ("periodic_remove", self.periodic_remove.as_ref()),
        ];
        single
            .into_iter()
            .filter_map(|(option, text)| Some((option, text?)))
    }

    /// Options that go into the description or a command line as a word.
    fn names(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let groups = [
            ("accounting_group", &self.accounting_group),
            ("accounting_group_user", &self.accounting_group_user),
            ("access_point", &self.access_point),
        ];
        let groups = groups
            .into_iter()
            .filter_map(|(option, text)| Some((option, text.as_ref()?)));
        let hosts = self.hosts.iter().map(|host| ("hosts", host));
        let excluded = self.exclude_hosts.iter();
        groups
            .chain(hosts)
            .chain(excluded.map(|host| ("exclude_hosts", host)))
    }
}

/// Keys that are ours, and what to set instead.
const OURS: [(&str, &str); 23] = [
    ("executable", "the command of the run"),
    ("arguments", "the command of the run"),
    ("queue", "the jobs of the run"),
    ("log", "nothing: the backend reads it"),
    ("log_xml", "nothing: the backend reads the log"),
    ("output", "nothing: it goes to `stdout` of each attempt"),
    ("error", "nothing: it goes to `stderr` of each attempt"),
    ("initialdir", "the working directory of the run"),
    ("universe", "`universe`"),
    ("requirements", "`requirements`"),
    ("rank", "`rank`"),
    ("request_cpus", "the job's CPUs"),
    ("request_gpus", "the job's GPUs"),
    ("request_memory", "the job's memory"),
    ("getenv", "`environment`"),
    ("kill_sig", "the warning signal of the job"),
    ("job_max_vacate_time", "`grace`"),
    ("on_exit_remove", "`resume`"),
    ("on_exit_hold", "`resume`"),
    ("periodic_remove", "`periodic_remove`"),
    ("checkpoint_exit_code", "`resume`"),
    (
        "should_transfer_files",
        "nothing: files are not transferred",
    ),
    ("submit_event_notes", "nothing: it names the attempt"),
];

/// Why a line of `extra` can't stand in a description.
pub(super) fn check_extra(line: &str) -> Result<(), String> {
    let Some((key, _)) = line.split_once('=') else {
        return Err(format!("`{line}` is not of the form `key = value`"));
    };
    let key = key.trim();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+".contains(&byte);
    if key.is_empty() || !key.bytes().all(word) {
        return Err(format!("`{key}` is not the name of a submit command"));
    }
    if line.contains(['\n', '\r', '\0']) || line.trim_end().ends_with('\\') {
        return Err(format!("`{key}` has more than one line"));
    }
    let bare = key
        .trim_start_matches('+')
        .trim_start_matches("My.")
        .trim_start_matches("MY.");
    for attribute in attributes::ALL {
        if bare.eq_ignore_ascii_case(attribute) {
            return Err(format!(
                "`{key}` is set by the backend, which finds its jobs by it"
            ));
        }
    }
    match OURS.iter().find(|(ours, _)| ours.eq_ignore_ascii_case(key)) {
        Some((_, instead)) => Err(format!("`{key}` is set by the backend; set {instead}")),
        None => Ok(()),
    }
}

/// `duration` in HTCondor's seconds, rounded up, 1 at least.
pub(super) fn seconds(duration: Duration) -> u128 {
    duration.as_millis().div_ceil(1000).max(1)
}

fn is_limit(text: &str) -> bool {
    let (name, count) = text.split_once(':').unwrap_or((text, "1"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_';
    !name.is_empty()
        && name.bytes().all(plain)
        && count
            .parse()
            .is_ok_and(|count: f64| count.is_finite() && count > 0.0)
}

impl Default for HtcondorOptions {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::new(),
            initial_dir: None,
            label: String::new(),
            resume: Resume::default(),
            resume_exit_code: const { NonZeroU8::new(3).unwrap() },
            grace: Duration::from_secs(30),
            universe: Universe::default(),
            environment: Environment::default(),
            wrapper: Vec::new(),
            request_disk: None,
            gpu_memory: None,
            cuda_requirement: None,
            concurrency_limits: Vec::new(),
            accounting_group: None,
            accounting_group_user: None,
            rank: None,
            requirements: None,
            periodic_remove: None,
            hosts: Vec::new(),
            exclude_hosts: Vec::new(),
            allowed_job_duration: None,
            bid: None,
            submit_command: Vec::new(),
            holds: HoldPolicy::default(),
            extra: Vec::new(),
            poll: Duration::from_secs(30),
            commands: None,
            access_point: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(&mut HtcondorOptions)) -> Option<&'static str> {
        let mut options = HtcondorOptions::new("/state");
        change(&mut options);
        options.check().err().map(|error| error.option)
    }

    #[test]
    fn each_wrong_option_is_named() {
        assert_eq!(fault(|_| ()), None);
        let no_time = fault(|it| it.allowed_job_duration = Some(Duration::ZERO));
        assert_eq!(no_time, Some("allowed_job_duration"));
        assert_eq!(fault(|it| it.rank = Some("a\nb".into())), Some("rank"));
        let host = fault(|it| it.hosts = vec!["a\" || true".into()]);
        assert_eq!(host, Some("hosts"));
        for limits in ["a b", "a:", "a:-1", "a:nan", ":2", ""] {
            let named = fault(|it| it.concurrency_limits = vec![limits.into()]);
            assert_eq!(named, Some("concurrency_limits"), "{limits}");
        }
        assert_eq!(
            fault(|it| it.concurrency_limits = vec!["a.b:2".into()]),
            None
        );
        let resume = |it: &mut HtcondorOptions| {
            it.resume = Resume::Requeue;
            it.resume_exit_code = NonZeroU8::new(super::super::script::SLOT_GIVEN_UP).unwrap();
        };
        assert_eq!(fault(resume), Some("resume_exit_code"));
    }
}
