//! The types of the keys in `[git]`. They refuse what `git` would take for an option, or for a program to run.

use serde::de::{Deserialize, Deserializer, Error};

use super::units::{PathKind, text};

/// The URL or the path of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository(pub String);

impl Repository {
    /// Shadows [`NoPath::PATH`](super::units::NoPath::PATH).
    pub const PATH: Option<PathKind> = Some(PathKind::IfItExists);
}

impl<'de> Deserialize<'de> for Repository {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "the URL or the path of a repository")?;
        check_repository(&text).map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

/// Whether `text` can be given to git as a repository. The error says why not.
pub fn check_repository(text: &str) -> Result<(), String> {
    check(text)?;
    // Git calls this a helper's address: `ext::sh -c …` runs a command.
    let before = text.split('/').next().unwrap_or_default();
    match before.split_once("::") {
        Some((helper, _)) => Err(format!(
            "`{helper}::` names a program that git would run, which `cu` does not allow; give an https or ssh \
             URL, or a path"
        )),
        None => Ok(()),
    }
}

/// A branch or a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch(pub String);

impl<'de> Deserialize<'de> for Branch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "the name of a branch or a tag")?;
        check(&text).map_err(D::Error::custom)?;
        let is_strange = |letter: char| letter.is_whitespace() || "~^:?*[\\".contains(letter);
        if text.contains(is_strange) || text.contains("..") || text.contains("@{") {
            return Err(D::Error::custom(format!(
                "{text:?} can't be the name of a branch or a tag"
            )));
        }
        Ok(Self(text))
    }
}

/// A commit by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit(pub String);

impl<'de> Deserialize<'de> for Commit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text(deserializer, "the hash of a commit")?;
        let is_hash = text.bytes().all(|it| it.is_ascii_hexdigit());
        match is_hash && (4..=64).contains(&text.len()) {
            true => Ok(Self(text)),
            false => Err(D::Error::custom(format!(
                "{text:?} is not the hash of a commit, of 4 to 64 hexadecimal digits; a branch or a tag is \
                 given as `git.branch`"
            ))),
        }
    }
}

fn check(text: &str) -> Result<(), String> {
    match text {
        "" => Err("it is empty".to_owned()),
        _ if text.starts_with('-') => {
            Err("it begins with `-`, so git would take it for an option".to_owned())
        }
        _ if text.contains(char::is_control) => Err("it has a control character".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tests::parsed;

    #[test]
    fn an_address_is_never_an_option_or_a_program() {
        for (override_, reason) in [
            ("git.repository=--upload-pack=x", "begins with `-`"),
            (
                "git.repository=ext::sh -c id",
                "`ext::` names a program that git would run",
            ),
            (
                "git.repository=\"fd::17\"",
                "`fd::` names a program that git would run",
            ),
            ("git.repository=\"\"", "it is empty"),
            ("git.repository=\"a\\nb\"", "it has a control character"),
            ("git.branch=-b", "begins with `-`"),
            ("git.branch=\"a b\"", "can't be the name of a branch"),
            ("git.branch=main..x", "can't be the name of a branch"),
            (
                "git.commit=main",
                "a branch or a tag is given as `git.branch`",
            ),
            ("git.commit=--help", "is not the hash of a commit"),
            ("git.depth=0", "a whole number above 0"),
        ] {
            let error = parsed("", &[override_]).expect_err(override_).to_string();
            assert!(error.contains(reason), "{override_}: {error}");
        }
        for override_ in [
            "git.repository=git@example.org:ada/code.git",
            "git.repository=https://example.org/ada/code.git",
            "git.repository=./a::b",
            "git.branch=feature/a-b_1.0",
            "git.commit=0123abcdef",
        ] {
            parsed("", &[override_]).expect(override_);
        }
    }
}
