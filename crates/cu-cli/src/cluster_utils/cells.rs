//! The cells of result files: the settings of a job as cluster_utils names and writes them.

use std::path::Path;

use cu_core::{JobReport, RunDir};
use cu_system::files;
use serde_json::{Map, Value};

use super::python;
use crate::error::{Error, Result};

/// The longest file of a job that is read.
const MOST_BYTES: u64 = 16 << 20;

/// Names and cells.
pub type Cells = Vec<(String, String)>;

/// The names and cells of a job's settings, with those that cluster_utils gives it.
pub fn settings_of(run: &RunDir, job: &JobReport) -> Cells {
    let mut settings = Vec::new();
    if let Some(Value::Object(given)) =
        read(&run.settings(job.job)).and_then(|it| serde_json::from_slice(&it).ok())
    {
        flatten("", &given, &mut settings);
    }
    settings.push((
        "working_dir".to_owned(),
        job.output_dir.display().to_string(),
    ));
    settings.push(("id".to_owned(), job.job.to_string()));
    settings.push(("_id".to_owned(), job.job.to_string()));
    settings
}

/// Writes a file, whole or not at all.
///
/// # Errors
/// If it can't be written.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    files::write_whole(path, content, 0o600).map_err(Error::write("write", path))
}

/// The content of a file of a job, if there is one.
pub fn read(path: &Path) -> Option<Vec<u8>> {
    files::read(path, MOST_BYTES).ok()
}

/// The cells of settings by their dotted names, in their order.
fn flatten(path: &str, settings: &Map<String, Value>, cells: &mut Vec<(String, String)>) {
    for (name, value) in settings {
        let name = crate::config::table::join(path, name);
        match value {
            Value::Object(inner) => flatten(&name, inner, cells),
            value => cells.push((name, python::cell(value))),
        }
    }
}
