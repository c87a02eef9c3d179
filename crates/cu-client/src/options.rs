//! Options for initialising a job.

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use cu_checkpoint::Checkpoints;
use serde::de::DeserializeOwned;

use crate::environment::Environment;
use crate::link::Link;
use crate::settings::Source;
use crate::should_exit::ShouldExit;
use crate::signals::Signals;
use crate::{Error, Job, Result, Settings, failure};

/// Changes the defaults of [`Job::initialize`].
///
/// ```
/// # let scratch = tempfile::tempdir()?;
/// # let directory = scratch.path();
/// use cu_client::Options;
///
/// let job = Options::<cu_client::Settings>::new()
///     .output_dir(directory)
///     .leave_signals_alone()
///     .initialize()?;
/// assert_eq!(job.output_dir(), directory);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `initialize`"]
pub struct Options<S = Settings> {
    settings_file: Option<PathBuf>,
    output_dir: Option<PathBuf>,
    keep_checkpoints: Option<NonZeroUsize>,
    note_signals: bool,
    report_panics: bool,
    settings: PhantomData<fn() -> S>,
}

impl<S> Default for Options<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Options<S> {
    /// The defaults of [`Job::initialize`].
    pub fn new() -> Self {
        Self {
            settings_file: None,
            output_dir: None,
            keep_checkpoints: None,
            note_signals: true,
            report_panics: true,
            settings: PhantomData,
        }
    }

    /// Reads the settings from this file, unless a supervisor names another.
    pub fn settings_file(self, path: impl AsRef<Path>) -> Self {
        Self {
            settings_file: Some(path.as_ref().to_owned()),
            ..self
        }
    }

    /// Uses this output directory, unless a supervisor names another. It is created if it does not
    /// exist.
    pub fn output_dir(self, path: impl AsRef<Path>) -> Self {
        Self {
            output_dir: Some(path.as_ref().to_owned()),
            ..self
        }
    }

    /// Keeps the newest `count` checkpoints instead of 2.
    pub fn keep_checkpoints(self, count: NonZeroUsize) -> Self {
        Self {
            keep_checkpoints: Some(count),
            ..self
        }
    }

    /// Installs no signal handlers: signals don't make [`Job::should_exit`] return true.
    pub fn leave_signals_alone(self) -> Self {
        Self {
            note_signals: false,
            ..self
        }
    }

    /// Installs no panic hook: panics are not reported.
    pub fn leave_panics_alone(self) -> Self {
        Self {
            report_panics: false,
            ..self
        }
    }

    /// Initialises the job.
    ///
    /// # Errors
    /// Those of [`Job::initialize`].
    pub fn initialize(self) -> Result<Job<S>>
    where
        S: DeserializeOwned,
    {
        self.initialize_in(Environment::of_this_process()?)
    }

    pub(crate) fn initialize_in(self, environment: Environment) -> Result<Job<S>>
    where
        S: DeserializeOwned,
    {
        let settings_file = environment
            .settings
            .clone()
            .or(self.settings_file)
            .or_else(settings_argument);
        let source = match settings_file {
            Some(file) => Source::read(&file)?,
            None => Source::nothing(
                "CU_SETTINGS is not set, and the first argument does not end in .json",
            ),
        };
        let output_dir = environment
            .output_dir
            .clone()
            .or(self.output_dir)
            .unwrap_or_else(|| PathBuf::from("."));
        std::fs::create_dir_all(&output_dir)
            .map_err(Error::file("create the directory", &output_dir))?;
        let mut checkpoints =
            Checkpoints::open(output_dir.join("checkpoints"))?.for_attempt(environment.attempt.0);
        if let Some(count) = self.keep_checkpoints {
            checkpoints = checkpoints.keep_last(count);
        }
        let signals = if self.note_signals {
            Signals::noted(environment.socket.is_none())
                .map_err(|source| Error::Signals { source })?
        } else {
            Signals::default()
        };
        if environment.socket.is_none() {
            eprintln!(
                "cu-client: no supervisor (CU_SOCKET is not set): settings come from {source}, \
                 results go to {}, and are sent nowhere",
                output_dir.display()
            );
        }
        if self.report_panics {
            failure::remember_panics(environment.socket.clone());
        }
        Ok(Job {
            settings: source.parse()?,
            source,
            output_dir,
            checkpoints,
            link: Link::to(environment.socket.clone()),
            question: ShouldExit::new(environment.deadline, environment.stop_file.clone(), signals),
            progress: Default::default(),
            report_panics: self.report_panics,
            environment,
        })
    }
}

/// The first argument of the program, if it looks like a settings file.
fn settings_argument() -> Option<PathBuf> {
    let argument = PathBuf::from(std::env::args_os().nth(1)?);
    (argument.extension() == Some(OsStr::new("json"))).then_some(argument)
}
