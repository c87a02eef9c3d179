//! What a shell does on the node before each program, as the job scripts of cluster_utils do: a virtual environment,
//! a conda environment, variables that the node's shell expands, and a script of the user's.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::given::Given;
use super::places::{Needed, Places};
use crate::error::Result;
use crate::home;
use crate::shell_word::shell_word;

/// The script that bash sources before each program; `None` if nothing is to be done. Environments are relative to the
/// current directory, since nobody commits them; `pre_job_script` to where the programs start, where it may be `needed`.
/// `first` is a script that the user's defaults activate.
///
/// # Errors
/// If a key has a wrong value.
pub fn script(
    given: &Given,
    places: Places<'_>,
    first: Option<&Path>,
    needed: &mut Needed,
) -> Result<Option<String>> {
    let mut text = String::new();
    // Writing to a String can't fail.
    let mut line = |words: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(words);
        text.push('\n');
    };
    if let Some(first) = first {
        line(format_args!(". {} || return", shell_word(first)));
    }
    let venv = "environment_setup.virtual_env_path";
    if let Some(path) = given.text(venv)? {
        let (path, is_elsewhere) =
            place(path, places.here).map_err(|reason| given.wrong(venv, reason))?;
        let script = path.join("bin/activate");
        if !is_elsewhere && !script.is_file() {
            let reason = format!("there is no file {}", script.display());
            return Err(given.wrong(venv, reason));
        }
        line(format_args!(
            ". {} || return",
            expanded(&script.to_string_lossy())
        ));
    }
    let conda = "environment_setup.conda_env_path";
    if let Some(path) = given.text(conda)? {
        // Without a slash, it is the name of an environment.
        let path = match path.contains('/') {
            true => {
                place(path, places.here)
                    .map_err(|reason| given.wrong(conda, reason))?
                    .0
            }
            false => path.into(),
        };
        let word = expanded(&path.to_string_lossy());
        line(format_args!(
            "eval \"$(conda shell.bash hook)\" && conda activate {word} || return"
        ));
    }
    for (name, value) in given
        .table("environment_setup.variables")?
        .into_iter()
        .flatten()
    {
        let key = format!("environment_setup.variables.{name}");
        let is_name = |name: &str| {
            !name.starts_with(|it: char| it.is_ascii_digit())
                && !name.is_empty()
                && name
                    .bytes()
                    .all(|it| it.is_ascii_alphanumeric() || it == b'_')
        };
        if !is_name(name) {
            return Err(given.wrong(&key, "a variable's name has letters, digits and `_`"));
        }
        let value = match value {
            Value::String(text) => expanded(text),
            other => expanded(&super::python::cell(other)),
        };
        line(format_args!("export {name}={value}"));
        // A container with --cleanenv has no others.
        if given.get("singularity").is_some() {
            line(format_args!(
                "export SINGULARITYENV_{name}=\"${name}\" APPTAINERENV_{name}=\"${name}\""
            ));
        }
    }
    let pre = "environment_setup.pre_job_script";
    if let Some(path) = given.text(pre)? {
        let path = places.file(given, pre, path, needed)?;
        // Like cluster_utils, whatever its exit code.
        let word = shell_word(&path);
        line(format_args!(
            "{word} || echo \"{word} has failed with exit code $?; the job goes on\" >&2"
        ));
        line(format_args!("true"));
    }
    Ok((!text.is_empty()).then_some(text))
}

/// Where a path of the config leads, and whether only the node's shell knows that.
fn place(path: &str, project: &Path) -> Result<(PathBuf, bool), String> {
    match path.starts_with('$') {
        true => Ok((path.into(), true)),
        false => Ok((project.join(home::expand(path)?), path.contains('$'))),
    }
}

/// A word in which the shell expands variables and nothing else that is not meant.
fn expanded(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::given::tests::given;
    use super::*;

    fn same(directory: &Path) -> Places<'_> {
        let (here, project) = (directory, directory);
        Places { here, project }
    }

    #[test]
    fn the_shell_of_the_node_expands_variables() {
        let scratch = tempfile::tempdir().expect("a directory");
        let project = scratch.path();
        std::fs::create_dir_all(project.join("my venv/bin")).expect("a directory");
        std::fs::write(project.join("my venv/bin/activate"), "VENV=on").expect("a file");
        std::fs::write(
            project.join("conda"),
            "#!/bin/sh\necho 'conda() { CONDA=$2; }'\n",
        )
        .expect("a file");
        std::fs::write(
            project.join("pre it.sh"),
            "#!/bin/sh\necho pre $A\nexit 3\n",
        )
        .expect("a file");
        for name in ["conda", "pre it.sh"] {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(project.join(name), mode).expect("a mode");
        }
        let text = r#"{"environment_setup": {"virtual_env_path": "my venv", "conda_env_path": "$WHERE/env",
            "variables": {"A": "$WHERE/a", "B": "it's \"q\" {x}", "C": 1, "D": "$A:d"}, "pre_job_script": "pre it.sh"}}"#;
        let given = given(text, &[]).expect("a config");
        let text = script(&given, same(project), None, &mut Vec::new())
            .expect("valid")
            .expect("a script");
        let text = format!("{text}\nprintf '%s|' \"$VENV\" \"$CONDA\" \"$A\" \"$B\" \"$C\" \"$D\"");
        let path = format!("{}:/usr/bin:/bin", project.display());
        let mut bash = Command::new("bash");
        let output = bash
            .args(["-c", &text])
            .env("PATH", path)
            .env("WHERE", "/w")
            .output()
            .expect("bash");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            printed, "pre /w/a\non|/w/env|/w/a|it's \"q\" {x}|1|/w/a:d|",
            "{output:?}"
        );
        assert!(String::from_utf8_lossy(&output.stderr).contains("exit code 3; the job goes on"));
    }

    #[test]
    fn a_missing_environment_is_named() {
        for (key, value) in [
            ("virtual_env_path", "'no'"),
            ("pre_job_script", "'no.sh'"),
            ("variables", "{'a b': 1}"),
        ] {
            let given =
                given("{}", &[&format!("environment_setup.{key}={value}")]).expect("a config");
            let error = script(&given, same(Path::new("/")), None, &mut Vec::new())
                .expect_err(key)
                .to_string();
            assert!(
                error.starts_with(&format!("`environment_setup.{key}={value}`: ")),
                "{error}"
            );
        }
        assert!(
            script(
                &given("{}", &[]).expect("a config"),
                same(Path::new("/")),
                None,
                &mut Vec::new()
            )
            .expect("valid")
            .is_none()
        );
    }
}
