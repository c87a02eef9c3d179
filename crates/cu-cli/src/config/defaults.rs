//! The defaults below a run's config: those of the site, and of the user.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cu_system::files::{self, Refusal};

use super::error::{Error, Result};

/// Below a directory of configs.
const FILE: &str = "cluster-utils/config.toml";
/// A longer file is not a config, in bytes.
pub const LONGEST: u64 = 64 << 20;
/// Where the site's defaults are if `XDG_CONFIG_DIRS` does not say otherwise.
const SITE: &str = "/etc/xdg";

/// The keys and tables that a file of defaults can't have: they make one run, not all.
pub const OF_A_RUN: [&str; 6] = [
    "name",
    "command",
    "settings",
    "grid",
    "stdin",
    "working_directory",
];

/// A file of defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// The files of defaults that exist; a later one goes before an earlier one.
///
/// # Errors
/// If one can't be read, or others than its owner, root and the user could have written it.
pub fn read() -> Result<Vec<Defaults>> {
    let mut all = Vec::new();
    for path in here() {
        let wrong = |source| Error::Read {
            path: path.clone(),
            source,
        };
        let text = match read_trusted(&path) {
            Err(error) if is_out_of_reach(&error) => continue,
            text => text.map_err(wrong)?,
        };
        let text = String::from_utf8(text).map_err(|error| wrong(std::io::Error::other(error)))?;
        all.push(Defaults { path, text });
    }
    Ok(all)
}

/// Whether there is no such file for us: it does not exist, or lies where we may not look. After `sudo` or `su`,
/// HOME can be another user's.
fn is_out_of_reach(error: &std::io::Error) -> bool {
    use ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    let is_refused_by_us = files::refusal(error).is_some();
    !is_refused_by_us && matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// Where files of defaults may be, the weakest first.
pub fn here() -> Vec<PathBuf> {
    places(|name| std::env::var_os(name), std::env::home_dir())
}

/// Where files of defaults may be, the weakest first: the site's, by XDG_CONFIG_DIRS; the user's, by
/// XDG_CONFIG_HOME.
fn places(variable: impl Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let site = given("XDG_CONFIG_DIRS").unwrap_or_else(|| SITE.into());
    let mut directories: Vec<_> = std::env::split_paths(&site).collect();
    directories.reverse();
    let user = given("XDG_CONFIG_HOME").map(PathBuf::from);
    let user = user.filter(|path| path.is_absolute());
    directories.extend(user.or_else(|| Some(home?.join(".config"))));
    let absolute = directories.into_iter().filter(|path| path.is_absolute());
    absolute.map(|directory| directory.join(FILE)).collect()
}

/// Reads a file whose keys start commands: it must be root's or this user's, and not for all to write.
fn read_trusted(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::MetadataExt;
    let found = files::examine(path)?;
    let owner = found.uid();
    if owner != 0 && owner != cu_system::users::own() {
        return Err(Refusal::Foreign(owner).into());
    }
    if found.mode() & 0o002 != 0 {
        return Err(Refusal::OpenToOthers(found.mode() & 0o7777).into());
    }
    files::read(path, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn found(variables: &[(&str, &str)]) -> Vec<String> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let variable = |name: &str| variables.get(name).map(OsString::from);
        let places = places(variable, Some("/home/ada".into()));
        let places = places.iter().map(|path| path.display().to_string());
        places
            .map(|path| path.replace("/cluster-utils/config.toml", ""))
            .collect()
    }

    #[test]
    fn the_user_goes_before_the_site() {
        assert_eq!(found(&[]), ["/etc/xdg", "/home/ada/.config"]);
        let empty = [("XDG_CONFIG_DIRS", ""), ("XDG_CONFIG_HOME", "")];
        assert_eq!(found(&empty), ["/etc/xdg", "/home/ada/.config"]);
        let given = [("XDG_CONFIG_DIRS", "/a:b:/c"), ("XDG_CONFIG_HOME", "/u")];
        assert_eq!(found(&given), ["/c", "/a", "/u"]);
        let relative = [("XDG_CONFIG_HOME", "u")];
        assert_eq!(found(&relative), ["/etc/xdg", "/home/ada/.config"]);
    }

    #[test]
    fn a_file_that_all_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "results_dir = \"r\"").expect("a file");
        let mode = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, mode).expect("it is ours");
        };
        mode(0o664);
        assert!(read_trusted(&path).is_ok());
        mode(0o666);
        let error = read_trusted(&path).expect_err("all may write").to_string();
        assert!(error.contains("others may write to it"), "{error}");
    }
}
