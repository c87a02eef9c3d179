//! `updates/{id}.json`: what `cu update` changes in a run, until a main process has recorded it.

use std::path::Path;

use cu_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result, RunDir, json_file, make_dir};

/// A change of what a run is run with. It is there as a whole once its file is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The version of this file: [`Update::VERSION`].
    version: u32,
    /// Key by key, for people.
    pub changes: Vec<Change>,
    /// What is merged into the budgets and limits of the run, as JSON Merge Patch (RFC 7396) says.
    policy: Value,
    /// What is merged into the plan of each job.
    plan: Value,
    /// The content of `run.toml` from now on.
    pub config: String,
}

/// A key with its value before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The dotted key of the config.
    pub key: String,
    /// Its value before, in words.
    pub old: String,
    /// Its value afterwards, in words.
    pub new: String,
}

impl Update {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;

    /// An update that is not kept yet.
    pub fn new(changes: Vec<Change>, policy: Value, plan: Value, config: String) -> Self {
        Self {
            version: Self::VERSION,
            changes,
            policy,
            plan,
            config,
        }
    }

    /// Changes the budgets and limits of a run.
    pub fn merge_policy(&self, policy: &mut Value) {
        merge(policy, &self.policy);
    }

    /// Changes the plan of a job.
    pub fn merge_plan(&self, plan: &mut Value) {
        merge(plan, &self.plan);
    }

    /// Keeps it with the run, durably.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn keep(&self, run: &RunDir, at: Timestamp) -> Result<()> {
        make_dir(&run.updates())?;
        // In the order of their names; two of one moment have different numbers.
        let id = format!("{:015}-{:010}", at.millis(), std::process::id());
        json_file::write_durably(&run.update(&id), self)
    }

    /// Whether the run has any that are not recorded yet.
    pub fn are_pending(run: &RunDir) -> bool {
        ids(&run.updates()).is_ok_and(|ids| !ids.is_empty())
    }

    /// All that are not recorded yet, with their ids, the oldest first.
    ///
    /// # Errors
    /// If one can't be read, or is not this user's alone.
    pub fn pending(run: &RunDir) -> Result<Vec<(String, Self)>> {
        let mut all = Vec::new();
        for id in ids(&run.updates())? {
            if let Some(update) = json_file::read_own(&run.update(&id), Self::VERSION)? {
                all.push((id, update));
            }
        }
        Ok(all)
    }

    /// Removes one that is recorded.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn remove(run: &RunDir, id: &str) -> Result<()> {
        let path = run.update(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::file("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn ids(directory: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::read(directory))?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::read(directory))?.file_name();
        // A file that is being written has another name.
        ids.extend(
            name.to_str()
                .and_then(|it| it.strip_suffix(".json"))
                .map(str::to_owned),
        );
    }
    ids.sort();
    Ok(ids)
}

/// Merges as RFC 7396 says: objects member by member, `null` takes a member away, all else is replaced.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        value.clone_from(patch);
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let Value::Object(members) = value else {
        return;
    };
    for (name, patch) in patch {
        match patch {
            Value::Null => {
                members.remove(name);
            }
            patch => merge(members.entry(name.clone()).or_insert(Value::Null), patch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_patch_replaces_adds_and_takes_away() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1], "e": null});
        let patch = json!({"a": {"b": null, "x": {"y": 1}}, "d": [2, 3]});
        merge(&mut value, &patch);
        assert_eq!(
            value,
            json!({"a": {"c": 2, "x": {"y": 1}}, "d": [2, 3], "e": null})
        );
    }

    #[test]
    fn updates_are_pending_in_their_order_until_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let run = RunDir::new(directory.path());
        assert!(!Update::are_pending(&run));
        let update =
            |config: &str| Update::new(Vec::new(), json!({}), json!({}), config.to_owned());
        update("b")
            .keep(&run, Timestamp::from_millis(20))
            .expect("kept");
        update("a")
            .keep(&run, Timestamp::from_millis(3))
            .expect("kept");
        // As it lies there while one is written.
        std::fs::write(run.updates().join("x.tmp"), "{").expect("written");
        let pending = Update::pending(&run).expect("they can be read");
        let configs: Vec<_> = pending.iter().map(|(_, it)| it.config.as_str()).collect();
        assert_eq!(configs, ["a", "b"]);
        for (id, _) in &pending {
            Update::remove(&run, id).expect("removed");
        }
        assert!(!Update::are_pending(&run));
    }
}
