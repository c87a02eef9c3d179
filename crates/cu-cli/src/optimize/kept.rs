//! The output directories of the best jobs, which are copied, and those of the others, which may be removed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cu_core::{JobReport, JobState, Reader, RunDir};
use cu_system::files;

use super::beside::Beside;
use super::best::ranked;
use crate::config::Wanted;
use crate::config::units::ResultsAs;
use crate::error::{Error, Result};

/// Keeps the directories of a run.
#[derive(Debug)]
pub struct Kept {
    run: RunDir,
    wanted: Wanted,
    /// How many jobs were completed at the last look.
    completed: Option<u32>,
    /// What the name of each copy begins with, before the number of the job.
    prefix: &'static str,
}

/// The directory of the copies.
fn best_jobs(run: &RunDir) -> PathBuf {
    run.path().join("best_jobs")
}

impl Kept {
    /// What keeps the directories of `run`; `None` if they all stay as they are.
    pub fn new(run: &RunDir, wanted: &Wanted) -> Option<Self> {
        (wanted.keep_best > 0 || wanted.removes_others).then(|| Self {
            run: run.clone(),
            wanted: wanted.clone(),
            completed: None,
            prefix: match wanted.results_as {
                ResultsAs::ClusterUtils => "directories_",
                ResultsAs::Cu => "",
            },
        })
    }

    fn name(&self, job: &JobReport) -> String {
        format!("{}{}", self.prefix, job.job)
    }

    /// Copies what is new among the best, removes what is not among them any more, then the directories of completed
    /// jobs if they are to go.
    ///
    /// # Errors
    /// If a file can't be read or written.
    pub fn tidy(&self, jobs: &[JobReport]) -> Result<()> {
        let best = ranked(&self.wanted, jobs);
        let best: Vec<_> = best
            .iter()
            .take(self.wanted.keep_best)
            .map(|(job, _)| *job)
            .collect();
        let directory = best_jobs(&self.run);
        if self.wanted.keep_best > 0 {
            files::make_dir(&directory).map_err(Error::write("make the directory", &directory))?;
            for job in &best {
                copy_once(&job.output_dir, &directory.join(self.name(job)))?;
            }
            let names: BTreeSet<_> = best.iter().map(|job| self.name(job)).collect();
            remove_others(&directory, self.prefix, &names)?;
        }
        if self.wanted.removes_others {
            let completed = jobs.iter().filter(|job| job.state == JobState::Completed);
            for job in completed {
                remove(&job.output_dir)?;
            }
        }
        Ok(())
    }
}

impl Beside for Kept {
    fn look(&mut self, reader: &Reader) -> Result<()> {
        let completed = Some(reader.status()?.jobs.completed);
        if self.completed != completed {
            self.tidy(&reader.jobs()?)?;
            self.completed = completed;
        }
        Ok(())
    }
}

/// Copies a directory, whole or not at all, unless it was copied before.
fn copy_once(from: &Path, to: &Path) -> Result<()> {
    if to.exists() || !from.is_dir() {
        return Ok(());
    }
    let unfinished = to.with_extension("new");
    remove(&unfinished)?;
    copy(from, &unfinished).map_err(Error::write("copy", from))?;
    fs::rename(&unfinished, to).map_err(Error::write("rename", &unfinished))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    files::make_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&path, &copied)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&path)?, &copied)?;
        } else if kind.is_file() {
            fs::copy(&path, &copied)?;
        }
    }
    Ok(())
}

/// Removes the copies of jobs that are not called so.
fn remove_others(directory: &Path, prefix: &str, names: &BTreeSet<String>) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(Error::write("read", directory))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name
            .strip_prefix(prefix)
            .and_then(|it| it.split('.').next());
        let is_ours = number.is_some_and(|it| it.parse::<u32>().is_ok());
        if is_ours && !names.contains(&name) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::write("remove", directory)(error))
        }
        _ => Ok(()),
    }
}
