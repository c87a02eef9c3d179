//! `cu export`: packs what a colleague needs of a run into one archive, by the system's `tar`.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cu_core::{Reader, RunDir};
use serde_json::json;

use crate::args::{Common, Export};
use crate::error::{Error, ExitCode, Result};
use crate::runs::scratch::Scratch;
use crate::text::{plural, size};
use crate::{runs, terminal};

/// Where the libraries save, in a job's output directory.
const CHECKPOINTS: &str = "checkpoints";
/// What only the main process and the supervisors need, in the directory of a job's attempts.
const OF_SUPERVISORS: [&str; 4] = ["lock", "holder.json", "newest", "outbox"];

/// Writes the archive.
///
/// # Errors
/// If there is no such run, or the archive exists or can't be written.
pub fn export(common: &Common, arguments: &Export) -> Result<ExitCode> {
    let run = runs::find(arguments.run.run.as_deref(), common.results_dir())?;
    let reader = Reader::open(&run)?;
    let (Some(parent), Some(name)) = (run.path().parent(), run.path().file_name()) else {
        return Err(Error::usage("the root directory is not a run"));
    };
    let archive = match &arguments.output {
        Some(path) => runs::absolute(path)?,
        None => runs::absolute(Path::new(&format!("{}.tar.gz", name.to_string_lossy())))?,
    };
    if archive.symlink_metadata().is_ok() {
        let message = format!("{} exists already", archive.display());
        return Err(Error::usage_hint(
            message,
            "choose another file with `--output FILE`",
        ));
    }
    let beside = archive.parent().unwrap_or(Path::new("/"));
    let scratch = Scratch::new(beside)?;
    // A run that goes on writes to its store: the copy is of one moment.
    let copied = scratch.within(Path::new(name));
    runs::scratch::make(&copied)?;
    reader.copy_to(&RunDir::new(&copied))?;
    let files = listed(&run, parent, arguments.checkpoints)?;
    let list = scratch.within(Path::new("list"));
    fs::write(&list, joined(&files)).map_err(Error::write("write", &list))?;
    let packed = scratch.within(Path::new(archive.file_name().unwrap_or(name)));
    let place = scratch.within(Path::new(""));
    pack(&packed, parent, &list, &place, &RunDir::new(name).store())?;
    // Only a whole archive has this name.
    fs::rename(&packed, &archive).map_err(Error::write("write", &archive))?;
    let bytes = fs::metadata(&archive).map_or(0, |found| found.len());
    let count = files.len() as u64 + 1;
    if common.json {
        terminal::json(&json!({
            "version": 1, "run_dir": run.path(), "file": archive, "bytes": bytes, "files": count,
        }))?;
    } else if !common.quiet {
        let without = match arguments.checkpoints {
            true => "",
            false => "; checkpoints are left out, --checkpoints adds them",
        };
        terminal::say(&format!(
            "wrote {}: {} of {}{without}",
            archive.display(),
            size(bytes),
            plural(count, "file")
        ));
    }
    Ok(ExitCode::Done)
}

/// The files of the run but for its store, relative to `parent`. Links are packed as links.
fn listed(run: &RunDir, parent: &Path, checkpoints: bool) -> Result<Vec<PathBuf>> {
    let outputs = run.all_output_dirs();
    let is_wanted = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        let depth = |above: &Path| {
            path.strip_prefix(above)
                .map_or(0, |path| path.components().count())
        };
        let is_checkpoints = depth(&outputs) == 2 && name == CHECKPOINTS;
        let attempts = depth(&run.all_attempts());
        let is_ours = (2..=3).contains(&attempts) && OF_SUPERVISORS.iter().any(|it| name == *it);
        !(is_ours || is_checkpoints && !checkpoints)
    };
    let mut files = Vec::new();
    let mut left = vec![outputs.clone(), run.all_attempts()];
    let single = [run.config(), run.git(), run.log(), run.all_data()];
    // Those of a grid search of cluster_utils.
    let more = ["metadata.json", "cluster_run.log"].map(|name| run.path().join(name));
    let single = single.into_iter().chain(more);
    files.extend(single.filter(|path| path.is_file()));
    while let Some(directory) = left.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::read("read", &directory)(error)),
        };
        for entry in entries.flatten().filter(|entry| is_wanted(&entry.path())) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => left.push(entry.path()),
                Ok(kind) if kind.is_file() || kind.is_symlink() => files.push(entry.path()),
                // Sockets and pipes hold nothing.
                _ => {}
            }
        }
    }
    files.sort();
    let relative = files
        .iter()
        .map(|path| path.strip_prefix(parent).unwrap_or(path).to_owned());
    Ok(relative.collect())
}

fn joined(files: &[PathBuf]) -> Vec<u8> {
    let mut text = Vec::new();
    for file in files {
        text.extend_from_slice(file.as_os_str().as_bytes());
        text.push(0);
    }
    text
}

/// Packs the files of `list`, which are in `parent`, and `store`, which is in `place`.
fn pack(packed: &Path, parent: &Path, list: &Path, place: &Path, store: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    // The suffix of the archive decides how it is compressed.
    tar.args(["--create", "--auto-compress", "--file"])
        .arg(packed);
    tar.arg("--directory").arg(parent);
    tar.args(["--null", "--no-recursion", "--files-from"])
        .arg(list);
    tar.arg("--directory").arg(place).arg(store);
    tar.stdin(Stdio::null()).env("LC_ALL", "C");
    let failed = |source| Error::Write {
        what: "run tar for",
        path: packed.to_owned(),
        source,
    };
    let output = tar.output().map_err(failed)?;
    // 1: a file has changed while it was read, as those of a running job do.
    if matches!(output.status.code(), Some(0 | 1)) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(std::io::Error::other(said)))
}
