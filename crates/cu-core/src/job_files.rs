//! What an attempt needs in the run directory before it is submitted: directories, settings, `job.json`, `newest`.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use cu_protocol::{Attempt, JobId, RunId};
use cu_run_dir::{JobSpec, make_dir, read_newest_attempt, replace, write_newest_attempt};
use cu_system::causes::in_one_line;
use cu_system::files;

use crate::store::PlanText;
use crate::{Error, JobPlan, Result, RunDir};

/// The most jobs that are remembered. A run of more looks at their files again.
const MOST_KNOWN: usize = 10_000;
/// A file that was changed less than this before it was looked at may change again without a sign: the clock of
/// a file system may stand still for so long.
const CLOCK: Duration = Duration::from_millis(50);

/// Makes these files, and remembers which are as they should be, so that they are read once, and not again for
/// each of a thousand attempts.
#[derive(Debug, Default)]
pub(crate) struct JobFiles(Mutex<HashMap<JobId, Known>>);

/// What was there when a job was prepared last.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// `job.json` and the settings, unless they had just been written.
    files: Option<Marks>,
    /// Its newest attempt, if `newest` names it.
    newest: Option<Attempt>,
}

type Marks = [Mark; 2];

/// A file at a moment. Whatever changes its content, owner or mode changes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        let found = path.symlink_metadata().ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether a later change would show.
    fn is_settled(&self) -> bool {
        let (Ok(seconds), Ok(nanoseconds)) =
            (u64::try_from(self.changed.0), u32::try_from(self.changed.1))
        else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
        let age = changed.and_then(|changed| changed.elapsed().ok());
        age.is_some_and(|age| age >= CLOCK)
    }
}

impl JobFiles {
    /// Makes what all attempts of a job need, or what somebody has deleted of that, and `job.json` anew if it was
    /// changed. Returns whether the output directory was made before, and was missing.
    ///
    /// # Errors
    /// [`Error::File`], also if something that is not a directory is in the place of one.
    pub fn prepare(
        &self,
        run_dir: &RunDir,
        run: RunId,
        (job, attempt): (JobId, Attempt),
        plan: &PlanText,
    ) -> Result<bool> {
        let before = marks(run_dir, job);
        let known = self.known(job);
        if before.is_some() && known.files == before && run_dir.output_dir(job).is_dir() {
            return Ok(false);
        }
        let is_missing = prepare_job(run_dir, run, (job, attempt), &plan.plan())?;
        // If they were changed meanwhile, they are read again.
        let files = marks(run_dir, job).filter(|after| before == Some(*after));
        let files = files.filter(|files| files.iter().all(Mark::is_settled));
        self.remember(job, Known { files, ..known });
        Ok(is_missing)
    }

    /// Makes the attempt's directory, and its number that of the job's newest attempt.
    ///
    /// A store that was restored from a copy is behind. An attempt older than those that have run must not start: it
    /// would begin with their checkpoints, and its own would rank below them.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn name_newest(&self, run_dir: &RunDir, job: JobId, attempt: Attempt) -> Result<()> {
        make_dir(&run_dir.attempt(job, attempt))?;
        let known = self.known(job);
        // Nobody else writes it.
        let newest = match known.newest {
            Some(newest) if newest < attempt => Some(newest),
            _ => newest_submitted(run_dir, job)?,
        };
        if newest.is_none_or(|newest| newest < attempt) {
            write_newest_attempt(run_dir, job, attempt)?;
            let newest = Some(attempt);
            self.remember(job, Known { newest, ..known });
        }
        Ok(())
    }

    fn known(&self, job: JobId) -> Known {
        self.lock().get(&job).copied().unwrap_or_default()
    }

    fn remember(&self, job: JobId, known: Known) {
        let mut all = self.lock();
        if all.len() >= MOST_KNOWN {
            all.clear();
        }
        all.insert(job, known);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` if one is missing.
fn marks(run_dir: &RunDir, job: JobId) -> Option<Marks> {
    let spec = Mark::of(&run_dir.job_spec(job))?;
    Some([spec, Mark::of(&run_dir.settings(job))?])
}

/// The attempt in a job's file `newest`; `None` if the file is missing, or no supervisor would believe it.
fn newest_submitted(run_dir: &RunDir, job: JobId) -> Result<Option<Attempt>> {
    match read_newest_attempt(run_dir, job) {
        Err(cu_run_dir::Error::Content { .. }) => Ok(None),
        Err(cu_run_dir::Error::Read { source, .. }) if files::refusal(&source).is_some() => {
            Ok(None)
        }
        found => Ok(found?),
    }
}

/// Makes what all attempts of a job need, as [`JobFiles::prepare`].
fn prepare_job(
    run_dir: &RunDir,
    run: RunId,
    (id, attempt): (JobId, Attempt),
    plan: &JobPlan,
) -> Result<bool> {
    let output_dir = run_dir.output_dir(id);
    let is_there = output_dir.try_exists();
    let is_missing = !is_there.map_err(Error::file("examine", &output_dir))?;
    // `job.json` is written last. An attempt that was cancelled before it was prepared has left a mark.
    let is_new = is_missing
        && !run_dir.job_spec(id).exists()
        && (attempt == Attempt(0) || run_dir.attempts(id).exists());
    make_dir(&output_dir)?;
    make_dir(&run_dir.attempts(id))?;
    if is_new {
        let path = run_dir.settings(id);
        let written = json(&plan.settings).and_then(|text| files::write_own(&path, &text));
        written.map_err(Error::file("write", &path))?;
        job_spec(run, id, plan).write(&run_dir.job_spec(id))?;
        return Ok(false);
    }
    restore_job_spec(run_dir, run, id, plan)?;
    restore_settings(run_dir, id, plan)?;
    Ok(is_missing)
}

fn restore_job_spec(run_dir: &RunDir, run: RunId, id: JobId, plan: &JobPlan) -> Result<()> {
    let path = run_dir.job_spec(id);
    let spec = job_spec(run, id, plan);
    let reason = match JobSpec::read(&path) {
        Ok(found) if found == spec => return Ok(()),
        // `cu update` changes nothing else that is here.
        Ok(mut found) => {
            found.stop.clone_from(&spec.stop);
            if found == spec {
                tracing::info!("{} gets the run's present stop conditions", path.display());
                return Ok(spec.write(&path)?);
            }
            format!("{} was changed", path.display())
        }
        Err(error) => in_one_line(&error),
    };
    tracing::warn!("{reason}; it is rewritten");
    Ok(spec.write(&path)?)
}

/// Earlier versions had them in the output directory alone.
fn restore_settings(run_dir: &RunDir, id: JobId, plan: &JobPlan) -> Result<()> {
    let path = run_dir.settings(id);
    let text = json(&plan.settings).map_err(Error::file("write", &path))?;
    let longest = u64::try_from(text.len()).unwrap_or(u64::MAX);
    match files::read_own(&path, longest) {
        Ok(found) if found == text => Ok(()),
        // A reader finds the old settings or the new.
        _ => Ok(replace(&path, &text)?),
    }
}

fn job_spec(run: RunId, job: JobId, plan: &JobPlan) -> JobSpec {
    JobSpec {
        version: JobSpec::VERSION,
        run,
        job,
        command: plan.command.clone(),
        working_directory: plan.working_directory.clone(),
        stdin: plan.stdin.clone(),
        environment: plan.environment.clone(),
        activation: plan.activation.clone(),
        stop: plan.stop.clone(),
        done_when: plan.exit_rules.done_when.clone(),
    }
}

fn json(value: &impl serde::Serialize) -> std::io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const JOB: JobId = JobId(3);

    /// A job that was prepared for so many attempts.
    fn prepared(attempts: u32) -> (tempfile::TempDir, RunDir, JobFiles, PlanText) {
        let scratch = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(scratch.path());
        let files = JobFiles::default();
        let plan = PlanText::of(&JobPlan::new(vec!["true"]));
        for attempt in 0..attempts {
            assert!(!prepare(&files, &run_dir, attempt, &plan));
        }
        (scratch, run_dir, files, plan)
    }

    fn prepare(files: &JobFiles, run_dir: &RunDir, attempt: u32, plan: &PlanText) -> bool {
        let attempt = Attempt(attempt);
        let prepared = files.prepare(run_dir, RunId([1; 16]), (JOB, attempt), plan);
        files.name_newest(run_dir, JOB, attempt).unwrap();
        prepared.unwrap()
    }

    /// As if the clock of the file system had gone on since they were looked at.
    fn know(files: &JobFiles, run_dir: &RunDir) {
        let known = Known {
            files: marks(run_dir, JOB),
            ..files.known(JOB)
        };
        files.remember(JOB, known);
    }

    #[test]
    fn files_changed_since_they_were_read_are_restored() {
        let (_scratch, run_dir, files, plan) = prepared(2);
        let of = |path: &Path| fs::read(path).unwrap();
        for path in [run_dir.job_spec(JOB), run_dir.settings(JOB)] {
            let before = of(&path);
            know(&files, &run_dir);
            let mut other = before.clone();
            *other.first_mut().unwrap() = b' ';
            fs::write(&path, &other).unwrap();
            assert!(!prepare(&files, &run_dir, 2, &plan));
            assert_eq!(of(&path), before, "{}", path.display());
            know(&files, &run_dir);
            fs::remove_file(&path).unwrap();
            assert!(!prepare(&files, &run_dir, 2, &plan));
            assert_eq!(of(&path), before, "{}", path.display());
        }
        know(&files, &run_dir);
        fs::remove_dir(run_dir.output_dir(JOB)).unwrap();
        assert!(prepare(&files, &run_dir, 3, &plan), "it was remade");
        know(&files, &run_dir);
        fs::remove_dir_all(run_dir.attempts(JOB)).unwrap();
        prepare(&files, &run_dir, 4, &plan);
        assert_eq!(newest_submitted(&run_dir, JOB).unwrap(), Some(Attempt(4)));
    }

    #[test]
    fn known_files_are_not_read() {
        let (_scratch, run_dir, files, plan) = prepared(1);
        know(&files, &run_dir);
        let other = PlanText::of(&JobPlan::new(vec!["false"]));
        let before = fs::read(run_dir.job_spec(JOB)).unwrap();
        prepare(&files, &run_dir, 1, &other);
        assert_eq!(fs::read(run_dir.job_spec(JOB)).unwrap(), before);
        // Without that knowledge they are.
        prepare(&JobFiles::default(), &run_dir, 2, &other);
        assert_ne!(fs::read(run_dir.job_spec(JOB)).unwrap(), before);
        drop(plan);
    }

    #[test]
    fn an_older_attempt_never_becomes_the_newest() {
        let (_scratch, run_dir, files, plan) = prepared(3);
        for files in [&files, &JobFiles::default()] {
            prepare(files, &run_dir, 1, &plan);
            assert_eq!(newest_submitted(&run_dir, JOB).unwrap(), Some(Attempt(2)));
        }
    }

    #[test]
    fn a_file_that_was_just_changed_is_not_known() {
        let (_scratch, run_dir, _files, _plan) = prepared(1);
        let [mark, _] = marks(&run_dir, JOB).unwrap();
        let at = |seconds| Mark {
            changed: (seconds, 0),
            ..mark
        };
        assert!(at(1).is_settled());
        assert!(!at(i64::MAX).is_settled(), "its clock is ahead");
    }
}
