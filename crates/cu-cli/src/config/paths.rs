//! Which values are paths. They are relative to the config's folder; made absolute, they mean the
//! same wherever the config is read again.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Always a path.
const PATHS: [&str; 3] = [
    "backend.slurm.activate",
    "backend.slurm.commands",
    "backend.htcondor.commands",
];

/// A path if such a file exists; else something else, such as the address of an image.
const PERHAPS: [&str; 2] = ["backend.slurm.container.image", "backend.htcondor.image"];

/// Makes the paths of `table` absolute, taking them from `folder` (absolute).
pub fn make_absolute(table: &mut Table, folder: &Path) {
    let absolute = |text: &str| plain(folder.join(text));
    for key in PATHS {
        replace(table, key, |text| Some(absolute(text)));
    }
    for key in PERHAPS {
        replace(table, key, |text| {
            Some(absolute(text)).filter(|path| path.exists())
        });
    }
}

/// An absolute path without its `.` parts. Links and `..` stay: only the file system knows them.
pub fn plain(path: PathBuf) -> PathBuf {
    path.components().collect()
}

/// Puts in the place of the text at `key` the path that it means. A value of another type is an
/// error that is told later.
fn replace(table: &mut Table, key: &str, path: impl Fn(&str) -> Option<PathBuf>) {
    let mut parts = key.split('.');
    let first = parts.next().and_then(|part| table.get_mut(part));
    let value = parts.fold(first, |value, part| value?.get_mut(part));
    if let Some(Value::String(text)) = value
        && !text.is_empty()
        && let Some(path) = path(text)
        && let Some(path) = path.to_str()
    {
        *text = path.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_absolute_and_nothing_else_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("science.sif"), "").expect("a file");
        let table = |image: &str, activate: &str| -> Table {
            toml::from_str(&format!(
                "[backend.slurm]\npartition = \"gpu\"\nactivate = \"{activate}\"\n\
                 container.image = \"{image}\"\n[backend.htcondor]\ncommands = 7\n"
            ))
            .expect("TOML")
        };
        let mut given = table("science.sif", "./venv/bin/activate");
        make_absolute(&mut given, folder.path());
        let here = folder.path().to_str().expect("UTF-8");
        let expected = table(
            &format!("{here}/science.sif"),
            &format!("{here}/venv/bin/activate"),
        );
        assert_eq!(given, expected);

        let elsewhere = table("docker://science", "/opt/venv/bin/activate");
        let mut given = elsewhere.clone();
        make_absolute(&mut given, folder.path());
        assert_eq!(given, elsewhere);
    }
}
