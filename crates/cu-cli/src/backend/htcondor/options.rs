//! From the keys of a config to the options of HTCondor.

use std::time::Duration;

use cu_core::RunDir;
use cu_scheduler::htcondor::{Environment, HoldPolicy, HtcondorOptions, Resume, Universe};

use super::keys;
use crate::backend::kind::Kind;
use crate::backend::shared::{label, supervisor_grace};
use crate::config::File;
use crate::config::units::Surroundings;

/// How long a slot is kept for the next attempt, unless the config says otherwise.
const SLOT_WAIT: Duration = Duration::from_secs(60);

/// The options with which the backend is opened.
pub fn options(run: &RunDir, file: &File) -> HtcondorOptions {
    let settings = &file.backend.htcondor;
    let mut options = HtcondorOptions::new(run.backend(Kind::Htcondor.name()));
    // The directory of the machine that a container shows.
    options.initial_dir = Some(run.path().to_owned());
    options.label = label(run);
    options.resume = match settings.resume.unwrap_or_default() {
        keys::Resume::Submit => Resume::Submit,
        keys::Resume::Requeue => Resume::Requeue,
        keys::Resume::Checkpoint => Resume::Checkpoint {
            max_restarts: settings.max_restarts,
            wait: settings.slot_wait.map_or(SLOT_WAIT, |wait| wait.0),
        },
    };
    options.resume_exit_code = file.exit_rules().resume_exit_code.0;
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
    options
        .periodic_remove
        .clone_from(&settings.periodic_remove);
    options.hosts = settings.hosts.clone().unwrap_or_default();
    options.exclude_hosts = settings.exclude_hosts.clone().unwrap_or_default();
    options.allowed_job_duration = settings.allowed_job_duration.map(|time| time.0);
    options.bid = settings.bid;
    options.submit_command = settings.submit_command.clone().unwrap_or_default();
    options.holds = HoldPolicy {
        keep: settings.hold_keep.clone().unwrap_or_default(),
        end: settings.hold_end.clone().unwrap_or_default(),
    };
    options.extra = settings.extra.clone().unwrap_or_default();
    options.poll = settings.poll.map_or(options.poll, |poll| poll.0);
    options.access_point.clone_from(&settings.access_point);
    options.commands = settings.commands.as_ref().map(|path| path.0.clone());
    options
}

fn universe(settings: &keys::Htcondor) -> Universe {
    let image = settings.image.as_ref();
    let image = image.map(|image| image.0.clone()).unwrap_or_default();
    match settings.universe.unwrap_or_default() {
        keys::Universe::Vanilla => Universe::Vanilla,
        keys::Universe::Container => Universe::Container { image },
        keys::Universe::Docker => Universe::Docker { image },
    }
}

#[cfg(test)]
mod tests {
    use cu_protocol::ResumeExitCode;

    use super::*;
    use crate::config::{reference::tests, source::tests::parsed};

    fn run() -> RunDir {
        RunDir::new("/results/digits")
    }

    fn chosen(overrides: &[&str]) -> HtcondorOptions {
        options(&run(), &parsed("", overrides).expect("a config").file)
    }

    #[test]
    fn every_key_arrives() {
        let text = |text: &str| Some(text.to_owned());
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let mut expected = HtcondorOptions::new(run().backend("htcondor"));
        expected.initial_dir = Some(run().path().to_owned());
        expected.label = "digits".to_owned();
        expected.resume = Resume::Submit;
        expected.resume_exit_code = ResumeExitCode::DEFAULT.0;
        expected.grace = Duration::from_secs(65);
        expected.universe = Universe::Vanilla;
        expected.environment = Environment::Inherit;
        expected.wrapper = words(&["nice"]);
        expected.request_disk = Some(10 << 30);
        expected.gpu_memory = Some(20 << 30);
        expected.cuda_requirement = text("8.0");
        expected.concurrency_limits = words(&["licence:2"]);
        expected.accounting_group = text("group_physics");
        expected.accounting_group_user = text("ada");
        expected.rank = text("KFlops");
        expected.requirements = text("OpSysMajorVer >= 12");
        expected.periodic_remove = text("ImageSize > 8000000");
        expected.hosts = words(&["node07"]);
        expected.exclude_hosts = words(&["node01", "node02"]);
        expected.allowed_job_duration = Some(Duration::from_secs(86400));
        expected.bid = Some(100);
        expected.submit_command = words(&["condor_submit_bid"]);
        expected.holds = HoldPolicy {
            keep: vec![34],
            end: vec![1],
        };
        expected.extra = words(&["+WantFlocking = true"]);
        expected.poll = Duration::from_secs(30);
        expected.commands = Some("/opt/condor/bin".into());
        expected.access_point = text("ap2@submit.example");
        assert_eq!(options(&run(), &tests::whole()), expected);
        assert_eq!(expected.check(), Ok(()));
    }

    #[test]
    fn the_defaults_of_the_reference_are_the_real_ones() {
        let defaults = options(&run(), &tests::defaults());
        assert_eq!(defaults, options(&run(), &File::default()));
        let mut own = HtcondorOptions::new(run().backend("htcondor"));
        own.initial_dir = Some(run().path().to_owned());
        own.label = "digits".to_owned();
        own.grace = Duration::from_secs(65);
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
        assert_eq!(checkpoint.resume_exit_code.get(), 85);
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
}
