//! Makes a run: its directory, secret, and last its store, which is what makes a directory a run. What a
//! job needs besides is made before its first attempt, so that a run of thousands of jobs begins at once.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cu_protocol::{JobId, RunId, Timestamp};
use cu_run_dir::{keep_private, make_dir, replace};

use crate::lock::{self, Lock};
use crate::store::Store;
use crate::{Error, Result, RunDir, RunPlan, secret};

/// Makes the run `plan` in `run_dir`. Directories get mode 0700 and the secret 0600, also if they existed
/// before. Refuses a directory that belongs to another user. A killed creation leaves no run, and can be
/// repeated.
///
/// # Errors
/// Those of [`NewRun::begin`].
pub fn create_run(run_dir: &RunDir, plan: &RunPlan) -> Result<RunId> {
    NewRun::begin(run_dir, plan)?.finish(&mut |_| {})
}

/// A run that is being made. As long as this lives, no other process makes one in the same directory, so
/// that whatever is added before [`finish`](Self::finish) belongs to this run.
#[derive(Debug)]
pub struct NewRun<'a> {
    run_dir: &'a RunDir,
    plan: &'a RunPlan,
    /// The directory was not there before.
    is_new: bool,
    _lock: Lock,
}

impl Drop for NewRun<'_> {
    /// Removes what was made, if that did not become a run. The lock is still held.
    fn drop(&mut self) {
        if self.is_new && !self.run_dir.store().exists() {
            // What can't be removed either is what a killed creation leaves.
            let _ = std::fs::remove_dir_all(self.run_dir.path());
        }
    }
}

impl<'a> NewRun<'a> {
    /// Takes `run_dir` for the run `plan`, and removes what a killed creation has left there.
    ///
    /// # Errors
    /// [`Error::RunExists`]; [`Error::InUse`] if another process makes one at this moment;
    /// [`Error::NoLocks`], before anything is made;
    /// [`Error::Plan`] for a plan without jobs or commands, or a directory that is not fit for a
    /// run; [`Error::Untrusted`] for one that belongs to another user; [`Error::File`].
    pub fn begin(run_dir: &'a RunDir, plan: &'a RunPlan) -> Result<Self> {
        check(plan)?;
        check_place(run_dir)?;
        lock::check_locks(run_dir.path())?;
        let is_new = run_dir.path().symlink_metadata().is_err();
        make_dir(run_dir.path())?;
        // Without the lock it may be another's by now, who has a file in it.
        let remove = || is_new.then(|| std::fs::remove_dir(run_dir.path()));
        let taken = keep_private(run_dir)
            .map_err(Error::from)
            .and_then(|()| lock::take(run_dir))
            .inspect_err(|_| drop(remove()))?;
        let lock = taken.name().inspect_err(|_| {
            let _ = is_new.then(|| std::fs::remove_file(run_dir.lock()));
            drop(remove());
        })?;
        let new_run = Self {
            run_dir,
            plan,
            is_new,
            _lock: lock,
        };
        check_place(run_dir)?; // Another may just have finished one.
        clear(run_dir)?;
        Ok(new_run)
    }

    /// Stores the config in the run directory, for a later main process to read the backend from.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn keep_config(&self, text: &str) -> Result<()> {
        Ok(replace(&self.run_dir.config(), text.as_bytes())?)
    }

    /// Makes all of it, the store last. `made` hears now and then how many of the jobs are made.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Record`].
    pub fn finish(mut self, made: &mut dyn FnMut(usize)) -> Result<RunId> {
        let Self { run_dir, plan, .. } = self;
        let chance = |error: cu_protocol::Error| {
            Error::file("find randomness for", run_dir.path())(std::io::Error::other(error))
        };
        secret::make(run_dir)?;
        let run = RunId::generate().map_err(chance)?;
        make_dir(&run_dir.all_output_dirs())?;
        make_dir(&run_dir.all_attempts())?;
        sync(run_dir)?;
        let now = Timestamp::from(SystemTime::now());
        Store::create(run_dir, (run, plan), now, made)?;
        self.is_new = false;
        Ok(run)
    }
}

/// Whether a run can be made in `run_dir`, before anything is.
fn check_place(run_dir: &RunDir) -> Result<()> {
    let path = run_dir.path();
    if run_dir.store().exists() {
        return Err(Error::RunExists {
            path: path.to_owned(),
        });
    }
    match path.to_str() {
        Some(_) => Ok(()),
        None => Err(Error::Plan(format!(
            "the path of the run directory is not valid UTF-8, so it can't be passed to attempts: {}",
            path.display()
        ))),
    }
}

/// Removes the jobs that a killed creation has made: an earlier version of `cu` made them with the run. If anything else is there, it is somebody's work:
/// the run is refused, and nothing is removed.
fn clear(run_dir: &RunDir) -> Result<()> {
    let job = JobId(0);
    let mut abandoned = Vec::new();
    let made = [run_dir.settings(job), run_dir.job_spec(job)];
    for all in [run_dir.all_output_dirs(), run_dir.all_attempts()] {
        for of_job in entries(&all)? {
            let is_foreign = |found: &PathBuf| {
                let is_made = |made: &PathBuf| made.file_name() == found.file_name();
                of_job.parent() != Some(&*run_dir.all_attempts()) || !made.iter().any(is_made)
            };
            if !of_job.is_dir() {
                continue; // Making the job's directory fails on it.
            }
            if entries(&of_job)?.iter().any(is_foreign) {
                return Err(Error::Plan(format!(
                    "{} is left from a run without its run.sqlite, and would be overwritten: \
                     choose another name, or move it away",
                    of_job.display()
                )));
            }
            abandoned.push(of_job);
        }
    }
    for of_job in abandoned {
        std::fs::remove_dir_all(&of_job).map_err(Error::file("remove", &of_job))?;
    }
    Ok(())
}

/// The entries of a directory; none if it does not exist.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = || {
        let entries = std::fs::read_dir(directory)?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<std::io::Result<Vec<_>>>()
    };
    match read() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found.map_err(Error::read(directory)),
    }
}

fn check(plan: &RunPlan) -> Result<()> {
    if plan.jobs.is_empty() {
        return Err(Error::Plan("the run has no jobs".to_owned()));
    }
    for (number, job) in plan.jobs.iter().enumerate() {
        let problem = match job {
            _ if job.command.first().is_none_or(|it| it.parts().is_empty()) => "has no command",
            _ if job.command.iter().any(|it| it.to_string().contains('\0')) => {
                "has a zero byte in its command"
            }
            _ if job.resources.cpus == 0 => "asks for 0 processors",
            _ => continue,
        };
        return Err(Error::Plan(format!("job {number} {problem}")));
    }
    Ok(())
}

/// Makes all that was written survive a power failure: a run that has a store is never made again.
fn sync(run_dir: &RunDir) -> Result<()> {
    let path = run_dir.path();
    let written = entries(path)?.into_iter();
    let written = written.filter(|path| path.symlink_metadata().is_ok_and(|it| it.is_file()));
    for path in written.chain([path.to_owned()]) {
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(Error::file("sync", &path))?;
    }
    Ok(())
}
