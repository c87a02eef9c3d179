//! The keys of a job: its settings, its metrics, and what `cu` knows of it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use cu_core::{AttemptReport, JobReport, Reader};
use cu_protocol::Timestamp;

use super::value::{Value, word};
use crate::config::nearest::nearest;

/// Stand before the names of settings and metrics.
const SETTINGS: &str = "settings.";
const METRICS: &str = "metrics.";

/// Declares the keys that every job has.
macro_rules! keys {
    ($($key:ident $name:literal $kind:ident $help:literal,)+) => {
        /// What can be known of a job.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Key {
            $(#[doc = $help] $key,)+
            /// A setting in which the jobs differ, by its dotted name.
            Setting(String),
            /// A metric.
            Metric(String),
        }

        impl Key {
            /// Those that every job has, in the order of a table.
            pub const ALL: &[Self] = &[$(Self::$key),+];

            /// Each with its name and what it is, for the help.
            pub const HELP: &[(&str, &str)] = &[$(($name, $help)),+];

            /// Its name in a table, a condition and a header.
            pub fn name(&self) -> String {
                match self {
                    $(Self::$key => $name.to_owned(),)+
                    Self::Setting(name) => format!("{SETTINGS}{name}"),
                    Self::Metric(name) => format!("{METRICS}{name}"),
                }
            }

            /// The kind of its values.
            pub(super) fn kind(&self) -> Kind {
                match self {
                    $(Self::$key => Kind::$kind,)+
                    Self::Setting(_) | Self::Metric(_) => Kind::Any,
                }
            }

            fn of_all_jobs(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$key),)+
                    _ => None,
                }
            }
        }
    };
}

/// What values of a key can be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    State,
    Number,
    Fraction,
    Time,
    Any,
}

keys! {
    Job "job" Number "its number",
    State "state" State "waiting, queued, running, completed, failed or cancelled",
    Attempts "attempts" Number "how many attempts were submitted",
    Done "done" Fraction "how much of it is done, from 0 to 1",
    RunTime "run_time" Time "how long its attempts have run, together",
    QueueTime "queue_time" Time "how long its attempts have waited to start, together",
    Submitted "submitted" Any "when its first attempt was submitted",
    Started "started" Any "when its first attempt started",
    Ended "ended" Any "when its last attempt ended",
    Host "host" Any "where its last attempt ran",
    ClusterJobId "cluster_job_id" Any "the scheduler's name for its last attempt",
    End "end" Any "how its last attempt ended",
    ExitCode "exit_code" Number "the exit code of its last attempt",
    Signal "signal" Number "the signal that killed its last attempt",
    Why "why" Any "why it waits, or why it ended",
    OutputDir "output_dir" Any "its output directory",
}

impl Key {
    /// Its value in a job.
    pub fn of(&self, job: &JobReport) -> Value {
        let text =
            |text: Option<&str>| text.map_or(Value::Missing, |it| Value::Text(it.to_owned()));
        let number =
            |number: Option<i32>| number.map_or(Value::Missing, |it| Value::Number(it.into()));
        let moment = |moment: Option<Timestamp>| moment.map_or(Value::Missing, Value::Moment);
        let (first, last) = (job.attempts.first(), job.attempts.last());
        match self {
            Self::Job => Value::Number(job.job.0.into()),
            Self::State => Value::Text(word(job.state)),
            Self::Attempts => Value::Number(job.attempts.len() as f64),
            Self::Done => job.fraction.map_or(Value::Missing, Value::Fraction),
            Self::RunTime => run_time(job).map_or(Value::Missing, Value::Time),
            Self::QueueTime => queue_time(job).map_or(Value::Missing, Value::Time),
            Self::Submitted => moment(first.map(|first| first.submitted)),
            Self::Started => moment(job.attempts.iter().find_map(|attempt| attempt.started)),
            Self::Ended => moment(last.and_then(|last| last.ended)),
            Self::Host => text(last.and_then(|last| last.host.as_deref())),
            Self::ClusterJobId => text(last.and_then(|last| last.cluster_job_id.as_deref())),
            Self::End => last
                .and_then(|last| last.end)
                .map_or(Value::Missing, |end| Value::Text(word(end))),
            Self::ExitCode => number(last.and_then(|last| last.exit_code)),
            Self::Signal => number(last.and_then(|last| last.signal)),
            Self::Why => text(Some(&job.why)),
            Self::OutputDir => Value::Text(job.output_dir.display().to_string()),
            Self::Setting(name) => job
                .parameters
                .get(name)
                .map_or(Value::Missing, Value::of_setting),
            Self::Metric(name) => job
                .metrics
                .get(name)
                .map_or(Value::Missing, Value::of_metric),
        }
    }
}

/// How long the attempts have run, the running one until now.
fn run_time(job: &JobReport) -> Option<Duration> {
    let ran = |attempt: &AttemptReport| {
        let until = attempt.ended.unwrap_or_else(now);
        Some(until.since(attempt.started?))
    };
    let ran = job.attempts.iter().filter_map(ran);
    ran.reduce(|sum, one| sum + one)
}

/// How long the attempts have waited between their submission and their start. One that waits is not
/// over.
fn queue_time(job: &JobReport) -> Option<Duration> {
    let waited = |attempt: &AttemptReport| {
        let until = attempt.started.or(attempt.ended).unwrap_or_else(now);
        until.since(attempt.submitted)
    };
    let waited = job.attempts.iter().map(waited);
    waited.reduce(|sum, one| sum + one)
}

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

/// The names of settings and metrics in a run.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Settings in which jobs differ.
    pub settings: BTreeSet<String>,
    /// Metrics that any job has.
    pub metrics: BTreeSet<String>,
}

impl Names {
    /// Those of all jobs of a run.
    pub fn of(jobs: &[JobReport]) -> Self {
        let mut names = Self::default();
        jobs.iter().for_each(|job| names.add(job));
        names
    }

    /// Those of all jobs of the run that `reader` reads.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of_run(reader: &Reader) -> cu_core::Result<Self> {
        let mut names = Self::default();
        reader.each_without_attempts(&mut |job| names.add(&job))?;
        Ok(names)
    }

    fn add(&mut self, job: &JobReport) {
        add(&mut self.settings, job.parameters.keys());
        add(&mut self.metrics, job.metrics.keys());
    }

    /// The key that a person means: by its full name, or by the last part of it if only one has that.
    ///
    /// # Errors
    /// In words: there is none, or there are several.
    pub fn find(&self, name: &str) -> Result<Key, String> {
        if let Some(key) = Key::of_all_jobs(name) {
            return Ok(key);
        }
        if let Some(setting) = name.strip_prefix(SETTINGS) {
            let known = self.settings.contains(setting);
            return match known {
                true => Ok(Key::Setting(setting.to_owned())),
                false => Err(format!(
                    "there is no setting `{setting}` in which the jobs differ{}",
                    self.similar(name)
                )),
            };
        }
        // A program may announce it later.
        if let Some(metric) = name.strip_prefix(METRICS) {
            return Ok(Key::Metric(metric.to_owned()));
        }
        match (self.settings.contains(name), self.metrics.contains(name)) {
            (true, false) => Ok(Key::Setting(name.to_owned())),
            (false, true) => Ok(Key::Metric(name.to_owned())),
            (true, true) => Err(format!(
                "`{name}` is a setting and a metric: write {SETTINGS}{name} or {METRICS}{name}"
            )),
            (false, false) => Err(format!("no job has a key `{name}`{}", self.similar(name))),
        }
    }

    /// Every key, in the order of a table: what a job is, what it was given, what it measured, the rest.
    pub fn all(&self) -> Vec<Key> {
        let (first, rest) = Key::ALL.split_at(2);
        let settings = self.settings.iter().cloned().map(Key::Setting);
        let metrics = self.metrics.iter().cloned().map(Key::Metric);
        let all = first.iter().cloned().chain(settings).chain(metrics);
        all.chain(rest.iter().cloned()).collect()
    }

    fn similar(&self, name: &str) -> String {
        let names: Vec<_> = self.all().iter().map(Key::name).collect();
        let similar = nearest(name, &names);
        similar.map_or_else(String::new, |similar| {
            format!("; did you mean `{similar}`?")
        })
    }
}

/// Adds names without copying those that are there.
fn add<'a>(names: &mut BTreeSet<String>, more: impl Iterator<Item = &'a String>) {
    for name in more {
        if !names.contains(name) {
            names.insert(name.clone());
        }
    }
}
