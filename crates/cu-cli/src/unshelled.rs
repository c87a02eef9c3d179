//! Texts of a user that no shell reads: `$NAME` and `~` stay in them as they are, though they look as if a shell
//! would replace them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::home;

/// The path that a user gave where no shell sees it: a leading `~` is the home directory.
///
/// # Errors
/// If the home directory is not known, or is another user's, or if the path has a variable, and nothing that exists
/// is really called so.
pub fn path(text: &str) -> Result<PathBuf, String> {
    match refusal(text, |name| std::env::var(name).ok()) {
        Some(reason) => Err(reason),
        None => home::expand(text),
    }
}

/// Why a path is refused that has a variable.
fn refusal(text: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (last, _) = variables(text).last()?;
    let end = text[last.end..]
        .find('/')
        .map_or(text.len(), |at| last.end + at);
    // Where a repository is may be a URL, which may hold a secret.
    if text.contains("://") || Path::new(&text[..end]).exists() {
        return None;
    }
    let mut unset = variables(text).filter(|(_, name)| value(name).is_none());
    Some(match unset.next() {
        Some((range, _)) => format!(
            "no shell reads this path, so `{}` in it is not replaced, and it is not set here either; write the \
             path without variables",
            &text[range]
        ),
        None => format!(
            "no shell reads this path, so a variable in it is not replaced; write {}",
            with_values(text, value)
        ),
    })
}

/// The part of an argument that a shell would have replaced, such as `$HOME` or `~/`, if there is one.
pub fn in_argument(text: &str) -> Option<&str> {
    unread(text, &['='], |name| std::env::var_os(name).is_some())
}

/// As [`in_argument`], in the value of a variable, which may be a list of paths.
pub fn in_value(text: &str) -> Option<&str> {
    unread(text, &[':', '='], |name| std::env::var_os(name).is_some())
}

/// A tilde counts at the beginning, and behind one of `before`.
fn unread<'a>(text: &'a str, before: &[char], is_set: impl Fn(&str) -> bool) -> Option<&'a str> {
    let mut set = variables(text).filter(|(_, name)| is_set(name));
    let variable = set.next().map(|(range, _)| &text[range]);
    let mut words = text.split(before);
    variable.or_else(|| {
        words
            .any(|word| word == "~" || word.starts_with("~/"))
            .then_some("~")
    })
}

/// `text` with the values of its variables.
fn with_values(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut replaced = String::new();
    let mut end = 0;
    for (range, name) in variables(text) {
        replaced.push_str(&text[end..range.start]);
        replaced.push_str(&value(name).unwrap_or_default());
        end = range.end;
    }
    replaced + &text[end..]
}

/// Each `$NAME` and `${NAME}`: where it is, and its name.
fn variables(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    text.match_indices('$').filter_map(|(start, _)| {
        let after = &text[start + 1..];
        let inside = after.strip_prefix('{').unwrap_or(after);
        let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let length = inside.find(|letter| !is_of_name(letter));
        let (name, rest) = inside.split_at(length.unwrap_or(inside.len()));
        let end = match after.starts_with('{') {
            true => text.len() - rest.strip_prefix('}')?.len(),
            false => text.len() - rest.len(),
        };
        let is_name = !name.is_empty() && !name.starts_with(|letter: char| letter.is_ascii_digit());
        is_name.then_some((start..end, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_a_shell_would_have_replaced_are_found() {
        let is_set = |name: &str| ["HOME", "A_1"].contains(&name);
        for (text, expected) in [
            ("$HOME/bin", Some("$HOME")),
            ("/usr/bin:${HOME}/bin", Some("${HOME}")),
            ("--out=$A_1", Some("$A_1")),
            ("$NF $A_1.", Some("$A_1")),
            ("~", Some("~")),
            ("--data=~/data", Some("~")),
            ("/bin:~/bin", Some("~")),
            ("$HOMES ${HOME ${A_1:-x} $1 $(HOME) {settings.HOME}", None),
            ("$ORIGIN/lib", None),
            ("a~/b, file~", None),
            ("", None),
        ] {
            assert_eq!(unread(text, &[':', '='], is_set), expected, "{text}");
        }
        // A path on another machine.
        assert_eq!(unread("cluster:~/data", &['='], is_set), None);
    }

    #[test]
    fn a_path_with_variables_is_refused_with_the_way_out() {
        let value = |name: &str| (name == "USER").then(|| "ada".to_owned());
        for (text, expected) in [
            ("/scratch/$USER/${USER}s", "; write /scratch/ada/adas"),
            ("$USER", "; write ada"),
            (
                "/scratch/$USER/$GROUP",
                "`$GROUP` in it is not replaced, and it is not set",
            ),
        ] {
            let refused = refusal(text, value).expect("a variable");
            assert!(refused.contains(expected), "{text}: {refused}");
        }
        for taken in ["a$", "runs/a", "https://x:$TOKEN@host/a.git"] {
            assert_eq!(refusal(taken, value), None, "{taken}");
        }
        let error = path("$HOME/runs").expect_err("a variable");
        assert!(error.contains("; write /"), "{error}");
    }

    #[test]
    fn a_directory_that_is_really_called_so_is_taken() {
        let scratch = tempfile::tempdir().expect("a directory");
        let odd = scratch.path().join("$HOME");
        let below = odd.join("runs");
        let below = below.to_str().expect("UTF-8");
        assert!(path(below).is_err());
        std::fs::create_dir(&odd).expect("a directory");
        assert_eq!(path(below), Ok(below.into()));
    }
}
