//! Makes a run: its directories, secret, settings, and last its store, which is what makes a
//! directory a run.

use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cu_checkpoint::{AtomicOptions, Durability};
use cu_protocol::{JobId, RunId, Timestamp};
use cu_supervisor::JobSpec;
use cu_system::files::{self, Refusal};
use cu_system::users;

use crate::lock::Lock;
use crate::store::Store;
use crate::{Error, JobPlan, Result, RunDir, RunPlan, Untrusted, secret};

/// Makes the run `plan` in `run_dir`. Directories are of mode 0700, the secret 0600, also if
/// something lay there before; in a directory that belongs to another user no run is made. A creation
/// that was killed leaves no run, and can be repeated.
///
/// # Errors
/// Those of [`NewRun::begin`].
pub fn create_run(run_dir: &RunDir, plan: &RunPlan) -> Result<RunId> {
    NewRun::begin(run_dir, plan)?.finish()
}

/// A run that is being made. As long as this lives nobody else makes one in the same directory, so
/// that whatever is added to it before [`finish`](Self::finish) belongs to the run that comes out.
#[derive(Debug)]
pub struct NewRun<'a> {
    run_dir: &'a RunDir,
    plan: &'a RunPlan,
    _lock: Lock,
}

impl<'a> NewRun<'a> {
    /// Takes `run_dir` for the run `plan`, and removes what a creation that was killed has left
    /// there.
    ///
    /// # Errors
    /// [`Error::RunExists`]; [`Error::InUse`] if another process makes one at this moment;
    /// [`Error::Plan`] for a plan without jobs or commands, or a directory that is no place for a
    /// run; [`Error::Untrusted`] for one that belongs to another user; [`Error::File`].
    pub fn begin(run_dir: &'a RunDir, plan: &'a RunPlan) -> Result<Self> {
        check(plan)?;
        check_place(run_dir)?;
        make_dir(run_dir.path())?;
        keep_private(run_dir)?;
        let lock = Lock::take_for_new(run_dir)?;
        check_place(run_dir)?; // Another may just have finished one.
        clear(run_dir)?;
        Ok(Self {
            run_dir,
            plan,
            _lock: lock,
        })
    }

    /// Puts the config beside the run, from which whoever resumes it reads the backend.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn keep_config(&self, text: &str) -> Result<()> {
        let path = self.run_dir.config();
        let temporary = path.with_extension("toml.new");
        files::write_own(&temporary, text.as_bytes()).map_err(Error::file("write", &temporary))?;
        std::fs::rename(&temporary, &path).map_err(Error::file("write", &path))
    }

    /// Makes all of it, the store last.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Record`].
    pub fn finish(self) -> Result<RunId> {
        let Self { run_dir, plan, .. } = &self;
        let chance = |error: cu_protocol::Error| {
            Error::file("find randomness for", run_dir.path())(std::io::Error::other(error))
        };
        secret::make(run_dir)?;
        let run = RunId::generate().map_err(chance)?;
        for (number, job) in (0..).zip(&plan.jobs) {
            create_job(run_dir, run, JobId(number), job)?;
        }
        sync(run_dir)?;
        Store::create(run_dir, run, plan, Timestamp::from(SystemTime::now()))?;
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
            "the path of the run directory is no UTF-8, which attempts could not be told: {}",
            path.display()
        ))),
    }
}

/// Removes the jobs that a creation that was killed has made. Whatever else is there is somebody's
/// work: no run is made over it, and nothing is removed.
fn clear(run_dir: &RunDir) -> Result<()> {
    let job = JobId(0);
    let mut abandoned = Vec::new();
    for made in [run_dir.settings(job), run_dir.job_spec(job)] {
        let Some(all) = made.parent().and_then(Path::parent) else {
            continue;
        };
        for of_job in entries(all)? {
            let is_foreign = |found: &PathBuf| found.file_name() != made.file_name();
            if !of_job.is_dir() {
                continue; // In the way, as making the job's directory will tell.
            }
            if entries(&of_job)?.iter().any(is_foreign) {
                return Err(Error::Plan(format!(
                    "{} is left of a run whose run.sqlite is missing, and no run is made over it: \
                     take another name, or move it away",
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

/// What is in a directory; nothing if there is none.
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
            _ if job.command.first().is_none_or(String::is_empty) => "has no command",
            _ if job.resume_exit_code == 0 => "can't use exit code 0, which means done, to resume",
            _ if job.command.iter().any(|argument| argument.contains('\0')) => {
                "has a zero byte in its command"
            }
            _ if job.resources.cpus == 0 => "asks for no processor",
            _ if !job.stop.has_a_known_signal() => {
                "is to be stopped by a signal that can't stop it"
            }
            _ => continue,
        };
        return Err(Error::Plan(format!("job {number} {problem}")));
    }
    Ok(())
}

fn create_job(run_dir: &RunDir, run: RunId, id: JobId, plan: &JobPlan) -> Result<()> {
    make_dir(&run_dir.output_dir(id))?;
    make_dir(&run_dir.attempts(id))?;
    write_json(&run_dir.job_spec(id), &job_spec(run, id, plan))?;
    write_json(&run_dir.settings(id), &plan.settings)
}

/// Makes anew what is missing of that, since somebody has deleted it, and what the supervisors of the
/// job are told, unless it is there as it was made. `true` if the output directory was missing.
///
/// # Errors
/// [`Error::File`], also if something else is in the place of a directory.
pub(crate) fn restore_job(run_dir: &RunDir, run: RunId, id: JobId, plan: &JobPlan) -> Result<bool> {
    let output_dir = run_dir.output_dir(id);
    let is_there = output_dir.try_exists();
    let was_missing = !is_there.map_err(Error::file("examine", &output_dir))?;
    make_dir(&output_dir)?;
    make_dir(&run_dir.attempts(id))?;
    restore_job_spec(run_dir, run, id, plan)?;
    // Of what else is in there the program is the master.
    if was_missing {
        write_json(&run_dir.settings(id), &plan.settings)?;
    }
    Ok(was_missing)
}

fn restore_job_spec(run_dir: &RunDir, run: RunId, id: JobId, plan: &JobPlan) -> Result<()> {
    let path = run_dir.job_spec(id);
    let spec = job_spec(run, id, plan);
    let reason = match JobSpec::read(&path) {
        Ok(found) if found == spec => return Ok(()),
        Ok(_) => format!("{} was changed", path.display()),
        Err(error) => error.to_string(),
    };
    tracing::warn!("{reason}; it is written anew");
    replace(&path, &json(&path, &spec)?)
}

fn job_spec(run: RunId, job: JobId, plan: &JobPlan) -> JobSpec {
    JobSpec {
        version: JobSpec::VERSION,
        run,
        job,
        command: plan.command.clone(),
        working_directory: plan.working_directory.clone(),
        environment: plan.environment.clone(),
        resume_exit_code: plan.resume_exit_code,
        stop: plan.stop.clone(),
    }
}

/// Makes all that was written survive a power failure, since a run that has a store is never made
/// again. Once for thousands of files: one by one they would take minutes on a disk.
fn sync(run_dir: &RunDir) -> Result<()> {
    let path = run_dir.path();
    let sync = |directory: File| rustix::fs::syncfs(directory).map_err(std::io::Error::from);
    File::open(path)
        .and_then(sync)
        .map_err(Error::file("sync", path))
}

/// Makes a directory that is nobody else's business, with those above it.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    files::make_dir(path)
        .map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                std::io::Error::other("a file is there, which is not a directory: move it away")
            }
            _ => error,
        })
        .map_err(Error::file("make the directory", path))
}

/// Takes from others what they may do with a directory of ours, so that nobody but us can
/// read what is in it, or put something else there.
///
/// # Errors
/// [`Error::Untrusted`] if it belongs to somebody else, or a link of somebody else leads there.
fn keep_private(run_dir: &RunDir) -> Result<()> {
    let path = run_dir.path();
    let examined = |error| Error::file("examine", path)(error);
    let link = cu_system::trust::foreign_link(path).map_err(examined)?;
    let found = std::fs::metadata(path).map_err(examined)?;
    let owner = Some((path.to_owned(), found.uid()));
    let foreign = link.or(owner.filter(|(_, owner)| *owner != users::own()));
    if let Some((path, owner)) = foreign {
        return Err(Error::Untrusted(Untrusted {
            run_dir: run_dir.path().to_owned(),
            path,
            reason: Refusal::Foreign(owner).into(),
        }));
    }
    if found.mode() & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
        .map_err(Error::file("make private", path))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    write_private(path, &json(path, value)?)
}

fn json(path: &Path, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::file("write", path)(error.into()))?;
    text.push(b'\n');
    Ok(text)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    files::write_own(path, bytes).map_err(Error::file("write", path))
}

/// Replaces a small file, so that a reader sees the old content or the new. Not durable: what is
/// written so matters to living processes alone.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    AtomicOptions::new()
        .mode(0o600)
        .durability(Durability::ProcessDeath)
        .write(path, content)
        .map_err(|error| Error::file("write", path)(error.into_source()))
}

#[cfg(test)]
mod tests {
    use cu_system::causes::in_one_line;

    use super::*;

    #[test]
    fn what_the_system_said_is_told() {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let path = scratch.path().join("no/such/directory");
        let error = replace(&path, b"1").expect_err("nowhere");
        let error = in_one_line(&error);
        assert!(
            error.ends_with("No such file or directory (os error 2)"),
            "{error}"
        );
    }
}
