//! Reads a config of cluster_utils: through the user's Python if the package smart_settings is installed there,
//! since a config may hold any Python; else by our own reader, which takes what needs no Python.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Map, Value};

use super::files;
use crate::config;
use crate::error::{Error, Result};

const READ: &str = include_str!("read.py");
/// Reads YAML with PyYAML, for which smart_settings is not needed.
const READ_YAML: &str = "import json, sys\ntry:\n import yaml\nexcept ImportError:\n sys.exit(10)\n\
                         try:\n print(json.dumps(yaml.safe_load(open(sys.argv[1]))))\n\
                         except Exception as error:\n sys.exit(f'{type(error).__name__}: {error}')";
/// The exit code of these programs if a package is missing.
const NOT_INSTALLED: i32 = 10;
const PYTHONS: [&str; 2] = ["python3", "python"];

/// What the config in the file `path` says, in its order, and its text.
///
/// # Errors
/// If it can't be read, or needs Python that is not here.
pub fn read(path: &Path) -> Result<(Map<String, Value>, String)> {
    let text = std::fs::read_to_string(path).map_err(|source| {
        Error::Config(config::Error::Read {
            path: path.to_owned(),
            source,
        })
    })?;
    if let Some(values) = python(READ, path)? {
        return Ok((values, text));
    }
    let values = match path.extension().and_then(|it| it.to_str()) {
        Some("json") => files::json(path, &text)?,
        Some("toml") => files::toml(path, &text)?,
        Some("yml" | "yaml") => python(READ_YAML, path)?.ok_or_else(|| {
            Error::usage_hint(
                format!("{}: reading YAML needs Python with PyYAML", path.display()),
                "run `pip install al-smart-settings`, which brings it, or write the config as JSON or TOML",
            )
        })?,
        _ => {
            return Err(Error::usage_hint(
                format!("{}: its format is not known", path.display()),
                "name a file that ends in .json, .yaml, .yml or .toml",
            ));
        }
    };
    let values = files::evaluated(path, &text, &values)?;
    Ok((values, text))
}

/// What `program` prints of the config; `None` if there is no Python here that has what it needs.
fn python(program: &str, path: &Path) -> Result<Option<Map<String, Value>>> {
    for python in PYTHONS {
        let mut command = Command::new(python);
        command.args(["-c", program]).arg(path).stdin(Stdio::null());
        let Ok(output) = command.output() else {
            continue;
        };
        if output.status.success() {
            return parse(path, &output).map(Some);
        }
        if output.status.code() != Some(NOT_INSTALLED) {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::usage_hint(
                format!("{}: {}", path.display(), said.trim_end()),
                format!("the config was read with {python}, as cluster_utils reads it"),
            ));
        }
    }
    Ok(None)
}

fn parse(path: &Path, output: &Output) -> Result<Map<String, Value>> {
    serde_json::from_slice(&output.stdout).map_err(|error| {
        Error::usage(format!(
            "{}: the config is not a table of keys ({error})",
            path.display()
        ))
    })
}
