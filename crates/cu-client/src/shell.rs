//! The commands `cu job …` as functions. The command line only reads arguments and prints results.
//!
//! Each command is a process of its own, so nothing is remembered in between: `should_exit` counts
//! no steps and measures no saves, and `time_elapsed` is not added to the metrics. All commands
//! work without a supervisor. [`ShellJob::started`] prints a line about it; the others don't, since
//! scripts call them in loops.
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
use crate::link::Link;
use crate::settings::Source;
use crate::{Error, RESUME_EXIT_CODE, Result, error, exit_for_resume, results};

pub use words::parse_metrics;

/// How long before the time limit [`ShellJob::should_exit`] returns a reason by default. A fixed
/// time, since a script's steps and saves can't be measured.
pub const MARGIN: Duration = Duration::from_secs(60);

/// How long a command waits for the supervisor.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long `should-exit` may delay a script's loop.
const PATIENCE_FOR_A_WISH: Duration = Duration::from_secs(2);

/// The output of `cu job started`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Start {
    /// The job; `None` without a supervisor.
    pub job: Option<JobId>,
    /// The attempt.
    pub attempt: Attempt,
    /// The newest checkpoint, by its file name; `None` if nothing was saved yet.
    pub checkpoint: Option<Generation>,
}

/// The job of a shell script. Each method is a command `cu job …`.
#[derive(Debug)]
pub struct ShellJob {
    environment: Environment,
    output_dir: PathBuf,
    checkpoints: Checkpoints,
    link: Link,
}

impl ShellJob {
    /// Opens this process's job, or the current directory without a supervisor.
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

    /// `cu job started`: returns the job, the attempt, and the checkpoint to continue from. Prints
    /// a line on standard error if there is no supervisor.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the checkpoints can't be listed.
    pub fn started(&self) -> Result<Start> {
        if self.environment.socket.is_none() {
            eprintln!("cu job: no supervisor (CU_SOCKET is not set): nothing is reported");
        }
        Ok(Start {
            job: self.environment.job,
            attempt: self.environment.attempt,
            checkpoint: self.checkpoints.generations()?.first().copied(),
        })
    }

    /// `cu job progress FRACTION`: reports how much of the whole job is done, from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Word`] if it is not such a number; [`Error::Refused`], [`Error::Unheard`].
    pub fn progress(&mut self, fraction: f64) -> Result<()> {
        let fraction = Fraction::new(fraction).ok_or_else(|| Error::Word {
            word: fraction.to_string(),
            expected: "a fraction from 0 to 1, such as 0.25",
        })?;
        self.link.say(Message::Progress(fraction), PATIENCE)
    }

    /// `cu job metrics NAME=VALUE…`: reports metrics before the end.
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
    /// a file can't be written; [`Error::Refused`] and [`Error::Unheard`] with the files in place.
    pub fn finish<W: AsRef<str>>(mut self, words: &[W]) -> Result<()> {
        let metrics: Metrics = parse_metrics(words)?;
        results::write(&self.output_dir, &self.source()?, &metrics)?;
        self.link.say(Message::Results(metrics), PATIENCE)
    }

    /// `cu job exit-for-resume`: sends the request and returns the exit code for the command, 3. So
    /// `exec cu job exit-for-resume` ends a script with it, and under `set -e` the command alone
    /// does.
    #[must_use]
    pub fn exit_for_resume(mut self) -> i32 {
        let checkpoint = exit_for_resume::newest(&self.checkpoints);
        let request = Message::ResumeRequest(ResumeRequest { checkpoint });
        if let Err(error) = self.link.say(request, exit_for_resume::PATIENCE) {
            eprintln!(
                "cu job: {}; the exit code {RESUME_EXIT_CODE} still asks for the resume",
                error::with_causes(&error)
            );
        }
        RESUME_EXIT_CODE
    }

    /// `cu job should-exit`: returns the reason to save and exit for resume, if there is one. The
    /// command then ends with 0, otherwise with 1. `margin` is the time before the time limit; its
    /// default is [`MARGIN`].
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

    /// `cu job checkpoint save PATH`: saves a file as a stream, or a directory with all files in
    /// it.
    ///
    /// # Errors
    /// [`Error::File`] if it can't be read, [`Error::Checkpoint`] if it can't be saved. Earlier
    /// checkpoints are still there.
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

    /// `cu job checkpoint load PATH`: replaces `path`, a file, a directory or nothing, by the
    /// newest intact checkpoint. If nothing was saved yet, it leaves `path` alone and returns
    /// `None`, and the command ends with 1.
    ///
    /// A file is replaced atomically. A directory is copied to a place beside it first. If the
    /// process is killed while the two are exchanged, the directory may be missing; load again then.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as for [`Checkpoints::reader`], [`Error::File`] if `path` can't be
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

    /// `cu job checkpoint path`: returns the path of the newest intact directory checkpoint. Only
    /// read there. `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] as for [`Checkpoints::load_directory`].
    pub fn checkpoint_path(&self) -> Result<Option<PathBuf>> {
        let mut place = None;
        put(self.checkpoints.load_directory()?, |saved| {
            place = Some(saved);
            Ok(())
        })?;
        Ok(place)
    }

    /// `cu job settings get KEY`: returns one setting by its dotted name, in a form for scripts:
    /// text unchanged, null as nothing, anything else as JSON.
    ///
    /// # Errors
    /// [`Error::Settings`] if there is no setting of this name.
    pub fn setting(&self, dotted: &str) -> Result<String> {
        Ok(match self.source()?.parse_one(dotted)? {
            Value::Null => String::new(),
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    /// `cu job settings get KEY DEFAULT`: the same, or `otherwise` if there is no such setting.
    ///
    /// # Errors
    /// [`Error::Settings`] if the settings can't be read.
    pub fn setting_or(&self, dotted: &str, otherwise: &str) -> Result<String> {
        match self.source()?.has(dotted) {
            true => self.setting(dotted),
            false => Ok(otherwise.to_owned()),
        }
    }

    fn source(&self) -> Result<Source> {
        match &self.environment.settings {
            Some(file) => Source::read(file),
            None => Ok(Source::nothing("CU_SETTINGS is not set")),
        }
    }
}

/// Reports damaged checkpoints on standard error, then calls `with` on the one that was found.
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
