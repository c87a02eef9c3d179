//! `cu grid-search`: runs a config of the Python package cluster_utils.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use cu_core::RunDir;

use super::run::{Made, Order, directory, make_run};
use crate::args::{Common, ConfigOfClusterUtils, GridSearch};
use crate::cluster_utils::{self, Given, Mapped, Procedure};
use crate::config::{self, Override, Planned, Source, Wanted, defaults};
use crate::error::{Error, ExitCode, Result};
use crate::start::foreground::work_on;
use crate::{backend, runs, terminal};

/// Makes the run and works on it.
///
/// # Errors
/// If the config is wrong, or the run can't be made, or its main process has to give up.
pub fn grid_search(common: &Common, arguments: &GridSearch) -> Result<ExitCode> {
    run_config(common, &arguments.config, Procedure::GridSearch)
}

/// Makes the run that a config of cluster_utils describes to this procedure, and works on it.
///
/// # Errors
/// If the config is wrong, or the run can't be made, or its main process has to give up.
pub fn run_config(
    common: &Common,
    arguments: &ConfigOfClusterUtils,
    procedure: Procedure,
) -> Result<ExitCode> {
    let read = cluster_utils::read(&arguments.config)?;
    let given = Given::new(&arguments.config, read, &arguments.overrides)?;
    let mut overrides = cluster_utils::preliminary(&given, procedure)?.overrides;
    let mut warnings = cluster_utils::warnings(&given, procedure);
    if common.results_dir.is_none() {
        given.needed("results_dir")?;
    }
    if procedure == Procedure::HpOptimization {
        let search = cluster_utils::search(&given)?;
        overrides.extend(search.overrides);
        warnings.extend(search.warnings);
    }
    let here = runs::absolute(Path::new("."))?;
    if let Some(kind) = &arguments.backend {
        let words = format!("--backend {kind}");
        overrides.push(Override::option("backend.kind", kind.clone(), words));
    }
    let mut own = Vec::new();
    for words in &arguments.set {
        let mut given = Override::parse(words)?;
        if given
            .key
            .first()
            .is_some_and(|table| ["settings", "grid"].contains(&&**table))
        {
            return Err(Error::usage_hint(
                format!("`--set {words}`: the parameters of a grid search are in its config"),
                "override them there: fixed_params.NAME=VALUE",
            ));
        }
        given.words = format!("--set {words}");
        own.push(given);
    }
    let profile = arguments.profile.profile.clone();
    let parsed = Source::command_line(overrides)
        .within(&here)
        .over(defaults::read()?, profile)
        .parse()?;
    // What the user says of the backend may decide which it is.
    let mut with_own = parsed.with(own.clone())?;
    let kind = backend::choose(&with_own)?.kind;
    let run = RunDir::new(directory(common, &with_own)?);
    let points = match procedure {
        Procedure::GridSearch => cluster_utils::points(&given, chance())?,
        Procedure::HpOptimization => {
            // The first jobs belong to it.
            let seed = config::seed(&with_own, &run);
            own.extend(seed.clone());
            with_own = with_own.with(seed)?;
            let search = Wanted::of(&with_own)?;
            let values = search.map(|search| search.first()).unwrap_or_default();
            cluster_utils::first_points(&given, values)?
        }
    };
    let first = with_own
        .file
        .backend
        .activate
        .as_ref()
        .map(|path| path.0.as_path());
    let Mapped {
        mut overrides,
        warnings: more,
        activation,
        needed,
    } = cluster_utils::cluster(&given, kind, &here, run.path(), first, procedure)?;
    warnings.extend(more);
    overrides.extend(own);
    if activation.is_some() {
        let script = run.activation_script().display().to_string();
        overrides.push(Override::option(
            "backend.activate",
            script,
            "environment_setup".to_owned(),
        ));
    }
    if !common.quiet {
        warnings.iter().for_each(|warning| terminal::warn(warning));
    }
    let planned = Planned {
        points,
        activation,
        needed,
    };
    let order = Order {
        parsed: parsed.with(overrides)?,
        free_name: None,
        origin: None,
        script: None,
        planned: Some(&planned),
        each_job: Vec::new(),
        reads_stdin: false,
        watch: &arguments.watch,
        trust_parents: arguments.making.trust_parents,
        or_resume: arguments.making.or_resume || given.truth("load_existing_results", false)?,
        dry_run: arguments.making.dry_run,
    };
    match make_run(common, order)? {
        Made::Run(run) => work_on(common, &arguments.watch, run),
        Made::Else(code) => Ok(code),
    }
}

/// Draws numbers below a bound. The keys of the hash are random.
fn chance() -> impl FnMut(usize) -> usize {
    let hash = RandomState::new();
    let mut drawn = 0_u64;
    move |below| {
        drawn += 1;
        (hash.hash_one(drawn) % below.max(1) as u64) as usize
    }
}
