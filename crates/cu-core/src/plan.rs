//! The plan that a run is made from.

use std::collections::BTreeMap;

use cu_run_dir::{Activation, StopPolicy, Template};
use cu_scheduler::Resources;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{ExitRules, Policy};

/// A run to be made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunPlan {
    /// The name that people know it by.
    pub name: String,
    /// Budgets and limits, the same for all jobs.
    pub policy: Policy,
    /// The jobs. The position of each is its number.
    pub jobs: Vec<JobPlan>,
    /// How many more jobs are to come, each decided by a [`JobSource`](crate::JobSource) when others have ended.
    pub to_come: u32,
}

impl RunPlan {
    /// How many jobs it has in the end.
    #[must_use]
    pub fn all_jobs(&self) -> u32 {
        let known = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX);
        known.saturating_add(self.to_come)
    }

    /// A run called `name`.
    #[must_use]
    pub fn new(name: String, policy: Policy, jobs: Vec<JobPlan>) -> Self {
        Self {
            name,
            policy,
            jobs,
            to_come: 0,
        }
    }
}

/// A job to be made: everything that its attempts share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobPlan {
    /// Program and arguments, run without a shell.
    pub command: Vec<Template>,
    /// Where the program starts; its output directory if `None`.
    pub working_directory: Option<Template>,
    /// The file that is the program's standard input; nothing if `None`.
    #[serde(default)]
    pub stdin: Option<Template>,
    /// Added to the program's environment.
    pub environment: BTreeMap<String, Template>,
    /// What a shell does before the program starts.
    #[serde(default, skip_serializing_if = "Activation::is_empty")]
    pub activation: Activation,
    /// The content of its `settings.json`.
    pub settings: Map<String, Value>,
    /// Those of the settings that differ between the jobs, by dotted name: `param_choice.csv`.
    pub parameters: Map<String, Value>,
    /// The resources that each attempt requests from the scheduler.
    pub resources: Resources,
    /// When an attempt is asked to stop, and how.
    pub stop: StopPolicy,
    /// What the exit codes of the program mean.
    #[serde(flatten)]
    pub exit_rules: ExitRules,
}

impl JobPlan {
    /// A job that runs `command` on one processor, without settings, and is never asked to stop before its
    /// time. Change the fields that should differ.
    #[must_use]
    pub fn new<T: Into<Template>>(command: Vec<T>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            working_directory: None,
            stdin: None,
            environment: BTreeMap::new(),
            activation: Activation::default(),
            settings: Map::new(),
            parameters: Map::new(),
            resources: Resources::default(),
            stop: StopPolicy::default(),
            exit_rules: ExitRules::default(),
        }
    }
}
