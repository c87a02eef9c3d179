//! What a person has typed up to the cursor, as the shell hands it over, and words as this shell takes them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::home;
use crate::runs::RESULTS_DIR;

/// A shell with a script of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The words up to the cursor, the last of which is completed.
#[derive(Debug)]
pub struct Line {
    pub shell: Shell,
    /// Without quotes; the first is `cu`.
    pub words: Vec<OsString>,
    /// The bytes of the last word that the shell takes for a word before.
    kept: usize,
    /// Whether a quote is open, in which nothing is escaped.
    in_quotes: bool,
}

impl Line {
    /// The line that these words of a script describe: `bash BREAKS LINE`, or `zsh -- WORD...`.
    pub fn of(words: &[OsString]) -> Option<Self> {
        match words {
            [shell, breaks, line] if shell == "bash" => {
                Self::of_bash(breaks.to_str()?, line.to_str()?)
            }
            [shell, dashes, words @ ..] if dashes == "--" && !words.is_empty() => Some(Self {
                shell: match shell.to_str()? {
                    "zsh" => Shell::Zsh,
                    "fish" => Shell::Fish,
                    _ => return None,
                },
                words: words.to_vec(),
                kept: 0,
                in_quotes: false,
            }),
            _ => None,
        }
    }

    /// Bash takes words apart at `=` and `:` (`COMP_WORDBREAKS`), and replaces what is behind the last of these.
    fn of_bash(breaks: &str, line: &str) -> Option<Self> {
        let (words, in_quotes) = split(line);
        let current = words.last()?;
        let is_break = |it: char| breaks.contains(it) && !it.is_whitespace();
        let kept = match in_quotes {
            true => 0,
            false => current.rfind(is_break).map_or(0, |at| at + 1),
        };
        Some(Self {
            shell: Shell::Bash,
            kept,
            words: words.into_iter().map(OsString::from).collect(),
            in_quotes,
        })
    }

    /// The word at the cursor.
    pub fn current(&self) -> OsString {
        self.words.last().cloned().unwrap_or_default()
    }

    /// The word as the shell takes it: only what it replaces, with what is special escaped.
    pub fn for_shell(&self, value: &OsStr) -> Option<String> {
        let value = value
            .to_str()
            .filter(|value| !value.contains(['\n', '\t']))?;
        let value = value.get(self.kept..)?;
        Some(match self.shell {
            Shell::Bash | Shell::Zsh if !self.in_quotes => escaped(value),
            _ => value.to_owned(),
        })
    }

    /// Where the command of another program begins: behind `cu run --`, and `sbatch` itself.
    pub fn others_command(&self) -> Option<usize> {
        let before = &self.words[..self.words.len() - 1];
        let (place, command) = self.command()?;
        match command {
            "sbatch" | "condor-submit" => Some(place),
            "run" => Some(before.iter().position(|word| word == "--")? + 1),
            _ => None,
        }
        .filter(|first| *first < self.words.len())
    }

    /// The command of `cu` before the cursor, and which word it is.
    pub fn command(&self) -> Option<(usize, &str)> {
        let mut is_value = false;
        let before = &self.words[..self.words.len() - 1];
        let mut words = before.iter().enumerate().skip(1);
        words.find_map(|(place, word)| {
            let word = word.to_str()?;
            let was_value =
                std::mem::replace(&mut is_value, matches!(word, "--results-dir" | "--color"));
            (!was_value && !word.starts_with('-')).then_some((place, word))
        })
    }

    /// The words before the cursor that are neither the command nor options.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        let first = self
            .command()
            .map_or(self.words.len(), |(place, _)| place + 1);
        let before = &self.words[..self.words.len() - 1];
        let words = before.iter().skip(first).filter_map(|word| word.to_str());
        words.filter(|word| !word.starts_with('-'))
    }

    /// The directory that holds the runs.
    pub fn results_dir(&self) -> PathBuf {
        let typed = self.option("--results-dir").map(|text| expanded(&text));
        let variable = || std::env::var_os("CU_RESULTS_DIR").filter(|it| !it.is_empty());
        let typed = typed.or_else(|| variable().map(PathBuf::from));
        let default = || crate::config::default_results_dir().ok().flatten();
        typed.or_else(default).unwrap_or(PathBuf::from(RESULTS_DIR))
    }

    /// The value of an option before the cursor.
    pub fn option(&self, name: &str) -> Option<String> {
        let words: Vec<_> = self.words.iter().filter_map(|word| word.to_str()).collect();
        let mut pairs = words.windows(2).rev();
        let apart = pairs.find(|pair| pair[0] == name);
        let apart = apart.map(|pair| pair[1].to_owned());
        let joined = words.iter().rev().find_map(|word| {
            let value = word.strip_prefix(name)?.strip_prefix('=')?;
            Some(value.to_owned())
        });
        apart.or(joined)
    }
}

/// The path, with the home directory for `~`.
pub fn expanded(text: &str) -> PathBuf {
    home::expand(text).unwrap_or_else(|_| Path::new(text).to_owned())
}

/// The words of a line of a shell, the last one as far as it is typed; empty if the line ends with a blank. Also,
/// whether that is in quotes.
fn split(line: &str) -> (Vec<String>, bool) {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut is_begun = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                is_begun = true;
            }
            (None | Some('"'), '\\') => {
                let next = letters.next();
                words
                    .last_mut()
                    .into_iter()
                    .for_each(|word| word.extend(next));
                is_begun = true;
            }
            (None, letter) if letter.is_whitespace() => {
                if is_begun {
                    words.push(String::new());
                }
                is_begun = false;
            }
            (_, letter) => {
                words
                    .last_mut()
                    .into_iter()
                    .for_each(|word| word.push(letter));
                is_begun = true;
            }
        }
    }
    (words, quote.is_some())
}

/// The word with a backslash before each character that a shell takes for its own.
fn escaped(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    for (place, letter) in word.char_indices() {
        // The shell is to take a leading `~` for the home directory.
        let is_plain = letter.is_alphanumeric()
            || "-_./=,:+@%^".contains(letter)
            || place == 0 && letter == '~';
        if !is_plain {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_bash(line: &str) -> Line {
        Line::of(&["bash".into(), " \t\n\"'><=;|&(:".into(), line.into()]).expect("a line")
    }

    #[test]
    fn bash_replaces_what_is_behind_the_last_break() {
        for (line, word, candidate, replaced) in [
            (
                "cu run x.toml backend.kind=lo",
                "backend.kind=lo",
                "backend.kind=local",
                "local",
            ),
            ("cu run --color=", "--color=", "--color=always", "always"),
            ("cu show ", "", "7", "7"),
            (
                "cu run my\\ co",
                "my co",
                "my config.toml",
                "my\\ config.toml",
            ),
            ("cu run 'my co", "my co", "my config.toml", "my config.toml"),
            ("cu status ~/re", "~/re", "~/results/", "~/results/"),
        ] {
            let read = of_bash(line);
            assert_eq!(read.current(), word, "{line}");
            assert_eq!(
                read.for_shell(candidate.as_ref()).as_deref(),
                Some(replaced),
                "{line}"
            );
        }
    }

    #[test]
    fn the_line_says_which_command_and_which_results() {
        let line = of_bash("cu --results-dir run -q show --results-dir=/r 3 a");
        assert_eq!(line.command(), Some((4, "show")));
        assert_eq!(line.results_dir(), Path::new("run"));
        assert_eq!(line.arguments().collect::<Vec<_>>(), ["3"]);
    }
}
