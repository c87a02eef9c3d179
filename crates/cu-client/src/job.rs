//! The job as its program sees it: settings, checkpoints, announcements, and its two ways to end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cu_checkpoint::{Checkpoints, Generation};
use cu_protocol::{Attempt, Fraction, JobId, Message, MetricValue, StopCause};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::environment::Environment;
use crate::link::Link;
use crate::options::Options;
use crate::progress::Progress;
use crate::settings::{Settings, Source};
use crate::should_exit::ShouldExit;
use crate::{Error, Result, failure, results, tree};

/// How long the results wait for their confirmation: they are the work of the whole job.
const PATIENCE_FOR_RESULTS: Duration = Duration::from_secs(60);

/// How long [`Job::should_exit`] waits for the supervisor's answer. A later call uses an answer
/// that comes late.
const PATIENCE_FOR_A_WISH: Duration = Duration::from_millis(50);

/// The job of this process. [`initialize`](Self::initialize) makes it, and
/// [`finalize`](Self::finalize) or [`exit_for_resume`](Self::exit_for_resume) ends it.
///
/// `S` is the type of the settings: a struct of the program's own, or [`Settings`].
///
/// A job that is dropped by a panic reports the panic as the reason of its failure. A job that is
/// dropped otherwise reports nothing.
#[derive(Debug)]
pub struct Job<S = Settings> {
    pub(crate) settings: S,
    pub(crate) source: Source,
    pub(crate) output_dir: PathBuf,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) link: Link,
    pub(crate) question: ShouldExit,
    pub(crate) progress: Progress,
    pub(crate) report_panics: bool,
    pub(crate) environment: Environment,
}

impl<S: DeserializeOwned> Job<S> {
    /// Initialises the job for which this process was started.
    ///
    /// - The settings come from the file that `CU_SETTINGS` names, else from the program's first
    ///   argument if that ends in `.json`, else there are none, which is enough for a struct with a
    ///   default for each.
    /// - The output directory is `CU_OUTPUT_DIR`, else the current directory.
    /// - The signals USR1, USR2, TERM and INT become reasons to exit, and do nothing else, however often
    ///   they come: the program may be saving. Without a supervisor a second INT ends the process as
    ///   usual. Once the job is gone, TERM and INT do what they did before.
    /// - A panic that ends the job is reported.
    ///
    /// Without a supervisor every call works, and this one prints a line about it on standard
    /// error. [`Options`] changes each of these.
    ///
    /// # Errors
    /// [`Error::Settings`] if the settings don't fit `S`, with the file and the key;
    /// [`Error::File`] and [`Error::Checkpoint`] if something can't be read or created;
    /// [`Error::Environment`] if a variable has a value that no supervisor sets.
    pub fn initialize() -> Result<Self> {
        Options::new().initialize()
    }
}

impl<S> Job<S> {
    /// The settings.
    pub fn settings(&self) -> &S {
        &self.settings
    }

    /// One setting by its dotted name, such as `optimizer.learning_rate`.
    ///
    /// # Errors
    /// [`Error::Settings`] if there is no setting of this name, or if it is not a `T`.
    pub fn setting<T: DeserializeOwned>(&self, dotted: &str) -> Result<T> {
        self.source.parse_one(dotted)
    }

    /// The directory for the job's files, the same for all its attempts.
    pub fn output_dir(&self) -> &Path {
        &self.output_dir
    }

    /// The number of this attempt, from 0. Always 0 without a supervisor.
    pub fn attempt(&self) -> Attempt {
        self.environment.attempt
    }

    /// The number of this job in its run, if there is a run.
    pub fn id(&self) -> Option<JobId> {
        self.environment.job
    }

    /// The directory of the run, if there is one.
    pub fn run_dir(&self) -> Option<&Path> {
        self.environment.run_dir.as_deref()
    }

    /// Loads the newest checkpoint. `None` if nothing was saved yet.
    ///
    /// Passes over damaged checkpoints, and reports them on standard error.
    ///
    /// # Errors
    /// Those of [`Checkpoints::load`].
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(found) = self.checkpoints.load()? else {
            return Ok(None);
        };
        for skipped in &found.skipped {
            eprintln!("cu-client: passed over a damaged checkpoint, {skipped}");
        }
        Ok(Some(found.value))
    }

    /// Saves the state of the program for the next attempt. It is durable when this returns `Ok`.
    ///
    /// # Errors
    /// Those of [`Checkpoints::save`]. Earlier checkpoints are still there.
    pub fn save<T: Serialize + ?Sized>(&mut self, state: &T) -> Result<Generation> {
        let begun = Instant::now();
        let generation = self.checkpoints.save(state)?;
        self.question.saved(begun.elapsed());
        Ok(generation)
    }

    /// Saves in another form, such as a stream or a directory, and measures the time.
    ///
    /// ```
    /// # let scratch = tempfile::tempdir()?;
    /// # let mut job = cu_client::Options::<cu_client::Settings>::new()
    /// #     .output_dir(scratch.path())
    /// #     .initialize()?;
    /// use std::io::Write;
    ///
    /// job.save_with(|checkpoints| {
    ///     let mut writer = checkpoints.writer()?;
    ///     writer.write_all(b"weights")?;
    ///     Ok(writer.commit()?)
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of `save`.
    pub fn save_with(
        &mut self,
        save: impl FnOnce(&mut Checkpoints) -> io::Result<Generation>,
    ) -> io::Result<Generation> {
        let begun = Instant::now();
        let generation = save(&mut self.checkpoints)?;
        self.question.saved(begun.elapsed());
        Ok(generation)
    }

    /// The checkpoints of the job, to load from in other forms, or to clone for
    /// [saves in the background](Checkpoints::in_background).
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Makes the `count`-th call of [`should_exit`](Self::should_exit) return true.
    pub fn exit_after_steps(&mut self, count: u64) {
        self.question.after_steps(count);
    }

    /// Makes [`should_exit`](Self::should_exit) return true from this time after
    /// [`initialize`](Self::initialize) on.
    pub fn exit_after(&mut self, budget: Duration) {
        self.question.after(budget);
    }

    /// Makes [`should_exit`](Self::should_exit) return true this long before the scheduler's time
    /// limit, and earlier by the longest time between two calls so far. The default is three times
    /// the slowest save, and at least 10 seconds.
    pub fn exit_before_limit(&mut self, margin: Duration) {
        self.question.margin(margin);
    }

    /// Makes [`should_save`](Self::should_save) return true this long after the last save instead
    /// of after 10 minutes. Slow saves come less often, so that they take at most a twentieth of
    /// the time.
    pub fn save_every(&mut self, interval: Duration) {
        self.question.save_every(interval);
    }

    /// Returns whether the program should save and call [`exit_for_resume`](Self::exit_for_resume):
    /// because of the criteria above, the time limit, the stop file, a signal, or the operator's
    /// request. Once true, it stays true.
    ///
    /// It is cheap enough for every step: most calls only read the clock. At most every 100
    /// milliseconds one asks the supervisor and looks for the stop file.
    pub fn should_exit(&mut self) -> bool {
        let link = &mut self.link;
        let progress = &mut self.progress;
        self.question.ask(|| {
            progress.flush(link);
            link.wish(PATIENCE_FOR_A_WISH)
        })
    }

    /// The reason why [`should_exit`](Self::should_exit) returned true.
    pub fn exit_reason(&self) -> Option<StopCause> {
        self.question.reason()
    }

    /// Returns whether a periodic save is due. Only periodic saves protect the work against a
    /// crash.
    pub fn should_save(&self) -> bool {
        self.question.should_save()
    }

    /// Announces how much of the whole job is done, from 0 to 1. A number outside becomes 0 or 1;
    /// NaN is ignored.
    ///
    /// You may call this at every step: it sends at most ten a second, and always the last one.
    pub fn announce_fraction_finished(&mut self, fraction: f64) {
        if let Some(fraction) = Fraction::new(fraction.clamp(0.0, 1.0)) {
            self.progress.announce(fraction, &mut self.link);
        }
    }

    /// Announces metrics before the end. The latest counts, name by name.
    ///
    /// Metrics without names, such as a lone number, are reported on standard error.
    pub fn announce_early_results<M: Serialize + ?Sized>(&mut self, metrics: &M) {
        match tree::metrics(metrics) {
            Ok(metrics) => self.link.announce(Message::EarlyMetrics(metrics)),
            Err(reason) => eprintln!("cu-client: no early results: {reason}"),
        }
    }

    /// Ends the job with its results: writes `settings.json`, `param_choice.csv` and `metrics.csv`
    /// into the output directory, each as a whole, and sends the results to the supervisor.
    ///
    /// Nested metrics get dotted names, lists become text, and NaN stays NaN in the file.
    /// `time_elapsed`, the seconds since [`initialize`](Self::initialize) in this attempt, is added
    /// unless the metrics have it. It does not contain the time of earlier attempts: keep the sum
    /// in your checkpoint if you need it. `cu show JOB` has the times of each attempt.
    ///
    /// # Errors
    /// [`Error::Metrics`] before anything is written, if the metrics have no names;
    /// [`Error::Checkpoint`] if a file can't be written; [`Error::Refused`] and [`Error::Unheard`],
    /// with the files in place, if the supervisor did not confirm the results.
    pub fn finalize<M: Serialize + ?Sized>(mut self, metrics: &M) -> Result<()> {
        let mut metrics = tree::metrics(metrics).map_err(|reason| Error::Metrics { reason })?;
        metrics
            .entry("time_elapsed".to_owned())
            .or_insert_with(|| MetricValue::Float(self.question.elapsed().as_secs_f64()));
        results::write(&self.output_dir, &self.source, &metrics)?;
        self.progress.flush(&mut self.link);
        self.link
            .say(Message::Results(metrics), PATIENCE_FOR_RESULTS)
    }
}

impl<S> Drop for Job<S> {
    fn drop(&mut self) {
        if std::thread::panicking() && self.report_panics {
            failure::report(&mut self.link, failure::panics_so_far());
        }
    }
}
