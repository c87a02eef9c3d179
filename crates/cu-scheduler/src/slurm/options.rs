//! The options of the Slurm backend, and a check for values that no cluster takes.

use std::path::PathBuf;
use std::time::Duration;

use crate::InvalidOption;

/// The options of [`Slurm::open`](super::Slurm::open). They hold for all submissions alike.
///
/// ```
/// use cu_scheduler::slurm::SlurmOptions;
///
/// let mut options = SlurmOptions::new("results/digits/backend/slurm");
/// options.partition = Some("gpu,gpu-long".into());
/// options.check()?;
/// # Ok::<(), cu_scheduler::InvalidOption>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlurmOptions {
    /// The directory in which the backend records its submissions. It is made if it is missing. The nodes
    /// must see it under the same path.
    pub state_dir: PathBuf,
    /// The first part of a job's name, for people: the name of the run. Characters other than letters,
    /// digits, `.`, `_` and `-` become `_`.
    pub label: String,
    /// The cluster, where several can be reached from one login. Default: the one that
    /// `SBATCH_CLUSTERS` or `SLURM_CLUSTERS` names, else the login's own.
    pub cluster: Option<String>,
    /// The partition, or several with commas between. Default: `SBATCH_PARTITION`, else the cluster's.
    /// Likewise the four below.
    pub partition: Option<String>,
    /// The account that is charged.
    pub account: Option<String>,
    /// The quality of service.
    pub qos: Option<String>,
    /// Features that nodes must have: `a100|h100`.
    pub constraint: Option<String>,
    /// A reservation.
    pub reservation: Option<String>,
    /// How many nodes a job spans; as many as its tasks need if `None`.
    pub nodes: Option<u32>,
    /// How many tasks `srun` starts in a job: 1 if `None`. `Resources::cpus` is per task.
    pub ntasks: Option<u32>,
    /// Generic resources per node: `gpu:a100:2,tmpdisk:50`. If it names a `gpu`, it takes the place
    /// of `Resources::gpus`.
    pub gres: Option<String>,
    /// Whether no other job may share the nodes.
    pub exclusive: bool,
    /// Nodes never to be used: `node[01-04]`.
    pub exclude_hosts: Vec<String>,
    /// Nodes that must all be part of a job. You rarely want this: see `constraint`.
    pub hosts: Vec<String>,
    /// The most submissions that become one job array; 0 or 1 make no arrays. The cluster's own limits
    /// hold too (`MaxArraySize`, `max_array_tasks`).
    pub array: u32,
    /// The most tasks of one array that run at once; any number if `None`.
    pub array_throttle: Option<u32>,
    /// How Slurm continues a job.
    pub resume: Resume,
    /// The container in which commands run.
    pub container: Option<Container>,
    /// Modules to load, in this order: `cuda/12.4`.
    pub modules: Vec<String>,
    /// A script that is sourced before the command starts: `venv/bin/activate`, or one that
    /// activates a conda environment. An absolute path.
    pub activate: Option<PathBuf>,
    /// Texts in the reasons of holds that end a job: `launch failed`. It is cancelled then, and reported as one
    /// that did not start. A job that is held for another reason waits for a person.
    pub hold_end: Vec<String>,
    /// The variables that a command finds beside those of its submission.
    pub environment: Environment,
    /// A command in front of each command, which ends by executing its arguments: `srun`, `unshare --net`.
    /// Otherwise it must pass signals on.
    pub wrapper: Vec<String>,
    /// More options of sbatch, each with its value: `--mail-type=FAIL`. They come last.
    pub extra: Vec<String>,
    /// What a person's own batch script asks for: its options, each with its value, take the place of
    /// processors, GPUs and memory of a submission and of `nodes`, `ntasks` and `gres`. sbatch's own
    /// defaults hold for the rest, and no variable `SBATCH_…` has any effect.
    pub sbatch: Option<Vec<String>>,
    /// Options of sbatch for the first attempt of a job alone: `--begin=22:00`.
    pub first_attempt: Vec<String>,
    /// Where the person looks for what commands print.
    pub output: Option<Output>,
    /// How often to ask Slurm when no change is expected: every 30 s unless set. Administrators ask for
    /// 30 s or more; just after a submission Slurm is asked up to 15 times as often.
    pub poll: Option<Duration>,
    /// How long a command may take after SIGTERM. Slurm itself decides this;
    /// [`examine`](crate::Examine::examine) compares its `KillWait` with it.
    pub grace: Option<Duration>,
    /// The directory that holds `sbatch`, `squeue`, `sacct`, `scancel`, `scontrol`; those of `PATH` if
    /// `None`.
    pub commands: Option<PathBuf>,
}

/// How Slurm continues a job that is handed in with a previous one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resume {
    /// By a new Slurm job. It may start at once.
    #[default]
    Submit,
    /// By `scontrol requeue` of the same Slurm job: it keeps its id, and its age where priorities
    /// count that. Slurm starts it two minutes later at the earliest (`cred_expire` in `AuthInfo`),
    /// and may requeue it by itself after a preemption or the loss of a node. A job that Slurm has
    /// forgotten (`MinJobAge` after its end) is submitted anew. If somebody else requeues it, only
    /// [`Observation::restarts`](crate::Observation::restarts) shows that, as after a preemption: the
    /// controller does not distinguish the two, and accounting, which does, is not asked.
    Requeue,
}

/// The variables that a command finds beside those of its submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Environment {
    /// Those of the process that submits, as sbatch does by itself.
    #[default]
    Inherit,
    /// Those of a fresh login on the node.
    Clean,
}

/// Files to which the supervisor copies what a command prints, beside the directory of its submission. Their
/// names are patterns of sbatch, relative to the working directory of a submission.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// Standard output: `logs/%x-%j.out`.
    pub stdout: Option<String>,
    /// Standard error; with standard output if `None`.
    pub stderr: Option<String>,
    /// Whether the first attempt of a job keeps what is in them already. Later ones always do.
    pub append: bool,
}

impl Output {
    /// A file for both that the first attempt empties.
    pub fn new(stdout: impl Into<String>) -> Self {
        Self {
            stdout: Some(stdout.into()),
            stderr: None,
            append: false,
        }
    }
}

/// The container in which commands run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// The image, as the container's command takes it.
    pub image: String,
    /// The command that runs another in it: `apptainer exec`, `singularity exec`.
    pub command: Vec<String>,
    /// Arguments between that and the image: `--nv`, `--bind /data`.
    pub arguments: Vec<String>,
}

impl Container {
    /// The image in Apptainer, without further arguments.
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            command: ["apptainer", "exec"].map(str::to_owned).to_vec(),
            arguments: Vec::new(),
        }
    }
}

impl SlurmOptions {
    /// The cluster's own defaults, arrays of up to 1,000 tasks, and the state in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            label: "cu".into(),
            array: 1000,
            ..Self::default()
        }
    }

    /// Fills in options that are left open from the variables that a person has set for sbatch
    /// (`SBATCH_PARTITION`, …). `variable` is the environment.
    pub(super) fn or_as_for_sbatch(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        // The variables are among the options of the script.
        if self.sbatch.is_some() {
            return self;
        }
        if self.cluster.is_none() {
            let names = ["SBATCH_CLUSTERS", "SLURM_CLUSTERS"];
            let set = |name| variable(name).filter(|value| !value.is_empty());
            self.cluster = names.into_iter().find_map(set);
        }
        let open = [
            (&mut self.account, "SBATCH_ACCOUNT"),
            (&mut self.partition, "SBATCH_PARTITION"),
            (&mut self.qos, "SBATCH_QOS"),
            (&mut self.reservation, "SBATCH_RESERVATION"),
            (&mut self.constraint, "SBATCH_CONSTRAINT"),
        ];
        for (option, name) in open {
            let set = || variable(name).filter(|value| !value.is_empty());
            *option = option.take().or_else(set);
        }
        self
    }

    /// Checks for values that no cluster takes.
    ///
    /// # Errors
    /// The first option that is wrong, and why.
    pub fn check(&self) -> Result<(), InvalidOption> {
        let words = [
            ("cluster", &self.cluster),
            ("partition", &self.partition),
            ("account", &self.account),
            ("qos", &self.qos),
            ("reservation", &self.reservation),
            ("gres", &self.gres),
        ];
        for (option, value) in words {
            if let Some(value) = value {
                plain(option, value, |byte| byte.is_ascii_graphic())?;
            }
        }
        if self
            .cluster
            .as_ref()
            .is_some_and(|name| name.contains(',') || name == "all")
        {
            let reason = "the jobs of a run must be on one cluster, and this names several";
            return invalid("cluster", reason);
        }
        if let Some(constraint) = &self.constraint {
            plain("constraint", constraint, |byte| {
                byte == b' ' || byte.is_ascii_graphic()
            })?;
        }
        for (option, hosts) in [
            ("hosts", &self.hosts),
            ("exclude_hosts", &self.exclude_hosts),
        ] {
            for host in hosts {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[],".contains(&byte);
                plain(option, host, allowed)?;
            }
        }
        for (option, count) in [("nodes", self.nodes), ("ntasks", self.ntasks)] {
            if count == Some(0) {
                return invalid(option, "must be at least 1; leave it out for the default");
            }
        }
        if self.array_throttle == Some(0) {
            return invalid(
                "array_throttle",
                "must be at least 1; leave it out for no limit",
            );
        }
        for module in &self.modules {
            plain("modules", module, |byte| {
                byte.is_ascii_graphic() && byte != b';'
            })?;
        }
        if let Some(script) = &self.activate
            && !script.is_absolute()
        {
            let reason = format!("{} is not an absolute path", script.display());
            return invalid("activate", reason);
        }
        if let Some(container) = &self.container {
            if container.command.first().is_none_or(String::is_empty) {
                return invalid("container", "the command that runs the image is missing");
            }
            if container.image.is_empty() || container.image.starts_with('-') {
                return invalid(
                    "container",
                    format!("`{}` is not the name of an image", container.image),
                );
            }
        }
        if self.hold_end.iter().any(|words| words.trim().is_empty()) {
            let reason =
                "an empty text is part of every reason; name a part of the reasons that you mean";
            return invalid("hold_end", reason);
        }
        self.check_wrapper()?;
        for option in &self.extra {
            check_extra("extra", option)?;
        }
        for option in self.sbatch.iter().flatten() {
            // No time limit of the resources is as long as these.
            let is_unlimited = UNLIMITED.contains(&option.as_str());
            let is_theirs = [EXPORT, CHDIR].iter().any(|it| option.starts_with(it));
            if !is_theirs && !is_unlimited {
                check_extra("sbatch", option)?;
            }
        }
        for option in &self.first_attempt {
            check_extra("first_attempt", option)?;
        }
        match self.poll {
            Some(poll) if poll.is_zero() => invalid("poll", "must be longer than 0 s"),
            _ => Ok(()),
        }
    }

    /// A launcher of parallel programs starts what is behind it once for each task: here that would
    /// be several supervisors for one attempt, of which one starts the program and the others end.
    fn check_wrapper(&self) -> Result<(), InvalidOption> {
        const LAUNCHERS: [&str; 5] = ["srun", "mpirun", "mpiexec", "orterun", "prun"];
        let Some(first) = self.wrapper.first() else {
            return Ok(());
        };
        if first.is_empty() {
            return invalid("wrapper", "its first word is empty");
        }
        let name = first.rsplit('/').next().unwrap_or_default();
        let tasks = self.ntasks.unwrap_or(1).max(self.nodes.unwrap_or(1));
        let words: Vec<&str> = self.wrapper.iter().map(String::as_str).collect();
        let starts_one = words.iter().any(|it| ["-n1", "--ntasks=1"].contains(it))
            || words
                .windows(2)
                .any(|it| it == ["-n", "1"] || it == ["--ntasks", "1"]);
        if LAUNCHERS.contains(&name) && tasks > 1 && !starts_one {
            let reason = format!(
                "`{name}` would start each attempt {tasks} times, once for each task or node; put \
                 it into the command instead: command = [\"{name}\", ...]"
            );
            return invalid("wrapper", reason);
        }
        Ok(())
    }
}

/// Options that the backend sets itself. A second value would break it.
const OURS: [&str; 22] = [
    "array",
    "a",
    "chdir",
    "D",
    "error",
    "e",
    "export",
    "help",
    "h",
    "job-name",
    "J",
    "no-requeue",
    "open-mode",
    "output",
    "o",
    "parsable",
    "requeue",
    "signal",
    "test-only",
    "wait",
    "W",
    "wrap",
];

/// Options of sbatch, long and short, with the option of ours to use instead: time limits and deadlines
/// are computed from it.
const REASONED_ABOUT: [(&str, &str, &str); 4] = [
    ("clusters", "M", "`cluster`"),
    ("partition", "p", "`partition`"),
    ("qos", "q", "`qos`"),
    ("time", "t", "the time limit of the resources"),
];

/// The comment among options of a person's, which a site may give a meaning.
pub(super) fn has_comment<'a>(mut options: impl Iterator<Item = &'a String>) -> bool {
    options.any(|option| option.starts_with("--comment"))
}

/// The variables that a job gets, among the options of a person's script.
pub(super) const EXPORT: &str = "--export=";

/// The directory in which a job starts, among these options.
pub(super) const CHDIR: &str = "--chdir=";

/// The time limits that are none.
pub(super) const UNLIMITED: [&str; 2] = ["--time=UNLIMITED", "--time=0"];

fn check_extra(field: &'static str, option: &str) -> Result<(), InvalidOption> {
    let name = match option.strip_prefix("--") {
        Some(long) => long.split('=').next().unwrap_or_default(),
        None => match option.strip_prefix('-').and_then(|short| short.get(..1)) {
            Some(letter) => letter,
            None => {
                let reason =
                    format!("`{option}` is not an option of sbatch; write --name or --name=value");
                return invalid(field, reason);
            }
        },
    };
    if let Some((_, _, instead)) = REASONED_ABOUT
        .iter()
        .find(|(long, short, _)| [long, short].contains(&&name))
    {
        return invalid(
            field,
            format!("`{option}` has an option of its own: set {instead}"),
        );
    }
    if OURS.contains(&name) {
        let reason = format!("`{option}` is set by the backend itself");
        return invalid(field, reason);
    }
    if option
        .chars()
        .any(|letter| letter.is_control() || letter == '\\')
    {
        return invalid(
            field,
            format!("{option:?} can't be written in a batch script"),
        );
    }
    Ok(())
}

fn plain(
    option: &'static str,
    value: &str,
    allowed: impl Fn(u8) -> bool,
) -> Result<(), InvalidOption> {
    let fine = |byte: u8| allowed(byte) && byte != b'"' && byte != b'\\';
    if value.is_empty() || value.starts_with('-') || !value.bytes().all(fine) {
        return invalid(
            option,
            format!("{value:?} contains a character that Slurm does not take here"),
        );
    }
    Ok(())
}

fn invalid(option: &'static str, reason: impl Into<String>) -> Result<(), InvalidOption> {
    let reason = reason.into();
    Err(InvalidOption { option, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(change: impl FnOnce(&mut SlurmOptions)) -> Option<&'static str> {
        let mut options = SlurmOptions::new("/state");
        change(&mut options);
        options.check().err().map(|error| error.option)
    }

    #[test]
    fn options_that_clusters_use_are_allowed() {
        let allowed = checked(|options| {
            options.partition = Some("gpu,gpu-long".into());
            options.constraint = Some("[rack1*2&rack2*4]|(a100 & nvlink)".into());
            options.gres = Some("gpu:a100:2,shard:3".into());
            options.exclude_hosts = vec!["node[01-04,7]".into(), "gpu-3.cluster".into()];
            options.container = Some(Container::new("/images/a b.sif"));
            options.modules = vec!["cuda/12.4".into()];
            options.activate = Some("/home/me/my venv/bin/activate".into());
            options.extra = vec!["--mail-type=FAIL".into(), "-L matlab:1".into()];
        });
        assert_eq!(allowed, None);
    }

    #[test]
    fn each_wrong_option_is_named() {
        type Change = fn(&mut SlurmOptions);
        let wrong: [(&str, Change); 11] = [
            ("partition", |it| it.partition = Some("a b".into())),
            ("account", |it| it.account = Some(String::new())),
            ("qos", |it| it.qos = Some("a\nb".into())),
            ("gres", |it| it.gres = Some("--x".into())),
            ("hosts", |it| it.hosts = vec!["n1;n2".into()]),
            ("nodes", |it| it.nodes = Some(0)),
            ("array_throttle", |it| it.array_throttle = Some(0)),
            ("activate", |it| it.activate = Some("venv".into())),
            ("container", |it| it.container = Some(Container::new(""))),
            ("extra", |it| it.extra = vec!["gpu".into()]),
            ("poll", |it| it.poll = Some(Duration::ZERO)),
        ];
        for (option, change) in wrong {
            assert_eq!(checked(change), Some(option));
        }
    }

    #[test]
    fn extra_options_can_not_override_our_own() {
        for extra in [
            "--output=x",
            "-o x",
            "-ox",
            "--requeue",
            "--array=1-3",
            "--wrap=x",
            "--partition=x",
            "-px",
            "--qos=x",
            "--time=5",
        ] {
            assert_eq!(
                checked(|it| it.extra = vec![extra.into()]),
                Some("extra"),
                "{extra}"
            );
        }
        assert_eq!(checked(|it| it.extra = vec!["--nice=5".into()]), None);
    }
}
