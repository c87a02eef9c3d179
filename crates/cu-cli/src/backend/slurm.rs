//! Slurm as a backend, as the config says, and what of the config does not suit it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use cu_core::RunDir;
use cu_scheduler::slurm::{Container, Environment, Resume, SlurmOptions};

use super::{Kind, label, supervisor_grace, wrong_option};
use crate::config::file::Surroundings;
use crate::config::{self, Error, File, Source};

/// Slurm looks so often whether a warning is due, and sends it when the next look would be late.
const LOOKS: Duration = Duration::from_secs(30);
/// A warning can be asked for at most so long before the time limit.
const EARLIEST_WARNING: Duration = Duration::from_secs(65_535);

/// What the backend is opened with.
pub fn options(run: &RunDir, file: &File) -> SlurmOptions {
    let slurm = &file.backend.slurm;
    let mut options = SlurmOptions::new(run.backend(Kind::Slurm.name()));
    options.label = label(run);
    options.partition.clone_from(&slurm.partition);
    options.account.clone_from(&slurm.account);
    options.qos.clone_from(&slurm.qos);
    options.constraint.clone_from(&slurm.constraint);
    options.reservation.clone_from(&slurm.reservation);
    options.nodes = slurm.nodes.map(NonZeroU32::get);
    options.ntasks = slurm.ntasks.map(NonZeroU32::get);
    options.gres.clone_from(&slurm.gres);
    options.exclusive = slurm.exclusive.unwrap_or_default();
    options.exclude_hosts = slurm.exclude_hosts.clone().unwrap_or_default();
    options.hosts = slurm.hosts.clone().unwrap_or_default();
    options.array = slurm.array.unwrap_or(options.array);
    options.array_throttle = slurm.array_throttle.map(NonZeroU32::get);
    options.resume = match slurm.resume {
        Some(config::slurm::Resume::Submit) | None => Resume::Submit,
        Some(config::slurm::Resume::Requeue) => Resume::Requeue,
    };
    options.container = container(&slurm.container);
    options.modules = slurm.modules.clone().unwrap_or_default();
    options.activate = slurm.activate.as_ref().map(PathBuf::from);
    options.environment = match slurm.environment {
        Some(Surroundings::Inherit) | None => Environment::Inherit,
        Some(Surroundings::Clean) => Environment::Clean,
    };
    options.wrapper = slurm.wrapper.clone().unwrap_or_default();
    options.extra = slurm.extra.clone().unwrap_or_default();
    options.poll = slurm.poll.map(|poll| poll.0);
    options.grace = Some(supervisor_grace(file));
    options.commands = slurm.commands.as_ref().map(PathBuf::from);
    options
}

fn container(table: &config::slurm::Container) -> Option<Container> {
    let mut container = Container::new(table.image.clone()?);
    if let Some(command) = &table.command {
        container.command.clone_from(command);
    }
    container.arguments = table.arguments.clone().unwrap_or_default();
    Some(container)
}

/// What of the config can't be meant (an error), or probably isn't (warnings).
///
/// # Errors
/// The first key with a value that no Slurm takes.
pub fn check(run: &RunDir, source: &Source, file: &File) -> Result<Vec<String>, Error> {
    let wrong = |wrong| wrong_option(Kind::Slurm, source, wrong);
    options(run, file).check().map_err(wrong)?;
    let container = &file.backend.slurm.container;
    if container.image.is_none() && (container.command.is_some() || container.arguments.is_some()) {
        let reason = "it is missing, and the container's command has nothing to run in";
        return Err(source.wrong("backend.slurm.container.image", reason));
    }
    let before = file.stop_policy().before_limit;
    if before.is_some_and(|before| before > EARLIEST_WARNING) {
        let reason = "Slurm's warning comes at most 65535 s before the time limit";
        return Err(source.wrong("stop.before_limit", reason));
    }
    let shown = |time: Duration| humantime::format_duration(time).to_string();
    let mut warnings = Vec::new();
    let Some(limit) = file.resources.time_limit.map(|limit| limit.0) else {
        warnings.push(
            "resources.time_limit is not set: attempts run as long as their partition lets them by \
             default"
                .to_owned(),
        );
        return Ok(warnings);
    };
    let whole = Duration::from_secs(60 * limit.as_secs_f64().div_euclid(60.0) as u64);
    if whole != limit {
        warnings.push(format!(
            "resources.time_limit = {}: Slurm counts whole minutes and makes it {}",
            shown(limit),
            shown(whole + Duration::from_secs(60))
        ));
    }
    if let Some(before) = before {
        if before < 2 * LOOKS {
            warnings.push(format!(
                "stop.before_limit = {}: Slurm looks every 30 s only, so that its warning comes up \
                 to 30 s earlier than that; with less than 1m there may be no time left to save if \
                 Slurm is busy",
                shown(before)
            ));
        }
        if before + LOOKS >= limit {
            warnings.push(format!(
                "stop.before_limit = {} is close to resources.time_limit, which is {}: Slurm may \
                 warn an attempt as soon as it starts",
                shown(before),
                shown(limit)
            ));
        }
    }
    Ok(warnings)
}
