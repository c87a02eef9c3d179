//! Finds the command of each job, before anything is made.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use cu_run_dir::{Part, Template};
use rustix::fs::{Access, access};

use super::error::{Error, Result};
use super::paths::plain;
use super::placeholder::{self, Known};
use super::source::Parsed;
use cu_system::script::Fault;

use crate::shell_word::shell_word;

/// The commands of a run.
pub struct Commands {
    /// The command of each job, complete but for what only an attempt knows.
    pub of_jobs: Vec<Vec<Template>>,
    /// The command as given, with its placeholders, but with the same meaning in any environment.
    pub given: Vec<String>,
}

/// The command `given` for each of `jobs`, by its settings and the directory in which it starts. The
/// arguments stay as they are, but for their placeholders.
///
/// # Errors
/// If a placeholder means nothing, or a job's program can't be executed.
pub fn commands<'a>(
    parsed: &Parsed,
    given: &[String],
    jobs: impl Iterator<Item = (Known<'a>, &'a Template)>,
) -> Result<Commands> {
    let search = parsed.file.environment.0.get("PATH").map(OsString::from);
    let search = search.or_else(|| std::env::var_os("PATH"));
    let mut of_jobs: Vec<Vec<Template>> = Vec::new();
    let mut anywhere = given.to_vec();
    // Most jobs have the same program in the same directory, which is looked up once.
    let mut last: Option<(Template, &Template, Template)> = None;
    for (known, directory) in jobs {
        let filled = given
            .iter()
            .map(|argument| placeholder::fill_argument(argument, known));
        let filled = filled.collect::<Result<Vec<_>, _>>();
        let mut command = filled.map_err(|reason| parsed.wrong("command", reason))?;
        let Some(program) = command.first_mut() else {
            return Err(parsed.wrong("command", "it is empty; name a program"));
        };
        if program.parts() == [Part::ClusterUtils] {
            let reason = "`{cluster_utils}` stands for arguments; name the program before it";
            return Err(parsed.wrong("command", reason));
        }
        let found = match &last {
            Some((same, there, found)) if same == program && *there == directory => found.clone(),
            _ => found(parsed, program, directory, search.as_deref())?,
        };
        last = Some((program.clone(), directory, found.clone()));
        *program = found;
        if of_jobs.is_empty()
            && let (Some(given), Some(found)) = (anywhere.first_mut(), command[0].as_text())
            && !placeholder::has_any(given)
        {
            found.clone_into(given);
        }
        of_jobs.push(command);
    }
    Ok(Commands {
        of_jobs,
        given: anywhere,
    })
}

/// The program in a form that means the same on each machine: without a slash, it becomes the path that
/// it has in PATH. Otherwise it stays as it is, relative to the directory in which it starts. One that
/// only an attempt knows is looked up there, and so is one whose PATH only an attempt knows.
///
/// # Errors
/// If there is no such program, or it can't be executed.
fn found(
    parsed: &Parsed,
    program: &Template,
    directory: &Template,
    search: Option<&OsStr>,
) -> Result<Template> {
    let Some(name) = program.as_text() else {
        return Ok(program.clone());
    };
    if !name.is_empty() && !name.contains('/') && parsed.file.backend.changes_path() {
        return Ok(program.clone());
    }
    let missing = |reason: String| Error::Program {
        place: parsed.place("command"),
        program: name.to_owned(),
        reason,
    };
    let is_relative = name.contains('/') && !name.starts_with('/');
    let directory = match directory.as_text() {
        Some(directory) => Path::new(directory),
        None if is_relative => return Ok(program.clone()),
        None => parsed.directory(),
    };
    if name.contains('/') && parsed.is_to_be_cloned(&directory.join(name)) {
        return Ok(program.clone());
    }
    let found = find(name, directory, search).map_err(|reason| {
        let elsewhere = parsed.directory().join(name);
        let is_elsewhere = is_relative && directory != parsed.directory() && elsewhere.is_file();
        missing(match is_elsewhere {
            true => format!(
                "{reason}: it is relative to working_directory; for the file beside the config, write \
                 {{config_dir}}/{}",
                name.trim_start_matches("./")
            ),
            false => reason,
        })
    })?;
    if name.contains('/') {
        return Ok(program.clone());
    }
    let found = found.into_os_string().into_string();
    let found = found.map_err(|_| missing("its path is not valid UTF-8".to_owned()))?;
    Ok(found.into())
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
            false if path.is_dir() => Err(format!("{} is a directory", path.display())),
            false => Err(format!("there is no file {}", path.display())),
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
        assert!(error.starts_with("there is no file "), "{error}");
        let error = find("./", directory.path(), None).expect_err("a directory");
        assert!(error.ends_with(" is a directory"), "{error}");
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
    fn no_argument_is_changed_though_files_are_called_so() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["train.py", "adam", "0.1"] {
            make(&directory.path().join(name), 0o755);
        }
        let here = Template::from(directory.path().to_str().expect("UTF-8"));
        let settings = serde_json::Map::new();
        let known = Known {
            settings: &settings,
            config_dir: directory.path(),
        };
        let source = Source::new("run.toml".into(), String::new(), Vec::new());
        let parsed = source.within(directory.path()).parse().expect("a config");
        let hostile = "a $(touch F) b\n\"'";
        for program in ["./train.py", "/bin/sh"] {
            let given = [program, "train.py", "adam", "--lr", "0.1", hostile, ""];
            let given = given.map(str::to_owned);
            let jobs = std::iter::once((known, &here));
            let commands = commands(&parsed, &given, jobs).expect("found");
            let expected: Vec<_> = given.iter().map(|it| Template::from(it.as_str())).collect();
            assert_eq!(commands.of_jobs, [expected]);
            assert_eq!(commands.given, given);
        }
        let jobs = std::iter::once((known, &here));
        let commands = commands(&parsed, &["sh".to_owned()], jobs).expect("found");
        assert!(commands.given[0].ends_with("/sh"), "{:?}", commands.given);
    }
}
