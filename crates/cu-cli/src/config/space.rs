//! `[optimize.parameters]`: what the optimiser chooses, and where each value may lie.

use cu_optimize::{Distribution, Parameter, Scale, Space};
use toml::{Table, Value};

use super::error::Error;
use super::json;
use super::source::Parsed;
use super::table::join;

const TABLE: &str = "optimize.parameters";
const EXPECTED: &str =
    "expected two bounds, such as { low = 0.0, high = 1.0 }, or a list of values";

/// The parameters of the config, in the order of their names.
///
/// # Errors
/// If one can't be searched.
pub fn space(parsed: &Parsed) -> Result<Space, Error> {
    let mut parameters = Vec::new();
    flatten(
        parsed,
        "",
        &parsed.file.optimize.parameters.0,
        &mut parameters,
    )?;
    parameters.sort_by(|one, other| one.name.cmp(&other.name));
    Space::new(parameters).map_err(|error| match error {
        cu_optimize::Error::Parameter { name, reason } => parsed.wrong(&join(TABLE, &name), reason),
        other => parsed.wrong(TABLE, other.to_string()),
    })
}

/// The parameters by their dotted names. TOML's own dotted keys have made tables of them.
fn flatten(
    parsed: &Parsed,
    path: &str,
    table: &Table,
    parameters: &mut Vec<Parameter>,
) -> Result<(), Error> {
    for (name, value) in table {
        let name = join(path, name);
        let key = join(TABLE, &name);
        let wrong = |reason: String| parsed.wrong(&key, reason);
        if name.split('.').any(str::is_empty) {
            return Err(wrong("a part of its name is empty".to_owned()));
        }
        let distribution = match value {
            Value::Array(options) => choice(options).map_err(wrong)?,
            Value::Table(inner) if is_distribution(inner) => distribution(inner).map_err(wrong)?,
            Value::Table(inner) if !inner.is_empty() => {
                flatten(parsed, &name, inner, parameters)?;
                continue;
            }
            _ => return Err(wrong(EXPECTED.to_owned())),
        };
        parameters.push(Parameter { name, distribution });
    }
    Ok(())
}

/// Whether a table says where values may lie, and is not one of further parameters.
fn is_distribution(table: &Table) -> bool {
    let is_bound = |name: &str| {
        table
            .get(name)
            .is_some_and(|it| it.is_integer() || it.is_float())
    };
    is_bound("low") || is_bound("high") || table.contains_key("options")
}

fn choice(options: &[Value]) -> Result<Distribution, String> {
    let options = options.iter().map(json::value_of);
    let options = options.collect::<Result<_, _>>();
    let options = options.map_err(|_| "JSON can't hold nan or inf".to_owned())?;
    Ok(Distribution::Choice { options })
}

fn distribution(table: &Table) -> Result<Distribution, String> {
    let known = ["low", "high", "scale", "options"];
    if let Some(other) = table.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("`{other}` means nothing here; {EXPECTED}"));
    }
    match table.get("options") {
        None => {}
        Some(_) if table.len() > 1 => {
            return Err("either `options` or bounds, not both".to_owned());
        }
        Some(Value::Array(options)) => return choice(options),
        Some(_) => return Err(EXPECTED.to_owned()),
    }
    let scale = match table.get("scale").map(Value::as_str) {
        None | Some(Some("linear")) => Scale::Linear,
        Some(Some("log")) => Scale::Log,
        Some(_) => return Err("`scale` is \"linear\" or \"log\"".to_owned()),
    };
    let number = |bound: &Value| match bound {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    match (table.get("low"), table.get("high")) {
        (Some(Value::Integer(low)), Some(Value::Integer(high))) => Ok(Distribution::Integer {
            low: *low,
            high: *high,
            scale,
        }),
        (Some(low), Some(high)) => match (number(low), number(high)) {
            (Some(low), Some(high)) => Ok(Distribution::Real { low, high, scale }),
            _ => Err("a bound is not a number".to_owned()),
        },
        _ => Err("it has one bound: give `low` and `high`".to_owned()),
    }
}
