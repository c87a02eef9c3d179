//! The jobs of a grid search of cluster_utils, in its order: all combinations, in the order of the config, the last
//! parameter varying fastest, and all of it again for each restart. With `samples`, each restart draws that many
//! combinations instead, one independent of another.

use serde_json::{Map, Value};

use super::given::Given;
use crate::config::{MOST_JOBS, Point};
use crate::error::Result;

/// Names that cluster_utils gives itself.
const RESERVED: [&str; 5] = ["_id", "_iteration", "job_restarts", "id", "working_dir"];

/// The values of a parameter, or of several that change together.
struct Axis {
    names: Vec<String>,
    /// Each has one value per name.
    values: Vec<Vec<Value>>,
}

/// The jobs that `given` describes; `chance` gives a number below its argument.
///
/// # Errors
/// If its grid makes no sense.
pub fn points(given: &Given, mut chance: impl FnMut(usize) -> usize) -> Result<Vec<Point>> {
    let axes = axes(given)?;
    let restarts = number(given, "restarts")?.unwrap_or(1);
    let samples = number(given, "samples")?;
    let too_many = || {
        given.wrong(
            "hyperparam_list",
            format!("the grid has more than {MOST_JOBS} jobs"),
        )
    };
    let sizes = axes.iter().map(|axis| axis.values.len());
    let size = sizes
        .clone()
        .try_fold(1_usize, |all, size| all.checked_mul(size));
    let size = samples.or(size).ok_or_else(too_many)?;
    if size.checked_mul(restarts).is_none_or(|all| all > MOST_JOBS) {
        return Err(too_many());
    }
    let mut points = Vec::new();
    for _ in 0..restarts {
        for number in 0..size {
            let mut rest = number;
            let mut chosen: Vec<usize> = sizes
                .clone()
                .rev()
                .map(|size| {
                    let here = rest % size;
                    rest /= size;
                    here
                })
                .collect();
            chosen.reverse();
            if samples.is_some() {
                chosen = sizes.clone().map(&mut chance).collect();
            }
            points.push(point(given, &axes, &chosen)?);
        }
    }
    Ok(points)
}

/// The first jobs of an optimisation, with these values.
///
/// # Errors
/// If a parameter is given twice.
pub fn first_points(given: &Given, values: Vec<Map<String, Value>>) -> Result<Vec<Point>> {
    const KEY: &str = "optimized_params";
    let list = given.get(KEY).and_then(Value::as_array);
    let names = list.into_iter().flatten().filter_map(|it| it.get("param"));
    // In the order of the config, which the tables of results have.
    let names: Vec<_> = names.filter_map(Value::as_str).collect();
    let in_order = |mut values: Map<String, Value>| {
        let pairs = names.iter().filter_map(|name| values.remove_entry(*name));
        job(given, KEY, pairs.collect())
    };
    values.into_iter().map(in_order).collect()
}

fn number(given: &Given, key: &str) -> Result<Option<usize>> {
    match given.whole(key)? {
        Some(0) => Err(given.wrong(key, "expected 1 or more")),
        number => Ok(number.map(|it| usize::try_from(it).unwrap_or(usize::MAX))),
    }
}

fn axes(given: &Given) -> Result<Vec<Axis>> {
    const KEY: &str = "hyperparam_list";
    let wrong = |reason: String| given.wrong(KEY, reason);
    let example = "a list of {\"param\": \"a.b\", \"values\": [1, 2]}";
    let list = match given.get(KEY) {
        None => return Ok(Vec::new()),
        Some(list) => list
            .as_array()
            .ok_or_else(|| wrong(format!("expected {example}, found {list}")))?,
    };
    let mut axes: Vec<Axis> = Vec::new();
    for entry in list {
        let (Some(param), Some(values)) = (entry.get("param"), entry.get("values")) else {
            return Err(wrong(format!("expected {example}, found {entry} in it")));
        };
        if let Some(extra) = entry
            .as_object()
            .and_then(|it| it.keys().find(|it| !["param", "values"].contains(&&***it)))
        {
            return Err(wrong(format!(
                "`{extra}` of {param} means nothing: a grid has `param` and `values`"
            )));
        }
        let names = match param {
            Value::String(name) => vec![name.clone()],
            Value::Array(names) => {
                let names = names.iter().map(|name| name.as_str().map(str::to_owned));
                names.collect::<Option<_>>().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        if names.is_empty() || names.iter().any(|name| name.split('.').any(str::is_empty)) {
            return Err(wrong(format!(
                "{param} is neither the name of a parameter nor a list of names"
            )));
        }
        let taken = axes
            .iter()
            .flat_map(|axis| &axis.names)
            .find(|it| names.contains(it));
        if let Some(name) = taken {
            return Err(wrong(format!("`{name}` is in it twice")));
        }
        let values = match values.as_array().filter(|values| !values.is_empty()) {
            None => {
                return Err(wrong(format!(
                    "the values of {param}: expected a list, found {values}"
                )));
            }
            Some(values) if param.is_string() => values.iter().map(|it| vec![it.clone()]).collect(),
            Some(values) => {
                let together = values.iter().map(|value| match value.as_array() {
                    Some(together) if together.len() == names.len() => Ok(together.clone()),
                    _ => Err(wrong(format!(
                        "the values of {param}: expected lists of {} values, found {value}",
                        names.len()
                    ))),
                });
                together.collect::<Result<_>>()?
            }
        };
        axes.push(Axis { names, values });
    }
    Ok(axes)
}

fn point(given: &Given, axes: &[Axis], chosen: &[usize]) -> Result<Point> {
    let mut parameters = Map::new();
    for (axis, number) in axes.iter().zip(chosen) {
        let pairs = axis.names.iter().cloned();
        parameters.extend(pairs.zip(axis.values[*number].iter().cloned()));
    }
    job(given, "hyperparam_list", parameters)
}

/// The job with these parameters, which the list at `key` names, and the fixed ones.
fn job(given: &Given, key: &str, parameters: Map<String, Value>) -> Result<Point> {
    let mut settings = Map::new();
    for (name, value) in &parameters {
        put(given, key, &mut settings, name, value.clone())?;
    }
    for (name, value) in given.table("fixed_params")?.into_iter().flatten() {
        // So that not the reader of the config, but the job's client imports.
        let name = if name == "__import_promise__" {
            "__import__"
        } else {
            name
        };
        put(
            given,
            &format!("fixed_params.{name}"),
            &mut settings,
            name,
            value.clone(),
        )?;
    }
    Ok(Point {
        settings,
        parameters,
    })
}

/// Adds the parameter `name`, whose dots lead into tables.
fn put(
    given: &Given,
    key: &str,
    settings: &mut Map<String, Value>,
    name: &str,
    value: Value,
) -> Result<()> {
    if RESERVED.contains(&name) {
        return Err(given.wrong(
            key,
            format!("`{name}` is given to each job by cluster_utils: choose another name"),
        ));
    }
    let twice = || {
        given.wrong(
            key,
            format!("the parameter `{name}` is given twice, or is also a table"),
        )
    };
    let (table, last) = match name.rsplit_once('.') {
        None => (settings, name),
        Some((way, last)) => {
            let mut table = settings;
            for part in way.split('.') {
                let inner = table
                    .entry(part)
                    .or_insert_with(|| Value::Object(Map::new()));
                table = inner.as_object_mut().ok_or_else(twice)?;
            }
            (table, last)
        }
    };
    match (table.get_mut(last), value) {
        (None, value) => {
            table.insert(last.to_owned(), value);
            Ok(())
        }
        (Some(Value::Object(there)), Value::Object(more)) => {
            for (inner, value) in more {
                put(given, key, there, &inner, value)?;
            }
            Ok(())
        }
        _ => Err(twice()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::given::tests::given;
    use super::*;

    fn of(text: &str, overrides: &[&str]) -> Result<Vec<String>> {
        let mut next = 0;
        let chance = |below: usize| {
            next += 1;
            next % below
        };
        let points = points(&given(text, overrides)?, chance)?;
        Ok(points
            .iter()
            .map(|it| serde_json::to_string(&it.settings).expect("JSON"))
            .collect())
    }

    #[test]
    fn jobs_are_numbered_as_by_cluster_utils() {
        let text = r#"{"fixed_params": {"fn.w": 1, "on": null}, "restarts": 2, "hyperparam_list": [
            {"param": "z", "values": [2, 1]}, {"param": ["fn.x", "a"], "values": [[1, "p"], [[2], "q"]]}]}"#;
        let expected = [
            r#"{"z":2,"fn":{"x":1,"w":1},"a":"p","on":null}"#,
            r#"{"z":2,"fn":{"x":[2],"w":1},"a":"q","on":null}"#,
            r#"{"z":1,"fn":{"x":1,"w":1},"a":"p","on":null}"#,
            r#"{"z":1,"fn":{"x":[2],"w":1},"a":"q","on":null}"#,
        ];
        assert_eq!(of(text, &[]).unwrap(), [expected, expected].concat());
        assert_eq!(of(text, &["restarts=1"]).unwrap(), expected);
        let drawn = of(text, &["restarts=2", "samples=3"]).unwrap();
        // The first number drawn is 1: the second value of `z`.
        let numbers = [2, 2, 2, 2, 2, 2].map(|it: usize| expected[it]);
        assert_eq!(drawn, numbers);
        assert_eq!(
            of("{}", &["fixed_params={'a': 1}"]).unwrap(),
            [r#"{"a":1}"#]
        );
        let import = of("{}", &["fixed_params={'__import_promise__': 'a.json'}"]).unwrap();
        assert_eq!(import, [r#"{"__import__":"a.json"}"#]);
    }

    #[test]
    fn a_grid_that_makes_no_sense_is_refused() {
        for (list, said) in [
            ("1", "expected a list of {"),
            (r#"[{"values": [1]}]"#, "expected a list of {"),
            (
                r#"[{"param": "a", "values": []}]"#,
                "the values of \"a\": expected a list",
            ),
            (
                r#"[{"param": "a", "values": "x"}]"#,
                "the values of \"a\": expected a list",
            ),
            (
                r#"[{"param": ["a", "b"], "values": [[1]]}]"#,
                "expected lists of 2 values, found [1]",
            ),
            (
                r#"[{"param": 1, "values": [1]}]"#,
                "neither the name of a parameter",
            ),
            (
                r#"[{"param": "a..b", "values": [1]}]"#,
                "neither the name of a parameter",
            ),
            (
                r#"[{"param": "a", "values": [1], "step": 2}]"#,
                "`step` of \"a\" means nothing",
            ),
            (
                r#"[{"param": "a", "values": [1]}, {"param": "a", "values": [1]}]"#,
                "`a` is in it twice",
            ),
            (r#"[{"param": "f", "values": [1]}]"#, "`f` is given twice"),
            (r#"[{"param": "f.a", "values": [1]}]"#, "`f` is given twice"),
            (
                r#"[{"param": "id", "values": [1]}]"#,
                "`id` is given to each job",
            ),
        ] {
            let text = format!("{{\"fixed_params\": {{\"f\": 0}},\n\"hyperparam_list\": {list}}}");
            let error = of(&text, &[]).expect_err(list).to_string();
            assert!(
                error.contains(said) && error.starts_with("grid.json, line "),
                "{error}"
            );
        }
        let error = of(
            r#"{"hyperparam_list": [{"param": "a", "values": [1]}]}"#,
            &["restarts=200000"],
        );
        assert!(
            error
                .expect_err("too many")
                .to_string()
                .contains("more than 100000 jobs")
        );
    }
}
