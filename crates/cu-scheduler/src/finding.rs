//! What an examination of a cluster found, and what is wrong with an option.

use std::fmt;

/// One thing about a cluster that a person should know before relying on it.
///
/// It names settings of the cluster and options of the backend, never keys of a program that uses this
/// crate: such a program recognises a finding by its [`Subject`] and says what to do in its own terms.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The part of the cluster that it is about.
    pub subject: Subject,
    /// How bad it is.
    pub level: Level,
    /// The fact, with its numbers, and what it leads to.
    pub text: String,
    /// What to do about it, if something can be done.
    pub advice: Option<Advice>,
}

/// How bad a [`Finding`] is; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Jobs may be lost, late or reported wrongly.
    Warning,
    /// Jobs will not run.
    Problem,
}

/// The part of a cluster that a [`Finding`] is about. `Display` names it in a word or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// Whether the scheduler answers, and where commands run.
    Scheduler,
    /// The version of the scheduler.
    Version,
    /// The scheduler's clock, against ours.
    Clock,
    /// The record of jobs that have ended.
    Accounting,
    /// How long ended jobs are known.
    EndedJobs,
    /// The time from SIGTERM to SIGKILL.
    GraceTime,
    /// Limits on how many jobs there may be, and on their time.
    Limits,
    /// How a time limit is kept.
    TimeLimit,
    /// Job arrays.
    Arrays,
    /// Whether all processes of a job end with it.
    Processes,
    /// Exit codes after which the scheduler starts a job again by itself.
    ExitCodes,
    /// Whether submissions share allocations.
    Allocations,
    /// How a job is put back in the queue.
    Resume,
    /// How long a job waits for its start.
    Start,
    /// The partition that is chosen.
    Partition,
    /// Whether limits of partitions are enforced.
    PartitionLimits,
    /// Whether jobs have to give way to others.
    Preemption,
    /// Nodes, machines, slots.
    Nodes,
    /// The file system that machines share.
    SharedDirectory,
    /// The directory in which the backend keeps its state.
    StateDirectory,
    /// The user in whose name jobs run.
    User,
    /// Containers.
    Containers,
    /// Main memory.
    Memory,
    /// The scheduler's log of events.
    EventLog,
    /// The variables that jobs take over.
    Environment,
}

/// What to do about a [`Finding`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Something that is done elsewhere, as an order.
    Do(String),
    /// Set an option of the backend.
    Set {
        /// The name of the field.
        option: &'static str,
        /// A value, or what a value must be like.
        to: String,
    },
}

impl Finding {
    /// A finding without advice.
    pub fn new(subject: Subject, level: Level, text: impl Into<String>) -> Self {
        Self {
            subject,
            level,
            text: text.into(),
            advice: None,
        }
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn advise(mut self, order: impl Into<String>) -> Self {
        self.advice = Some(Advice::Do(order.into()));
        self
    }

    /// The same, with the option to set.
    #[must_use]
    pub fn advise_option(mut self, option: &'static str, to: impl Into<String>) -> Self {
        let to = to.into();
        self.advice = Some(Advice::Set { option, to });
        self
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

impl Subject {
    /// Its name in a word or two.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Version => "version",
            Self::Clock => "clock",
            Self::Accounting => "accounting",
            Self::EndedJobs => "ended jobs",
            Self::GraceTime => "grace time",
            Self::Limits => "limits",
            Self::TimeLimit => "time limit",
            Self::Arrays => "arrays",
            Self::Processes => "processes",
            Self::ExitCodes => "exit codes",
            Self::Allocations => "allocations",
            Self::Resume => "resume",
            Self::Start => "start",
            Self::Partition => "partition",
            Self::PartitionLimits => "partition limits",
            Self::Preemption => "preemption",
            Self::Nodes => "nodes",
            Self::SharedDirectory => "shared directory",
            Self::StateDirectory => "state directory",
            Self::User => "user",
            Self::Containers => "containers",
            Self::Memory => "memory",
            Self::Environment => "environment",
            Self::EventLog => "event log",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Do(order) => out.write_str(order),
            Self::Set { option, to } => write!(out, "set `{option}` to {to}"),
        }
    }
}

/// An option of a backend that can't be right on any cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{option}`: {reason}")]
#[non_exhaustive]
pub struct InvalidOption {
    /// The name of the field.
    pub option: &'static str,
    /// What is wrong with its value, and what is expected.
    pub reason: String,
}

impl InvalidOption {
    /// An option by the name of its field, and what is wrong with its value.
    pub fn new(option: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { option, reason }
    }
}
