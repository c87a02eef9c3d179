//! The shell's door: what the commands `cu job …` do, for a front that only reads arguments and
//! prints.
//!
//! Each command is a process of its own, so that nothing is remembered in between: should_exit has
//! no steps and no measured saves, and `time_elapsed` is not added to the metrics. Without a
//! supervisor all of them work; [`Door::started`] says so, the others stay quiet, since they are
//! called in loops.
//!
//! ```sh
//! cu job started
//! cu job checkpoint load state || echo 0 > state
//! while [ "$(cat state)" -lt 1000 ]; do
//!     ./one_step state
//!     cu job progress "$(cat state)e-3"
//!     if cu job should-exit; then
//!         cu job checkpoint save state
//!         exec cu job exit-for-resume     # ends the script with code 3
//!     fi
//! done
//! cu job finish steps="$(cat state)"
//! ```

mod copy;
mod words;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cu_checkpoint::{AtomicFile, Checkpoints, Form, Found, Generation, Reader};
use cu_protocol::{Attempt, Fraction, JobId, Message, Metrics, ResumeRequest, StopCause};
use serde_json::Value;

use crate::environment::Environment;
use crate::error::with_causes;
use crate::link::Link;
use crate::settings::Source;
use crate::{Error, RESUME_EXIT_CODE, Result, exit_for_resume, results};

pub use crate::should_exit::in_words;
pub use words::parse_metrics;

/// How long before the time limit [`Door::should_exit`] says yes, unless told otherwise: a script
/// cannot be measured.
pub const MARGIN: Duration = Duration::from_secs(60);

/// How long a command waits for the supervisor.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a loop is held up by the question whether it should end.
const PATIENCE_FOR_A_WISH: Duration = Duration::from_secs(2);

/// What `cu job started` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which job; `None` without a supervisor.
    pub job: Option<JobId>,
    /// Which attempt of it.
    pub attempt: Attempt,
    /// The newest checkpoint there is, by its name; `None` at the very beginning.
    pub checkpoint: Option<Generation>,
}

/// The place from which a script's commands are given.
#[derive(Debug)]
pub struct Door {
    environment: Environment,
    output_dir: PathBuf,
    checkpoints: Checkpoints,
    link: Link,
}

impl Door {
    /// The door of this process's job, or of the current directory without a supervisor.
    ///
    /// # Errors
    /// [`Error::Environment`] and [`Error::Checkpoint`], as [`Job::initialize`](crate::Job).
    pub fn open() -> Result<Self> {
        Self::open_in(Environment::of_this_process()?)
    }

    fn open_in(environment: Environment) -> Result<Self> {
        let output_dir = environment.output_dir.clone().unwrap_or_else(|| ".".into());
        let checkpoints =
            Checkpoints::open(output_dir.join("checkpoints"))?.for_attempt(environment.attempt.0);
        Ok(Self {
            link: Link::to(environment.socket.clone()),
            environment,
            output_dir,
            checkpoints,
        })
    }

    /// `cu job started`: which attempt of which job this is, and what it goes on from. Says on
    /// standard error if there is no supervisor.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the checkpoints can't be listed.
    pub fn started(&self) -> Result<Start> {
        if self.environment.socket.is_none() {
            eprintln!("cu job: no supervisor (CU_SOCKET is not set): nobody is told");
        }
        Ok(Start {
            job: self.environment.job,
            attempt: self.environment.attempt,
            checkpoint: self.checkpoints.generations()?.first().copied(),
        })
    }

    /// `cu job progress FRACTION`: how much of the whole job is done, from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Word`] if it is no such number; [`Error::Refused`], [`Error::Unheard`].
    pub fn progress(&mut self, fraction: f64) -> Result<()> {
        let fraction = Fraction::new(fraction).ok_or_else(|| Error::Word {
            word: fraction.to_string(),
            expected: "a fraction from 0 to 1, such as 0.25",
        })?;
        self.link.say(Message::Progress(fraction), PATIENCE)
    }

    /// `cu job metrics NAME=VALUE…`: metrics before the end.
    ///
    /// # Errors
    /// [`Error::Word`] as [`parse_metrics`]; [`Error::Refused`], [`Error::Unheard`].
    pub fn metrics<W: AsRef<str>>(&mut self, words: &[W]) -> Result<()> {
        let metrics = parse_metrics(words)?;
        self.link.say(Message::EarlyMetrics(metrics), PATIENCE)
    }

    /// `cu job finish [NAME=VALUE…]`: writes the files of a finished job, as
    /// [`Job::finalize`](crate::Job::finalize) does, and sends the results.
    ///
    /// # Errors
    /// [`Error::Word`] and [`Error::Settings`] before anything is written; [`Error::Checkpoint`] if
    /// a file can't be; [`Error::Refused`] and [`Error::Unheard`] with the files in place.
    pub fn finish<W: AsRef<str>>(mut self, words: &[W]) -> Result<()> {
        let metrics: Metrics = parse_metrics(words)?;
        results::write(&self.output_dir, &self.source()?, &metrics)?;
        self.link.say(Message::Results(metrics), PATIENCE)
    }

    /// `cu job exit-for-resume`: sends the request. The command is to end with the code returned, 3,
    /// so that `exec cu job exit-for-resume` ends a script as it must, and so does the command alone
    /// under `set -e`.
    #[must_use]
    pub fn exit_for_resume(mut self) -> i32 {
        let checkpoint = exit_for_resume::newest(&self.checkpoints);
        let request = Message::ResumeRequest(ResumeRequest { checkpoint });
        if let Err(error) = self.link.say(request, exit_for_resume::PATIENCE) {
            let error = with_causes(&error);
            eprintln!("cu job: {error}; the exit code {RESUME_EXIT_CODE} says the same");
        }
        RESUME_EXIT_CODE
    }

    /// `cu job should-exit`: the reason to save and exit for resume, if there is one; the command
    /// then ends with 0, else with 1. `margin` is how long before the time limit that is; [`MARGIN`]
    /// is a good one.
    pub fn should_exit(&mut self, margin: Duration) -> Option<StopCause> {
        let near = |deadline| {
            let left = SystemTime::duration_since(&deadline, SystemTime::now());
            left.unwrap_or_default() <= margin
        };
        let stop_file = self.environment.stop_file.as_deref();
        if let Some(cause) = self.link.wish(PATIENCE_FOR_A_WISH) {
            Some(cause)
        } else if stop_file.is_some_and(Path::exists) {
            Some(StopCause::StopFile)
        } else {
            let limit_is_near = self.environment.deadline.is_some_and(near);
            limit_is_near.then_some(StopCause::TimeLimit)
        }
    }

    /// `cu job checkpoint save PATH`: saves a file as a stream, or all of a directory as one.
    ///
    /// # Errors
    /// [`Error::File`] if it can't be read, [`Error::Checkpoint`] if it can't be saved. What was
    /// saved before is still there.
    pub fn save_checkpoint(&mut self, path: &Path) -> Result<Generation> {
        if path.is_dir() {
            let files = self.checkpoints.directory()?;
            copy::tree(path, files.path())?;
            return Ok(files.commit()?);
        }
        let mut file = std::fs::File::open(path).map_err(Error::file("read", path))?;
        let mut writer = self.checkpoints.writer()?;
        std::io::copy(&mut file, &mut writer).map_err(Error::file("save", path))?;
        Ok(writer.commit()?)
    }

    /// `cu job checkpoint load PATH`: puts the newest intact checkpoint in the place of `path`, be
    /// it a file or a directory there, or nothing. `None`, and the command ends with 1, if nothing
    /// was saved yet; `path` is then left as it is.
    ///
    /// A file is replaced at once. A directory is put together beside its place first; who is killed
    /// while the two change places may find none, and loads again.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as those of [`Checkpoints::reader`], [`Error::File`] if it can't be
    /// written.
    pub fn load_checkpoint(&self, path: &Path) -> Result<Option<Generation>> {
        let is_directory = |error: &cu_checkpoint::Error| matches!(error, cu_checkpoint::Error::OtherForm { found, .. } if *found == Form::Directory);
        match self.checkpoints.reader() {
            Err(error) if is_directory(&error) => {
                let found = self.checkpoints.load_directory()?;
                put(found, |saved| copy::replace(&saved, path))
            }
            found => put(found?, |reader| write_file(reader, path)),
        }
    }

    /// `cu job checkpoint path`: where the newest intact directory checkpoint lies, to be read in
    /// place and never written to. `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as those of [`Checkpoints::load_directory`].
    pub fn checkpoint_path(&self) -> Result<Option<PathBuf>> {
        let mut place = None;
        put(self.checkpoints.load_directory()?, |saved| {
            place = Some(saved);
            Ok(())
        })?;
        Ok(place)
    }

    /// `cu job settings get KEY`: one setting by its dotted name, as a script can use it: text as it
    /// is, nothing for null, anything else as JSON.
    ///
    /// # Errors
    /// [`Error::Settings`] if there is none of this name.
    pub fn setting(&self, dotted: &str) -> Result<String> {
        Ok(match self.source()?.parse_one(dotted)? {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    fn source(&self) -> Result<Source> {
        match &self.environment.settings {
            Some(file) => Source::read(file),
            None => Ok(Source::nothing("CU_SETTINGS is not set")),
        }
    }
}

/// Does something with a checkpoint that was found, after naming the damaged ones.
fn put<T>(
    found: Option<Found<T>>,
    with: impl FnOnce(T) -> Result<()>,
) -> Result<Option<Generation>> {
    let Some(found) = found else {
        return Ok(None);
    };
    for skipped in &found.skipped {
        eprintln!("cu job: passed over a damaged checkpoint, {skipped}");
    }
    with(found.value)?;
    Ok(Some(found.generation))
}

fn write_file(mut saved: Reader, path: &Path) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    std::io::copy(&mut saved, &mut file).map_err(Error::file("write", path))?;
    Ok(file.commit()?)
}

#[cfg(test)]
mod tests;
