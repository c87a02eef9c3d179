//! Makes the paths of a config absolute, so that they mean the same wherever it is read again. The
//! types of the keys say which they are.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::reference::sections;
use super::table::join;
use super::units::PathKind;
use crate::unshelled;

/// Makes the paths of `table` absolute, taking them from `directory` (absolute).
///
/// # Errors
/// The key whose path has a `~` that can't be replaced, or a variable, and why.
pub fn make_absolute(table: &mut Table, directory: &Path) -> Result<(), (String, String)> {
    for section in sections() {
        for key in section.keys {
            let Some(kind) = key.path else { continue };
            let name = join(&section.path, key.name);
            let replaced = replace(table, &name, |text| {
                let given = unshelled::path(text)?;
                let path = plain(directory.join(&given));
                Ok(match kind {
                    PathKind::FromHere => Some(given),
                    PathKind::Always => Some(path),
                    PathKind::IfItExists => Some(path).filter(|path| path.exists()),
                })
            });
            replaced.map_err(|reason| (name, reason))?;
        }
    }
    Ok(())
}

/// An absolute path without its `.` parts. Links and `..` stay: only the file system knows them.
pub fn plain(path: PathBuf) -> PathBuf {
    path.components().collect()
}

/// `text` with the config's directory filled in, so that it means the same when it is read elsewhere.
pub fn with_config_dir(text: &str, config_dir: &Path) -> String {
    const NAME: &str = "{config_dir}";
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(NAME) {
        filled.push_str(before);
        match config_dir.to_str() {
            // Its own braces would be read as placeholders.
            Some(path) if !before.ends_with('{') && !path.contains('{') => filled.push_str(path),
            _ => filled.push_str(NAME),
        }
        rest = after;
    }
    filled + rest
}

/// Puts in the place of the text at `key` the path that it means. A value of another type is
/// left to the check of types.
fn replace(
    table: &mut Table,
    key: &str,
    path: impl Fn(&str) -> Result<Option<PathBuf>, String>,
) -> Result<(), String> {
    let mut parts = key.split('.');
    let first = parts.next().and_then(|part| table.get_mut(part));
    let value = parts.fold(first, |value, part| value?.get_mut(part));
    if let Some(Value::String(text)) = value
        && !text.is_empty()
        && let Some(path) = path(text)?
        && let Some(path) = path.to_str()
    {
        *text = path.to_owned();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_the_keys_say_which_are_paths() {
        let sections = sections();
        let paths = sections.iter().flat_map(|section| {
            let paths = section.keys.iter().filter(|key| key.path.is_some());
            paths.map(|key| join(&section.path, key.name))
        });
        let expected = [
            "results_dir",
            "git.repository",
            "backend.activate",
            "backend.slurm.activate",
            "backend.slurm.commands",
            "backend.slurm.container.image",
            "backend.htcondor.image",
            "backend.htcondor.commands",
        ];
        assert_eq!(paths.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn paths_become_absolute_and_nothing_else_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("science.sif"), "").expect("a file");
        let table = |image: &str, activate: &str| -> Table {
            toml::from_str(&format!(
                "[backend.slurm]\npartition = \"gpu\"\nactivate = \"{activate}\"\n\
                 container.image = \"{image}\"\n[backend.htcondor]\ncommands = 7\n"
            ))
            .expect("TOML")
        };
        let mut given = table("science.sif", "./venv/bin/activate");
        make_absolute(&mut given, directory.path()).expect("paths");
        let here = directory.path().to_str().expect("UTF-8");
        let expected = table(
            &format!("{here}/science.sif"),
            &format!("{here}/venv/bin/activate"),
        );
        assert_eq!(given, expected);

        let elsewhere = table("docker://science", "/opt/venv/bin/activate");
        let mut given = elsewhere.clone();
        make_absolute(&mut given, directory.path()).expect("paths");
        assert_eq!(given, elsewhere);
    }
}
