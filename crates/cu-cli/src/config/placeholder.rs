//! Settings in a command: `--rate={settings.rate}` is `--rate=0.1`, for programs that read no
//! `settings.json`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::overrides::split_key;
use super::source::nearest;
use super::table::join;

/// The beginning of a placeholder. No other brace has a meaning.
const BEGIN: &str = "{settings.";

/// `command` with the job's `settings` in the place of their placeholders: text as it is, all else
/// as in JSON.
///
/// # Errors
/// The first placeholder that names no setting, or has no end.
pub fn fill(command: &[String], settings: &Map<String, Value>) -> Result<Vec<String>, String> {
    let argument = |argument: &String| fill_one(argument, settings);
    command.iter().map(argument).collect()
}

fn fill_one(argument: &str, settings: &Map<String, Value>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = argument;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        if let Some(before) = before.strip_suffix('{') {
            filled.extend([before, BEGIN]);
            rest = after;
            continue;
        }
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("`{BEGIN}{after}` has no `}}`"));
        };
        let value = value(settings, name).ok_or_else(|| missing(settings, name))?;
        filled.push_str(before);
        filled.push_str(&value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn value(settings: &Map<String, Value>, name: &str) -> Option<String> {
    let parts = split_key(name)?;
    let (first, inner) = parts.split_first()?;
    let inside = |value, part: &String| Value::get(value, part);
    match inner.iter().try_fold(settings.get(first)?, inside)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn missing(settings: &Map<String, Value>, name: &str) -> String {
    let mut names = BTreeSet::new();
    collect_names("", settings, &mut names);
    let names: Vec<_> = names.into_iter().collect();
    let hint = match nearest(name, &names) {
        Some(nearest) => format!("did you mean `{BEGIN}{nearest}}}`?"),
        None => format!("to write this literally, use `{{{BEGIN}`"),
    };
    format!("`{BEGIN}{name}}}` is not a setting; {hint}")
}

fn collect_names(path: &str, settings: &Map<String, Value>, names: &mut BTreeSet<String>) {
    for (name, value) in settings {
        let name = join(path, name);
        if let Value::Object(inner) = value {
            collect_names(&name, inner, names);
        }
        names.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn filled(argument: &str) -> Result<String, String> {
        let settings = json!({
            "rate": 0.1, "steps": 100_000_000_000_u64, "tiny": 1e-7, "data set": "a b\n$(x)",
            "debug": true, "layers": [1, 2], "optimizer": {"name": "sgd"},
        });
        let Value::Object(settings) = settings else {
            unreachable!("it is one");
        };
        fill_one(argument, &settings)
    }

    #[test]
    fn text_is_as_it_is_and_all_else_as_in_json() {
        for (argument, expected) in [
            ("{settings.rate}", "0.1"),
            (
                "--steps={settings.steps},{settings.tiny}",
                "--steps=100000000000,1e-7",
            ),
            ("{settings.data set}", "a b\n$(x)"),
            ("{settings.debug}", "true"),
            ("{settings.layers}", "[1,2]"),
            ("{settings.optimizer.name}.csv", "sgd.csv"),
            ("{settings.optimizer}", "{\"name\":\"sgd\"}"),
            ("{\"a\":{settings.rate}}", "{\"a\":0.1}"),
        ] {
            assert_eq!(filled(argument).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn other_braces_stay_as_they_are() {
        for (argument, expected) in [
            ("{print $1}", "{print $1}"),
            ("{rate}{settings}{", "{rate}{settings}{"),
            ("{{settings.rate}", "{settings.rate}"),
            ("{{{settings.rate}}", "{{settings.rate}}"),
            ("{{settings.no} {settings.rate}", "{settings.no} 0.1"),
        ] {
            assert_eq!(filled(argument).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_placeholder_without_a_setting_is_an_error() {
        for (argument, reason) in [
            (
                "{settings.rat}",
                "`{settings.rat}` is not a setting; did you mean `{settings.rate}`?",
            ),
            (
                "{settings.optimizer.nam}",
                "`{settings.optimizer.nam}` is not a setting; \
                 did you mean `{settings.optimizer.name}`?",
            ),
            (
                "{settings.quite.other}",
                "`{settings.quite.other}` is not a setting; \
                 to write this literally, use `{{settings.`",
            ),
            (
                "{settings.}",
                "`{settings.}` is not a setting; \
                 to write this literally, use `{{settings.`",
            ),
            ("--rate={settings.rate", "`{settings.rate` has no `}`"),
        ] {
            assert_eq!(filled(argument), Err(reason.to_owned()));
        }
    }

    proptest! {
        /// No value is read again: a setting may hold what looks like a placeholder.
        #[test]
        fn any_text_of_a_setting_arrives_as_it_is(text in ".*", before in "[a-z{}=]*", after in ".*") {
            let settings = Map::from_iter([("x".to_owned(), json!(text))]);
            prop_assume!(!before.ends_with('{') && !after.contains(BEGIN));
            let argument = format!("{before}{{settings.x}}{after}");
            prop_assert_eq!(fill_one(&argument, &settings), Ok(format!("{before}{text}{after}")));
        }

        #[test]
        fn any_argument_is_filled_or_an_error(argument in "([{}.x]|settings|\\{settings\\.)*") {
            let settings = Map::from_iter([("x".to_owned(), json!(1))]);
            let _ = fill_one(&argument, &settings);
        }
    }
}
