//! The files a finished job leaves: `settings.json`, `param_choice.csv`, `metrics.csv`.
//!
//! One header line and one line of values each, flattened with dotted names, in the order of the
//! names. Each file appears as a whole, `metrics.csv` last: once it is there, all are.

use std::path::Path;

use cu_protocol::Metrics;

use crate::settings::Source;
use crate::tree::Tree;
use crate::{Result, python_text};

/// Writes the three files into `directory`.
///
/// `settings.json` is left alone if the settings were read from that very file.
pub(crate) fn write(directory: &Path, source: &Source, metrics: &Metrics) -> Result<()> {
    let settings = Tree::of(&source.settings).expect("all keys of JSON are names");
    let settings_file = directory.join("settings.json");
    if !is_same_file(source.file.as_deref(), &settings_file) {
        cu_checkpoint::atomic_write(&settings_file, python_text::json(&settings))?;
    }
    let choice = settings.flattened().unwrap_or_default();
    let choice = python_text::one_line_csv(&choice);
    cu_checkpoint::atomic_write(directory.join("param_choice.csv"), choice)?;

    let cells = metrics
        .iter()
        .map(|(name, value)| (name.clone(), Tree::of_metric(value)));
    let metrics = python_text::one_line_csv(&cells.collect());
    cu_checkpoint::atomic_write(directory.join("metrics.csv"), metrics)?;
    Ok(())
}

fn is_same_file(file: Option<&Path>, other: &Path) -> bool {
    file.and_then(|file| file.canonicalize().ok())
        .is_some_and(|file| other.canonicalize().is_ok_and(|other| other == file))
}
