//! Examines a cluster for settings that lose, delay or misreport jobs.

use std::time::{Duration, SystemTime};

use super::client::Client;
use cu_system::causes::in_one_line;

use super::config::{self, Config, Partition};
use super::limits::{self, Limits};
use super::options::{Resume, SlurmOptions};
use super::{Cluster, needs, sacct};
use crate::cluster::Command;
use crate::{Error, Finding, Level, Subject};

/// The versions that the backend is tested with.
const TESTED: [&str; 4] = ["20.11", "22.05", "24.11", "26.05"];
/// How many times a job must be seen before Slurm forgets it.
const LOOKS: u32 = 4;
/// Clocks that differ by more make a deadline wrong by more than Slurm's own precision.
const CLOCKS: Duration = Duration::from_secs(10);
/// With a KillWait from here on, a command has time to react to SIGTERM by itself.
const SHORT_KILL_WAIT: Duration = Duration::from_secs(30);

impl Cluster {
    pub(super) async fn examine(&self) -> Vec<Finding> {
        let client = self.client();
        let asked = tokio::try_join!(client.show("config"), client.show("partition"));
        let (config, partitions) = match asked {
            Ok(answers) => answers,
            Err(error) => {
                let text = format!("the controller does not answer: {}", in_one_line(&error));
                let away = Finding::new(Subject::Scheduler, Level::Problem, text);
                return vec![away.advise("ask again later, or ask an administrator")];
            }
        };
        let now = SystemTime::now();
        let partitions = Partition::parse_all(&partitions);
        let mut findings = vec![clock(&config, now)];
        let config = Config::parse(&config);
        findings.extend(of_config(&config, &self.options));
        findings.extend(of_partitions(&partitions, &config, &self.options));
        let nodes = client
            .command("sinfo")
            .arguments(["--noheader", "--format", "%R|%T|%D"]);
        let nodes = client.ask(nodes).await;
        findings.push(of_nodes(
            nodes.map(|it| it.stdout),
            &partitions,
            &self.options,
        ));
        findings.push(self.watching().await);
        if config.has_accounting() {
            findings.push(self.accounting().await);
            findings.push(self.limits(&config).await);
        }
        findings
    }

    /// Asks for our jobs in the very words in which a run asks.
    async fn watching(&self) -> Finding {
        match self.queue().await {
            Ok(rows) => {
                let text = format!("squeue lists your jobs: {} now", rows.len());
                Finding::new(Subject::Scheduler, Level::Good, text)
            }
            Err(error) => {
                let text = format!(
                    "squeue does not answer as a run asks it, so that nobody would know what became of \
                     jobs: {}",
                    in_one_line(&error)
                );
                let finding = Finding::new(Subject::Scheduler, Level::Problem, text);
                finding.advise_option("commands", "the directory of Slurm's own commands")
            }
        }
    }

    /// Checks that accounting, which is on, answers.
    async fn accounting(&self) -> Finding {
        let client = self.client();
        // Any job: it is the answer that counts.
        let command = client.command("sacct").arguments(sacct::ARGUMENTS);
        match client.ask(command.arguments(["--jobs", "1"])).await {
            Ok(_) => {
                let text = "on: how a job ended is known for as long as the cluster keeps records";
                Finding::new(Subject::Accounting, Level::Good, text)
            }
            Err(error) => {
                let text = format!("on, but it does not answer: {}", in_one_line(&error));
                let silent = Finding::new(Subject::Accounting, Level::Warning, text);
                silent
                    .advise("jobs go on; until it answers, ends older than MinJobAge are not known")
            }
        }
    }

    async fn limits(&self, config: &Config) -> Finding {
        let enforced = config.get("AccountingStorageEnforce");
        if !enforced.is_some_and(|set| set.contains("limits")) {
            let text = "limits of accounts and qualities of service are not enforced";
            return Finding::new(Subject::Limits, Level::Good, text);
        }
        match self.ask_limits().await {
            Ok((limits, accounts, qualities)) => {
                let missing = limits::missing(&self.options, &accounts, &qualities);
                let judge = || limits::judge(&limits::that_apply(limits, &self.options));
                missing.unwrap_or_else(judge)
            }
            Err(error) => {
                let text = format!(
                    "enforced, but sacctmgr does not list them: {}",
                    in_one_line(&error)
                );
                Finding::new(Subject::Limits, Level::Note, text)
            }
        }
    }

    /// All limits of the user's accounts and of all qualities of service, and the names of both.
    async fn ask_limits(&self) -> Result<(Vec<Limits>, Vec<String>, Vec<String>), Error> {
        // sacctmgr knows no `--clusters`: it always sees all of them.
        let cluster = self.client().cluster.map(|name| format!("cluster={name}"));
        let client = Client {
            cluster: None,
            ..self.client()
        };
        let user = client.ask(Command::new(None, "id").argument("-un")).await?;
        let user = format!("user={}", user.stdout.trim());
        let ask = |arguments: &[&str]| {
            let command = client
                .command("sacctmgr")
                .arguments(["--noheader", "--parsable2"]);
            client.ask(command.arguments(arguments))
        };
        let mut of_user = vec!["show", "association", user.as_str(), limits::ASSOCIATION];
        of_user.extend(cluster.as_deref());
        let associations = ask(&of_user).await?;
        let qualities = ask(&["show", "qos", limits::QOS]).await?;
        let (accounts, qualities) = (associations.stdout, qualities.stdout);
        Ok((
            limits::parse(&accounts, &qualities),
            limits::names(&accounts),
            limits::names(&qualities),
        ))
    }
}

/// Compares the controller's clock, which is in the first line of its answer, with ours.
fn clock(config: &str, now: SystemTime) -> Finding {
    let told = config
        .lines()
        .next()
        .and_then(|line| line.rsplit(' ').next());
    let told = told.and_then(super::row::time);
    let Some(told) = told else {
        return Finding::new(
            Subject::Clock,
            Level::Note,
            "the controller does not report its time",
        );
    };
    let apart = told
        .duration_since(now)
        .unwrap_or_else(|error| error.duration());
    if apart <= CLOCKS {
        return Finding::new(
            Subject::Clock,
            Level::Good,
            "the controller's agrees with ours",
        );
    }
    let text = format!(
        "the controller's and ours differ by {} s: deadlines are wrong by as much on nodes whose \
         clocks agree with ours",
        apart.as_secs()
    );
    Finding::new(Subject::Clock, Level::Warning, text).advise("synchronise them (NTP)")
}

fn of_config(config: &Config, options: &SlurmOptions) -> Vec<Finding> {
    let mut findings = vec![version(config)];
    findings.extend(no_accounting(config));
    findings.push(kill_wait(config, options));
    findings.push(forgetting(config, options));
    findings.push(arrays(config, options));
    if let Some(most) = config.number("MaxJobCount") {
        let text = format!(
            "the controller keeps at most {most} jobs of all users (MaxJobCount); beyond that, \
             submissions wait"
        );
        findings.push(Finding::new(Subject::Limits, Level::Good, text));
    }
    findings.push(processes(config));
    findings.push(requeue(config, options));
    let exits = ["RequeueExit", "RequeueExitHold"];
    for (key, codes) in exits.iter().filter_map(|key| Some((key, config.get(key)?))) {
        let text = format!(
            "{key} is {codes}: Slurm itself starts jobs again, or holds them, when they end with \
             these exit codes. Such a start was not asked for, and costs a turn in the queue"
        );
        let finding = Finding::new(Subject::ExitCodes, Level::Warning, text);
        findings.push(finding.advise("don't end with one of them to be submitted again"));
    }
    if let Some(minutes) = config
        .number("OverTimeLimit")
        .filter(|minutes| *minutes > 0)
    {
        let text = format!("OverTimeLimit lets jobs run {minutes} minutes beyond their limits");
        findings.push(Finding::new(Subject::TimeLimit, Level::Note, text));
    }
    if config
        .get("EnforcePartLimits")
        .is_none_or(|set| set == "NO")
    {
        let text = "With EnforcePartLimits=NO, Slurm accepts jobs that a partition never starts. \
                    Time limits are compared before a submission; a job that waits for ever for \
                    another reason is reported as held";
        findings.push(Finding::new(Subject::PartitionLimits, Level::Note, text));
    }
    findings
}

fn version(config: &Config) -> Finding {
    let Some(version) = config.version() else {
        return Finding::new(
            Subject::Version,
            Level::Warning,
            "Slurm does not report its version",
        );
    };
    let tested = TESTED.join(", ");
    if config::number(version) < config::number(TESTED[0]) {
        let text = format!(
            "{version} is older than the versions that the backend is tested with: {tested}"
        );
        return Finding::new(Subject::Version, Level::Warning, text);
    }
    Finding::new(
        Subject::Version,
        Level::Good,
        format!("{version}; the backend is tested with {tested}"),
    )
}

fn no_accounting(config: &Config) -> Option<Finding> {
    let age = config.seconds("MinJobAge").unwrap_or_default().as_secs();
    let text = format!(
        "off: Slurm knows how a job ended for {age} s (MinJobAge), and after that only the job's own \
         files say so"
    );
    let off = !config.has_accounting();
    off.then(|| Finding::new(Subject::Accounting, Level::Note, text))
}

fn kill_wait(config: &Config, options: &SlurmOptions) -> Finding {
    let Some(wait) = config.seconds("KillWait") else {
        return Finding::new(
            Subject::GraceTime,
            Level::Note,
            "Slurm does not report its KillWait",
        );
    };
    let seconds = wait.as_secs();
    let about = format!("SIGKILL follows {seconds} s after SIGTERM (KillWait)");
    let grace = options.grace.unwrap_or(SHORT_KILL_WAIT);
    if wait < grace {
        let text = format!(
            "{about}, but up to {} s may be needed: a checkpoint that begins with SIGTERM may be cut \
             short",
            grace.as_secs()
        );
        let finding = Finding::new(Subject::GraceTime, Level::Warning, text);
        return finding.advise("ask for a warning before the time limit");
    }
    Finding::new(Subject::GraceTime, Level::Good, about)
}

/// Compares how long the controller knows ended jobs with how often it is asked.
fn forgetting(config: &Config, options: &SlurmOptions) -> Finding {
    let poll = options.poll.unwrap_or(super::pace::POLL);
    let subject = Subject::EndedJobs;
    match config.seconds("MinJobAge") {
        None | Some(Duration::ZERO) => {
            let text = "MinJobAge is 0: the controller never forgets a job";
            Finding::new(subject, Level::Good, text)
        }
        Some(age) if age < poll.saturating_mul(LOOKS) => {
            let (age, poll) = (age.as_secs(), poll.as_secs());
            let text = format!(
                "the controller forgets a job {age} s after its end (MinJobAge), and is asked every \
                 {poll} s"
            );
            if config.has_accounting() {
                return Finding::new(
                    subject,
                    Level::Note,
                    format!("{text}; accounting remembers"),
                );
            }
            let text = format!("{text}: an end may be missed, and there is no accounting");
            let finding = Finding::new(subject, Level::Warning, text);
            finding.advise_option("poll", "a shorter time, or ask for a longer MinJobAge")
        }
        Some(age) => {
            let age = age.as_secs();
            let text = format!("the controller knows a job for {age} s after its end (MinJobAge)");
            Finding::new(subject, Level::Good, text)
        }
    }
}

fn arrays(config: &Config, options: &SlurmOptions) -> Finding {
    let most = config.max_array_size();
    if most <= 1 {
        let text = format!(
            "MaxArraySize is {most}: there are no arrays, so each job needs a call of sbatch"
        );
        return Finding::new(Subject::Arrays, Level::Note, text);
    }
    let used = options.array.min(most);
    let text = format!("at most {used} submissions become one array (the cluster takes {most})");
    Finding::new(Subject::Arrays, Level::Good, text)
}

fn processes(config: &Config) -> Finding {
    let kind = config.get("ProctrackType").unwrap_or("unknown");
    if kind.ends_with("cgroup") {
        let text = "all processes of a job end with it (proctrack/cgroup)";
        return Finding::new(Subject::Processes, Level::Good, text);
    }
    let text = format!(
        "ProctrackType is {kind}: processes that a command leaves behind may outlive their job"
    );
    Finding::new(Subject::Processes, Level::Warning, text)
}

fn requeue(config: &Config, options: &SlurmOptions) -> Finding {
    let delay = config.requeue_delay().as_secs();
    match options.resume {
        Resume::Submit => {
            let text =
                "jobs are submitted with --no-requeue; a job that Slurm ends is submitted anew";
            Finding::new(Subject::Resume, Level::Good, text)
        }
        Resume::Requeue => {
            let expedited = match config.is_at_least((25, 11)) {
                true => ". cu does not ask Slurm to expedite a requeue (`--requeue=expedite`)",
                false => "",
            };
            let text = format!(
                "a requeued job starts {delay} s later at the earliest ({}), and Slurm requeues a job only \
                 within MinJobAge of its end{expedited}",
                config.requeue_delay_setting()
            );
            let level = if delay > 30 {
                Level::Warning
            } else {
                Level::Good
            };
            Finding::new(Subject::Resume, level, text).advise_option(
                "resume",
                "\"submit\", which starts at once where a node is free",
            )
        }
    }
}

fn of_partitions(
    partitions: &[Partition],
    config: &Config,
    options: &SlurmOptions,
) -> Vec<Finding> {
    let chosen = needs::chosen(options, partitions);
    if chosen.is_empty() {
        let names: Vec<&str> = partitions.iter().map(|it| it.name.as_str()).collect();
        let wanted = match &options.partition {
            Some(name) => format!("there is no partition {name}"),
            None => "no partition is the default".to_owned(),
        };
        let text = format!("{wanted}; there are {}", names.join(", "));
        let finding = Finding::new(Subject::Partition, Level::Problem, text);
        return vec![finding.advise_option("partition", "one of these")];
    }
    chosen
        .into_iter()
        .flat_map(|partition| [of_partition(partition), preemption(partition, config)])
        .collect()
}

fn of_partition(partition: &Partition) -> Finding {
    let minutes = |time: Option<Duration>| match time {
        Some(time) => format!("{} minutes", time.as_secs() / 60),
        None => "unlimited".to_owned(),
    };
    let name = &partition.name;
    if let Some(problem) = closed(partition) {
        return Finding::new(Subject::Partition, Level::Problem, problem);
    }
    let longest = minutes(partition.max_time);
    let text = format!(
        "{name}: time limits up to {longest}, by default {}",
        minutes(partition.default_time.or(partition.max_time))
    );
    Finding::new(Subject::Partition, Level::Good, text)
}

/// Why a partition starts no job; `None` if it starts jobs.
pub(super) fn closed(partition: &Partition) -> Option<String> {
    let Partition { name, state, .. } = partition;
    (state != "UP").then(|| format!("partition {name} is {state}: it starts no new job"))
}

fn preemption(partition: &Partition, config: &Config) -> Finding {
    let on = config
        .get("PreemptType")
        .is_some_and(|kind| !kind.ends_with("none"));
    let mode = partition.preempt_mode.as_deref();
    let mode = mode.or(config.get("PreemptMode")).unwrap_or("OFF");
    let name = &partition.name;
    if !on || mode == "OFF" {
        let text = format!("jobs in {name} don't have to give way to others");
        return Finding::new(Subject::Preemption, Level::Good, text);
    }
    let yields = format!("jobs in {name} may have to give way to others (PreemptMode {mode})");
    if mode.split(',').any(|one| one == "SUSPEND") {
        let text = format!("{yields}: Slurm suspends them, and continues them later");
        return Finding::new(Subject::Preemption, Level::Note, text);
    }
    let grace = partition.grace_time.as_secs();
    let signal = match config.has_option("SlurmctldParameters", "preempt_send_user_signal") {
        true => {
            "the signal of the warning before the time limit (preempt_send_user_signal), or SIGTERM \
             without such a warning,"
        }
        false => "SIGTERM",
    };
    let text = format!(
        "{yields}: Slurm sends {signal} {grace} s before the end (GraceTime), without an earlier warning"
    );
    Finding::new(Subject::Preemption, Level::Note, text).advise("save checkpoints periodically")
}

/// `answer` has a line for each partition and state: `debug|idle|2`.
fn of_nodes(
    answer: Result<String, Error>,
    partitions: &[Partition],
    options: &SlurmOptions,
) -> Finding {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let text = format!("sinfo does not answer: {}", in_one_line(&error));
            return Finding::new(Subject::Nodes, Level::Warning, text);
        }
    };
    let chosen = needs::chosen(options, partitions);
    let mut states: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
    for line in answer.lines() {
        let mut columns = line.trim().split('|');
        let (Some(name), Some(state), Some(count)) =
            (columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        if chosen.iter().any(|partition| partition.name == name) {
            *states.entry(state).or_default() += count.parse().unwrap_or(0);
        }
    }
    let told: Vec<String> = states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let usable = ["idle", "mix", "alloc", "comp", "plan", "reserved"];
    let some = states
        .keys()
        // `idle*` does not answer, `idle~` is asleep and wakes up.
        .any(|state| !state.ends_with('*') && usable.iter().any(|it| state.starts_with(it)));
    if some {
        return Finding::new(Subject::Nodes, Level::Good, told.join(", "));
    }
    let told = if told.is_empty() {
        "there are none".into()
    } else {
        told.join(", ")
    };
    Finding::new(
        Subject::Nodes,
        Level::Problem,
        format!("no node can be used: {told}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_of_a_requeue_and_its_setting_are_told() {
        let mut options = SlurmOptions::new("/state");
        let told = |config: &str, options: &SlurmOptions| {
            let finding = requeue(&Config::parse(config), options);
            (finding.level, finding.text)
        };
        let newer = "SLURM_VERSION = 25.11.0\nSchedulerParameters = defer,requeue_delay=7\n";
        assert!(told(newer, &options).1.contains("--no-requeue"));
        options.resume = Resume::Requeue;
        let (level, text) = told(newer, &options);
        assert_eq!(level, Level::Good);
        for word in ["7 s later", "(requeue_delay)", "--requeue=expedite"] {
            assert!(text.contains(word), "{text}");
        }
        let (level, text) = told("SLURM_VERSION = 24.11.5\n", &options);
        assert_eq!(level, Level::Warning);
        assert!(text.contains("121 s later at the earliest (cred_expire)"));
        assert!(!text.contains("expedite"), "{text}");
    }

    #[test]
    fn a_preemption_is_told_with_the_signal_that_announces_it() {
        const ON: &str = "PreemptType = preempt/partition_prio\n";
        let told = |partition: &str, config: &str| {
            let partitions = Partition::parse_all(partition);
            preemption(&partitions[0], &Config::parse(config)).text
        };
        let short = "PartitionName=p GraceTime=45 PreemptMode=REQUEUE";
        assert!(told(short, "PreemptType = preempt/none\n").contains("don't have to give way"));
        let text = told(short, ON);
        assert!(
            text.contains("Slurm sends SIGTERM 45 s before the end"),
            "{text}"
        );
        let with = format!("{ON}SlurmctldParameters = a,preempt_send_user_signal\n");
        let text = told(short, &with);
        for word in [
            "the signal of the warning",
            "preempt_send_user_signal",
            "45 s before",
        ] {
            assert!(text.contains(word), "{text}");
        }
        let text = told("PartitionName=p PreemptMode=GANG,SUSPEND", ON);
        assert!(
            text.contains("suspends") && !text.contains("the end"),
            "{text}"
        );
    }
}
