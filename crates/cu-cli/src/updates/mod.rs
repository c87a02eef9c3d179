//! Changes of a run after it was made: what `cu update` makes of keys, and what an edited config would change.

mod keys;
mod origin;

use cu_core::{Change, Reader, RunDir, Update};
use cu_protocol::Timestamp;
use serde_json::json;
use toml::{Table, Value};

use crate::backend;
use crate::config::{Config, Override, Parsed, Source};
use crate::error::{Error, Result};
use crate::shell_word::shell_word;
use crate::terminal;
use crate::text::moment::local;

pub use keys::{differing, listed, may_change};
pub use origin::Origin;

/// Writes the `run.toml` of the newest update that is pending: `cu update` was killed before it could, or a main
/// process had the run.
///
/// # Errors
/// If an update can't be read, or the file can't be written.
pub fn put_in_place(run: &RunDir) -> Result<()> {
    let pending = Update::pending(run).map_err(cu_core::Error::from)?;
    let Some((_, newest)) = pending.last() else {
        return Ok(());
    };
    let path = run.config();
    if std::fs::read_to_string(&path).is_ok_and(|text| text == newest.config) {
        return Ok(());
    }
    let written = cu_run_dir::replace(&path, newest.config.as_bytes());
    Ok(written.map_err(cu_core::Error::from)?)
}

/// The update of `run` that gives its config these keys; `None` if that changes nothing.
///
/// # Errors
/// If a key may not change, or its value is wrong.
pub fn of_keys(run: &RunDir, keys: Vec<Override>) -> Result<Option<Update>> {
    let kept = kept(run)?;
    let wanted = kept.with(keys)?;
    between(run, &kept, wanted)
}

/// The update that applies what was edited: in the run's `run.toml`, and in the config that it was made from.
///
/// # Errors
/// As [`of_keys`].
pub fn of_edits(run: &RunDir) -> Result<Option<Update>> {
    let kept = kept(run)?;
    let mut table = kept.table().clone();
    if let Some(edits) = Origin::read(run)?
        .map(|origin| origin.edits())
        .transpose()?
    {
        edits
            .into_iter()
            .for_each(|(key, value)| set(&mut table, &key, value));
    }
    let text = in_toml(&table)?;
    let wanted = Source::new(run.config(), text, Vec::new()).parse()?;
    between(run, &kept, wanted)
}

/// What somebody has edited since the run was made, in words, with the command that applies it. A run that is over
/// can't be changed: then `None`, unless something was edited that needs a new run.
///
/// # Errors
/// If the run or its config can't be read.
pub fn notice(run: &RunDir, is_over: bool) -> Result<Option<String>> {
    let kept = kept(run)?;
    let mut edited = Vec::new();
    let (policy, plan) = Reader::open(run)?.in_force()?;
    if let Ok(config) = Config::new(kept.clone()) {
        let now = keys::in_force(&config.plan.policy, &config.plan.jobs[0]);
        let changes = keys::differences(&keys::in_force(&policy, &plan), &now);
        edited.extend((!changes.is_empty()).then(|| (run.config(), changes)));
    }
    if let Some(origin) = Origin::read(run)? {
        let path = origin.path().to_owned();
        let changes = origin.changes()?;
        edited.extend((!changes.is_empty()).then_some((path, changes)));
    }
    if edited.is_empty() {
        return Ok(None);
    }
    let all = edited.iter().flat_map(|(_, changes)| changes);
    let fixed: Vec<&str> = all
        .filter(|change| may_change(&change.key).is_err())
        .map(|change| change.key.as_str())
        .collect();
    if is_over && fixed.is_empty() {
        return Ok(None);
    }
    let edited = edited.iter();
    let edited = edited.map(|(path, changes)| format!("{} ({})", path.display(), listed(changes)));
    let edited = edited.collect::<Vec<_>>().join(" and ");
    let advice = match fixed.is_empty() {
        true => format!(
            "`cu update {} --from-config` applies it",
            shell_word(run.path())
        ),
        false => format!(
            "{} can't change in a run: `cu run` makes a new one",
            fixed.join(", ")
        ),
    };
    Ok(Some(format!(
        "edited since the run was made, without an effect on it: {edited}; {advice}"
    )))
}

/// The config that the run is run with.
fn kept(run: &RunDir) -> Result<Parsed> {
    put_in_place(run)?;
    Ok(Source::read_own(&run.config())?.parse()?)
}

fn between(run: &RunDir, kept: &Parsed, wanted: Parsed) -> Result<Option<Update>> {
    let given = differing(kept.table(), wanted.table());
    for change in &given {
        may_change(&change.key).map_err(|reason| {
            Error::usage_hint(
                format!(
                    "{} ({} → {}) can't change in a run: {reason}",
                    change.key, change.old, change.new
                ),
                "`cu run` makes a new run with it",
            )
        })?;
    }
    let config = Config::new(wanted)?;
    let kind = backend::choose(&config.parsed)?.kind;
    let warnings = backend::check(kind, run, &config.parsed)?;
    let warnings = config.warnings.iter().chain(&warnings);
    warnings.for_each(|warning| terminal::warn(warning));
    let (policy, plan) = Reader::open(run)?.in_force()?;
    let (policy_now, plan_now) = (&config.plan.policy, &config.plan.jobs[0]);
    let before = keys::in_force(&policy, &plan);
    let mut changes = keys::differences(&before, &keys::in_force(policy_now, plan_now));
    // Those that the store has not: of the backend's own table, above all.
    let others = given.into_iter().filter(|it| !before.contains_key(&it.key));
    changes.extend(others);
    if changes.is_empty() {
        return Ok(None);
    }
    let of_jobs = |plan: &cu_core::JobPlan| json!({"resources": plan.resources, "stop": plan.stop});
    Ok(Some(Update::new(
        changes,
        keys::patch(&json!(policy), &json!(policy_now)),
        keys::patch(&of_jobs(&plan), &of_jobs(plan_now)),
        in_toml(&config.effective)?,
    )))
}

fn in_toml(table: &Table) -> Result<String> {
    toml::to_string(table).map_err(Error::internal("write the config as TOML"))
}

/// Gives a dotted key of `table` a value, or takes it away.
fn set(table: &mut Table, key: &str, value: Option<Value>) {
    match key.split_once('.') {
        None => match value {
            Some(value) => drop(table.insert(key.to_owned(), value)),
            None => drop(table.remove(key)),
        },
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Table::new().into());
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

/// What an update has changed, and when; one that waits for a main process has no moment yet.
pub type Shown = (Option<Timestamp>, Vec<Change>);

/// The updates of a job that `cu show` lists: those that are `recorded`, and those that wait for a main process.
///
/// # Errors
/// If the run can't be read.
pub fn shown(run: &RunDir, recorded: Vec<(Timestamp, Vec<Change>)>) -> Result<Vec<Shown>> {
    let recorded = recorded
        .into_iter()
        .map(|(at, changes)| (Some(at), changes));
    let pending = Update::pending(run).map_err(cu_core::Error::from)?;
    let pending = pending
        .into_iter()
        .map(|(_, update)| (None, update.changes));
    Ok(recorded.chain(pending).collect())
}

/// An update as a line for people.
pub fn line((at, changes): &Shown) -> String {
    let changes = listed(changes);
    match at {
        Some(at) => format!("updated {}: {changes}", local(*at)),
        None => format!("an update waits for a main process, which `cu resume` starts: {changes}"),
    }
}
