//! What serde reports about a value, in the words of TOML.

use super::reference::shown;

/// Rewrites the message about the value of `key`, in words of TOML instead of serde's.
pub fn in_words_of_toml(key: &str, message: &str) -> String {
    let prefixes = ["invalid type: ", "invalid value: "];
    let without_prefix = prefixes
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix));
    let Some((found, expected)) = without_prefix.and_then(|it| it.rsplit_once(", expected "))
    else {
        return message.to_owned();
    };
    let expected = match expected {
        "a sequence" => match shown(key) {
            Some(example) => format!("a list such as {example}"),
            None => "a list".to_owned(),
        },
        "a map" => "a table".to_owned(),
        name if name.starts_with("struct ") => "a table".to_owned(),
        "a nonzero u32" => "a whole number above 0".to_owned(),
        "u32" => "a whole number, 0 or above".to_owned(),
        "f64" => "a number".to_owned(),
        "i32" => "a whole number".to_owned(),
        other => other.to_owned(),
    };
    format!("expected {expected}, found {}", value(found))
}

/// A value as it stands in a config, of which serde says the type as well: ``integer `5` ``, `string "5"`.
fn value(found: &str) -> String {
    match found {
        "sequence" => "a list".to_owned(),
        "map" => "a table".to_owned(),
        _ => match found.split_once(['`', '"']) {
            Some((_, text)) if found.ends_with('`') => text.trim_end_matches('`').to_owned(),
            Some((_, text)) => format!("\"{text}"),
            None => found.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_as_the_config_has_it() {
        for (found, expected) in [
            ("string \"two\"", "\"two\""),
            ("string \"a `b`\"", "\"a `b`\""),
            ("integer `0`", "0"),
            ("floating point `1.5`", "1.5"),
            ("boolean `true`", "true"),
            ("sequence", "a list"),
            ("map", "a table"),
            ("unit value", "unit value"),
        ] {
            assert_eq!(value(found), expected, "{found}");
        }
    }
}
