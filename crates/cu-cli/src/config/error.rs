//! Errors in a config: place, reason and, where possible, a hint.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::format::ENDINGS;

/// A result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The hint for a program in the place of a config.
const NO_COMMAND: &str =
    "a config is a file in TOML, JSON or YAML; to run a command, write `cu run -- COMMAND`";

/// The place where a key was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a line of a file.
    Line(PathBuf, Box<Excerpt>),
    /// On the command line, in these words.
    CommandLine(String),
    /// Nowhere in particular.
    Config(PathBuf),
}

/// A line of a file, and what is meant in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The number of the line, counted from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// The bytes in it that are meant.
    pub span: Range<usize>,
}

impl Place {
    /// The bytes `span` of `text`, which is in the file `path`.
    pub fn in_text(path: &Path, text: &str, span: Range<usize>) -> Self {
        let boundary = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let at = boundary(span.start);
        let (before, after) = text.split_at(at);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = after.split('\n').next().unwrap_or_default();
        let line = text[start..at + line.len()].trim_end_matches('\r');
        let first = (at - start).min(line.len());
        let last = boundary(span.end).saturating_sub(start);
        let excerpt = Excerpt {
            line: 1 + before.matches('\n').count(),
            text: line.to_owned(),
            span: first..last.clamp(first, line.len()),
        };
        Self::Line(path.to_owned(), Box::new(excerpt))
    }

    /// Whether it is in a file without the extension of a config: a script, perhaps.
    fn is_strange(&self) -> bool {
        match self {
            Self::Line(path, _) | Self::Config(path) => {
                let ending = path.extension().and_then(|it| it.to_str());
                ending.is_none_or(|ending| !ENDINGS.contains(&ending))
            }
            Self::CommandLine(_) => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(path, excerpt) => write!(out, "{}, line {}", path.display(), excerpt.line),
            Self::CommandLine(words) => write!(out, "`{words}`"),
            Self::Config(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("{}", unreadable(path, source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not valid in its language.
    #[error("{place}: this is not valid {language}: {reason}")]
    Syntax {
        /// TOML, JSON or YAML.
        language: &'static str,
        /// Where.
        place: Place,
        /// What the parser says.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key `{key}`")]
    UnknownKey {
        /// Where.
        place: Place,
        /// The dotted key.
        key: String,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// A key with a wrong value.
    #[error("{place}: `{key}`: {reason}")]
    Value {
        /// Where.
        place: Place,
        /// The dotted key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key is missing.
    #[error("{}: `{key}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The dotted key.
        key: &'static str,
    },
    /// An override that is not `key=value`.
    #[error("`{words}` is not an override: {reason}")]
    Override {
        /// As it was given.
        words: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A program that can't be run.
    #[error("{place}: can't run `{program}`: {reason}")]
    Program {
        /// Where it was named.
        place: Place,
        /// As it was given.
        program: String,
        /// What was looked for.
        reason: String,
    },
    /// More than one of these.
    #[error("{} mistakes: {}", .0.len(), in_one_line(.0))]
    Several(Vec<Self>),
    /// A profile that no layer has.
    #[error("there is no profile `{name}`")]
    NoProfile {
        /// Its name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A backend that this build does not have.
    #[error("{place}: this build of cu has no {backend} backend")]
    NoBackend {
        /// Where.
        place: Place,
        /// Which.
        backend: &'static str,
    },
    /// A backend whose command can't be found.
    #[error("{place}: can't find {backend}: {command} is not in {}", match directory {
        Some(directory) => directory.display().to_string(),
        None => "PATH".to_owned(),
    })]
    NoCommand {
        /// Where the backend was asked for.
        place: Place,
        /// Which, for people.
        backend: &'static str,
        /// Its command that was looked for.
        command: &'static str,
        /// Where it was looked for; in PATH if nowhere else.
        directory: Option<PathBuf>,
        /// The key that says where its commands are.
        key: String,
    },
}

impl Error {
    /// The one error, or all of them.
    pub fn several(mut errors: Vec<Self>) -> Self {
        match errors.len() {
            1 => errors.remove(0),
            _ => Self::Several(errors),
        }
    }

    /// The errors of which it consists.
    pub fn all(&self) -> &[Self] {
        match self {
            Self::Several(errors) => errors,
            one => std::slice::from_ref(one),
        }
    }

    /// The number of the line that is wrong. The command line comes after all lines.
    pub fn line(&self) -> usize {
        self.excerpt().map_or(usize::MAX, |excerpt| excerpt.line)
    }

    /// The line of a file that is wrong.
    pub fn excerpt(&self) -> Option<&Excerpt> {
        let (Self::Syntax { place, .. }
        | Self::UnknownKey { place, .. }
        | Self::Value { place, .. }
        | Self::Program { place, .. }) = self
        else {
            return None;
        };
        match place {
            Place::Line(_, excerpt) => Some(excerpt),
            Place::CommandLine(_) | Place::Config(_) => None,
        }
    }

    /// Advice on what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey {
                nearest,
                place,
                key,
            } => Some(match (nearest, place) {
                (Some(nearest), _) => format!("did you mean `{nearest}`?"),
                (None, Place::CommandLine(words)) if words.contains('=') && !key.contains('.') => format!(
                    "`settings.{words}` gives it to the program as a setting; `cu config reference` prints all keys"
                ),
                (None, _) => "`cu config reference` prints all keys".to_owned(),
            }),
            Self::Override { .. } => Some(
                "an override is KEY=VALUE with a dotted key, such as stop.after=10s".to_owned(),
            ),
            Self::Read { path, source } if source.kind() == ErrorKind::NotFound => {
                let configs = configs_beside(path);
                Some(match configs.is_empty() {
                    true => NO_COMMAND.to_owned(),
                    false => format!("did you mean {}?", configs.join(" or ")),
                })
            }
            Self::Read { .. } => Some(NO_COMMAND.to_owned()),
            Self::Missing { key, .. } => Some(explains(key)),
            Self::Value { key, .. } => Some(explains(key)),
            // It is there, and can't be executed.
            Self::Program {
                program, reason, ..
            } if program.contains('/') && !is_missing(reason) => {
                let word = cu_system::shell::quote(program);
                Some(format!(
                    "a script also runs by its interpreter: `bash {word}`, `python3 {word}`"
                ))
            }
            Self::Program { .. } => Some(
                "a program with a slash is a path from the config's directory, or after `--` from \
                 the current directory; one without a slash is searched in PATH"
                    .to_owned(),
            ),
            // Each has its own.
            Self::Several(_) => None,
            Self::NoProfile { known, .. } if known.is_empty() => Some(
                "a profile is a table [profiles.NAME] in a config, or in the defaults of the user or the \
                 site; `cu config show` prints where they are"
                    .to_owned(),
            ),
            Self::NoProfile { known, .. } => Some(format!("the profiles are: {}", known.join(", "))),
            Self::NoBackend { .. } => Some(
                "build cu-cli with its default features to get all backends; `backend.kind=local` \
                 runs the jobs on this machine"
                    .to_owned(),
            ),
            Self::NoCommand { key, .. } => Some(format!(
                "use a machine that can submit to it, load its module, or set {key} to the directory \
                 of its commands; `backend.kind=local` runs the jobs on this machine"
            )),
            Self::Syntax { place, .. } => place.is_strange().then(|| NO_COMMAND.to_owned()),
        }
    }
}

/// Whether there is no file that could be executed.
fn is_missing(reason: &str) -> bool {
    reason.starts_with("there is no file") || reason.ends_with("is a directory")
}

/// Where `key` is explained.
fn explains(key: &str) -> String {
    let key = key.split_once('[').map_or(key, |(list, _)| list);
    format!("`cu config reference {key}` explains it")
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => format!("there is no config {}", path.display()),
        _ => format!("can't read the config {}", path.display()),
    }
}

fn in_one_line(errors: &[Error]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

/// At most three configs in the directory of `path`, those with the most similar names first.
fn configs_beside(path: &Path) -> Vec<String> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let entries = std::fs::read_dir(parent.unwrap_or(Path::new(".")));
    let paths = entries.into_iter().flatten().flatten();
    let paths = paths.map(|entry| entry.path());
    let configs = paths.filter(|path| {
        let ending = path.extension().and_then(|it| it.to_str());
        ending.is_some_and(|ending| ENDINGS.contains(&ending))
    });
    let names = configs.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let mut names: Vec<_> = names.collect();
    let meant = path.file_name().unwrap_or_default().to_string_lossy();
    names.sort_by_cached_key(|name| (strsim::damerau_levenshtein(&meant, name), name.clone()));
    names.truncate(3);
    names
}
