//! From the keys of a config to the options of Slurm.

use std::num::NonZeroU32;

use cu_core::RunDir;
use cu_scheduler::slurm::{Container, Environment, Output, Resume, SlurmOptions};

use super::keys;
use crate::backend::kind::Kind;
use crate::backend::shared::label;
use crate::config::File;
use crate::config::units::Surroundings;

/// The options with which the backend is opened.
pub fn options(run: &RunDir, file: &File) -> SlurmOptions {
    let slurm = &file.backend.slurm;
    let mut options = SlurmOptions::new(run.backend(Kind::Slurm.name()));
    options.label = label(run);
    options.cluster.clone_from(&slurm.cluster);
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
        Some(keys::Resume::Submit) | None => Resume::Submit,
        Some(keys::Resume::Requeue) => Resume::Requeue,
    };
    options.container = container(&slurm.container);
    options.hold_end = slurm.hold_end.clone().unwrap_or_default();
    options.modules = slurm.modules.clone().unwrap_or_default();
    options.activate = slurm.activate.as_ref().map(|path| path.0.clone());
    options.environment = match slurm.environment {
        Some(Surroundings::Inherit) | None => Environment::Inherit,
        Some(Surroundings::Clean) => Environment::Clean,
    };
    options.wrapper = slurm.wrapper.clone().unwrap_or_default();
    options.extra = slurm.extra.clone().unwrap_or_default();
    options.sbatch.clone_from(&slurm.sbatch);
    options.first_attempt = slurm.first_attempt.clone().unwrap_or_default();
    options.output = output(slurm);
    options.poll = slurm.poll.map(|poll| poll.0);
    // The time that a program may take to stop; Slurm's KillWait is compared with it.
    options.grace = Some(file.stop_policy().grace);
    options.commands = slurm.commands.as_ref().map(|path| path.0.clone());
    options
}

fn output(keys: &keys::Slurm) -> Option<Output> {
    let mut output = Output::default();
    output.stdout.clone_from(&keys.output);
    output.stderr.clone_from(&keys.error);
    output.append = keys.open_mode == Some(keys::OpenMode::Append);
    (output.stdout.is_some() || output.stderr.is_some()).then_some(output)
}

fn container(keys: &keys::Container) -> Option<Container> {
    let mut container = Container::new(keys.image.as_ref()?.0.clone());
    if let Some(command) = &keys.command {
        container.command.clone_from(command);
    }
    container.arguments = keys.arguments.clone().unwrap_or_default();
    Some(container)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{reference::tests, source::tests::parsed};
    use std::time::Duration;

    fn run() -> RunDir {
        RunDir::new("/results/digits")
    }

    #[test]
    fn every_key_arrives() {
        let text = |text: &str| Some(text.to_owned());
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let mut container = Container::new("/images/science.sif");
        container.arguments = words(&["--nv"]);
        let mut expected = SlurmOptions::new(run().backend("slurm"));
        expected.label = "digits".to_owned();
        expected.cluster = text("genius");
        expected.partition = text("gpu");
        expected.account = text("physics");
        expected.qos = text("long");
        expected.constraint = text("a100|h100");
        expected.reservation = text("course");
        expected.nodes = Some(2);
        expected.ntasks = Some(4);
        expected.gres = text("gpu:a100:2");
        expected.exclusive = false;
        expected.exclude_hosts = words(&["node[01-04]"]);
        expected.hosts = words(&["node07"]);
        expected.array = 1000;
        expected.array_throttle = Some(50);
        expected.resume = Resume::Submit;
        expected.hold_end = words(&["launch failed", "user env retrieval failed"]);
        expected.container = Some(container);
        expected.modules = words(&["cuda/12.4"]);
        expected.activate = Some("/home/ada/venv/bin/activate".into());
        expected.environment = Environment::Inherit;
        expected.wrapper = words(&["numactl", "--localalloc"]);
        expected.extra = words(&["--mail-type=FAIL"]);
        expected.sbatch = Some(words(&["--ntasks-per-node=4", "--mem-per-cpu=2G"]));
        expected.first_attempt = words(&["--begin=22:00"]);
        let mut output = Output::new("/home/ada/logs/%j.out");
        output.stderr = text("/home/ada/logs/%j.err");
        expected.output = Some(output);
        expected.poll = Some(Duration::from_secs(30));
        expected.grace = Some(Duration::from_secs(30));
        expected.commands = Some("/opt/slurm/bin".into());
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
        let given = [
            "backend.slurm.exclusive=true",
            "backend.slurm.resume=requeue",
            "backend.slurm.environment=clean",
            "backend.slurm.container.image=docker://debian",
            "stop.grace=1200ms",
            "backend.slurm.output=log",
            "backend.slurm.open_mode=append",
        ];
        let options = options(&run(), &parsed("", &given).expect("a config").file);
        assert!(options.exclusive);
        assert_eq!(options.resume, Resume::Requeue);
        assert!(options.output.is_some_and(|output| output.append));
        assert_eq!(options.environment, Environment::Clean);
        assert_eq!(options.container, Some(Container::new("docker://debian")));
        assert_eq!(options.grace, Some(Duration::from_millis(1200)));
    }
}
