//! What we understand of the Python in a config where smart_settings is not installed: `{$VARIABLE}`, `{key.of.it}`,
//! literals, `{range(1, 4)}` and `{list(range(1, 4))}`. Like there, the outcome is read as a literal if it is one.

use serde_json::{Map, Value};

use super::python;

/// Evaluates the texts with braces in `values`. In the parameters of jobs, what is beyond us stays as it is: the
/// job's own client evaluates it. The error is the key and the text that need Python.
pub fn evaluate(values: &Map<String, Value>) -> Result<Map<String, Value>, (String, String)> {
    let pairs = values.iter().map(|(key, value)| {
        let value = match key.as_str() {
            "fixed_params" => value.clone(),
            key => within(key, value, values)?,
        };
        Ok((key.clone(), value))
    });
    pairs.collect()
}

fn within(key: &str, value: &Value, all: &Map<String, Value>) -> Result<Value, (String, String)> {
    let last = key.rsplit('.').next().unwrap_or_default();
    if last.starts_with("__import") || last.ends_with('*') {
        return Err((key.to_owned(), last.to_owned()));
    }
    Ok(match value {
        Value::String(text) if text.contains(['{', '}']) => match text_of(text, all) {
            Some(value) => value,
            None if key.starts_with("hyperparam_list") && key.ends_with("[]") => value.clone(),
            None => return Err((key.to_owned(), text.clone())),
        },
        Value::Array(items) => {
            let key = format!("{key}[]");
            let items = items.iter().map(|item| within(&key, item, all));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(pairs) => {
            let mut evaluated = Map::new();
            for (name, value) in pairs {
                evaluated.insert(name.clone(), within(&format!("{key}.{name}"), value, all)?);
            }
            Value::Object(evaluated)
        }
        other => other.clone(),
    })
}

/// The value of a text with braces, if we understand all of it.
fn text_of(text: &str, all: &Map<String, Value>) -> Option<Value> {
    let mut outcome = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let brace = &rest[at..=at];
        outcome.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            outcome.push_str(brace);
            rest = after;
            continue;
        }
        let (expression, after) = rest.split_once('}').filter(|_| brace == "{")?;
        outcome.push_str(&value_of(expression.trim(), all)?);
        rest = after;
    }
    outcome.push_str(rest);
    Some(python::literal(&outcome).unwrap_or(Value::String(outcome)))
}

/// The text of an expression.
fn value_of(expression: &str, all: &Map<String, Value>) -> Option<String> {
    if let Some(name) = expression.strip_prefix('$') {
        return std::env::var(name).ok();
    }
    if let Ok(value) = python::literal(expression) {
        return Some(python::cell(&value));
    }
    let inner = expression
        .strip_prefix("list(")
        .and_then(|it| it.strip_suffix(')'));
    if let Some(bounds) = inner
        .unwrap_or(expression)
        .strip_prefix("range(")
        .and_then(|it| it.strip_suffix(')'))
    {
        return range(bounds);
    }
    let (first, way) = expression.split_once('.').unwrap_or((expression, ""));
    let parts = way.split('.').filter(|part| !part.is_empty());
    let found = parts.fold(all.get(first), |value, part| value?.get(part));
    found.map(python::cell)
}

fn range(bounds: &str) -> Option<String> {
    let bounds: Vec<i64> = bounds
        .split(',')
        .map(|it| it.trim().parse().ok())
        .collect::<Option<_>>()?;
    let (from, to, step) = match bounds[..] {
        [to] => (0, to, 1),
        [from, to] => (from, to, 1),
        [from, to, step] if step > 0 => (from, to, step),
        _ => return None,
    };
    let step = usize::try_from(step).ok()?;
    let numbers: Vec<_> = (from..to).step_by(step).take(1 << 20).collect();
    Some(format!("{numbers:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn simple_expressions_have_their_value_without_python() {
        let all = json!({"name": "a", "deep": {"n": 3}});
        let all = all.as_object().unwrap();
        let home = std::env::var("HOME").unwrap();
        for (text, expected) in [
            ("{$HOME}/x", Some(json!(format!("{home}/x")))),
            ("x-{name}-{deep.n}", Some(json!("x-a-3"))),
            ("{deep.n}", Some(json!(3))),
            ("{list(range(1, 4))}", Some(json!([1, 2, 3]))),
            ("{range(0, 10, 5)}", Some(json!([0, 5]))),
            ("{[1, 'a']}", Some(json!([1, "a"]))),
            ("{{name}}", Some(json!("{name}"))),
            ("{deep.n * 2}", None),
            ("{fn.x}", None),
            ("{$NOT_A_VARIABLE_OF_ANYBODY}", None),
            ("{name", None),
            ("name}", None),
        ] {
            assert_eq!(text_of(text, all), expected, "{text}");
        }
    }

    #[test]
    fn texts_of_jobs_stay_and_others_are_named() {
        let config = json!({
            "results_dir": "{name}/r", "name": "a", "fixed_params": {"x": "{name}", "y": "{fn.z / 2}"},
            "hyperparam_list": [{"param": "p", "values": ["{fn.q}", "{name}"]}],
        });
        let evaluated = evaluate(config.as_object().unwrap()).unwrap();
        let expected = json!({
            "results_dir": "a/r", "name": "a", "fixed_params": {"x": "{name}", "y": "{fn.z / 2}"},
            "hyperparam_list": [{"param": "p", "values": ["{fn.q}", "a"]}],
        });
        assert_eq!(Value::Object(evaluated), expected);
        for (config, key, text) in [
            (json!({"a": {"b": "{1 / 0}"}}), "a.b", "{1 / 0}"),
            (
                json!({"hyperparam_list": [{"values": "{len(p)}"}]}),
                "hyperparam_list[].values",
                "{len(p)}",
            ),
            (json!({"__import__": "x.json"}), "__import__", "__import__"),
            (json!({"git_params*": []}), "git_params*", "git_params*"),
        ] {
            let found = evaluate(config.as_object().unwrap()).unwrap_err();
            assert_eq!(found, (key.to_owned(), text.to_owned()));
        }
    }
}
