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
    format!("expected {expected}, found {found}")
}
