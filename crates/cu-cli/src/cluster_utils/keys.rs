//! The keys of the configs of cluster_utils. Its users have configs with further ones, which it ignores, so that
//! these are warnings here.

use std::path::Path;

use super::Procedure;
use super::given::Given;
use crate::config::nearest;

/// The tables in which each key means something, with these keys.
const KEYS: [(&str, &[&str]); 5] = [
    (
        "",
        &[
            "optimization_procedure_name",
            "results_dir",
            "run_in_working_dir",
            "git_params",
            "script_relative_path",
            "is_python_script",
            "run_as_module",
            "remove_jobs_dir",
            "remove_working_dirs",
            "generate_report",
            "environment_setup",
            "cluster_requirements",
            "singularity",
            "fixed_params",
            "restarts",
            "samples",
            "hyperparam_list",
            "load_existing_results",
            "local_run",
            "no_user_interaction",
            "optimization_setting",
        ],
    ),
    (
        "git_params",
        &["url", "branch", "commit", "depth", "remove_local_copy"],
    ),
    (
        "environment_setup",
        &[
            "variables",
            "virtual_env_path",
            "conda_env_path",
            "pre_job_script",
            "is_python_script",
            "run_as_module",
        ],
    ),
    (
        "cluster_requirements",
        &[
            "request_cpus",
            "request_gpus",
            "memory_in_mb",
            "request_time",
            "signal_seconds_to_timeout",
            "partition",
            "forbidden_hostnames",
            "hostname_list",
            "bid",
            "gpu_memory_mb",
            "cuda_requirement",
            "concurrency_limit",
            "concurrency_limit_tag",
            "extra_submission_options",
            "max_cpus",
        ],
    ),
    ("singularity", &["image", "executable", "use_run", "args"]),
];

/// Keys of `hp_optimization`, which a grid search does not read, the tables among them with all their keys.
const OF_OPTIMIZATION: [&str; 7] = [
    "optimizer_str",
    "optimizer_settings",
    "optimized_params",
    "num_best_jobs_whose_data_is_kept",
    "kill_bad_jobs_early",
    "early_killing_params",
    "report_hooks",
];

/// Keys of `grid_search`, which an optimisation does not read.
const OF_GRID_SEARCH: [&str; 3] = ["restarts", "samples", "hyperparam_list"];

/// The keys in the tables of an optimisation. Its optimizer knows those of `optimizer_settings`.
const TABLES_OF_OPTIMIZATION: [(&str, &[&str]); 2] = [
    (
        "optimization_setting",
        &[
            "metric_to_optimize",
            "minimize",
            "number_of_samples",
            "n_jobs_per_iteration",
            "n_completed_jobs_before_resubmit",
            "run_local",
        ],
    ),
    ("early_killing_params", &["target_rank", "how_many_stds"]),
];

/// A warning for each key that means nothing to this procedure.
pub fn warnings(given: &Given, procedure: Procedure) -> Vec<String> {
    let mut warnings = Vec::new();
    let (more, of_other, other): (&[_], &[_], _) = match procedure {
        Procedure::GridSearch => (&[], &OF_OPTIMIZATION, "hp_optimization"),
        Procedure::HpOptimization => (&TABLES_OF_OPTIMIZATION, &OF_GRID_SEARCH, "grid_search"),
    };
    for (table, known) in KEYS.iter().chain(more) {
        let (table, known) = (*table, *known);
        let values = match table {
            "" => Some(given.values()),
            table => given.get(table).and_then(|value| value.as_object()),
        };
        let full = |name: &str| match table {
            "" => name.to_owned(),
            table => format!("{table}.{name}"),
        };
        let of_this = match (table, procedure) {
            ("", Procedure::HpOptimization) => &OF_OPTIMIZATION[..],
            _ => &[],
        };
        let known = known
            .iter()
            .filter(|name| !(table.is_empty() && of_other.contains(name)));
        let known: Vec<_> = known.chain(of_this).map(|name| full(name)).collect();
        let names = values.into_iter().flat_map(|values| values.keys());
        for key in names
            .map(|name| full(name))
            .filter(|key| !known.contains(key))
        {
            let place = given.place(&key);
            warnings.push(match nearest(&key, &known) {
                _ if of_other.contains(&&*key) => {
                    format!("{place}: `{key}` is a key of {other} and has no effect here")
                }
                Some(nearest) => {
                    format!("{place}: unknown key `{key}` has no effect; did you mean `{nearest}`?")
                }
                None => format!("{place}: unknown key `{key}` has no effect"),
            });
        }
    }
    warnings
}

/// Whether the file at `path` has keys that only a config of cluster_utils has, in whichever language.
pub fn is_config(path: &Path) -> bool {
    const ITS_OWN: [&str; 4] = [
        "script_relative_path",
        "optimization_procedure_name",
        "environment_setup",
        "cluster_requirements",
    ];
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let found = ITS_OWN.iter().filter(|key| text.contains(**key));
    found.count() >= 2
}

#[cfg(test)]
mod tests {
    use super::super::given::tests::given;
    use super::*;

    #[test]
    fn unknown_keys_are_warned_of_with_the_nearest() {
        let text = "{\"sampels\": 3, \"optimizer_str\": \"x\",\n\"run_command\": 1,\n\"cluster_requirements\":\n\
                    {\"request_cpu\": 1, \"bid\": 5}, \"fixed_params\": {\"any\": 1}}";
        let given = given(text, &["singularity.imgae='x'"]).expect("a config");
        let expected = [
            "grid.json, line 1: unknown key `sampels` has no effect; did you mean `samples`?",
            "grid.json, line 1: `optimizer_str` is a key of hp_optimization and has no effect here",
            "grid.json, line 2: unknown key `run_command` has no effect",
            "grid.json, line 4: unknown key `cluster_requirements.request_cpu` has no effect; did you mean \
             `cluster_requirements.request_cpus`?",
            "`singularity.imgae='x'`: unknown key `singularity.imgae` has no effect; did you mean \
             `singularity.image`?",
        ];
        assert_eq!(warnings(&given, Procedure::GridSearch), expected);
    }
}
