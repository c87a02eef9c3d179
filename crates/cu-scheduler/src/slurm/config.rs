//! Reads the settings of a cluster: `scontrol show config` and `scontrol show partition`.

use std::collections::HashMap;
use std::time::Duration;

/// The keys and values of `scontrol show config`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Config(HashMap<String, String>);

/// The user under whom the controller runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SiteUser {
    pub number: u32,
    /// `slurm(64030)`.
    pub shown: String,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub name: String,
    /// `UP`, `DOWN`, `DRAIN`, `INACTIVE`.
    pub state: String,
    pub is_default: bool,
    /// `None` for no limit.
    pub max_time: Option<Duration>,
    /// The limit of jobs that ask for none; `None` if that is `max_time`.
    pub default_time: Option<Duration>,
    /// `OFF`, `REQUEUE`, `CANCEL`, `SUSPEND`, …
    pub preempt_mode: Option<String>,
    /// From SIGTERM to the end of a preempted job.
    pub grace_time: Duration,
}

impl Config {
    /// Reads `Key = value` lines.
    pub fn parse(answer: &str) -> Self {
        let pair = |line: &str| {
            let (key, value) = line.split_once('=')?;
            Some((key.trim().to_owned(), value.trim().to_owned()))
        };
        Self(answer.lines().filter_map(pair).collect())
    }

    /// The value of a key, if it is set.
    pub fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.as_str();
        (!["", "(null)", "N/A"].contains(&value)).then_some(value)
    }

    /// A value's leading number: `300` of `300 sec`.
    pub fn number(&self, key: &str) -> Option<u64> {
        let value = self.get(key)?;
        value.split_whitespace().next()?.parse().ok()
    }

    /// The number of an option in a list of them: 5 of `socket=/x,cred_expire=5`.
    fn option(&self, key: &str, name: &str) -> Option<u64> {
        let options = self.get(key)?.split(',');
        let mut pairs = options.filter_map(|option| option.trim().split_once('='));
        let (_, number) = pairs.find(|(option, _)| *option == name)?;
        number.parse().ok()
    }

    /// A value in seconds.
    pub fn seconds(&self, key: &str) -> Option<Duration> {
        self.number(key).map(Duration::from_secs)
    }

    /// `24.11.5`.
    pub fn version(&self) -> Option<&str> {
        self.get("SLURM_VERSION")
    }

    /// Whether the version is this one or a newer one.
    pub fn is_at_least(&self, version: (u32, u32)) -> bool {
        self.version().and_then(number) >= Some(version)
    }

    /// The user under whom the controller runs, and with it what a site runs against jobs: the name and
    /// number in `SlurmUser = slurm(64030)`. `None` if that is our own user, whose acts are a person's.
    pub fn site_user(&self) -> Option<SiteUser> {
        let shown = self.get("SlurmUser")?;
        let (_, number) = shown.strip_suffix(')')?.split_once('(')?;
        let number: u32 = number.parse().ok()?;
        (number != rustix::process::getuid().as_raw()).then(|| SiteUser {
            number,
            shown: shown.to_owned(),
        })
    }

    /// Whether ends are recorded where sacct finds them.
    pub fn has_accounting(&self) -> bool {
        let kind = self.get("AccountingStorageType");
        kind.is_some_and(|kind| !kind.ends_with("/none"))
    }

    /// How many tasks an array may have: they are numbered from 0, up to `MaxArraySize`, and not more
    /// than the scheduler's `max_array_tasks`.
    pub fn max_array_size(&self) -> u32 {
        let numbers = self.number("MaxArraySize");
        let tasks = self.option("SchedulerParameters", "max_array_tasks");
        let most = numbers.unwrap_or(1001).min(tasks.unwrap_or(u64::MAX));
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// Whether an option is in a list of them, such as `preempt_send_user_signal`.
    pub fn has_option(&self, key: &str, name: &str) -> bool {
        let set = self.get(key).unwrap_or_default();
        set.split(',').any(|option| option.trim() == name)
    }

    /// The name of the setting that says how long a requeued job waits.
    pub fn requeue_delay_setting(&self) -> &'static str {
        match self.option("SchedulerParameters", "requeue_delay") {
            Some(_) => "requeue_delay",
            None => "cred_expire",
        }
    }

    /// How long a requeued job waits at least.
    pub fn requeue_delay(&self) -> Duration {
        // From version 25.11 on.
        if let Some(set) = self.option("SchedulerParameters", "requeue_delay") {
            return Duration::from_secs(set);
        }
        let set = self.option("AuthInfo", "cred_expire");
        Duration::from_secs(set.unwrap_or(120).saturating_add(1))
    }
}

impl Partition {
    /// Reads the answer of `scontrol --oneliner show partition`, one partition a line.
    pub fn parse_all(answer: &str) -> Vec<Self> {
        answer.lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: HashMap<&str, &str> = line
            .split_whitespace()
            .filter_map(|field| field.split_once('='))
            .collect();
        let field = |key: &str| fields.get(key).map(|value| (*value).to_owned());
        Some(Self {
            name: field("PartitionName")?,
            state: field("State").unwrap_or_else(|| "UP".into()),
            is_default: fields.get("Default") == Some(&"YES"),
            max_time: fields.get("MaxTime").and_then(|text| duration(text)),
            default_time: fields.get("DefaultTime").and_then(|text| duration(text)),
            preempt_mode: field("PreemptMode"),
            grace_time: fields
                .get("GraceTime")
                .and_then(|seconds| seconds.parse().ok())
                .map_or(Duration::ZERO, Duration::from_secs),
        })
    }
}

/// Year and month of a version such as `24.11.5`.
pub(super) fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    let mut next = || parts.next()?.parse().ok();
    Some((next()?, next()?))
}

/// Reads `1-02:03:04`, `02:03:04`, `03:04`; `None` for `UNLIMITED`, `NONE` and all else.
fn duration(text: &str) -> Option<Duration> {
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (days.parse::<u64>().ok()?, rest),
        None => (0, text),
    };
    let mut seconds = 0_u64;
    let parts: Vec<&str> = rest.split(':').collect();
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    for part in parts {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
    }
    let seconds = days.checked_mul(86_400)?.checked_add(seconds)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::recorded::recorded;
    use super::*;

    #[test]
    fn limits_are_read_in_all_forms() {
        let seconds = |text| duration(text).map(|limit| limit.as_secs());
        assert_eq!(seconds("1-02:03:04"), Some(93_784));
        assert_eq!(seconds("00:02:00"), Some(120));
        assert_eq!(seconds("02:00"), Some(120));
        assert_eq!(seconds("UNLIMITED"), None);
        assert_eq!(seconds("NONE"), None);
    }

    #[test]
    fn the_delay_of_a_requeue_follows_the_credential() {
        let config = Config::parse("AuthInfo = socket=/x,cred_expire=5\nMaxArraySize = 10001");
        assert_eq!(config.requeue_delay(), Duration::from_secs(6));
        let newer = "AuthInfo = cred_expire=5\nSchedulerParameters = defer,requeue_delay=30";
        let newer = Config::parse(newer);
        assert_eq!(newer.requeue_delay(), Duration::from_secs(30));
        assert!(newer.has_option("SchedulerParameters", "defer"));
        assert!(!newer.has_option("SchedulerParameters", "def"));
        let endless = format!("AuthInfo = cred_expire={}\n", u64::MAX);
        assert_eq!(
            Config::parse(&endless).requeue_delay(),
            Duration::from_secs(u64::MAX)
        );
        assert_eq!(config.max_array_size(), 10_001);
        let config = Config::parse("AuthInfo = (null)\nAccountingStorageType = (null)");
        assert_eq!(config.requeue_delay(), Duration::from_secs(121));
        assert!(!config.has_accounting());
    }

    #[test]
    fn an_array_may_have_fewer_tasks_than_numbers() {
        let most = |parameters: &str| {
            let text = format!("MaxArraySize = 1001\nSchedulerParameters = {parameters}");
            Config::parse(&text).max_array_size()
        };
        assert_eq!(most("bf_continue,max_array_tasks=200,defer"), 200);
        assert_eq!(most("max_array_tasks=5000"), 1001);
        assert_eq!(most("(null)"), 1001);
        assert_eq!(most("bf_max_job_array_resv=20"), 1001);
    }

    #[test]
    fn each_version_is_understood() {
        for (version, recorded) in recorded!("config.txt") {
            let config = Config::parse(recorded);
            assert!(config.version().is_some_and(|it| it.starts_with(version)));
            assert!(config.has_accounting(), "{version}");
            assert_eq!(
                config.seconds("KillWait"),
                Some(Duration::from_secs(5)),
                "{version}"
            );
            assert_eq!(config.max_array_size(), 10_001, "{version}");
            assert_eq!(config.get("RequeueExit"), None, "{version}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "(?s).{0,200}") {
            let _ = Partition::parse_all(&text);
            let config = Config::parse(&text);
            let _ = config.requeue_delay();
            let _ = duration(&text);
        }
    }
}
