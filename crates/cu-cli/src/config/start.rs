//! Where each program starts and with what: its directory, its standard input and its variables. Their
//! placeholders are filled in as far as they are known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cu_run_dir::{Part, Template};
use serde_json::{Map, Value};

use super::error::Result;
use super::paths::plain;
use super::placeholder::{self, Known};
use super::source::Parsed;
use crate::{home, unshelled};

/// How the program of one job starts.
#[derive(Debug)]
pub struct Start {
    /// An absolute path, or one that begins with the output directory. Likewise the next.
    pub working_directory: Template,
    pub stdin: Option<Template>,
    pub environment: BTreeMap<String, Template>,
}

impl Start {
    /// The start of a job with these settings.
    ///
    /// # Errors
    /// If a placeholder means nothing, or a path has a `~` that nobody can replace.
    pub fn new(parsed: &Parsed, settings: &Map<String, Value>) -> Result<Self> {
        let known = known(parsed, settings);
        let fill = |key: &str, text: &str| {
            let filled = placeholder::fill(text, known);
            filled.map_err(|reason| parsed.wrong(key, reason))
        };
        let path = |key: &str, text: &str| {
            let absolute = absolute(parsed.directory(), &fill(key, text)?);
            absolute.map_err(|reason| parsed.wrong(key, reason))
        };
        let directory = parsed.file.working_directory.as_deref().unwrap_or(".");
        let stdin = parsed.file.stdin.as_deref();
        let variables = parsed.file.environment.0.iter();
        let variables = variables.map(|(name, value)| {
            let key = super::table::join("environment", name);
            Ok((name.clone(), fill(&key, value)?))
        });
        Ok(Self {
            working_directory: path("working_directory", directory)?,
            stdin: stdin.map(|stdin| path("stdin", stdin)).transpose()?,
            environment: variables.collect::<Result<_>>()?,
        })
    }
}

/// What placeholders are filled from.
pub fn known<'a>(parsed: &'a Parsed, settings: &'a Map<String, Value>) -> Known<'a> {
    Known {
        settings,
        config_dir: parsed.directory(),
    }
}

/// Checks the directories and files of all jobs, as far as they are known. Returns the directories that
/// are still to be made: those that the settings name.
///
/// # Errors
/// The first that is missing.
pub fn check(parsed: &Parsed, starts: &[Start]) -> Result<Vec<PathBuf>> {
    let given = parsed.file.working_directory.as_deref();
    let is_made = given.is_some_and(placeholder::has_any);
    let mut to_make = Vec::new();
    // Most jobs have the same, which is looked at once.
    let mut last = (None, None);
    for start in starts {
        let directory = start.working_directory.as_text();
        let stdin = start.stdin.as_ref().and_then(Template::as_text);
        if (directory, stdin) == last {
            continue;
        }
        last = (directory, stdin);
        if let Some(path) = directory.map(Path::new)
            && !path.is_dir()
            && !parsed.is_to_be_cloned(path)
        {
            if !is_made || path.exists() {
                let reason = format!("{} is not a directory", path.display());
                return Err(parsed.wrong("working_directory", reason));
            }
            to_make.push(path.to_owned());
        }
        if let Some(path) = stdin.map(Path::new)
            && !path.is_file()
            && !parsed.is_to_be_cloned(path)
        {
            let reason = match path.exists() {
                true => format!("{} is not a regular file", path.display()),
                false => format!("there is no file {}", path.display()),
            };
            return Err(parsed.wrong("stdin", reason));
        }
    }
    Ok(to_make)
}

/// The paths as they are given, but with the same meaning in any directory.
pub fn effective(parsed: &Parsed) -> Vec<(&'static str, String)> {
    let file = &parsed.file;
    let directory = file.working_directory.as_deref().unwrap_or(".");
    let given = [
        ("working_directory", Some(directory)),
        ("stdin", file.stdin.as_deref()),
    ];
    let given = given
        .into_iter()
        .filter_map(|(key, path)| Some((key, path?)));
    let anywhere = given.map(|(key, path)| {
        // What the settings name may be absolute, or not.
        let path = match path.starts_with('{') {
            true => path.to_owned(),
            false => {
                let path = home::expand(path).unwrap_or_else(|_| path.into());
                let path = plain(parsed.directory().join(path));
                path.to_string_lossy().into_owned()
            }
        };
        (key, path)
    });
    anywhere.collect()
}

/// `path` as an absolute one, taken from `directory`.
fn absolute(directory: &Path, path: &Template) -> Result<Template, String> {
    let (first, others) = match path.parts() {
        [Part::Text(first), others @ ..] => (unshelled::path(first)?, others),
        [Part::OutputDir, ..] => return Ok(path.clone()),
        others => (PathBuf::new(), others),
    };
    let first = directory.join(first);
    // Otherwise, a slash at its end goes before what follows.
    let first = if others.is_empty() {
        plain(first)
    } else {
        first
    };
    let first = first.into_os_string().into_string();
    let first = first.map_err(|path| format!("{} is not valid UTF-8", path.display()))?;
    let parts = std::iter::once(Part::Text(first));
    Ok(parts.chain(others.iter().cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::Source;

    fn start(directory: &Path, config: &str) -> Result<Start> {
        let source = Source::new("run.toml".into(), config.to_owned(), Vec::new());
        let settings = Map::from_iter([
            ("a".to_owned(), Value::from("x")),
            ("abs".to_owned(), Value::from("/scratch")),
        ]);
        Start::new(&source.within(directory).parse()?, &settings)
    }

    #[test]
    fn relative_paths_start_at_the_config() {
        let directory = Path::new("/home/ada/project");
        for (given, expected) in [
            ("", "/home/ada/project"),
            ("working_directory = \".\"", "/home/ada/project"),
            ("working_directory = \"./in/\"", "/home/ada/project/in"),
            ("working_directory = \"/tmp\"", "/tmp"),
            ("working_directory = \"{output_dir}/w\"", "{output_dir}/w"),
            (
                "working_directory = \"r/{job}\"",
                "/home/ada/project/r/{job}",
            ),
            ("working_directory = \"{job}\"", "/home/ada/project/{job}"),
            (
                "working_directory = \"{settings.a}\"",
                "/home/ada/project/x",
            ),
            (
                "working_directory = \"{settings.abs}/{job}\"",
                "/scratch/{job}",
            ),
            (
                "working_directory = \"{config_dir}/in\"",
                "/home/ada/project/in",
            ),
        ] {
            let start = start(directory, given).expect(given);
            assert_eq!(start.working_directory.to_string(), expected, "{given}");
        }
        let start = start(directory, "stdin = \"in.{settings.a}\"").expect("a start");
        assert_eq!(start.stdin, Some("/home/ada/project/in.x".into()));
    }

    #[test]
    fn a_wrong_placeholder_is_an_error_at_its_key() {
        for (given, key) in [
            ("working_directory = \"{outputdir}\"", "working_directory"),
            ("stdin = \"{settings.b}\"", "stdin"),
            ("[environment]\nOUT = \"{job_id}\"", "environment.OUT"),
            ("working_directory = \"~eve\"", "working_directory"),
        ] {
            let error = start(Path::new("/"), given).expect_err(given).to_string();
            assert!(error.contains(&format!("`{key}`: ")), "{error}");
        }
    }
}
