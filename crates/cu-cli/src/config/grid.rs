//! `[grid]`: makes the settings of one job from each combination of its lists.

use serde_json::{Map, Value};
use toml::Table;

use super::error::Result;
use super::json;
use super::overrides::{insert, split_key};
use super::source::Parsed;
use super::table::join;

/// A grid has at most this many jobs, which is far more than any scheduler takes.
pub const MOST_JOBS: usize = 100_000;

/// One combination.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// All settings of the job.
    pub settings: Map<String, Value>,
    /// Those that come from the grid, by dotted name.
    pub parameters: Map<String, Value>,
}

/// The jobs of the config's settings and grid, in the order of the names, the last one varying fastest.
/// One without parameters if the grid is empty.
///
/// # Errors
/// If a grid's value is not a list, is empty, collides with a setting, or there are too many jobs.
pub fn points(parsed: &Parsed) -> Result<Vec<Point>> {
    let (settings, grid) = (&parsed.file.settings.0, &parsed.file.grid.0);
    let mut axes = Vec::new();
    flatten(parsed, "", grid, &mut axes)?;
    axes.sort_by(|(a, _), (b, _)| a.cmp(b));
    let too_many = || {
        let reason = format!("the grid has more than {MOST_JOBS} jobs");
        parsed.wrong("grid", reason)
    };
    let count = axes
        .iter()
        .try_fold(1_usize, |count, (_, values)| {
            count.checked_mul(values.len())
        })
        .filter(|count| *count <= MOST_JOBS)
        .ok_or_else(too_many)?;
    (0..count)
        .map(|number| point(parsed, settings, &axes, number))
        .collect()
}

type Axis = (String, Vec<toml::Value>);

/// The lists of a grid by their dotted names. TOML's own dotted keys have made tables of them.
fn flatten(parsed: &Parsed, path: &str, table: &Table, axes: &mut Vec<Axis>) -> Result<()> {
    for (name, value) in table {
        let name = join(path, name);
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => flatten(parsed, &name, inner, axes)?,
            toml::Value::Array(values) if !values.is_empty() => axes.push((name, values.clone())),
            _ => {
                let reason = "expected a list of at least one value, such as [0.1, 0.01]";
                return Err(parsed.wrong(&join("grid", &name), reason));
            }
        }
    }
    Ok(())
}

fn point(parsed: &Parsed, settings: &Table, axes: &[Axis], number: usize) -> Result<Point> {
    let mut settings = settings.clone();
    let mut parameters = Map::new();
    let mut rest = number;
    let mut chosen = Vec::with_capacity(axes.len());
    for (name, values) in axes.iter().rev() {
        chosen.push((name, &values[rest % values.len()]));
        rest /= values.len();
    }
    for (name, value) in chosen.into_iter().rev() {
        let key = join("grid", name);
        let way = split_key(name)
            .ok_or_else(|| parsed.wrong(&key, "a part of the dotted name is empty"))?;
        if holds(&settings, &way) {
            let reason = "it is also in [settings]: keep one of the two";
            return Err(parsed.wrong(&key, reason));
        }
        insert(&mut settings, &way, value.clone()).map_err(|part| {
            parsed.wrong(
                &key,
                format!("`{part}` is also in [settings]: keep one of the two"),
            )
        })?;
        let number = |_| parsed.wrong(&key, "JSON can't hold nan or inf");
        parameters.insert(name.clone(), json::value_of(value).map_err(number)?);
    }
    let settings = json::object(&settings)
        .map_err(|key| parsed.wrong(&join("settings", &key), "JSON can't hold nan or inf"))?;
    Ok(Point {
        settings,
        parameters,
    })
}

fn holds(table: &Table, way: &[String]) -> bool {
    match way {
        [] => true,
        [last] => table.contains_key(last),
        [first, rest @ ..] => match table.get(first) {
            Some(toml::Value::Table(inner)) => holds(inner, rest),
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::tests::parsed;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::HashSet;

    fn points_of(text: &str) -> Result<Vec<Point>> {
        points(&parsed(text, &[])?)
    }

    #[test]
    fn no_grid_is_one_job() {
        let points = points_of("[settings]\nseed = 1\n").expect("valid");
        assert_eq!(points.len(), 1);
        assert_eq!(
            Value::Object(points[0].settings.clone()),
            json!({"seed": 1})
        );
        assert!(points[0].parameters.is_empty());
    }

    #[test]
    fn the_last_name_varies_fastest_and_dots_reach_inside() {
        let text = "[settings]\nopt.momentum = 0.9\n[grid]\nopt.lr = [1, 2]\n\"seed\" = [7, 8]\n";
        let points = points_of(text).expect("valid");
        let seen: Vec<_> = points
            .iter()
            .map(|point| Value::Object(point.settings.clone()))
            .collect();
        let job = |lr: i64, seed: i64| json!({"opt": {"momentum": 0.9, "lr": lr}, "seed": seed});
        assert_eq!(seen, [job(1, 7), job(1, 8), job(2, 7), job(2, 8)]);
        let parameters = Value::Object(points[3].parameters.clone());
        assert_eq!(parameters, json!({"opt.lr": 2, "seed": 8}));
    }

    #[test]
    fn a_grid_that_makes_no_sense_is_refused() {
        for (text, reason) in [
            ("[grid]\na = 1\n", "a list of at least one value"),
            ("[grid]\na = []\n", "a list of at least one value"),
            (
                "[settings]\na = 1\n[grid]\na = [1]\n",
                "is also in [settings]",
            ),
            (
                "[settings]\na = 1\n[grid]\na.b = [1]\n",
                "is also in [settings]",
            ),
            ("[grid]\na = [nan]\n", "JSON can't hold nan or inf"),
            (
                "[settings]\na.b = inf\n",
                "`settings.a.b`: JSON can't hold nan or inf",
            ),
            (
                "[grid]\n\"a..b\" = [1]\n",
                "a part of the dotted name is empty",
            ),
        ] {
            let error = points_of(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let wide = format!(
            "[grid]\n{}",
            "xyzuvw"
                .chars()
                .map(|name| { format!("{name} = [0,1,2,3,4,5,6,7,8,9]\n") })
                .collect::<String>()
        );
        let error = points_of(&wide).expect_err("a million jobs").to_string();
        assert!(error.contains("more than 100000 jobs"), "{error}");
    }

    proptest! {
        #[test]
        fn every_combination_is_one_job(sizes in proptest::collection::vec(1_usize..5, 0..4)) {
            let mut text = "[grid]\n".to_owned();
            for (axis, size) in sizes.iter().enumerate() {
                let values: Vec<_> = (0..*size).map(|value| value.to_string()).collect();
                text.push_str(&format!("p{axis} = [{}]\n", values.join(", ")));
            }
            let points = points_of(&text).expect("valid");
            prop_assert_eq!(points.len(), sizes.iter().product::<usize>());
            let different: HashSet<_> = points
                .iter()
                .map(|point| Value::Object(point.parameters.clone()).to_string())
                .collect();
            prop_assert_eq!(different.len(), points.len());
        }
    }
}
