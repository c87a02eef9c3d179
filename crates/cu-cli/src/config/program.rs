//! Finds the command of each job, before anything is made.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use serde_json::{Map, Value};

use super::error::{Error, Result};
use super::paths::plain;
use super::placeholder;
use super::source::Parsed;
use cu_system::script::Fault;

use crate::shell_word::shell_word;

/// The commands of a run.
pub struct Commands {
    /// The command of each job, complete.
    pub of_jobs: Vec<Vec<String>>,
    /// The command as given, with its placeholders, but with the same meaning in any directory.
    pub given: Vec<String>,
}

/// The command `given` for each job, by its `settings`. See [`with_absolute_paths`].
///
/// # Errors
/// If a placeholder names no setting, or a job's program can't be executed.
pub fn commands<'a>(
    parsed: &Parsed,
    given: &[String],
    settings: impl Iterator<Item = &'a Map<String, Value>>,
) -> Result<Commands> {
    let directory = parsed.directory();
    let mut of_jobs: Vec<Vec<String>> = Vec::new();
    let mut anywhere = Vec::new();
    let mut last_filled = Vec::new();
    for settings in settings {
        let filled = placeholder::fill(given, settings);
        let filled = filled.map_err(|reason| parsed.wrong("command", reason))?;
        let command = match of_jobs.last() {
            // Most commands have no placeholder, and are looked up once.
            Some(last) if filled == last_filled => last.clone(),
            _ => with_absolute_paths(parsed, &filled)?,
        };
        if of_jobs.is_empty() {
            let arguments = given.iter().zip(&filled).zip(&command);
            let arguments = arguments
                .map(|((given, filled), found)| portable_argument(given, filled, found, directory));
            anywhere = arguments.collect();
        }
        last_filled = filled;
        of_jobs.push(command);
    }
    Ok(Commands {
        of_jobs,
        given: anywhere,
    })
}

/// The argument `given` in a form that means the same in any directory. With settings filled in it is
/// `filled`, and `found` is that as a path in `directory`, if it is one.
fn portable_argument(given: &str, filled: &str, found: &str, directory: &Path) -> String {
    if given == filled {
        return found.to_owned();
    }
    let absolute = |text: &str| plain(directory.join(text));
    let template = absolute(given);
    match template.to_str() {
        Some(template) if absolute(filled) == Path::new(found) => template.to_owned(),
        _ => given.to_owned(),
    }
}

/// Makes the program of `command` an absolute path. An argument that names a file in the config's
/// directory becomes its absolute path as well, unless the config has a working directory.
///
/// # Errors
/// If there is no such program, or it can't be executed.
fn with_absolute_paths(parsed: &Parsed, command: &[String]) -> Result<Vec<String>> {
    let directory = parsed.directory();
    let keep_arguments = parsed.file.working_directory.is_some();
    let Some((program, arguments)) = command.split_first() else {
        return Err(parsed.wrong("command", "it is empty; name a program"));
    };
    let missing = |reason: String| Error::Program {
        place: parsed.place("command"),
        program: program.clone(),
        reason,
    };
    let found = find(program, directory, std::env::var_os("PATH").as_deref()).map_err(missing)?;
    let found = found.into_os_string().into_string();
    let found = found.map_err(|_| missing("its path is not valid UTF-8".to_owned()))?;
    let argument = |argument: &String| {
        let path = plain(directory.join(argument));
        match path.to_str() {
            Some(path_text) if !keep_arguments && !argument.is_empty() && path.is_file() => {
                path_text.to_owned()
            }
            _ => argument.clone(),
        }
    };
    Ok(std::iter::once(found)
        .chain(arguments.iter().map(argument))
        .collect())
}

/// The absolute path of `program`, or why there is none.
fn find(program: &str, directory: &Path, search: Option<&OsStr>) -> Result<PathBuf, String> {
    if program.is_empty() {
        return Err("its name is empty".to_owned());
    }
    if program.contains('/') {
        let path = plain(directory.join(program));
        return match executable(&path) {
            true => fit(path),
            false if path.is_file() => {
                let shown = path.display();
                let word = shell_word(&path);
                Err(format!(
                    "{shown} is not executable; run `chmod +x {word}`, or name its interpreter first"
                ))
            }
            false => Err(format!("{} is not a file", path.display())),
        };
    }
    let directories = search.map(std::env::split_paths).into_iter().flatten();
    let mut found = directories
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program))
        .filter(|path| executable(path));
    match found.next() {
        Some(path) => Ok(path),
        None if directory.join(program).is_file() => Err(format!(
            "it is not in PATH; for the file here, write ./{program}"
        )),
        None => Err("it is not in PATH".to_owned()),
    }
}

/// `path`, unless no machine can execute it. An interpreter may well exist on a node alone.
fn fit(path: PathBuf) -> Result<PathBuf, String> {
    match Fault::of(&path).filter(Fault::is_everywhere) {
        Some(fault) => Err(fault.to_string()),
        None => Ok(path),
    }
}

/// The path of the command `name` in `directory`; without one, in PATH.
pub fn find_command(name: &str, directory: Option<&Path>) -> Option<PathBuf> {
    match directory {
        Some(directory) => Some(directory.join(name)).filter(|path| executable(path)),
        None => find(name, Path::new("/"), std::env::var_os("PATH").as_deref()).ok(),
    }
}

fn executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;
    use std::fs::{File, Permissions, create_dir, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    fn make(path: &Path, mode: u32) {
        File::create(path).expect("a file");
        set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    }

    #[test]
    fn with_a_slash_it_is_relative_to_the_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("train");
        make(&program, 0o755);
        make(&directory.path().join("data.csv"), 0o644);
        assert_eq!(find("./train", directory.path(), None), Ok(program.clone()));
        let absolute = program.to_str().expect("UTF-8");
        assert_eq!(find(absolute, directory.path(), None), Ok(program.clone()));
        let error = find("./data.csv", directory.path(), None).expect_err("no program");
        assert!(
            error.contains("data.csv is not executable; run `chmod +x "),
            "{error}"
        );
        let error = find("./absent", directory.path(), None).expect_err("absent");
        assert!(error.ends_with("absent is not a file"), "{error}");
    }

    #[test]
    fn without_a_slash_it_is_looked_up_in_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let (first, second) = (directory.path().join("a"), directory.path().join("b"));
        create_dir(&first).expect("a directory");
        create_dir(&second).expect("a directory");
        make(&first.join("tool"), 0o644);
        make(&second.join("tool"), 0o755);
        let search = std::env::join_paths([&first, &second]).expect("plain paths");
        assert_eq!(
            find("tool", directory.path(), Some(&search)),
            Ok(second.join("tool"))
        );
        assert!(find("other", directory.path(), Some(&search)).is_err());
        make(&directory.path().join("other"), 0o755);
        let error = find("other", directory.path(), Some(&search)).expect_err("not in PATH");
        assert!(error.ends_with("write ./other"), "{error}");
    }

    #[test]
    fn only_files_among_the_arguments_become_absolute() {
        let directory = tempfile::tempdir().expect("a directory");
        make(&directory.path().join("train.py"), 0o644);
        create_dir(directory.path().join("test")).expect("a directory");
        let resolved = |config: &str, command: &[String]| {
            let source = Source::new("run.toml".into(), config.to_owned(), Vec::new());
            let parsed = source.within(directory.path()).parse().expect("a config");
            with_absolute_paths(&parsed, command).expect("found")
        };
        let hostile = "a $(touch F) b\n\"'";
        let command = ["/bin/sh", "train.py", "test", hostile, ""].map(str::to_owned);
        let script = directory.path().join("train.py");
        let script = script.to_str().expect("UTF-8");
        assert_eq!(
            resolved("", &command),
            ["/bin/sh", script, "test", hostile, ""]
        );
        assert_eq!(resolved("working_directory = \".\"", &command), command);
    }
}
