//! The files of a call: its script and, for an indirect call, what each task executes and where its
//! output goes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cu_system::files;

use super::known::Call;
use super::script::{beside, withdrawn};
use crate::Submission;

/// The file that one start executes, in the directory of its submission.
const START: &str = "start.sh";

/// Writes the script of a call, and locks it: as long as somebody holds the lock, sbatch may be at
/// work with it.
///
/// # Errors
/// The file, and the answer of the system.
pub(super) fn write_script(call: &Call, text: &str) -> Result<File, String> {
    let written = || {
        if let Some(directory) = call.script.parent() {
            files::make_dir(directory)?;
        }
        write_private(&call.script, text)?;
        let opened = open_script(call);
        opened.inspect(|file| {
            // On a file system without locks only time shows whether sbatch is at work.
            file.try_lock().ok();
        })
    };
    written().map_err(|error| format!("{} can't be written: {error}", call.script.display()))
}

/// Whether sbatch may still be at work with the script of a call.
pub(super) fn is_at_work(call: &Call) -> bool {
    match open_script(call) {
        Ok(file) => matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

fn open_script(call: &Call) -> io::Result<File> {
    files::open(&call.script, OpenOptions::new().read(true).write(true))
}

/// Makes `task` of the script execute `text` from its next start on, with its output in the
/// directory of `submission`.
///
/// # Errors
/// The file, and the answer of the system.
pub(super) fn point(
    script: &Path,
    task: Option<u32>,
    submission: &Submission,
    text: &str,
) -> Result<(), String> {
    let start = submission.directory.join(START);
    let title = format!(
        "# Attempt {} of job {}: read by {}.\n",
        submission.name.attempt(),
        submission.name.job(),
        script.display()
    );
    let pointed = || {
        write_private(&start, &(title + text))?;
        link(
            &submission.directory.join("stdout"),
            &beside(script, task, "out"),
        )?;
        link(
            &submission.directory.join("stderr"),
            &beside(script, task, "err"),
        )?;
        link(&start, &beside(script, task, "sh"))
    };
    pointed().map_err(|error| format!("{} can't be written: {error}", start.display()))
}

/// Lets a job of a call that may still appear end without having run anything.
///
/// # Errors
/// The file, and the answer of the system.
pub(super) fn withdraw(call: &Call) -> Result<(), String> {
    let mark = withdrawn(call);
    let failed = |error| format!("{} can't be written: {error}", mark.display());
    files::touch(&mark).map_err(failed)
}

/// Removes the files of a call that came to nothing, as far as they are its alone.
pub(super) fn discard(call: &Call) {
    if call.array
        && let Some(directory) = call.script.parent()
    {
        std::fs::remove_dir_all(directory).ok();
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    files::write_whole(path, text.as_bytes(), files::PRIVATE_FILE)
}

fn link(target: &Path, path: &Path) -> io::Result<()> {
    let part = part_of(path);
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => symlink(target, &part)?,
    }
    std::fs::rename(&part, path)
}

/// The path of a link before it is moved to its place.
fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    PathBuf::from(part)
}
