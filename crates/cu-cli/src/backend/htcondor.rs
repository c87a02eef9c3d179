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
    // What a container shows of the machine.
    options.initial_dir = Some(run.path().to_owned());
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
    let checkpoint = settings.resume == Some(table::Resume::Checkpoint);
    if !checkpoint && (settings.max_restarts.is_some() || settings.slot_wait.is_some()) {
        warnings.push(
            "backend.htcondor.max_restarts and slot_wait have no effect without \
             backend.htcondor.resume = checkpoint"
                .to_owned(),
        );
    }
    if checkpoint && file.resources.time_limit.is_some() {
        warnings.push(
            "with backend.htcondor.resume = checkpoint, resources.time_limit counts over all \
             attempts that follow each other in one slot"
                .to_owned(),
        );
    }
    let no_gpus = file.resources.gpus.unwrap_or_default() == 0;
    if no_gpus && (settings.gpu_memory.is_some() || settings.cuda_requirement.is_some()) {
        warnings.push(
            "backend.htcondor.gpu_memory and cuda_requirement have no effect without resources.gpus"
                .to_owned(),
        );
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, reference::tests};
    use std::time::Duration;

    fn run() -> RunDir {
        RunDir::new("/results/digits")
    }

    fn source(overrides: &[&str]) -> Source {
        let overrides = overrides.iter();
        let overrides = overrides.map(|words| Override::parse(words).expect(words));
        Source::command_line(overrides.collect()).expect("consistent")
    }

    fn checked(overrides: &[&str]) -> Result<Vec<String>, Error> {
        let source = source(overrides);
        check(&run(), &source, &source.file()?)
    }

    fn chosen(overrides: &[&str]) -> HtcondorOptions {
        options(&run(), &source(overrides).file().expect("a config"))
    }

    #[test]
    fn every_key_arrives() {
        let text = |text: &str| Some(text.to_owned());
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let expected = HtcondorOptions {
            state_dir: run().backend("htcondor"),
            initial_dir: Some(run().path().to_owned()),
            label: "digits".to_owned(),
            resume: Resume::Submit,
            resume_exit_code: 3,
            grace: Duration::from_secs(65),
            universe: Universe::Vanilla,
            environment: Environment::Inherit,
            wrapper: words(&["nice"]),
            request_disk: Some(10 << 30),
            gpu_memory: Some(20 << 30),
            cuda_requirement: text("8.0"),
            concurrency_limits: words(&["licence:2"]),
            accounting_group: text("group_physics"),
            accounting_group_user: text("ada"),
            rank: text("KFlops"),
            requirements: text("OpSysMajorVer >= 12"),
            hosts: words(&["node07"]),
            exclude_hosts: words(&["node01", "node02"]),
            allowed_job_duration: Some(Duration::from_secs(86400)),
            allowed_execute_duration: Some(Duration::from_secs(3600)),
            transfer: false,
            bid: Some(100),
            submit_command: words(&["condor_submit_bid"]),
            holds: HoldPolicy {
                keep: vec![34],
                end: vec![1],
            },
            extra: words(&["+WantFlocking = true"]),
            poll: Duration::from_secs(30),
            commands: Some("/opt/condor/bin".into()),
        };
        assert_eq!(options(&run(), &tests::whole()), expected);
        // The one key that is documented as refused.
        let accepted = HtcondorOptions {
            allowed_execute_duration: None,
            ..expected
        };
        assert_eq!(accepted.check(), Ok(()));
    }

    #[test]
    fn the_defaults_of_the_reference_are_the_real_ones() {
        let defaults = options(&run(), &tests::defaults());
        assert_eq!(defaults, options(&run(), &File::default()));
        let own = HtcondorOptions {
            initial_dir: Some(run().path().to_owned()),
            label: "digits".to_owned(),
            grace: Duration::from_secs(65),
            ..HtcondorOptions::new(run().backend("htcondor"))
        };
        assert_eq!(defaults, own);
    }

    #[test]
    fn the_other_choices_arrive() {
        let checkpoint = chosen(&[
            "backend.htcondor.resume=checkpoint",
            "backend.htcondor.max_restarts=7",
            "resume.exit_code=85",
        ]);
        let resume = Resume::Checkpoint {
            max_restarts: Some(7),
            wait: Duration::from_secs(60),
        };
        assert_eq!(checkpoint.resume, resume);
        assert_eq!(checkpoint.resume_exit_code, 85);
        // One grace time to SIGTERM, one to SIGKILL, and 5 s; whole seconds.
        assert_eq!(chosen(&["stop.grace=1200ms"]).grace.as_millis(), 8000);
        let requeue = chosen(&["backend.htcondor.resume=requeue"]).resume;
        assert_eq!(requeue, Resume::Requeue);
        let clean = chosen(&["backend.htcondor.environment=clean"]).environment;
        assert_eq!(clean, Environment::Clean);
        let image = "debian:13".to_owned();
        let image_key = "backend.htcondor.image=debian:13";
        for (key, universe) in [
            (
                "backend.htcondor.universe=docker",
                Universe::Docker {
                    image: image.clone(),
                },
            ),
            (
                "backend.htcondor.universe=container",
                Universe::Container { image },
            ),
        ] {
            assert_eq!(chosen(&[key, image_key]).universe, universe);
        }
    }

    #[test]
    fn what_no_htcondor_takes_is_an_error_at_its_key() {
        for (overrides, expected) in [
            (
                &["backend.htcondor.transfer=true"][..],
                "`backend.htcondor.transfer`: ",
            ),
            (
                &["backend.htcondor.image=debian"],
                "`backend.htcondor.image`: an image needs",
            ),
            (
                &["backend.htcondor.universe=docker"],
                "`backend.htcondor.universe`: it needs",
            ),
            (
                &["backend.htcondor.resume=requeue", "resume.exit_code=254"],
                "`resume.exit_code`: 254 is taken",
            ),
        ] {
            let error = checked(overrides).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_is_probably_not_meant_is_a_warning() {
        for (overrides, expected) in [
            (
                &["backend.htcondor.slot_wait=2min"][..],
                "have no effect without backend.htcondor.resume",
            ),
            (
                &["backend.htcondor.gpu_memory=8GiB"],
                "have no effect without resources.gpus",
            ),
            (
                &[
                    "backend.htcondor.resume=checkpoint",
                    "resources.time_limit=1h",
                ],
                "counts over all attempts",
            ),
        ] {
            let warnings = checked(overrides).expect("consistent");
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
        assert_eq!(checked(&[]).expect("consistent"), [""; 0]);
        let source = source(&[]);
        let below = RunDir::new("/tmp/results/digits");
        let file = source.file().expect("a config");
        let warnings = check(&below, &source, &file).expect("consistent");
        assert!(warnings[0].contains("below /tmp"), "{warnings:?}");
    }
}
