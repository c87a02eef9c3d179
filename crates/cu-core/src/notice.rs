//! What people should read while a run goes on.

use cu_protocol::{JobId, Stopped, Timestamp};

use crate::Limit;

/// Something that people should read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// When it was decided.
    pub at: Timestamp,
    /// The job that it is about; `None` if it is about the run.
    pub job: Option<JobId>,
    /// How much it matters.
    pub level: Level,
    /// A sentence, to follow "job 3: " if it is about a job. Several jobs may share it.
    pub text: String,
    /// The limit that decided it, if one did.
    pub limit: Option<Limit>,
}

/// The names of settings, which a program that embeds the loop gives. `main.log` has them.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// A sentence with the setting behind the limit that decided it.
    pub with_key: fn(&str, Option<Limit>) -> String,
    /// The settings that decided when and how a program was stopped; none is empty.
    pub of_stop: fn(&Stopped) -> String,
}

/// Names no settings.
impl Default for Names {
    fn default() -> Self {
        Self {
            with_key: |text, _| text.to_owned(),
            of_stop: |_| String::new(),
        }
    }
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Good to know.
    Info,
    /// Something went wrong, and the run goes on by itself.
    Warning,
    /// A job has failed.
    Error,
}

impl Notice {
    /// A notice about the run, or about `job`.
    #[must_use]
    pub fn new(at: Timestamp, job: Option<JobId>, level: Level, text: String) -> Self {
        Self {
            at,
            job,
            level,
            text,
            limit: None,
        }
    }
}

impl std::fmt::Display for Notice {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.job {
            Some(job) => write!(out, "job {job}: {}", self.text),
            None => out.write_str(&self.text),
        }
    }
}
