//! What the values of each type of key are, in JSON Schema.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::done_when::Done;
use super::git::{Branch, Commit, Repository};
use super::units::{
    Bytes, ExitCodes, FilePath, FileToCreate, Goal, PathFromHere, PathOrName, ResultsAs,
    SignalName, StopRule, Surroundings, Time, ZeroWhenStopped,
};
use crate::backend::kind::Kind;

/// The type of a key.
pub trait Schema {
    /// What its values are in JSON Schema.
    fn schema() -> Value;
}

/// One of these texts.
pub fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

macro_rules! schemas {
    ($($type:ty: $schema:tt,)*) => {
        $(impl Schema for $type {
            fn schema() -> Value {
                json!($schema)
            }
        })*
    };
}

schemas! {
    bool: {"type": "boolean"},
    f64: {"type": "number"},
    u32: {"type": "integer", "minimum": 0, "maximum": u32::MAX},
    NonZeroU32: {"type": "integer", "minimum": 1, "maximum": u32::MAX},
    String: {"type": "string"},
    Vec<String>: {"type": "array", "items": {"type": "string"}},
    Vec<i32>: {"type": "array", "items": {"type": "integer"}},
    toml::Table: {},
    BTreeMap<String, String>: {"type": "string"},
    // The units are those of humantime.
    Time: {"type": "string", "pattern": "[0-9]", "examples": ["90s", "50min", "1h 30m", "1:30:00"]},
    Bytes: {"type": "string", "pattern": "^ *[0-9.]+ *(B|[kK]B|[MGT]B|[KMGT](iB)?) *$", "examples": ["512MiB", "2G"]},
    SignalName: {"type": "string", "pattern": "^(auto|none|(SIG)?(HUP|INT|TERM|USR1|USR2))$"},
    Repository: {"type": "string", "pattern": "^[^-]"},
    Branch: {"type": "string", "pattern": "^[^- ][^ ]*$"},
    Commit: {"type": "string", "pattern": "^[0-9a-fA-F]{4,64}$"},
    FilePath: {"type": "string"},
    PathFromHere: {"type": "string"},
    PathOrName: {"type": "string"},
    FileToCreate: {"anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "properties": {"file": {"type": "string", "minLength": 1}, "content": {"type": "string"}},
            "required": ["file"],
        },
    ]},
    ExitCodes: {"anyOf": [
        {"type": "integer", "minimum": 1, "maximum": 255},
        {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 255}, "minItems": 1},
    ]},
    Done: {"anyOf": [
        {
            "type": "object",
            "properties": {"file": {"type": "string", "minLength": 1}, "contains": {"type": "string", "minLength": 1}},
            "required": ["file"],
        },
        {
            "type": "object",
            "properties": {"output": {"type": "string", "minLength": 1}},
            "required": ["output"],
        },
    ]},
}

impl Schema for Kind {
    fn schema() -> Value {
        one_of(&["auto", "local", "slurm", "htcondor"])
    }
}

impl Schema for ZeroWhenStopped {
    fn schema() -> Value {
        one_of(&["resume", "completed"])
    }
}

impl Schema for Goal {
    fn schema() -> Value {
        one_of(&["minimize", "maximize"])
    }
}

impl Schema for StopRule {
    fn schema() -> Value {
        one_of(&["successive_halving", "bad_jobs"])
    }
}

impl Schema for ResultsAs {
    fn schema() -> Value {
        one_of(&["cu", "cluster_utils"])
    }
}

impl Schema for Surroundings {
    fn schema() -> Value {
        one_of(&["inherit", "clean"])
    }
}
