//! `cu show`: a job, its attempts, and what it waits for or why it ended.

use cu_core::JobReport;

use super::jobs_of_run::jobs_of_run;
use crate::args::{Common, Show};
use crate::error::{ExitCode, Result};
use crate::optimize::best;
use crate::text::visible::printable;
use crate::view::json::JobJson;
use crate::view::{self, summary};
use crate::{terminal, updates};

/// Prints it.
///
/// # Errors
/// If there is no such run or job, or it can't be read.
pub fn show(common: &Common, arguments: &Show) -> Result<ExitCode> {
    let (run, reader, mut jobs) = jobs_of_run(common, &arguments.jobs_and_run)?;
    for job in &mut jobs {
        if !job.state.is_settled() && !reader.has_main_process() {
            job.why = format!(
                "{}; last recorded: {}",
                summary::no_main_process(run.path()),
                job.why
            );
        }
    }
    let updates_of = |job: &JobReport| updates::shown(&run, reader.updates(job.job)?);
    match (common.json, &jobs[..]) {
        (true, jobs) => {
            let json = |job| Ok(JobJson::new(&run, job, updates_of(job)?));
            let all = jobs.iter().map(json).collect::<Result<Vec<_>>>()?;
            match &all[..] {
                [job] => terminal::json(job)?,
                all => terminal::json(&all)?,
            }
        }
        (false, jobs) => {
            let width = terminal::columns();
            let ranks = best::ranks(&run, &reader)?;
            let mut texts = Vec::with_capacity(jobs.len());
            for job in jobs {
                let mut text = view::job::painted(&run, job, width);
                if let Some(rank) = ranks.get(&job.job) {
                    text.push('\n');
                    text.push_str(&printable(rank));
                }
                for update in &updates_of(job)? {
                    text.push('\n');
                    text.push_str(&updates::line(update));
                }
                texts.push(text);
            }
            terminal::data_styled(&texts.join("\n\n"))?;
        }
    }
    Ok(ExitCode::Done)
}
