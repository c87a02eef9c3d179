//! Texts of a user that no shell reads: `$NAME` and `~` stay in them as they are, though they look as if a shell
//! would replace them.

use std::ops::Range;
use std::path::PathBuf;

use crate::home;

/// The path that a user gave where no shell sees it: a leading `~` is the home directory.
///
/// # Errors
/// If the home directory is not known, or is another user's, or if the path has a variable: no directory is
/// called `$SCRATCH`.
pub fn path(text: &str) -> Result<PathBuf, String> {
    match with_values(text, |name| std::env::var(name).ok()) {
        Some(meant) => Err(format!(
            "no shell reads this path, so a variable in it is not replaced; write {meant}"
        )),
        None => home::expand(text),
    }
}

/// The part of a text that a shell would have replaced, such as `$HOME` or `~/`, if there is one.
pub fn unread(text: &str) -> Option<&str> {
    unread_with(text, |name| std::env::var_os(name).is_some())
}

fn unread_with(text: &str, is_set: impl Fn(&str) -> bool) -> Option<&str> {
    let mut set = variables(text).filter(|(_, name)| is_set(name));
    let variable = set.next().map(|(range, _)| &text[range]);
    // As in PATH=~/bin:~/tools.
    let mut words = text.split([':', '=']);
    variable.or_else(|| {
        words
            .any(|word| word == "~" || word.starts_with("~/"))
            .then_some("~")
    })
}

/// `text` with the values of its variables, if any of them has one.
fn with_values(text: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut replaced = String::new();
    let mut end = 0;
    for (range, name) in variables(text) {
        if let Some(value) = value(name) {
            replaced.push_str(&text[end..range.start]);
            replaced.push_str(&value);
            end = range.end;
        }
    }
    (end > 0).then(|| replaced + &text[end..])
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
            assert_eq!(unread_with(text, is_set), expected, "{text}");
        }
    }

    #[test]
    fn a_path_with_variables_is_shown_with_their_values() {
        let value = |name: &str| (name == "USER").then(|| "ada".to_owned());
        for (text, expected) in [
            ("/scratch/$USER/${USER}s", Some("/scratch/ada/adas")),
            ("$USER", Some("ada")),
            ("/scratch/$GROUP", None),
            ("a$", None),
        ] {
            assert_eq!(with_values(text, value).as_deref(), expected, "{text}");
        }
        assert!(path("runs/a").is_ok());
        let error = path("$HOME/runs").expect_err("a variable");
        assert!(error.contains("; write /"), "{error}");
    }
}
