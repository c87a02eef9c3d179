//! Why a job waits: from its ad, and from HTCondor's analysis of one job of its kind.
//!
//! An ad shows whether the last negotiation found a machine, and never whether there is one at all.
//! `condor_q -better-analyze` shows that, but it fetches the ads of all machines. So it
//! is asked [rarely](EVERY), for one job at a time, and what it finds is taken to hold for all that
//! need the same, which HTCondor itself numbers (`AutoClusterId`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use super::ad::{Ad, Status};
use super::queue::Commands;

/// How long it takes at least from one analysis of a job to the next.
const EVERY: Duration = Duration::from_secs(10 * 60);
/// How long a finding is believed, unless a newer one takes its place.
const BELIEVED: Duration = Duration::from_secs(3600);
/// How long an analysis may take: big pools have tens of thousands of slots.
const LIMIT: Duration = Duration::from_secs(20);
/// A job that has waited for this long is analysed although its ad shows no failure: of many jobs that
/// need the same HTCondor tries one, and notes the failure there.
const LONG: Duration = Duration::from_secs(120);
/// How HTCondor's negotiator says that no machine is free for a job, or that there is none.
const NO_MATCH: &str = "no match found";

/// The results of analyses, by the kind of job.
#[derive(Debug, Default)]
pub(super) struct Findings {
    of: BTreeMap<i64, (Instant, String)>,
    asked: Option<Instant>,
}

impl Findings {
    /// The job of `queue` that is to be analysed now, if one is.
    pub fn choose<'a>(&mut self, queue: impl Iterator<Item = &'a Ad>) -> Option<Ad> {
        self.of.retain(|_, (at, _)| at.elapsed() < BELIEVED);
        if self.asked.is_some_and(|at| at.elapsed() < EVERY) {
            return None;
        }
        let waits_long = |ad: &Ad| {
            let waits = ad.idle_since.and_then(|since| since.elapsed().ok());
            waits.is_some_and(|waits| waits >= LONG)
        };
        let in_vain = |ad: &Ad| match ad.rejected() {
            Some(reason) => reason == NO_MATCH,
            None => !ad.is_matched() && waits_long(ad),
        };
        let is_open = |ad: &&Ad| ad.kind.is_some() && ad.may_start() && in_vain(ad);
        // The kind without a result, or with the oldest.
        let found = |ad: &Ad| ad.kind.and_then(|kind| Some(self.of.get(&kind)?.0));
        let chosen = queue.filter(is_open).min_by_key(|ad| (found(ad), ad.id))?;
        self.asked = Some(Instant::now());
        Some(chosen.clone())
    }

    /// Notes what was found about the jobs of the kind of `ad`.
    pub fn note(&mut self, ad: &Ad, found: String) {
        if let Some(kind) = ad.kind {
            self.of.insert(kind, (Instant::now(), found));
        }
    }

    /// Adds to the ads of `queue` what was found about their kind.
    pub fn fill_in<'a>(&self, queue: impl Iterator<Item = &'a mut Ad>) {
        for ad in queue.filter(|ad| ad.may_start()) {
            let found = ad.kind.and_then(|kind| self.of.get(&kind));
            ad.found = found.map(|(_, found)| found.clone());
        }
    }
}

/// Has HTCondor analyse why `ad`'s job waits. What fails is as if nothing had been found: nothing
/// hangs on it.
pub(super) async fn analyse(commands: &Commands, ad: &Ad) -> Option<String> {
    let command = commands.at_schedd("condor_q").limit(LIMIT);
    let command = command.arguments(["-better-analyze", &ad.id.to_string()]);
    let output = commands.answer(command).await.ok()?;
    found(&output.stdout)
}

/// In one sentence, why a job waits that may start. `at` is what condor_q needs to find the access point.
pub(super) fn reason(ad: &Ad, at: &str) -> String {
    let hint = format!("`condor_q{at} -better-analyze {}` shows more", ad.id);
    match (ad.is_matched(), &ad.found, ad.rejected()) {
        (true, ..) => "a machine was found for the job and is being claimed".into(),
        (false, Some(found), _) => format!("{found}; {hint}"),
        (false, None, Some(NO_MATCH)) => {
            format!("the last negotiation found no free machine that suits the job; {hint}")
        }
        (false, None, Some(reason)) => {
            format!("the last negotiation gave the job no machine: {reason}; {hint}")
        }
        (false, None, None) => "waiting for the next negotiation".into(),
    }
}

impl Ad {
    /// Whether it waits for nothing but a machine.
    fn may_start(&self) -> bool {
        self.status == Status::Idle && self.starts.is_none_or(|starts| self.run_count < starts)
    }

    /// Whether a machine was found for it since it waits.
    fn is_matched(&self) -> bool {
        is_since(self.matched, self.idle_since) && self.matched >= self.rejected_at
    }

    /// Why the last negotiation found none.
    fn rejected(&self) -> Option<&str> {
        let reason = self.reject_reason.as_deref();
        reason.filter(|_| is_since(self.rejected_at, self.idle_since) && !self.is_matched())
    }
}

fn is_since(at: Option<SystemTime>, since: Option<SystemTime>) -> bool {
    at.is_some_and(|at| since.is_none_or(|since| at >= since))
}

/// The result in the text of an analysis; `None` if it is not understood.
pub(super) fn found(text: &str) -> Option<String> {
    let count = |line: &str| -> Option<u64> { line.split_whitespace().next()?.parse().ok() };
    let counted = |what: &str| count(text.lines().find(|line| line.trim_end().ends_with(what))?);
    let (_, all) = text.split_once("ignoring user priority.  Of ")?;
    let all = count(all)?;
    let unfit = counted("are rejected by your job's requirements")?;
    let unwilling = counted("reject your job because of their own requirements")?;
    if all == 0 {
        return Some("the pool has no machine at present".into());
    }
    let fit = all.saturating_sub(unfit).saturating_sub(unwilling);
    if fit > 0 {
        return Some(format!(
            "{fit} of the pool's {all} slots can run it, once there is room"
        ));
    }
    // HTCondor says that a slot whose GPUs are taken has none, where it counts what all other
    // resources are in the end.
    let mut said = match text.contains("AvailableGPUs") {
        true => "at present no machine of the pool can run it: ".to_owned(),
        false => "no machine of the pool can run it: ".to_owned(),
    };
    // Writing to a string can't fail.
    let _ = match (unfit, unwilling) {
        (_, 0) => write!(said, "none of its {all} slots meets the job's requirements"),
        (0, _) => write!(said, "none of its {all} slots accepts the job (START)"),
        _ => write!(
            said,
            "{unfit} of its {all} slots do not meet the job's requirements, and {unwilling} do \
             not accept the job (START)"
        ),
    };
    let never = never(text);
    if !never.is_empty() {
        let _ = write!(said, "; no slot meets {}", never.join(", "));
    }
    Some(said)
}

/// The conditions that hold on no machine, each with the values that it is about.
fn never(text: &str) -> Vec<String> {
    let steps: Vec<Step> = text.lines().filter_map(step).collect();
    // A part of another condition decides nothing by itself. The gate, which is passed, is listed in
    // parts alone.
    let is_part = |it: &Step| {
        let number = format!("[{}]", it.number);
        let mut others = steps.iter().filter(|other| other.number != it.number);
        it.condition.contains("JobRunCount")
            || others.any(|other| match is_made_of_others(other.condition) {
                true => other.condition.contains(&number),
                false => other.condition.contains(it.condition),
            })
    };
    let never = steps.iter().filter(|it| it.matched == 0 && !is_part(it));
    let values = values(text);
    never
        .map(|it| {
            let condition = whole(it, &steps);
            let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let is_in = |name: &str| condition.split(|it| !word(it)).any(|it| it == name);
            let about = values.iter().filter(|(name, _)| is_in(name));
            let about: Vec<String> = about.map(|(name, it)| format!("{name} = {it}")).collect();
            match about.is_empty() {
                true => format!("`{condition}`"),
                false => format!("`{condition}` ({})", about.join(", ")),
            }
        })
        .collect()
}

/// A line of an analysis: a condition, and on how many slots it holds.
struct Step<'a> {
    number: u32,
    matched: u64,
    condition: &'a str,
}

/// `[7]           0  TARGET.Cpus >= RequestCpus`.
fn step(line: &str) -> Option<Step<'_>> {
    let (number, rest) = line.trim().strip_prefix('[')?.split_once(']')?;
    let (matched, condition) = rest.trim().split_once(' ')?;
    Some(Step {
        number: number.parse().ok()?,
        matched: matched.parse().ok()?,
        condition: condition.trim(),
    })
}

/// Whether a condition is made of others alone, which it names by their numbers: `[5] || [6]`.
fn is_made_of_others(condition: &str) -> bool {
    condition.starts_with(['[', '!', '('])
        && condition
            .bytes()
            .all(|it| b"[]0123456789 &|!()".contains(&it))
}

/// The condition of a step, with those in place that it is made of.
fn whole(it: &Step, steps: &[Step]) -> String {
    if !is_made_of_others(it.condition) {
        return it.condition.to_owned();
    }
    let mut parts = it.condition.split('[');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (number, rest) = part.split_once(']').unwrap_or((part, ""));
        // A condition is made of earlier ones, so that this comes to an end.
        let of_number = |step: &&Step| step.number < it.number && number.parse() == Ok(step.number);
        text += &match steps.iter().find(of_number) {
            Some(step) if is_made_of_others(step.condition) => format!("({})", whole(step, steps)),
            Some(step) => step.condition.to_owned(),
            None => format!("[{number}]"),
        };
        text += rest;
    }
    text
}

/// The job's own attributes that its conditions are about.
fn values(text: &str) -> Vec<(&str, &str)> {
    let section = || {
        let (_, from) = text.split_once(" defines the following attributes:")?;
        Some(from.split_once("The Requirements expression")?.0)
    };
    let lines = section().unwrap_or_default().lines();
    lines
        .filter_map(|line| line.trim().split_once(" = "))
        .collect()
}
