//! The result files that a grid search of cluster_utils has: `all_data.csv` with its columns, `metadata.json` and
//! `cluster_run.log`. Its client writes those in the directory of each job.

use std::sync::{Mutex, PoisonError};

use cu_core::{JobReport, JobState, Reader, RunDir, Status};
use serde_json::json;

use super::cells::{Cells, read, replace, settings_of};
use super::{log, optimization};
use crate::config::units::ResultsAs;
use crate::config::{Source, Wanted};
use crate::error::{Error, ExitCode, Result};
use crate::git::Record;
use crate::terminal;
use crate::text::plural;

/// Whether the run has such results. What can't be read is reported when the run is opened.
pub fn are_meant(run: &RunDir) -> bool {
    let config = Source::read_own(&run.config()).and_then(Source::parse);
    config.is_ok_and(|config| config.file.results_as == Some(ResultsAs::ClusterUtils))
}

/// How the run ends there: well as soon as one job has results.
///
/// # Errors
/// If the run can't be read.
pub fn end_of(run: &RunDir) -> Result<ExitCode> {
    let jobs = Reader::open(run)?.jobs()?;
    let search = Wanted::of_run(run);
    let has_results = |job: &JobReport| results_of(job, search.as_ref()).is_some();
    Ok(match jobs.iter().any(has_results) {
        true => ExitCode::Done,
        false => ExitCode::JobsFailed,
    })
}

/// Held while the files are written, so that those of a later state stay.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes the files as far as the run has got, and says which jobs have ended well without results.
///
/// # Errors
/// If the run can't be read, or a file can't be written.
pub fn write(run: &RunDir, status: &Status, quiet: bool) -> Result<()> {
    let _held = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let jobs = Reader::open(run)?.jobs()?;
    let search = Wanted::of_run(run);
    let results: Vec<_> = jobs
        .iter()
        .map(|job| results_of(job, search.as_ref()))
        .collect();
    let with_results: Vec<_> = jobs.iter().zip(&results).collect();
    let run_type = match search {
        Some(_) => "HP_OPTIMIZATION",
        None => "GRID_SEARCH",
    };
    let started = json!({
        "run_type": run_type,
        "start_time": log::iso(status.created),
        "git": Record::read(run),
    });
    let metadata = run.path().join("metadata.json");
    replace(&metadata, started.to_string().as_bytes())?;
    let ends = with_results
        .iter()
        .map(|(job, results)| (*job, results.is_some()));
    replace(
        &run.path().join("cluster_run.log"),
        log::text(ends).as_bytes(),
    )?;
    // The tables come last, so that the others are there as soon as these are.
    match &search {
        Some(search) => optimization::write(run, search, &jobs)?,
        None => {
            let table = table(run, &with_results).map_err(Error::internal("write CSV"))?;
            replace(&run.all_data(), &table)?;
        }
    }
    let lacking = with_results
        .iter()
        .filter(|(job, results)| job.state == JobState::Completed && results.is_none());
    let lacking = lacking.count() as u64;
    if lacking > 0 && !quiet {
        terminal::warn(&format!(
            "{} ended with exit code 0 and without results, for which cluster_utils counts a job as failed: did \
             it call finalize_job?",
            plural(lacking, "job")
        ));
    }
    Ok(())
}

/// One row per job with results: its settings, of which those of the grid come first, and its metrics as its client
/// has written them.
fn table(run: &RunDir, jobs: &[(&JobReport, &Option<Cells>)]) -> Result<Vec<u8>, csv::Error> {
    let mut columns: Vec<String> = Vec::new();
    let mut metrics: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for (job, results) in jobs {
        let Some(results) = results else {
            continue;
        };
        let settings = settings_of(run, job);
        for (all, here) in [(&mut columns, &settings), (&mut metrics, results)] {
            for (name, _) in here {
                if !all.contains(name) {
                    all.push(name.clone());
                }
            }
        }
        rows.push((settings, results));
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Pandas has an index without a name. Theirs is always 0.
    let index = [String::new()];
    if !rows.is_empty() {
        writer.write_record(index.iter().chain(&columns).chain(&metrics))?;
    }
    for (settings, results) in &rows {
        let cell = |cells: &[(String, String)], name: &String| {
            let found = cells.iter().find(|(it, _)| it == name);
            found.map(|(_, cell)| cell.clone()).unwrap_or_default()
        };
        let mut row = vec!["0".to_owned()];
        row.extend(columns.iter().map(|name| cell(settings, name)));
        row.extend(metrics.iter().map(|name| cell(results, name)));
        writer.write_record(&row)?;
    }
    writer
        .into_inner()
        .map_err(|error| error.into_error().into())
}

/// The names and cells of `metrics.csv`, if the job has ended with results.
///
/// The directory of a job of an optimisation may be gone: what is recorded counts.
fn results_of(job: &JobReport, search: Option<&Wanted>) -> Option<Cells> {
    if job.state != JobState::Completed {
        return None;
    }
    if search.is_some() {
        return (!job.metrics.is_empty()).then(Vec::new);
    }
    let content = read(&job.output_dir.join("metrics.csv"))?;
    let mut lines = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(&content[..])
        .into_records();
    let (names, cells) = (lines.next()?.ok()?, lines.next()?.ok()?);
    let pairs = names.iter().zip(&cells);
    Some(
        pairs
            .map(|(name, cell)| (name.to_owned(), cell.to_owned()))
            .collect(),
    )
}
