//! What a person should know of a pool before relying on it: asked here, judged in [`findings`].

use std::path::Path;

use serde_json::Value;

use super::description;
use super::options::{HtcondorOptions, Resume, Universe, seconds};
use super::queue::Commands;
use crate::{Error, Finding, Level};

/// The least version with all that the backend writes into a description.
const LEAST_VERSION: (u32, u32) = (10, 0);

/// What was asked.
#[derive(Debug, Default)]
struct Facts {
    version: String,
    /// Whether the queue answered, and if not, what was said instead.
    queue: Option<String>,
    /// The access point's settings: `None` if unset or not to be learned.
    file_system_domain: Option<String>,
    uid_domain: Option<String>,
    private_folders: Option<String>,
    log_format: Option<String>,
    negotiator_interval: Option<String>,
    most_per_submission: Option<String>,
    /// The machines, or what was said instead.
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

/// Asks and judges.
pub(super) async fn examine(commands: &Commands, options: &HtcondorOptions) -> Vec<Finding> {
    let facts = ask(commands).await;
    findings(&facts, options)
}

async fn ask(commands: &Commands) -> Facts {
    let command = commands.command("condor_q").argument("-totals");
    let queue = commands.answer(command).await.err().map(reason);
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
        private_folders: setting(commands, "MOUNT_UNDER_SCRATCH").await,
        log_format: setting(commands, "DEFAULT_USERLOG_FORMAT_OPTIONS").await,
        negotiator_interval: setting(commands, "NEGOTIATOR_INTERVAL").await,
        most_per_submission: setting(commands, "MAX_JOBS_PER_SUBMISSION").await,
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

/// A setting of the access point. condor_config_val asks nobody.
async fn setting(commands: &Commands, name: &str) -> Option<String> {
    let output = commands.command("condor_config_val").argument(name).run();
    let output = output.await.ok().filter(|output| output.code == 0)?;
    let value = output.stdout.trim();
    (!value.is_empty()).then(|| value.to_owned())
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

/// What follows from the facts.
fn findings(facts: &Facts, options: &HtcondorOptions) -> Vec<Finding> {
    let mut findings = vec![version(&facts.version), queue(facts)];
    findings.extend(shared_folder(facts, options));
    findings.extend(private_folders(facts, &options.state_dir));
    findings.extend(users(facts));
    findings.extend(grace(facts, options));
    findings.extend(checkpoints(facts, options));
    findings.extend(containers(facts, options));
    findings.extend(intervals(facts, options));
    findings.extend(log_format(facts, options));
    if let Some(most) = &facts.most_per_submission {
        let text = format!("one submission holds at most {most} jobs");
        findings.push(Finding::new("limits", Level::Note, text));
    }
    let mib = description::DEFAULT_MEMORY >> 20;
    let text = format!(
        "attempts that ask for no memory get {mib} MiB; who takes more than it asked for is ended \
         as out of memory"
    );
    findings.push(Finding::new("memory", Level::Note, text));
    findings
}

fn version(version: &str) -> Finding {
    let number = version.rsplit(' ').next().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    let version_number: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version_number >= LEAST_VERSION {
        return Finding::new("version", Level::Good, version);
    }
    let text = format!("{version} is older than 10.0, which this was made for");
    Finding::new("version", Level::Warning, text)
        .advise("try one short job first; time limits need `allowed_job_duration` of 9.4 or later")
}

fn queue(facts: &Facts) -> Finding {
    match &facts.queue {
        None => Finding::new("queue", Level::Good, "the schedd answers"),
        Some(reason) => Finding::new("queue", Level::Problem, reason)
            .advise("submit from an access point of the pool: a machine with a condor_schedd"),
    }
}

fn shared_folder(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let subject = "shared folder";
    let all = match facts.machines.as_ref()? {
        Ok(all) => all,
        Err(reason) => return Some(Finding::new("machines", Level::Warning, reason)),
    };
    if all.is_empty() {
        let text = "the pool has no machine at present: jobs will wait";
        return Some(Finding::new("machines", Level::Warning, text));
    }
    let ours = facts.file_system_domain.as_deref().unwrap_or_default();
    let same = |machine: &&Machine| {
        let theirs = machine.file_system_domain.as_deref().unwrap_or_default();
        theirs.eq_ignore_ascii_case(ours)
    };
    let count = all.iter().filter(same).count();
    let folder = options.state_dir.display();
    let text = format!(
        "{count} of {} slots say that they share a file system with this machine \
         (FILESYSTEM_DOMAIN = {ours}); jobs run on those alone, and need {folder} there",
        all.len()
    );
    Some(if count == 0 {
        Finding::new(subject, Level::Problem, text).advise(
            "files are not transferred: if the machines do see the folder, ask for a common \
             FILESYSTEM_DOMAIN, or set it for your submissions with \
             `extra = [\"+FileSystemDomain = \\\"…\\\"\"]`",
        )
    } else {
        Finding::new(subject, Level::Good, text)
    })
}

fn private_folders(facts: &Facts, state_dir: &Path) -> Option<Finding> {
    let private = facts.private_folders.as_deref().unwrap_or_default();
    let inside = |folder: &str| !folder.is_empty() && state_dir.starts_with(folder);
    let private = private.split(',').map(str::trim).find(|it| inside(it));
    let (folder, level, text) = match private {
        Some(folder) => {
            let text = format!("jobs see a {folder} of their own (MOUNT_UNDER_SCRATCH)");
            (folder, Level::Problem, text)
        }
        None => {
            let folder = ["/tmp", "/var/tmp"].into_iter().find(|it| inside(it))?;
            let text = format!(
                "the run folder is below {folder}, which on other machines is another folder, and \
                 of which jobs often see one of their own"
            );
            (folder, Level::Warning, text)
        }
    };
    let advice = format!("set `results_dir` to a shared folder outside {folder}");
    Some(Finding::new("run folder", level, text).advise(advice))
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
            "{count} of {} slots are of another UID_DOMAIN than {ours}: jobs run there as nobody, \
             who may not read the run folder",
            all.len()
        );
        Finding::new("user", Level::Warning, text).advise(format!(
            "set `requirements = \"TARGET.UidDomain == \\\"{ours}\\\"\"`"
        ))
    })
}

fn grace(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let all = facts.machines.as_ref()?.as_ref().ok()?;
    let least = all.iter().filter_map(|it| it.max_vacate_time).min()?;
    let wanted = seconds(options.grace);
    Some(if u128::from(least) < wanted {
        let text = format!(
            "of the {wanted} s of grace between SIGTERM and SIGKILL, at least one machine gives \
             only {least} s (MachineMaxVacateTime)"
        );
        Finding::new("grace", Level::Warning, text).advise("shorten the grace, or save more often")
    } else {
        let text = format!("{wanted} s, and all machines allow {least} s");
        Finding::new("grace", Level::Good, text)
    })
}

/// [`Resume::Checkpoint`] finds only machines that can do it.
fn checkpoints(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let all = facts.machines.as_ref()?.as_ref().ok()?;
    let wanted = matches!(options.resume, Resume::Checkpoint { .. });
    let able = all.iter().filter(|machine| machine.checkpoints).count();
    (wanted && able < all.len()).then(|| {
        let text = format!(
            "{able} of {} slots can go on in the same slot (HasSelfCheckpointTransfers); jobs run \
             on those alone",
            all.len()
        );
        let level = if able == 0 {
            Level::Problem
        } else {
            Level::Note
        };
        Finding::new("checkpoints", level, text).advise("`resume = \"requeue\"` runs everywhere")
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
        "{count} of {} slots have containers ({name}); jobs run on those alone",
        all.len()
    );
    let (level, advice) = match count {
        0 => (
            Level::Problem,
            "ask for containers in the pool, or set `universe = \"vanilla\"`",
        ),
        _ => (
            Level::Note,
            "cu, the program and what they need must be in the image, or be shown there by the pool",
        ),
    };
    (!all.is_empty()).then(|| Finding::new("containers", level, text).advise(advice))
}

fn intervals(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let interval = facts.negotiator_interval.as_ref()?;
    let text = match options.resume {
        Resume::Checkpoint { .. } => format!(
            "the first attempt of a job waits for a negotiation (every {interval} s); those in \
             the same slot don't"
        ),
        Resume::Submit | Resume::Requeue => {
            format!("each attempt waits for a negotiation (every {interval} s)")
        }
    };
    Some(Finding::new("start", Level::Note, text))
}

fn log_format(facts: &Facts, options: &HtcondorOptions) -> Option<Finding> {
    let format = facts.log_format.as_ref()?;
    let upper = format.to_ascii_uppercase();
    (upper.contains("XML") || upper.contains("JSON")).then(|| {
        let text = format!(
            "the pool writes event logs as {format}, which are not read: states come from the \
             queue alone, every {} s",
            seconds(options.poll)
        );
        Finding::new("event log", Level::Warning, text)
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

    fn level(facts: &Facts, options: &HtcondorOptions, subject: &str) -> Option<Level> {
        let findings = findings(facts, options);
        let found = findings.iter().find(|finding| finding.subject == subject);
        found.map(|finding| finding.level)
    }

    #[test]
    fn a_good_pool_is_good() {
        let options = HtcondorOptions::new("/shared/run");
        let facts = good();
        for subject in ["version", "queue", "shared folder", "grace"] {
            assert_eq!(
                level(&facts, &options, subject),
                Some(Level::Good),
                "{subject}"
            );
        }
        for subject in ["run folder", "event log", "machines"] {
            assert_eq!(level(&facts, &options, subject), None, "{subject}");
        }
        assert_eq!(level(&facts, &options, "user"), Some(Level::Warning));
    }

    #[test]
    fn what_will_hurt_is_told() {
        let mut options = HtcondorOptions::new("/tmp/run");
        options.grace = Duration::from_secs(46);
        let mut facts = good();
        assert_eq!(level(&facts, &options, "run folder"), Some(Level::Warning));
        assert_eq!(level(&facts, &options, "grace"), Some(Level::Warning));
        facts.private_folders = Some("/tmp, /var/tmp".into());
        assert_eq!(level(&facts, &options, "run folder"), Some(Level::Problem));
        facts.file_system_domain = Some("elsewhere".into());
        assert_eq!(
            level(&facts, &options, "shared folder"),
            Some(Level::Problem)
        );
        facts.log_format = Some("JSON".into());
        assert_eq!(level(&facts, &options, "event log"), Some(Level::Warning));
        facts.queue = Some("Can't find address for schedd".into());
        assert_eq!(level(&facts, &options, "queue"), Some(Level::Problem));
        facts.version = "HTCondor 9.0.17".into();
        assert_eq!(level(&facts, &options, "version"), Some(Level::Warning));
        facts.machines = Some(machines(""));
        assert_eq!(level(&facts, &options, "machines"), Some(Level::Warning));
        facts.machines = Some(machines("no JSON"));
        assert_eq!(level(&facts, &options, "machines"), Some(Level::Warning));
    }

    #[test]
    fn containers_are_counted_where_they_are_wanted() {
        let mut options = HtcondorOptions::new("/shared/run");
        let image = "/image".to_owned();
        assert_eq!(level(&good(), &options, "containers"), None);
        options.universe = Universe::Container {
            image: image.clone(),
        };
        let found = level(&good(), &options, "containers");
        assert_eq!(found, Some(Level::Note));
        options.universe = Universe::Docker { image };
        let found = level(&good(), &options, "containers");
        assert_eq!(found, Some(Level::Problem));
    }

    #[test]
    fn vacate_times_are_numbers_or_products() {
        let machines = machines(TWO).unwrap();
        let times: Vec<_> = machines.iter().map(|it| it.max_vacate_time).collect();
        assert_eq!(times, [Some(600), Some(45)]);
    }
}
