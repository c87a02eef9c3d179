//! HTCondor as a backend, as the config says, and what of the config does not suit it.

use std::path::PathBuf;

use cu_core::RunDir;
use cu_scheduler::htcondor::{Environment, HoldPolicy, HtcondorOptions, Resume, Universe};

use super::{Kind, label, supervisor_grace, wrong_option};
use crate::config::file::Surroundings;
use crate::config::htcondor as table;
use crate::config::{Error, File, Source};

/// How long a slot is kept for the next attempt, unless the config says otherwise.
const SLOT_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// What the backend is opened with.
pub fn options(run: &RunDir, file: &File) -> HtcondorOptions {
    let settings = &file.backend.htcondor;
    let mut options = HtcondorOptions::new(run.backend(Kind::Htcondor.name()));
    options.label = label(run);
    options.resume = match settings.resume.unwrap_or_default() {
        table::Resume::Submit => Resume::Submit,
        table::Resume::Requeue => Resume::Requeue,
        table::Resume::Checkpoint => Resume::Checkpoint {
            max_restarts: settings.max_restarts,
            wait: settings.slot_wait.map_or(SLOT_WAIT, |wait| wait.0),
        },
    };
    // The config allows 1 to 255.
    options.resume_exit_code = u8::try_from(file.resume_exit_code()).unwrap_or_default();
    options.grace = supervisor_grace(file);
    options.universe = universe(settings);
    options.environment = match settings.environment {
        Some(Surroundings::Inherit) | None => Environment::Inherit,
        Some(Surroundings::Clean) => Environment::Clean,
    };
    options.wrapper = settings.wrapper.clone().unwrap_or_default();
    options.request_disk = settings.request_disk.map(|bytes| bytes.0);
    options.gpu_memory = settings.gpu_memory.map(|bytes| bytes.0);
    options
        .cuda_requirement
        .clone_from(&settings.cuda_requirement);
    options.concurrency_limits = settings.concurrency_limits.clone().unwrap_or_default();
    options
        .accounting_group
        .clone_from(&settings.accounting_group);
    options
        .accounting_group_user
        .clone_from(&settings.accounting_group_user);
    options.rank.clone_from(&settings.rank);
    options.requirements.clone_from(&settings.requirements);
    options.hosts = settings.hosts.clone().unwrap_or_default();
    options.exclude_hosts = settings.exclude_hosts.clone().unwrap_or_default();
    options.allowed_job_duration = settings.allowed_job_duration.map(|time| time.0);
    options.allowed_execute_duration = settings.allowed_execute_duration.map(|time| time.0);
    options.transfer = settings.transfer.unwrap_or_default();
    options.bid = settings.bid;
    options.submit_command = settings.submit_command.clone().unwrap_or_default();
    options.holds = HoldPolicy {
        keep: settings.hold_keep.clone().unwrap_or_default(),
        end: settings.hold_end.clone().unwrap_or_default(),
    };
    options.extra = settings.extra.clone().unwrap_or_default();
    options.poll = settings.poll.map_or(options.poll, |poll| poll.0);
    options.commands = settings.commands.as_ref().map(PathBuf::from);
    options
}

fn universe(settings: &table::Htcondor) -> Universe {
    let image = settings.image.clone().unwrap_or_default();
    match settings.universe.unwrap_or_default() {
        table::Universe::Vanilla => Universe::Vanilla,
        table::Universe::Container => Universe::Container { image },
        table::Universe::Docker => Universe::Docker { image },
    }
}

/// What of the config can't be meant (an error), or probably isn't (warnings).
///
/// # Errors
/// The first key with a value that no HTCondor takes.
pub fn check(run: &RunDir, source: &Source, file: &File) -> Result<Vec<String>, Error> {
    let settings = &file.backend.htcondor;
    let vanilla = settings.universe.unwrap_or_default() == table::Universe::Vanilla;
    match (&settings.image, vanilla) {
        (Some(_), true) => {
            let reason = "an image needs backend.htcondor.universe = container or docker";
            return Err(source.wrong("backend.htcondor.image", reason));
        }
        (None, false) => {
            let reason = "it needs backend.htcondor.image";
            return Err(source.wrong("backend.htcondor.universe", reason));
        }
        _ => {}
    }
    let wrong = |wrong| wrong_option(Kind::Htcondor, source, wrong);
    options(run, file).check().map_err(wrong)?;
    let mut warnings = Vec::new();
    if ["/tmp", "/var/tmp"]
        .iter()
        .any(|path| run.path().starts_with(path))
    {
        warnings.push(format!(
            "{} is below /tmp: on most pools jobs see a /tmp of their own, and are held; \
             --results-dir names another place",
            run.path().display()
        ));
    }
    if settings.resume != Some(table::Resume::Checkpoint)
        && (settings.max_restarts.is_some() || settings.slot_wait.is_some())
    {
        warnings.push(
            "backend.htcondor.max_restarts and slot_wait have no effect without \
             backend.htcondor.resume = checkpoint"
                .to_owned(),
        );
    }
    Ok(warnings)
}
