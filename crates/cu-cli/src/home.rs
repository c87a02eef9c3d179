//! `~` at the beginning of a path that a user gave where no shell sees it.

use std::path::{Path, PathBuf};

/// `path` with the home directory in the place of a leading `~`.
///
/// # Errors
/// If the home directory is not known, or is another user's.
pub fn expand(path: &str) -> Result<PathBuf, String> {
    expand_with(path, std::env::home_dir().as_deref())
}

fn expand_with(path: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    let Some(rest) = path.strip_prefix('~') else {
        return Ok(path.into());
    };
    let (user, rest) = rest.split_once('/').unwrap_or((rest, ""));
    if !user.is_empty() {
        return Err(format!(
            "`~{user}` is not replaced by a home directory; write the whole path, or `./{path}` for a name \
             that begins with `~`"
        ));
    }
    match home.filter(|home| home.is_absolute()) {
        // Components, so that "~" alone has no slash at its end.
        Some(home) => Ok(home
            .components()
            .chain(Path::new(rest).components())
            .collect()),
        None => Err("`~` means nothing, since HOME is not set; write the whole path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leading_tilde_is_the_home_directory_and_no_other_is() {
        let home = Some(Path::new("/home/ada"));
        for (given, expanded) in [
            ("~", "/home/ada"),
            ("~/", "/home/ada"),
            ("~/runs/a", "/home/ada/runs/a"),
            ("runs/~/a", "runs/~/a"),
            ("./~", "./~"),
            ("", ""),
        ] {
            assert_eq!(expand_with(given, home), Ok(expanded.into()), "{given}");
        }
        for (given, home, word) in [
            ("~eve/runs", home, "`./~eve/runs`"),
            ("~/runs", None, "HOME is not set"),
            ("~/runs", Some(Path::new("")), "HOME is not set"),
        ] {
            let error = expand_with(given, home).expect_err(given);
            assert!(error.contains(word), "{error}");
        }
    }
}
