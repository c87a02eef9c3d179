//! What a person can set for Slurm, and what of it can't be right on any cluster.

use std::path::PathBuf;
use std::time::Duration;

use crate::InvalidOption;

/// What [`Slurm::open`](super::Slurm::open) needs to know, and what holds for all submissions alike.
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
pub struct SlurmOptions {
    /// Where is remembered what was handed over. Made if it is missing. The nodes must see it under
    /// the same path.
    pub state_dir: PathBuf,
    /// What people see first in a job's name: the name of the run. Letters, digits, `.`, `_` and
    /// `-`; all else becomes `_`.
    pub label: String,
    /// The partition, or several with commas between. If it, or one of the four below, is `None`, it
    /// is as for any sbatch: what `SBATCH_PARTITION` says, or else the cluster's default.
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
    /// Nodes that must all be part of a job. Seldom what is wanted: see `constraint`.
    pub hosts: Vec<String>,
    /// The most submissions that become one job array: none are made with 0 or 1. Never more than
    /// the cluster takes (`MaxArraySize`, `max_array_tasks`).
    pub array: u32,
    /// How many tasks of one array run at once; no such limit if `None`.
    pub array_throttle: Option<u32>,
    /// How a job is continued.
    pub resume: Resume,
    /// The container in which commands run.
    pub container: Option<Container>,
    /// Modules to load, in this order: `cuda/12.4`.
    pub modules: Vec<String>,
    /// A script that is sourced before the command starts: `venv/bin/activate`, or one that
    /// activates a conda environment. An absolute path.
    pub activate: Option<PathBuf>,
    /// Which variables a command finds beside those of its submission.
    pub environment: Environment,
    /// A command prefix that ends by executing its arguments: `srun`, `unshare --net`. What does
    /// not execute them must pass signals on.
    pub wrapper: Vec<String>,
    /// More options of sbatch, each with its value: `--mail-type=FAIL`. They come last.
    pub extra: Vec<String>,
    /// How often Slurm is asked when nothing is expected: 30 s unless set. Administrators ask for 30
    /// or more; just after a submission it is asked up to 15 times as often.
    pub poll: Option<Duration>,
    /// How long a command may take after SIGTERM. Slurm itself decides: this is what
    /// [`Slurm::examine`](super::Slurm::examine) compares its `KillWait` with.
    pub grace: Option<Duration>,
    /// The directory that holds `sbatch`, `squeue`, `sacct`, `scancel`, `scontrol`; those of `PATH` if
    /// `None`.
    pub commands: Option<PathBuf>,
}

/// How a job is continued when it is handed in with a previous one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Resume {
    /// By a new Slurm job. It may start at once.
    #[default]
    Submit,
    /// By `scontrol requeue` of the same Slurm job: it keeps its id, and its age where priorities
    /// count that. Slurm starts it two minutes later at the earliest (`cred_expire` in `AuthInfo`),
    /// and may requeue it by itself after a preemption or the loss of a node. A job that Slurm has
    /// forgotten (`MinJobAge` after its end) is submitted anew. When somebody else requeues it, that
    /// is told as a preemption is, by [`Observation::restarts`](crate::Observation::restarts) alone:
    /// the controller makes no difference, and accounting, which does, is not asked.
    Requeue,
}

/// Which variables a command finds beside those of its submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Environment {
    /// Those of the process that submits, as sbatch does by itself.
    #[default]
    Inherit,
    /// Those of a fresh login on the node.
    Clean,
}

/// The container in which commands run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The image, as the container's command takes it.
    pub image: String,
    /// What runs a command in it: `apptainer exec`, `singularity exec`.
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

    /// The same, with what a person has set for all that they submit (`SBATCH_PARTITION`, …) where
    /// it is left open here. `variable` is the environment.
    pub(super) fn or_as_for_sbatch(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
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

    /// Finds what can't be right on any cluster.
    ///
    /// # Errors
    /// The first option that is wrong, and why.
    pub fn check(&self) -> Result<(), InvalidOption> {
        let words = [
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
                return invalid(option, "0 is none; leave it out for the default");
            }
        }
        if self.array_throttle == Some(0) {
            return invalid(
                "array_throttle",
                "0 would let none run; leave it out for no limit",
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
            let reason = format!("{} is no absolute path", script.display());
            return invalid("activate", reason);
        }
        if let Some(container) = &self.container {
            if container.command.first().is_none_or(String::is_empty) {
                return invalid("container", "there is no command that runs the image");
            }
            if container.image.is_empty() || container.image.starts_with('-') {
                return invalid("container", format!("`{}` is no image", container.image));
            }
        }
        if self.wrapper.first().is_some_and(String::is_empty) {
            return invalid("wrapper", "its first word is empty");
        }
        for option in &self.extra {
            check_extra(option)?;
        }
        match self.poll {
            Some(poll) if poll.is_zero() => invalid("poll", "it must be longer than 0 s"),
            _ => Ok(()),
        }
    }
}

/// What we set ourselves, and would be lost or broken by a second word on it.
const OURS: [&str; 25] = [
    "array",
    "a",
    "chdir",
    "D",
    "clusters",
    "M",
    "comment",
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

/// What has an option of its own, long and short, and where: time limits are compared and deadlines
/// told by it.
const REASONED_ABOUT: [(&str, &str, &str); 3] = [
    ("partition", "p", "`partition`"),
    ("qos", "q", "`qos`"),
    ("time", "t", "the time limit of the resources"),
];

fn check_extra(option: &str) -> Result<(), InvalidOption> {
    let name = match option.strip_prefix("--") {
        Some(long) => long.split('=').next().unwrap_or_default(),
        None => match option.strip_prefix('-').and_then(|short| short.get(..1)) {
            Some(letter) => letter,
            None => {
                let reason = format!("`{option}` is no option; write --name or --name=value");
                return invalid("extra", reason);
            }
        },
    };
    if let Some((_, _, instead)) = REASONED_ABOUT
        .iter()
        .find(|(long, short, _)| [long, short].contains(&&name))
    {
        return invalid(
            "extra",
            format!("`{option}` has its own place: set {instead}"),
        );
    }
    if OURS.contains(&name) {
        let reason = format!("`{option}` is set by the backend itself");
        return invalid("extra", reason);
    }
    if option
        .chars()
        .any(|letter| letter.is_control() || letter == '\\')
    {
        return invalid(
            "extra",
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
        return invalid(option, format!("{value:?} can't be one"));
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
