//! The keys of a config that may change in a run, and what differs between two configs.

use std::collections::BTreeMap;
use std::time::Duration;

use cu_core::{Change, JobPlan, Policy};
use serde_json::{Map, Value as Json, json};
use toml::{Table, Value};

use crate::text::size;

/// What stands for a key without a value.
const NONE: &str = "none";

/// Whether `key` may change in a run. The error says why not, in a sentence.
pub fn may_change(key: &str) -> Result<(), &'static str> {
    let is_in = |table: &str| key == table || key.starts_with(&format!("{table}."));
    let any = |tables: &[&str]| tables.iter().any(|table| is_in(table));
    if any(&[
        "resume.exit_code",
        "resume.done_when",
        "resume.exit_0_when_stopped",
    ]) {
        return Err("attempts that have ended were judged by it");
    }
    if any(&["resume", "resources", "stop", "on_end", "group"]) {
        return Ok(());
    }
    if any(&["backend.kind", "backend.activate", "backend.modules"]) {
        return Err("all attempts of a run are on one backend, in one environment");
    }
    if is_in("backend") {
        return Ok(());
    }
    if any(&["name", "results_dir"]) {
        return Err("the run lies there");
    }
    Err("it decides what the jobs compute, and their checkpoints belong to that")
}

/// The keys that the store has, as `policy` and `plan` give them, with their values in words.
pub fn in_force(policy: &Policy, plan: &JobPlan) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    let members = |value: Json| match value {
        Json::Object(members) => members,
        _ => Map::new(),
    };
    for (name, value) in members(json!(policy)) {
        let key = match name.as_str() {
            "max_submitted" | "record_grace" => format!("backend.{name}"),
            "scheduler_patience" => "backend.patience".to_owned(),
            _ => format!("resume.{name}"),
        };
        keys.insert(key, in_words(&name, &value));
    }
    for (name, value) in members(json!(plan.resources)) {
        let key = match name.as_str() {
            // It follows from stop.before_limit.
            "warning" => continue,
            "memory_bytes" => "memory",
            name => name,
        };
        keys.insert(format!("resources.{key}"), in_words(&name, &value));
    }
    for (name, value) in members(json!(plan.stop)) {
        keys.insert(format!("stop.{name}"), in_words(&name, &value));
    }
    keys
}

fn in_words(name: &str, value: &Json) -> String {
    let whole = |name: &str| value.get(name).and_then(Json::as_u64);
    match (name, value) {
        (_, Json::Null) => NONE.to_owned(),
        ("memory_bytes", bytes) => bytes.as_u64().map_or(NONE.to_owned(), size),
        ("after" | "before_limit" | "grace", seconds) => {
            let seconds = seconds.as_f64().unwrap_or_default();
            time(Duration::try_from_secs_f64(seconds).unwrap_or_default())
        }
        _ => match (whole("secs"), whole("nanos"), value) {
            (Some(seconds), Some(nanos), _) => {
                let nanos = u32::try_from(nanos).unwrap_or_default();
                time(Duration::new(seconds, nanos))
            }
            (_, _, Json::String(text)) => text.clone(),
            (_, _, value) => value.to_string(),
        },
    }
}

fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// The keys whose values differ.
pub fn differences(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<Change> {
    let none = NONE.to_owned();
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let pairs = keys.into_iter().map(|key| Change {
        key: key.clone(),
        old: before.get(key).unwrap_or(&none).clone(),
        new: after.get(key).unwrap_or(&none).clone(),
    });
    pairs.filter(|change| change.old != change.new).collect()
}

/// The keys of a table, dotted, with their values.
pub fn flat(table: &Table) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    flatten("", table, &mut all);
    all
}

fn flatten(path: &str, table: &Table, all: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let path = crate::config::table::join(path, name);
        match value {
            Value::Table(inner) => flatten(&path, inner, all),
            value => {
                all.insert(path, value.clone());
            }
        }
    }
}

/// The keys in which two tables differ, with their values as they are written there.
pub fn differing(before: &Table, after: &Table) -> Vec<Change> {
    let words = |table: &Table| -> BTreeMap<String, String> {
        let all = flat(table).into_iter();
        all.map(|(key, value)| match value {
            Value::String(text) => (key, text),
            value => (key, value.to_string()),
        })
        .collect()
    };
    differences(&words(before), &words(after))
}

/// What has to be merged into `old` so that it becomes `new`.
pub fn patch(old: &Json, new: &Json) -> Json {
    let (Json::Object(old), Json::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Json::Null);
    }
    for (name, value) in new {
        match old.get(name) {
            Some(before) if before == value => {}
            Some(before) if before.is_object() && value.is_object() => {
                patch.insert(name.clone(), self::patch(before, value));
            }
            _ => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    Json::Object(patch)
}

/// `stop.after: 1h → 2h`, one after the other.
pub fn listed(changes: &[Change]) -> String {
    let listed = changes.iter();
    let listed = listed.map(|Change { key, old, new }| format!("{key}: {old} → {new}"));
    listed.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_decide_a_result_can_not_change() {
        for (key, may) in [
            ("resume.failure_retries", true),
            ("resume.max_time", true),
            ("resources.memory", true),
            ("stop.after", true),
            ("backend.slurm.partition", true),
            ("backend.max_submitted", true),
            ("resume.exit_code", false),
            ("resume.done_when.file", false),
            ("backend.kind", false),
            ("settings.lr", false),
            ("grid.seed", false),
            ("command", false),
            ("name", false),
            ("environment.A", false),
        ] {
            assert_eq!(may_change(key).is_ok(), may, "{key}");
        }
    }

    #[test]
    fn the_keys_that_differ_are_named_with_both_values() {
        let kept = "name = \"a\"\n[stop]\nafter = \"1h\"\n[settings]\nx = 1\n[resume]\n";
        let given = "name = \"a\"\n[stop]\nafter = \"2h\"\n[grid]\nseed = [1]\n";
        let table = |text: &str| -> Table { toml::from_str(text).expect("TOML") };
        let differing = differing(&table(kept), &table(given));
        let expected = "grid.seed: none → [1], settings.x: 1 → none, stop.after: 1h → 2h";
        assert_eq!(listed(&differing), expected);
    }

    #[test]
    fn a_patch_makes_one_of_the_other() {
        let old = json!({"a": {"b": 1, "c": 2}, "d": 3, "e": 4});
        let new = json!({"a": {"b": 1, "c": 5}, "d": 3, "f": null});
        let expected = json!({"a": {"c": 5}, "e": null, "f": null});
        assert_eq!(patch(&old, &new), expected);
    }

    #[test]
    fn values_of_the_store_are_named_as_their_keys() {
        use std::num::NonZeroU32;
        let mut plan = JobPlan::new(vec!["true".to_owned()]);
        let before = in_force(&Policy::default(), &plan);
        plan.resources.memory_bytes = Some(2 << 30);
        plan.resources.time_limit = Some(Duration::from_secs(5400));
        plan.stop.after = Some(Duration::from_secs(60));
        let policy = Policy::default().with(|policy| {
            policy.max_submitted = NonZeroU32::new(7);
            policy.scheduler_patience = Duration::from_secs(60);
        });
        let changes = differences(&before, &in_force(&policy, &plan));
        assert_eq!(
            listed(&changes),
            "backend.max_submitted: none → 7, backend.patience: 1day → 1m, resources.memory: none → 2.0 GiB, \
             resources.time_limit: none → 1h 30m, stop.after: none → 1m"
        );
    }
}
