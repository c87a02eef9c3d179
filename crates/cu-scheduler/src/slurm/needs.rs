//! Writes the needs of a submission as lines of a batch script, and checks them.

use std::time::Duration;

use super::config::Partition;
use super::options::{EXPORT, Environment, SlurmOptions, UNLIMITED};
use super::quote::for_sbatch;
use crate::cluster;
use crate::{Resources, Submission};

/// The longest warning that sbatch takes, in seconds.
const LONGEST_WARNING: u64 = 65_535;

/// The options of sbatch for `resources` and what holds for all submissions alike. `to_exclude` are nodes
/// that these submissions avoid.
pub(super) fn directives(
    options: &SlurmOptions,
    resources: &Resources,
    to_exclude: &[String],
) -> Vec<String> {
    let mut lines = match &options.sbatch {
        Some(given) => given.iter().map(|option| quoted(option)).collect(),
        None => of_resources(options, resources),
    };
    if let Some(limit) = resources.time_limit {
        lines.push(format!("--time={}", minutes(limit)));
    }
    if let Some(warning) = resources.warning {
        let (signal, before) = (warning.signal.name(), seconds(warning.before_limit));
        // To the batch shell's own process, which is the command by then.
        lines.push(format!(
            "--signal=B:{signal}@{}",
            before.clamp(1, LONGEST_WARNING)
        ));
    }
    let words = [
        ("partition", &options.partition),
        ("account", &options.account),
        ("qos", &options.qos),
        ("constraint", &options.constraint),
        ("reservation", &options.reservation),
    ];
    for (name, value) in words {
        if let Some(value) = value {
            lines.push(format!("--{name}={}", for_sbatch(value)));
        }
    }
    if options.exclusive {
        lines.push("--exclusive".into());
    }
    let excluded = [&options.exclude_hosts, to_exclude].concat();
    for (name, hosts) in [("nodelist", &options.hosts), ("exclude", &excluded)] {
        if !hosts.is_empty() {
            lines.push(format!("--{name}={}", for_sbatch(&hosts.join(","))));
        }
    }
    if !gives(options, EXPORT) {
        lines.push(match options.environment {
            Environment::Inherit => "--export=ALL".into(),
            Environment::Clean => "--export=NONE".into(),
        });
    }
    lines.extend(options.extra.iter().cloned());
    lines
}

/// Whether one of the options of a person's script begins so.
pub(super) fn gives(options: &SlurmOptions, beginning: &str) -> bool {
    let mut given = options.sbatch.iter().flatten();
    given.any(|option| option.starts_with(beginning))
}

fn of_resources(options: &SlurmOptions, resources: &Resources) -> Vec<String> {
    let mut lines = vec![
        format!("--ntasks={}", options.ntasks.unwrap_or(1)),
        format!("--cpus-per-task={}", resources.cpus),
    ];
    if let Some(nodes) = options.nodes {
        lines.push(format!("--nodes={nodes}"));
    }
    if let Some(bytes) = resources.memory_bytes {
        lines.push(format!("--mem={}M", bytes.div_ceil(1 << 20)));
    }
    if let Some(gres) = gres(options, resources) {
        lines.push(format!("--gres={}", for_sbatch(&gres)));
    }
    lines
}

/// An option with its value in quotes.
pub(super) fn quoted(option: &str) -> String {
    match option.split_once('=') {
        Some((name, value)) => format!("{name}={}", for_sbatch(value)),
        None => option.to_owned(),
    }
}

fn gres(options: &SlurmOptions, resources: &Resources) -> Option<String> {
    let named = options.gres.as_deref();
    let is_gpu = |gres: &str| gres.split([':', '=']).next() == Some("gpu");
    let names_gpu = named.is_some_and(|named| named.split(',').any(is_gpu));
    let gpus = (resources.gpus > 0 && !names_gpu).then(|| format!("gpu:{}", resources.gpus));
    match (gpus, named) {
        (Some(gpus), Some(named)) => Some(format!("{gpus},{named}")),
        (gpus, named) => gpus.or_else(|| named.map(str::to_owned)),
    }
}

/// A time limit in Slurm's minutes: whole ones, and at least one. 0 would be none.
fn minutes(limit: Duration) -> u64 {
    seconds(limit).div_ceil(60).max(1)
}

fn seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
}

/// The time limit that Slurm will keep, where we can know it: what was asked for, or else the
/// default of the partition.
pub(super) fn time_limit(
    options: &SlurmOptions,
    resources: &Resources,
    partitions: &[Partition],
) -> Option<Duration> {
    if let Some(limit) = resources.time_limit {
        return Some(Duration::from_secs(minutes(limit).saturating_mul(60)));
    }
    let mut given = options.sbatch.iter().flatten();
    if given.any(|option| UNLIMITED.contains(&option.as_str())) {
        return None;
    }
    match chosen(options, partitions)[..] {
        [partition] => partition.default_time.or(partition.max_time),
        _ => None,
    }
}

/// The partitions in which a job may run.
pub(super) fn chosen<'a>(
    options: &SlurmOptions,
    partitions: &'a [Partition],
) -> Vec<&'a Partition> {
    let is_chosen = |partition: &&Partition| match &options.partition {
        Some(names) => names.split(',').any(|name| name == partition.name),
        None => partition.is_default,
    };
    partitions.iter().filter(is_chosen).collect()
}

/// Checks for what sbatch would accept although the job would wait for ever or run elsewhere.
pub(super) fn check(
    submission: &Submission,
    options: &SlurmOptions,
    partitions: &[Partition],
) -> Result<(), String> {
    cluster::check(submission)?;
    let chosen = chosen(options, partitions);
    // A quality of service may lift the limit of a partition.
    if let (Some(limit), None, false) = (
        submission.resources.time_limit,
        &options.qos,
        chosen.is_empty(),
    ) {
        let limit = Duration::from_secs(minutes(limit).saturating_mul(60));
        let too_short = |partition: &&&Partition| partition.max_time.is_some_and(|max| max < limit);
        let short: Vec<String> = chosen
            .iter()
            .filter(too_short)
            .map(|partition| {
                let max = partition.max_time.unwrap_or_default().as_secs() / 60;
                format!("partition {} allows {max} minutes", partition.name)
            })
            .collect();
        if short.len() == chosen.len() {
            let minutes = limit.as_secs() / 60;
            return Err(format!(
                "the time limit is {minutes} minutes, but {}: the job would wait for ever",
                short.join(", ")
            ));
        }
    }
    Ok(())
}

/// Checks that the directories of a submission exist: Slurm would run it in `/tmp`, or lose its output.
pub(super) fn check_directories(submission: &Submission) -> Result<(), String> {
    for directory in [&submission.working_directory, &submission.directory] {
        match std::fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(format!("{} is not a directory", directory.display())),
            Err(error) => return Err(format!("{}: {error}", directory.display())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Signal, SubmissionName, Warning};

    fn lines(resources: Resources, change: impl FnOnce(&mut SlurmOptions)) -> Vec<String> {
        let mut options = SlurmOptions::new("/state");
        change(&mut options);
        directives(&options, &resources, &[])
    }

    fn has(lines: &[String], line: &str) -> bool {
        lines.iter().any(|it| it == line)
    }

    #[test]
    fn needs_are_rounded_to_what_slurm_counts_in() {
        let warning = |before_limit| {
            Some(Warning {
                signal: Signal::Usr2,
                before_limit,
            })
        };
        let lines = lines(
            Resources {
                cpus: 4,
                gpus: 0,
                memory_bytes: Some((1 << 30) + 1),
                time_limit: Some(Duration::from_secs(61)),
                warning: warning(Duration::from_millis(1500)),
            },
            |_| {},
        );
        for line in [
            "--ntasks=1",
            "--cpus-per-task=4",
            "--mem=1025M",
            "--time=2",
            "--signal=B:USR2@2",
        ] {
            assert!(has(&lines, line), "{line} in {lines:?}");
        }
        assert_eq!(minutes(Duration::ZERO), 1, "0 would be no limit");
        let directive = |before| {
            let resources = Resources {
                warning: warning(before),
                ..Resources::default()
            };
            directives(&SlurmOptions::default(), &resources, &[]).concat()
        };
        assert!(directive(Duration::from_secs(100_000)).contains("--signal=B:USR2@65535"));
        assert!(directive(Duration::ZERO).contains("--signal=B:USR2@1"));
    }

    #[test]
    fn gpus_and_other_generic_resources_are_one_option() {
        let two = || Resources {
            gpus: 2,
            ..Resources::default()
        };
        assert!(has(&lines(two(), |_| {}), "--gres=\"gpu:2\""));
        let with = |gres: &str| lines(two(), |it| it.gres = Some(gres.into()));
        assert!(has(&with("tmpdisk:50"), "--gres=\"gpu:2,tmpdisk:50\""));
        assert!(has(&with("gpu:a100:1"), "--gres=\"gpu:a100:1\""));
        assert!(has(&with("gpumem:1"), "--gres=\"gpu:2,gpumem:1\""));
    }

    #[test]
    fn each_option_becomes_a_directive() {
        let lines = lines(Resources::default(), |options| {
            options.partition = Some("a,b".into());
            options.exclude_hosts = vec!["n1".into(), "n[3-4]".into()];
            options.nodes = Some(2);
            options.ntasks = Some(8);
            options.exclusive = true;
            options.environment = Environment::Clean;
            options.extra = vec!["--nice=5".into()];
        });
        for line in [
            "--partition=\"a,b\"",
            "--exclude=\"n1,n[3-4]\"",
            "--nodes=2",
            "--ntasks=8",
            "--exclusive",
            "--export=NONE",
        ] {
            assert!(has(&lines, line), "{line} in {lines:?}");
        }
        assert_eq!(lines.last().map(String::as_str), Some("--nice=5"));
    }

    #[test]
    fn a_node_to_avoid_is_excluded_beside_those_of_the_options() {
        let mut options = SlurmOptions::new("/state");
        let excluded = |options: &SlurmOptions| {
            let lines = directives(options, &Resources::default(), &["n7".into()]);
            let excluded = lines.into_iter().filter(|it| it.starts_with("--exclude="));
            excluded.collect::<Vec<_>>()
        };
        assert_eq!(excluded(&options), ["--exclude=\"n7\""]);
        options.exclude_hosts = vec!["n1".into()];
        assert_eq!(excluded(&options), ["--exclude=\"n1,n7\""]);
    }

    fn partitions() -> Vec<Partition> {
        Partition::parse_all(
            "PartitionName=long Default=YES DefaultTime=01:00:00 MaxTime=UNLIMITED State=UP\n\
             PartitionName=short Default=NO DefaultTime=NONE MaxTime=00:02:00 State=UP\n",
        )
    }

    fn checked(partition: Option<&str>, qos: Option<&str>, minutes: u64) -> Result<(), String> {
        let mut options = SlurmOptions::new("/state");
        options.partition = partition.map(str::to_owned);
        options.qos = qos.map(str::to_owned);
        let submission = Submission {
            name: SubmissionName::new("run", 1, 0).unwrap(),
            command: vec!["/bin/true".into()],
            environment: Default::default(),
            working_directory: "/".into(),
            directory: "/".into(),
            resources: Resources {
                time_limit: Some(Duration::from_secs(minutes * 60)),
                ..Resources::default()
            },
            previous: None,
            avoid_hosts: Vec::new(),
        };
        check(&submission, &options, &partitions())
    }

    #[test]
    fn a_time_limit_beyond_that_of_the_partition_is_refused() {
        assert_eq!(checked(None, None, 1000), Ok(()));
        assert_eq!(checked(Some("short"), None, 2), Ok(()));
        assert_eq!(
            checked(Some("short,long"), None, 3),
            Ok(()),
            "one of them takes it"
        );
        assert_eq!(
            checked(Some("short"), Some("patient"), 3),
            Ok(()),
            "it may lift the limit"
        );
        let reason = checked(Some("short"), None, 3).unwrap_err();
        assert!(
            reason.contains("3 minutes") && reason.contains("short allows 2"),
            "{reason}"
        );
    }

    #[test]
    fn without_a_time_limit_the_partitions_default_holds() {
        let limit = |name: Option<&str>| {
            let mut options = SlurmOptions::new("/state");
            options.partition = name.map(str::to_owned);
            time_limit(&options, &Resources::default(), &partitions()).map(|it| it.as_secs())
        };
        assert_eq!(limit(None), Some(3600));
        assert_eq!(limit(Some("short")), Some(120));
        assert_eq!(limit(Some("short,long")), None, "it is not known which");
        assert_eq!(limit(Some("other")), None);
    }
}
