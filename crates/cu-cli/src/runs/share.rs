//! Lets a group read a run: an advisor, a laboratory. Nobody but the owner can ever write to it, and what could steer
//! the run stays private.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cu_core::RunDir;
use cu_system::users;
use rustix::fs::{AtFlags, CWD, Gid, chownat};

use crate::config::Source;
use crate::error::{Error, Result};
use crate::shell_word::shell_word;

/// The name of a file with the command and the variables of a job.
const OF_A_JOB: &str = "job.json";

/// A group of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(u32);

impl Group {
    /// The group called `name`, or with this number. The system is asked, which also knows those of directory services.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(name: &str) -> Result<Self> {
        if let Ok(number) = name.parse() {
            return Ok(Self(number));
        }
        let mut getent = Command::new("getent");
        getent.args(["group", "--", name]).stdin(Stdio::null());
        let output = getent.output().map_err(Error::system("run `getent`"))?;
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = line
            .split(':')
            .nth(2)
            .and_then(|number| number.parse().ok());
        number.map(Self).ok_or_else(|| {
            Error::usage_hint(
                format!("there is no group `{name}`"),
                "`groups` lists yours",
            )
        })
    }

    /// That of the run's config, if it is shared.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn of(run: &RunDir) -> Result<Option<Self>> {
        // What can't be read is reported when the run is opened.
        let Ok(config) = Source::read_own(&run.config()).and_then(Source::parse) else {
            return Ok(None);
        };
        config.file.group.as_deref().map(Self::find).transpose()
    }
}

/// Lets the group read the run as it is now. What is made later is private until this is done again.
///
/// # Errors
/// If a right can't be given, such as to a group in which the user is not.
pub fn share(run: &RunDir, group: Group) -> Result<()> {
    let mut left = vec![run.path().to_owned()];
    while let Some(path) = left.pop() {
        // What a program removes meanwhile needs no rights.
        let Ok(found) = path.symlink_metadata() else {
            continue;
        };
        let is_private = path == run.secret()
            || path == run.all_backends()
            || path.file_name().is_some_and(|name| name == OF_A_JOB)
                && path.starts_with(run.all_attempts());
        let is_ours = found.uid() == users::own();
        if is_private || !is_ours || !(found.is_dir() || found.is_file()) {
            continue;
        }
        match give(&path, &found, group) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            given => given.map_err(Error::write("let the group read", &path))?,
        }
        if found.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        }
    }
    Ok(())
}

/// Lets the group pass through a directory to the runs in it that it may read, and not list it.
///
/// # Errors
/// If the right can't be given.
pub fn let_in(directory: &Path, group: Group) -> io::Result<()> {
    chownat(
        CWD,
        directory,
        None,
        Some(Gid::from_raw(group.0)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    let mode = directory.metadata()?.mode() & 0o7777;
    std::fs::set_permissions(directory, PermissionsExt::from_mode(mode | 0o010))
}

fn give(path: &Path, found: &Metadata, group: Group) -> io::Result<()> {
    if found.gid() != group.0 {
        let group = Some(Gid::from_raw(group.0));
        chownat(CWD, path, None, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let mode = found.mode() & 0o7777;
    // What the owner may execute the group may execute, too; it never gets the right to write.
    let wanted = mode | 0o040 | (mode & 0o100) >> 3;
    match wanted == mode {
        true => Ok(()),
        false => std::fs::set_permissions(path, PermissionsExt::from_mode(wanted)),
    }
}

/// What keeps the group from the run: a directory above it that it can't enter.
pub fn obstacle(run: &RunDir, group: Group) -> Option<String> {
    let above: Vec<PathBuf> = run.path().ancestors().skip(1).map(Path::to_owned).collect();
    let closed = above.into_iter().rev().find(|directory| {
        directory.metadata().is_ok_and(|found| {
            let is_open = match found.gid() == group.0 {
                true => found.mode() & 0o010,
                false => found.mode() & 0o001,
            };
            is_open == 0
        })
    })?;
    let word = shell_word(&closed);
    Some(format!(
        "the group can't enter {}; if it is yours, `chmod o+x {word}` lets people pass, and not list it",
        closed.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cu_protocol::JobId;
    use std::fs;

    #[test]
    fn a_group_reads_everything_but_what_steers_the_run() {
        let scratch = tempfile::tempdir().expect("a directory");
        let run = RunDir::new(scratch.path().join("run"));
        let own = Group(rustix::process::getegid().as_raw());
        let job = JobId(0);
        for directory in [run.output_dir(job), run.attempts(job), run.backend("slurm")] {
            fs::create_dir_all(directory).expect("a directory");
        }
        let result = run.output_dir(job).join("result");
        let outside = scratch.path().join("outside");
        let written = [
            run.secret(),
            run.job_spec(job),
            run.store(),
            result.clone(),
            outside.clone(),
        ];
        for file in &written {
            fs::write(file, "").expect("a file");
        }
        let all = [run.path().to_owned(), run.all_backends(), run.attempts(job)];
        for path in all.iter().chain(&written) {
            let mode = if path.is_dir() { 0o700 } else { 0o600 };
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
        }
        std::os::unix::fs::symlink(&outside, run.output_dir(job).join("link")).expect("a link");
        share(&run, own).expect("shared");
        share(&run, own).expect("once more");
        let mode = |path: &Path| path.metadata().expect("it is there").mode() & 0o7777;
        for (path, expected) in [
            (run.path(), 0o750),
            (&run.store(), 0o640),
            (&result, 0o640),
            (&run.attempts(job), 0o750),
            (&run.secret(), 0o600),
            (&run.job_spec(job), 0o600),
            (&run.all_backends(), 0o700),
            (&outside, 0o600),
        ] {
            assert_eq!(mode(path), expected, "{}", path.display());
        }
    }

    #[test]
    fn a_group_is_found_by_name_or_number() {
        assert_eq!(Group::find("root").expect("it is everywhere"), Group(0));
        assert_eq!(Group::find("1234").expect("a number"), Group(1234));
        let error = Group::find("no-such-group").expect_err("none").to_string();
        assert_eq!(error, "there is no group `no-such-group`");
    }
}
