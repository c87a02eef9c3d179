//! Slurm as a backend, as the config says, and what of the config does not suit it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use cu_core::RunDir;
use cu_scheduler::slurm::{Container, Environment, Resume, SlurmOptions};

use super::{Kind, label, wrong_option};
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
    // What a program may take once it is asked to stop; Slurm's KillWait is compared with it.
    options.grace = Some(file.stop_policy().grace);
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
    let slurm = &file.backend.slurm;
    if slurm.array_throttle.is_some() && slurm.array.is_some_and(|array| array < 2) {
        warnings.push(
            "backend.slurm.array_throttle has no effect without arrays: backend.slurm.array is \
             less than 2"
                .to_owned(),
        );
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, reference::tests};

    fn run() -> RunDir {
        RunDir::new("/results/digits")
    }

    fn checked(overrides: &[&str]) -> Result<Vec<String>, Error> {
        let overrides: Result<Vec<_>, _> = overrides
            .iter()
            .map(|words| Override::parse(words))
            .collect();
        let source = Source::command_line(overrides?)?;
        check(&run(), &source, &source.file()?)
    }

    #[test]
    fn every_key_arrives() {
        let text = |text: &str| Some(text.to_owned());
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let expected = SlurmOptions {
            state_dir: run().backend("slurm"),
            label: "digits".to_owned(),
            partition: text("gpu"),
            account: text("physics"),
            qos: text("long"),
            constraint: text("a100|h100"),
            reservation: text("course"),
            nodes: Some(2),
            ntasks: Some(4),
            gres: text("gpu:a100:2"),
            exclusive: false,
            exclude_hosts: words(&["node[01-04]"]),
            hosts: words(&["node07"]),
            array: 1000,
            array_throttle: Some(50),
            resume: Resume::Submit,
            container: Some(Container {
                image: "/images/science.sif".to_owned(),
                command: words(&["apptainer", "exec"]),
                arguments: words(&["--nv"]),
            }),
            modules: words(&["cuda/12.4"]),
            activate: Some("/home/ada/venv/bin/activate".into()),
            environment: Environment::Inherit,
            wrapper: words(&["srun"]),
            extra: words(&["--mail-type=FAIL"]),
            poll: Some(Duration::from_secs(30)),
            grace: Some(Duration::from_secs(30)),
            commands: Some("/opt/slurm/bin".into()),
        };
        assert_eq!(options(&run(), &tests::whole()), expected);
        assert_eq!(expected.check(), Ok(()));
    }

    #[test]
    fn the_defaults_of_the_reference_are_the_real_ones() {
        let mut defaults = options(&run(), &tests::defaults());
        // Left out, it is the backend's own, which is the same.
        assert_eq!(defaults.poll.take(), Some(Duration::from_secs(30)));
        assert_eq!(defaults, options(&run(), &File::default()));
    }

    #[test]
    fn the_other_choices_arrive() {
        let source = Source::command_line(
            [
                "backend.slurm.exclusive=true",
                "backend.slurm.resume=requeue",
                "backend.slurm.environment=clean",
                "backend.slurm.container.image=docker://debian",
                "stop.grace=1200ms",
            ]
            .map(|words| Override::parse(words).expect(words))
            .to_vec(),
        );
        let file = source.expect("consistent").file().expect("a config");
        let options = options(&run(), &file);
        assert!(options.exclusive);
        assert_eq!(options.resume, Resume::Requeue);
        assert_eq!(options.environment, Environment::Clean);
        assert_eq!(options.container, Some(Container::new("docker://debian")));
        assert_eq!(options.grace, Some(Duration::from_millis(1200)));
    }

    #[test]
    fn what_no_slurm_takes_is_an_error_at_its_key() {
        for (overrides, expected) in [
            (
                &["backend.slurm.qos=\"a b\""][..],
                "`backend.slurm.qos=\"a b\"`: `backend.slurm.qos`: ",
            ),
            (
                &["backend.slurm.container.arguments=[\"--nv\"]"],
                "`backend.slurm.container.image`: it is missing",
            ),
            (
                &["stop.before_limit=1day", "resources.time_limit=2days"],
                "`stop.before_limit`: Slurm's warning comes at most",
            ),
        ] {
            let error = checked(overrides).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_slurm_makes_of_times_is_a_warning() {
        for (overrides, expected) in [
            (&[][..], "as long as their partition lets them"),
            (&["resources.time_limit=90s"], "makes it 2m"),
            (
                &["resources.time_limit=1h", "stop.before_limit=50s"],
                "up to 30 s earlier",
            ),
            (
                &["resources.time_limit=2min", "stop.before_limit=90s"],
                "as soon as it starts",
            ),
        ] {
            let warnings = checked(overrides).expect("consistent");
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
        let no_arrays = [
            "resources.time_limit=1h",
            "backend.slurm.array=0",
            "backend.slurm.array_throttle=5",
        ];
        let warnings = checked(&no_arrays).expect("consistent");
        assert!(warnings[0].contains("without arrays"), "{warnings:?}");
        let fine = ["resources.time_limit=1h", "stop.before_limit=2min"];
        assert_eq!(checked(&fine).expect("consistent"), [""; 0]);
    }
}
