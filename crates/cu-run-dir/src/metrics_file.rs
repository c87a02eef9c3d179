//! `metrics.json`: what a job had measured before an attempt, written by the main process, so that the
//! attempt's supervisor knows how much more the job may announce.

use std::path::Path;

use cu_protocol::Metrics;
use serde::{Deserialize, Serialize};

use crate::{Result, json_file};

/// The version of the file that this crate writes.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    metrics: &'a Metrics,
}

#[derive(Deserialize)]
struct Read {
    metrics: Metrics,
}

/// Replaces [`RunDir::metrics`](crate::RunDir::metrics) for a job with these metrics.
///
/// # Errors
/// [`Error::File`](crate::Error::File).
pub fn write_metrics(path: &Path, metrics: &Metrics) -> Result<()> {
    let written = Written {
        version: VERSION,
        metrics,
    };
    json_file::write_quickly(path, &written)
}

/// Reads [`RunDir::metrics`](crate::RunDir::metrics); no metrics if there is no such file.
///
/// # Errors
/// If the file is there and can't be read, or is damaged or of a newer version.
pub fn read_metrics(path: &Path) -> Result<Metrics> {
    let found = json_file::read::<Read>(path, VERSION)?;
    Ok(found.map(|found| found.metrics).unwrap_or_default())
}
