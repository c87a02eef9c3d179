//! Examines a pool: [`ask`] collects facts, [`findings`] judges them.

use std::path::Path;

use serde_json::Value;

use super::access_point::{forbids_environment, setting};
use super::description;
use super::options::{Environment, HtcondorOptions, Resume, Universe, seconds};
use super::queue::Commands;
use crate::{Error, Finding, Level, Subject, SubmissionName};

/// The oldest version that knows all commands of our descriptions.
const LEAST_VERSION: (u32, u32) = (10, 0);

/// The answers.
#[derive(Debug, Default)]
struct Facts {
    version: String,
    /// Why the queue does not answer; `None` if it does.
    queue: Option<String>,
    /// Settings of the access point; `None` if unset or unknown.
    file_system_domain: Option<String>,
    uid_domain: Option<String>,
    private_directories: Option<String>,
    log_format: Option<String>,
    negotiator_interval: Option<String>,
    most_per_submission: Option<String>,
    allow_getenv: Option<String>,
    /// The machines, or why they are not known.
    machines: Option<Result<Vec<Machine>, String>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Machine {
    file_system_domain: Option<String>,
    uid_domain: Option<String>,
    max_vacate_time: Option<u64>,
    checkpoints: bool,
    containers: bool,
    docker: bool,
}

/// Asks the pool and judges its answers.
pub(super) async fn examine(commands: &Commands, options: &HtcondorOptions) -> Vec<Finding> {
    let facts = ask(commands).await;
    findings(&facts, options)
}

async fn ask(commands: &Commands) -> Facts {
    // As a run asks. No job has that name.
    let name = SubmissionName::new("doctor", 0, 0);
    let names: Vec<_> = name.into_iter().collect();
    let queue = commands.ask_queue_for(&names).await.err().map(reason);
    let command = commands
        .command("condor_status")
        .arguments(["-json", "-constraint", "SlotType =!= \"Dynamic\""])
        .arguments(["-attributes", MACHINE_ATTRIBUTES]);
    let machines = commands.answer(command).await.map_err(reason);
    Facts {
        version: commands.pool.clone(),
        queue,
        file_system_domain: setting(commands, "FILESYSTEM_DOMAIN").await,
        uid_domain: setting(commands, "UID_DOMAIN").await,
        private_directories: setting(commands, "MOUNT_UNDER_SCRATCH").await,
        log_format: setting(commands, "DEFAULT_USERLOG_FORMAT_OPTIONS").await,
        negotiator_interval: setting(commands, "NEGOTIATOR_INTERVAL").await,
        most_per_submission: setting(commands, "MAX_JOBS_PER_SUBMISSION").await,
        allow_getenv: setting(commands, "SUBMIT_ALLOW_GETENV").await,
        machines: Some(machines.and_then(|output| self::machines(&output.stdout))),
    }
}

const MACHINE_ATTRIBUTES: &str = "FileSystemDomain,UidDomain,MachineMaxVacateTime,\
     HasSelfCheckpointTransfers,HasContainer,HasDocker";

fn reason(error: Error) -> String {
    match error {
        Error::Unavailable { reason, .. } => reason,
        other => other.to_string(),
    }
}

fn machines(output: &str) -> Result<Vec<Machine>, String> {
    if output.trim().is_empty() {
        return Ok(Vec::new());
    }
    let ads: Vec<Value> = serde_json::from_str(output).map_err(|error| error.to_string())?;
    let machine = |ad: &Value| {
        let text = |name: &str| ad.get(name).and_then(Value::as_str).map(str::to_owned);
        let has = |name: &str| ad.get(name) == Some(&Value::Bool(true));
        let vacate = ad.get("MachineMaxVacateTime");
        // Often an expression: `/Expr(10 * 60)/`.
        let product = |text: &str| {
            let text = text.trim_start_matches("/Expr(").trim_end_matches(")/");
            let factors = text
                .split('*')
                .map(|factor| factor.trim().parse::<u64>().ok());
            factors.product::<Option<u64>>()
        };
        Machine {
            file_system_domain: text("FileSystemDomain"),
            uid_domain: text("UidDomain"),
            max_vacate_time: vacate
                .and_then(|value| value.as_u64().or_else(|| product(value.as_str()?))),
            checkpoints: has("HasSelfCheckpointTransfers"),
            containers: has("HasContainer"),
            docker: has("HasDocker"),
        }
    };
    Ok(ads.iter().map(machine).collect())
}

/// Judges the facts.
fn findings(facts: &Facts, options: &HtcondorOptions) -> Vec<Finding> {
    let mut findings = vec![version(&facts.version), queue(facts)];
    findings.extend(shared_directory(facts, options));
    findings.extend(private_directories(facts, &options.state_dir));
    findings.extend(users(facts));
    findings.extend(grace(facts, options));
    findings.extend(checkpoints(facts, options));
    findings.extend(containers(facts, options));
    findings.extend(intervals(facts, options));
    findings.extend(log_format(facts, options));
    findings.extend(environment(facts, options));
    if let Some(most) = &facts.most_per_submission {
        let text = format!("a submission may have at most {most} jobs (MAX_JOBS_PER_SUBMISSION)");
        findings.push(Finding::new(Subject::Limits, Level::Note, text));
    }
    let mib = description::DEFAULT_MEMORY >> 20;
    let text = format!(
        "a job that asks for no memory gets {mib} MiB; a job that takes more than it asked for is \
         ended as out of memory"
    );
    findings.push(Finding::new(Subject::Memory, Level::Note, text));
    findings
}

fn environment(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let forbidden = facts
        .allow_getenv
        .as_deref()
        .is_some_and(forbids_environment);
    (forbidden && options.environment == Environment::Inherit).then(|| {
        let text = "jobs may not take over the whole environment (SUBMIT_ALLOW_GETENV = false)";
        Finding::new(Subject::Environment, Level::Problem, text)
            .advise_option("environment", "\"clean\"")
    })
}

fn version(version: &str) -> Finding {
    let number = version.rsplit(' ').next().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    let version_number: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version_number >= LEAST_VERSION {
        return Finding::new(Subject::Version, Level::Good, version);
    }
    let text =
        format!("{version} is older than 10.0, the oldest version that the backend is made for");
    Finding::new(Subject::Version, Level::Warning, text)
        .advise("try one short job first; time limits need HTCondor 9.4 or later")
}

fn queue(facts: &Facts) -> Finding {
    match &facts.queue {
        None => Finding::new(Subject::Scheduler, Level::Good, "the schedd answers"),
        Some(reason) => {
            let text = format!("condor_q does not answer as a run asks it: {reason}");
            Finding::new(Subject::Scheduler, Level::Problem, text)
                .advise("submit from an access point of the pool: a machine with a condor_schedd")
        }
    }
}

fn shared_directory(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let subject = Subject::SharedDirectory;
    let all = match facts.machines.as_ref()? {
        Ok(all) => all,
        Err(reason) => return Some(Finding::new(Subject::Nodes, Level::Warning, reason)),
    };
    if all.is_empty() {
        let text = "the pool has no machine at present: jobs wait";
        return Some(Finding::new(Subject::Nodes, Level::Warning, text));
    }
    let ours = facts.file_system_domain.as_deref().unwrap_or_default();
    let same = |machine: &&Machine| {
        let theirs = machine.file_system_domain.as_deref().unwrap_or_default();
        theirs.eq_ignore_ascii_case(ours)
    };
    let count = all.iter().filter(same).count();
    let directory = options.state_dir.display();
    let text = format!(
        "{count} of {} slots share a file system with this machine, as they report \
         (FILESYSTEM_DOMAIN = {ours}); jobs run on these alone, and need {directory} there",
        all.len()
    );
    Some(if count == 0 {
        Finding::new(subject, Level::Problem, text).advise_option(
            "extra",
            "[\"+FileSystemDomain = \\\"DOMAIN\\\"\"] with the domain of machines that do see the \
             directory, or ask an administrator for a common FILESYSTEM_DOMAIN; files are not \
             transferred",
        )
    } else {
        Finding::new(subject, Level::Good, text)
    })
}

fn private_directories(facts: &Facts, state_dir: &Path) -> Option<Finding> {
    let private = facts.private_directories.as_deref().unwrap_or_default();
    let inside = |above: &str| !above.is_empty() && state_dir.starts_with(above);
    let private = private.split(',').map(str::trim).find(|it| inside(it));
    let (above, level, text) = match private {
        Some(above) => {
            let text = format!("jobs see a {above} of their own (MOUNT_UNDER_SCRATCH)");
            (above, Level::Problem, text)
        }
        None => {
            let above = ["/tmp", "/var/tmp"].into_iter().find(|it| inside(it))?;
            let text = format!(
                "{} is below {above}: other machines have a {above} of their own, and jobs often \
                 one each",
                state_dir.display()
            );
            (above, Level::Warning, text)
        }
    };
    let to = format!("a directory outside {above}, on a file system that the machines share");
    Some(Finding::new(Subject::StateDirectory, level, text).advise_option("state_dir", to))
}

fn users(facts: &Facts) -> Option<Finding> {
    let all = facts.machines.as_ref()?.as_ref().ok()?;
    let ours = facts.uid_domain.as_deref()?;
    let others = |machine: &&Machine| {
        let theirs = machine.uid_domain.as_deref().unwrap_or(ours);
        !theirs.eq_ignore_ascii_case(ours)
    };
    let count = all.iter().filter(others).count();
    (count > 0).then(|| {
        let text = format!(
            "{count} of {} slots have another UID_DOMAIN than {ours}: jobs run there as the user \
             nobody, who may not read their directories",
            all.len()
        );
        let to = format!("\"TARGET.UidDomain == \\\"{ours}\\\"\"");
        Finding::new(Subject::User, Level::Warning, text).advise_option("requirements", to)
    })
}

fn grace(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let all = facts.machines.as_ref()?.as_ref().ok()?;
    let least = all.iter().filter_map(|it| it.max_vacate_time).min()?;
    let wanted = seconds(options.grace);
    Some(if u128::from(least) < wanted {
        let text = format!(
            "jobs ask for {wanted} s between SIGTERM and SIGKILL, and at least one machine gives only \
             {least} s (MachineMaxVacateTime)"
        );
        Finding::new(Subject::GraceTime, Level::Warning, text)
            .advise_option("grace", "a shorter time, or save more often")
    } else {
        let text = format!("{wanted} s from SIGTERM to SIGKILL, and all machines allow {least} s");
        Finding::new(Subject::GraceTime, Level::Good, text)
    })
}

/// [`Resume::Checkpoint`] finds only machines that can do it.
fn checkpoints(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let all = facts.machines.as_ref()?.as_ref().ok()?;
    let wanted = matches!(options.resume, Resume::Checkpoint { .. });
    let able = all.iter().filter(|machine| machine.checkpoints).count();
    (wanted && able < all.len()).then(|| {
        let text = format!(
            "{able} of {} slots let a job go on in the same slot (HasSelfCheckpointTransfers); jobs \
             run on these alone",
            all.len()
        );
        let level = if able == 0 {
            Level::Problem
        } else {
            Level::Note
        };
        Finding::new(Subject::Resume, level, text).advise_option("resume", "\"requeue\", which runs everywhere")
    })
}

/// Jobs in containers find only machines that have them.
fn containers(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let all = facts.machines.as_ref()?.as_ref().ok()?;
    let (able, name): (fn(&&Machine) -> bool, _) = match options.universe {
        Universe::Vanilla => return None,
        Universe::Container { .. } => (|machine| machine.containers, "HasContainer"),
        Universe::Docker { .. } => (|machine| machine.docker, "HasDocker"),
    };
    let count = all.iter().filter(able).count();
    let text = format!(
        "{count} of {} slots have containers ({name}); jobs run on these alone",
        all.len()
    );
    let finding = |level| Finding::new(Subject::Containers, level, text);
    (!all.is_empty()).then(|| match count {
        0 => finding(Level::Problem).advise_option(
            "universe",
            "\"vanilla\", or ask an administrator for containers",
        ),
        _ => finding(Level::Note).advise(
            "put the commands and what they need into the image, or have the pool show them there",
        ),
    })
}

fn intervals(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let interval = facts.negotiator_interval.as_ref()?;
    let text = match options.resume {
        Resume::Checkpoint { .. } => format!(
            "a job waits for a negotiation (every {interval} s) before its first start; starts in \
             the same slot don't"
        ),
        Resume::Submit | Resume::Requeue => {
            format!("each start waits for a negotiation (every {interval} s)")
        }
    };
    Some(Finding::new(Subject::Start, Level::Note, text))
}

fn log_format(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let format = facts.log_format.as_ref()?;
    let upper = format.to_ascii_uppercase();
    (upper.contains("XML") || upper.contains("JSON")).then(|| {
        let text = format!(
            "the pool writes event logs as {format}, which the backend does not read: states come \
             from the queue alone, every {} s",
            seconds(options.poll)
        );
        Finding::new(Subject::EventLog, Level::Warning, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TWO: &str = r#"[
{ "FileSystemDomain": "pool.test", "UidDomain": "pool.test", "HasSelfCheckpointTransfers": true,
  "HasContainer": true,
  "MachineMaxVacateTime": "\/Expr(10 * 60)\/" }
,
{ "FileSystemDomain": "POOL.test", "UidDomain": "other.test", "MachineMaxVacateTime": 45 }
]"#;

    fn good() -> Facts {
        let text = |text: &str| Some(text.to_owned());
        Facts {
            version: "HTCondor 23.9.6".into(),
            file_system_domain: text("pool.test"),
            uid_domain: text("pool.test"),
            negotiator_interval: text("60"),
            most_per_submission: text("20000"),
            machines: Some(machines(TWO)),
            ..Facts::default()
        }
    }

    fn level(facts: &Facts, options: &HtcondorOptions, subject: Subject) -> Option<Level> {
        let findings = findings(facts, options);
        let found = findings.iter().find(|finding| finding.subject == subject);
        found.map(|finding| finding.level)
    }

    #[test]
    fn a_good_pool_is_good() {
        let options = HtcondorOptions::new("/shared/run");
        let facts = good();
        for subject in [
            Subject::Version,
            Subject::Scheduler,
            Subject::SharedDirectory,
            Subject::GraceTime,
        ] {
            assert_eq!(
                level(&facts, &options, subject),
                Some(Level::Good),
                "{subject}"
            );
        }
        for subject in [Subject::StateDirectory, Subject::EventLog, Subject::Nodes] {
            assert_eq!(level(&facts, &options, subject), None, "{subject}");
        }
        assert_eq!(level(&facts, &options, Subject::User), Some(Level::Warning));
    }

    #[test]
    fn each_bad_setting_is_found() {
        let mut options = HtcondorOptions::new("/tmp/run");
        options.grace = Duration::from_secs(46);
        let mut facts = good();
        assert_eq!(
            level(&facts, &options, Subject::StateDirectory),
            Some(Level::Warning)
        );
        assert_eq!(
            level(&facts, &options, Subject::GraceTime),
            Some(Level::Warning)
        );
        facts.private_directories = Some("/tmp, /var/tmp".into());
        assert_eq!(
            level(&facts, &options, Subject::StateDirectory),
            Some(Level::Problem)
        );
        facts.file_system_domain = Some("elsewhere".into());
        assert_eq!(
            level(&facts, &options, Subject::SharedDirectory),
            Some(Level::Problem)
        );
        facts.log_format = Some("JSON".into());
        assert_eq!(
            level(&facts, &options, Subject::EventLog),
            Some(Level::Warning)
        );
        facts.queue = Some("Can't find address for schedd".into());
        assert_eq!(
            level(&facts, &options, Subject::Scheduler),
            Some(Level::Problem)
        );
        facts.allow_getenv = Some("False".into());
        assert_eq!(
            level(&facts, &options, Subject::Environment),
            Some(Level::Problem)
        );
        facts.version = "HTCondor 9.0.17".into();
        assert_eq!(
            level(&facts, &options, Subject::Version),
            Some(Level::Warning)
        );
        facts.machines = Some(machines(""));
        assert_eq!(
            level(&facts, &options, Subject::Nodes),
            Some(Level::Warning)
        );
        facts.machines = Some(machines("no JSON"));
        assert_eq!(
            level(&facts, &options, Subject::Nodes),
            Some(Level::Warning)
        );
    }

    #[test]
    fn containers_are_counted_where_they_are_wanted() {
        let mut options = HtcondorOptions::new("/shared/run");
        let image = "/image".to_owned();
        assert_eq!(level(&good(), &options, Subject::Containers), None);
        options.universe = Universe::Container {
            image: image.clone(),
        };
        let found = level(&good(), &options, Subject::Containers);
        assert_eq!(found, Some(Level::Note));
        options.universe = Universe::Docker { image };
        let found = level(&good(), &options, Subject::Containers);
        assert_eq!(found, Some(Level::Problem));
    }

    #[test]
    fn vacate_times_are_numbers_or_products() {
        let machines = machines(TWO).unwrap();
        let times: Vec<_> = machines.iter().map(|it| it.max_vacate_time).collect();
        assert_eq!(times, [Some(600), Some(45)]);
    }
}
