//! The config of a run as its report shows it.

use cu_core::RunDir;
use toml::{Table, Value};

use super::html::escape;

/// A variable with such a word in its name is likely a password of its user.
const SECRET: [&str; 6] = ["KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL", "AUTH"];
const HIDDEN: &str = "(not shown)";

/// The config, without the values of variables that look like passwords: a report is sent around.
pub fn of(run: &RunDir) -> String {
    let text = match std::fs::read_to_string(run.config()) {
        Ok(text) => text,
        Err(error) => return format!("<p>It can't be read: {}.</p>\n", escape(&error.to_string())),
    };
    format!("<pre>{}</pre>\n", escape(without_secrets(&text).trim_end()))
}

fn without_secrets(text: &str) -> String {
    let Ok(mut table) = text.parse::<Table>() else {
        return text.to_owned();
    };
    let Some(Value::Table(variables)) = table.get_mut("environment") else {
        return text.to_owned();
    };
    let mut is_changed = false;
    for (name, value) in variables.iter_mut() {
        let name = name.to_uppercase();
        if SECRET.iter().any(|word| name.contains(word)) {
            *value = HIDDEN.into();
            is_changed = true;
        }
    }
    match is_changed {
        true => toml::to_string(&table).unwrap_or_default(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_look_like_passwords_are_not_shown() {
        let text =
            "name = \"a\"\n[environment]\nWANDB_API_KEY = \"s3cret\"\nOMP_NUM_THREADS = \"4\"\n";
        let shown = without_secrets(text);
        assert!(
            !shown.contains("s3cret") && shown.contains(HIDDEN),
            "{shown}"
        );
        assert!(shown.contains("OMP_NUM_THREADS = \"4\""), "{shown}");
        assert_eq!(
            without_secrets("name = \"a\" # as it is\n"),
            "name = \"a\" # as it is\n"
        );
    }
}
