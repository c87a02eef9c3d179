//! The keys of an optimisation of cluster_utils as keys of our own.

use serde_json::{Map, Value};
use toml::{Table, Value as Toml};

use super::given::Given;
use super::map::Mapped;
use crate::error::{Error, Result};

/// What their optimizers are here. The algorithms of nevergrad are not among ours.
const ALGORITHMS: [(&str, &str); 6] = [
    ("cma", "cmaes"),
    ("oneplusone", "cmaes"),
    ("tbpsa", "cmaes"),
    ("pso", "cmaes"),
    ("twopointsde", "cmaes"),
    ("randomsearch", "random"),
];

/// What is optimised, and how.
///
/// # Errors
/// If a key is missing or wrong.
pub fn search(given: &Given) -> Result<Mapped> {
    let mut mapped = Mapped::default();
    let method = method(given, &mut mapped)?;
    mapped.set("optimize.method", method, "optimizer_str");
    options(given, method, &mut mapped)?;
    let setting = |name: &str| format!("optimization_setting.{name}");
    let metric = setting("metric_to_optimize");
    mapped.set("optimize.metric", given.needed(&metric)?, &metric);
    let minimize = setting("minimize");
    let goal = match given.truth(&minimize, true)? {
        true => "minimize",
        false => "maximize",
    };
    mapped.set("optimize.goal", goal, &minimize);
    let whole = |key: &str| {
        let number = given.whole(key)?;
        Ok::<_, Error>(number.map(|it| i64::try_from(it).unwrap_or(i64::MAX)))
    };
    for (ours, theirs) in [
        ("optimize.jobs", "number_of_samples"),
        ("optimize.at_once", "n_jobs_per_iteration"),
    ] {
        let theirs = setting(theirs);
        let number = whole(&theirs)?.ok_or_else(|| given.missing(&theirs))?;
        mapped.set(ours, number, &theirs);
    }
    let refill = setting("n_completed_jobs_before_resubmit");
    mapped.set_if("optimize.refill_after", whole(&refill)?, &refill);
    let kept = "num_best_jobs_whose_data_is_kept";
    mapped.set_if("optimize.keep_best", whole(kept)?, kept);
    let removed = "remove_working_dirs";
    let is_removed = given.truth(removed, true)?;
    mapped.set("optimize.remove_output_dirs", is_removed, removed);
    early_stopping(given, &mut mapped)?;
    let parameters = Toml::Table(parameters(given)?);
    mapped.set("optimize.parameters", parameters, "optimized_params");
    Ok(mapped)
}

fn method(given: &Given, mapped: &mut Mapped) -> Result<&'static str> {
    const KEY: &str = "optimizer_str";
    let name = given.needed(KEY)?;
    if let Some(ours) = cu_optimize::Method::NAMES.iter().find(|it| **it == name) {
        return Ok(ours);
    }
    match name {
        "cem_metaoptimizer" | "cem_metaopt" => Ok("cem"),
        "nevergrad" => {
            let key = "optimizer_settings.opt_alg";
            let given_name = given.needed(key)?;
            let simple = given_name.to_lowercase().replace(['_', '-'], "");
            let found = ALGORITHMS.iter().find(|(theirs, _)| *theirs == simple);
            let (_, ours) = found.copied().ok_or_else(|| {
                let known: Vec<_> = ALGORITHMS.iter().map(|(theirs, _)| *theirs).collect();
                given.wrong(key, format!("expected one of {}", known.join(", ")))
            })?;
            mapped.warnings.push(format!(
                "{}: `cu` does not have nevergrad's {given_name}; {ours} takes its place",
                given.place(key)
            ));
            Ok(ours)
        }
        "gridsearch" => Err(given.wrong(KEY, "for a grid, there is `cu grid-search`")),
        _ => {
            let known = cu_optimize::Method::NAMES.join(", ");
            let reason = format!(
                "there is no optimizer {name:?}: expected cem_metaoptimizer, nevergrad, {known}"
            );
            Err(given.wrong(KEY, reason))
        }
    }
}

fn options(given: &Given, method: &str, mapped: &mut Mapped) -> Result<()> {
    const TABLE: &str = "optimizer_settings";
    for name in given.table(TABLE)?.into_iter().flat_map(Map::keys) {
        let key = format!("{TABLE}.{name}");
        match (name.as_str(), method) {
            ("opt_alg", _) => {}
            ("with_restarts", "cem") => {
                let value = given.truth(&key, false)?;
                mapped.set("optimize.options.with_restarts", value, &key);
            }
            ("num_jobs_in_elite", "cem") => {
                let value = given.whole(&key)?;
                let value = value.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
                mapped.set_if("optimize.options.elite_size", value, &key);
            }
            _ => mapped.warnings.push(format!(
                "{}: `{key}` has no effect: the method is {method}",
                given.place(&key)
            )),
        }
    }
    Ok(())
}

fn early_stopping(given: &Given, mapped: &mut Mapped) -> Result<()> {
    let key = "kill_bad_jobs_early";
    if !given.truth(key, false)? {
        return Ok(());
    }
    mapped.set("optimize.early_stopping.rule", "bad_jobs", key);
    let rank = "early_killing_params.target_rank";
    let number = given.whole(rank)?;
    let number = number.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
    mapped.set_if("optimize.early_stopping.target_rank", number, rank);
    let stds = "early_killing_params.how_many_stds";
    let number = match given.get(stds) {
        None => None,
        Some(value) => match value.as_f64() {
            Some(number) => Some(number),
            None => return Err(given.wrong(stds, format!("expected a number, found {value}"))),
        },
    };
    mapped.set_if("optimize.early_stopping.how_many_stds", number, stds);
    Ok(())
}

const LIST: &str = "optimized_params";

fn parameters(given: &Given) -> Result<Table> {
    let wrong = |reason: String| given.wrong(LIST, reason);
    let example =
        "a list of {\"param\": \"a.b\", \"distribution\": \"TruncatedNormal\", \"bounds\": [0, 1]}";
    let list = given.get(LIST).ok_or_else(|| given.missing(LIST))?;
    let list = list
        .as_array()
        .filter(|list| !list.is_empty())
        .ok_or_else(|| wrong(format!("expected {example}, found {list}")))?;
    let mut parameters = Table::new();
    for entry in list {
        let text = |name: &str| entry.get(name).and_then(Value::as_str);
        let (Some(name), Some(kind)) = (text("param"), text("distribution")) else {
            return Err(wrong(format!("expected {example}, found {entry} in it")));
        };
        let value = distribution(entry, kind)
            .map_err(|reason| wrong(format!("the parameter {name}: {reason}")))?;
        if parameters.insert(name.to_owned(), value).is_some() {
            return Err(wrong(format!("`{name}` is in it twice")));
        }
    }
    Ok(parameters)
}

fn distribution(entry: &Value, kind: &str) -> Result<Toml, String> {
    let (is_whole, is_log) = match kind {
        "TruncatedNormal" => (false, false),
        "TruncatedLogNormal" => (false, true),
        "IntNormal" => (true, false),
        "IntLogNormal" => (true, true),
        "Discrete" => {
            let options = entry.get("options").and_then(Value::as_array);
            let options = options
                .filter(|options| !options.is_empty())
                .ok_or("its `options` are not a list of values")?;
            let options = options.iter().map(option).collect::<Result<_, _>>()?;
            return Ok(Toml::Array(options));
        }
        _ => {
            return Err(format!(
                "there is no distribution {kind:?}: expected TruncatedNormal, TruncatedLogNormal, IntNormal, \
                 IntLogNormal or Discrete"
            ));
        }
    };
    let bounds = entry.get("bounds").and_then(Value::as_array);
    let numbers: Vec<f64> = bounds
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect();
    let [low, high] = numbers[..] else {
        return Err("its `bounds` are not two numbers".to_owned());
    };
    // The whole numbers between the bounds.
    let (low, high) = match is_whole {
        true => (
            Toml::Integer(low.ceil() as i64),
            Toml::Integer(high.floor() as i64),
        ),
        false => (Toml::Float(low), Toml::Float(high)),
    };
    let mut table = Table::new();
    table.insert("low".to_owned(), low);
    table.insert("high".to_owned(), high);
    if is_log {
        table.insert("scale".to_owned(), "log".into());
    }
    Ok(Toml::Table(table))
}

fn option(value: &Value) -> Result<Toml, String> {
    Ok(match value {
        Value::Bool(truth) => (*truth).into(),
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => number.into(),
            (None, Some(number)) => number.into(),
            (None, None) => return Err(format!("its option {number} is too large")),
        },
        Value::Array(values) => Toml::Array(values.iter().map(option).collect::<Result<_, _>>()?),
        Value::Null | Value::Object(_) => {
            return Err(format!(
                "its option {value} is neither a text, a number, a truth nor a list"
            ));
        }
    })
}
