//! Limits on how many jobs a user may have, as sacctmgr reports them.

use super::options::SlurmOptions;
use crate::{Finding, Level, Subject};

/// The fields of a user's associations.
pub(super) const ASSOCIATION: &str = "format=Account,Partition,MaxJobs,MaxSubmitJobs,MaxWall";
/// The fields of each quality of service, in the same order.
pub(super) const QOS: &str = "format=Name,Name,MaxJobsPerUser,MaxSubmitJobsPerUser,MaxWall";

/// The limits that come from one place; `None` where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub origin: Origin,
    /// Of the account, or of the quality of service.
    pub name: String,
    /// How many jobs run at once.
    pub running: Option<u32>,
    /// How many jobs are queued or running.
    pub submitted: Option<u32>,
    /// The longest time limit, in Slurm's form.
    pub longest: Option<String>,
}

/// What limits belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Account,
    Quality,
}

/// Reads both answers of `sacctmgr --parsable2`.
pub(super) fn parse(associations: &str, qualities: &str) -> Vec<Limits> {
    let of = |answer: &str, origin: Origin| -> Vec<Limits> {
        let line = |line: &str| {
            let mut columns = line.split('|');
            let name = columns.next()?.to_owned();
            let mut number = |skip: usize| columns.nth(skip)?.parse().ok();
            let limits = Limits {
                origin,
                name,
                running: number(1),
                submitted: number(0),
                longest: columns
                    .next()
                    .filter(|it| !it.is_empty())
                    .map(str::to_owned),
            };
            let some =
                limits.running.is_some() || limits.submitted.is_some() || limits.longest.is_some();
            some.then_some(limits)
        };
        answer.lines().filter_map(line).collect()
    };
    let mut limits = of(associations, Origin::Account);
    limits.extend(of(qualities, Origin::Quality));
    limits
}

/// The names of the accounts, or of the qualities of service, in an answer.
pub(super) fn names(answer: &str) -> Vec<String> {
    let names = answer.lines().filter_map(|line| line.split('|').next());
    names.map(str::to_owned).collect()
}

/// The problem of an account or a quality of service that is chosen and does not exist. `None` if sacctmgr
/// lists none at all: it may not tell everybody.
pub(super) fn missing(
    options: &SlurmOptions,
    accounts: &[String],
    qualities: &[String],
) -> Option<Finding> {
    let chosen = [
        ("account", &options.account, accounts),
        ("qos", &options.qos, qualities),
    ];
    chosen.into_iter().find_map(|(option, chosen, known)| {
        let chosen = chosen.as_ref()?;
        // A site may give several.
        let is_known = |one: &str| known.iter().any(|known| known.eq_ignore_ascii_case(one));
        let unknown = chosen.split(',').find(|one| !is_known(one))?;
        if known.is_empty() {
            return None;
        }
        let text = format!(
            "you have no {option} {unknown}; there are {}",
            known.join(", ")
        );
        let finding = Finding::new(Subject::Limits, Level::Problem, text);
        Some(finding.advise_option(option, "one of these"))
    })
}

/// Leaves out the limits of accounts and qualities of service that jobs do not use. Which ones jobs use that
/// name none is for Slurm to say, so these keep the user's accounts and the usual quality.
pub(super) fn that_apply(limits: Vec<Limits>, options: &SlurmOptions) -> Vec<Limits> {
    let uses = |limits: &Limits| {
        let chosen = match limits.origin {
            Origin::Account => options.account.as_deref(),
            Origin::Quality => Some(options.qos.as_deref().unwrap_or("normal")),
        };
        chosen.is_none_or(|it| {
            it.split(',')
                .any(|one| one.eq_ignore_ascii_case(&limits.name))
        })
    };
    limits.into_iter().filter(uses).collect()
}

/// The finding about these limits.
pub(super) fn judge(limits: &[Limits]) -> Finding {
    if limits.is_empty() {
        return Finding::new(
            Subject::Limits,
            Level::Good,
            "enforced, and none applies to you",
        );
    }
    let one = |limits: &Limits| {
        let mut parts = Vec::new();
        parts.extend(limits.running.map(|most| format!("{most} jobs at once")));
        parts.extend(
            limits
                .submitted
                .map(|most| format!("{most} queued or running")),
        );
        parts.extend(
            limits
                .longest
                .as_ref()
                .map(|most| format!("time limits up to {most}")),
        );
        let kind = match limits.origin {
            Origin::Account => "account",
            Origin::Quality => "quality of service",
        };
        format!("{kind} {}: {}", limits.name, parts.join(", "))
    };
    let listed: Vec<String> = limits.iter().map(one).collect();
    let text = format!("{}. Jobs beyond them wait", listed.join("; "));
    Finding::new(Subject::Limits, Level::Note, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_limits_that_are_set_are_listed() {
        let limits = parse(
            "physics||10|200|\nphysics|long|||2-00:00:00\n",
            "normal|normal|||\nshort|short|5||\n",
        );
        let text = judge(&limits).text;
        assert_eq!(
            text,
            "account physics: 10 jobs at once, 200 queued or running; account physics: time \
             limits up to 2-00:00:00; quality of service short: 5 jobs at once. Jobs beyond them \
             wait"
        );
    }

    fn chosen(account: Option<&str>, qos: Option<&str>) -> SlurmOptions {
        let mut options = SlurmOptions::new("/state");
        options.account = account.map(str::to_owned);
        options.qos = qos.map(str::to_owned);
        options
    }

    #[test]
    fn limits_of_what_is_not_used_are_left_out() {
        let qualities = "normal|normal||100|\nsmall|small||10|\n";
        let from = |account, qos| {
            let limits = parse("physics||10||\nart||20||\n", qualities);
            let limits = that_apply(limits, &chosen(account, qos)).into_iter();
            limits.map(|limits| limits.name).collect::<Vec<_>>()
        };
        assert_eq!(from(None, None), ["physics", "art", "normal"]);
        assert_eq!(from(Some("art"), Some("small")), ["art", "small"]);
    }

    #[test]
    fn an_account_or_a_quality_that_is_missing_is_a_problem() {
        let accounts = ["physics".to_owned()];
        let qualities = names("normal|normal|||\nsmall|small||10|\n");
        let missing =
            |account, qos| missing(&chosen(account, qos), &accounts, &qualities).map(|it| it.text);
        assert_eq!(missing(Some("physics"), Some("small")), None);
        let text = missing(None, Some("large")).unwrap();
        assert_eq!(text, "you have no qos large; there are normal, small");
        assert!(missing(Some("art"), None).unwrap().contains("account art"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "(?s).{0,100}", more in "(?s).{0,100}") {
            let _ = judge(&parse(&text, &more));
        }
    }
}
