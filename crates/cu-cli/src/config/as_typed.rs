//! Warnings about `$NAME` and `~` in values that no shell reads: the program gets them as they were typed.

use cu_core::JobPlan;
use cu_run_dir::Template;
use toml::{Table, Value};

use super::table::join;
use crate::unshelled::unread;

/// Keys whose texts are meant for a shell or for the program, and those that a job's plan has.
const OTHERS: [&str; 7] = [
    "command",
    "environment",
    "grid",
    "on_end",
    "optimize",
    "profiles",
    "settings",
];

/// The warnings about a config and the first of its jobs.
pub fn warnings(table: &Table, jobs: &[JobPlan]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, value) in table {
        if !OTHERS.contains(&name.as_str()) {
            look(name, value, &mut warnings);
        }
    }
    let Some(first) = jobs.first() else {
        return warnings;
    };
    let command: Vec<_> = first.command.iter().map(Template::to_string).collect();
    for (place, word) in command.iter().enumerate().filter(|(place, _)| *place > 0) {
        if !is_a_script(&command[place - 1], word)
            && let Some(part) = unread(word)
        {
            warnings.push(format!(
                "`command` has the argument {word:?}: no shell reads it, so `{part}` stays as it is. Write the \
                 value, or have a shell read it: \"sh\", \"-c\", \"...\""
            ));
        }
    }
    for (name, value) in &first.environment {
        if let Some(part) = unread(&value.to_string()) {
            warnings.push(format!(
                "`{}`: no shell reads this text, so `{part}` stays as it is. Write the value; or leave the key out \
                 and type `export {name}=...` before `cu run`: programs find the variables of your shell",
                join("environment", name)
            ));
        }
    }
    warnings
}

fn look(key: &str, value: &Value, warnings: &mut Vec<String>) {
    match value {
        Value::String(text) => warnings.extend(unread(text).map(|part| {
            format!("`{key}`: no shell reads {text:?}, so `{part}` stays as it is. Write the value")
        })),
        Value::Array(values) => values.iter().for_each(|value| look(key, value, warnings)),
        Value::Table(table) => {
            for (name, value) in table {
                look(&join(key, name), value, warnings);
            }
        }
        _ => {}
    }
}

/// Whether an argument is for a shell, or another language: it follows `-c` or `-e`, or has several words.
fn is_a_script(before: &str, word: &str) -> bool {
    let is_option = before.starts_with('-') && !before.starts_with("--");
    let takes_one = is_option && before.ends_with(['c', 'e']);
    takes_one || word.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(config: &str, command: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let mut job = JobPlan::new(command.to_vec());
        let variables = variables.iter();
        job.environment = variables
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        warnings(&config.parse().expect("TOML"), &[job])
    }

    // PATH is set wherever tests run.
    #[test]
    fn a_text_that_no_shell_reads_is_named_with_its_key() {
        for (config, command, variables, expected) in [
            (
                "",
                &["train"][..],
                &[("BIN", "$PATH:~/bin")][..],
                "`environment.BIN`: ",
            ),
            ("", &["train"], &[("DATA", "~/data")], "`~` stays"),
            (
                "",
                &["train", "--out=${PATH}"],
                &[],
                "argument \"--out=${PATH}\"",
            ),
            ("", &["train", "~/data"], &[], "`~` stays"),
            (
                "[backend.slurm]\nextra = [\"--chdir=$PATH\"]",
                &["a"],
                &[],
                "`backend.slurm.extra`: ",
            ),
        ] {
            let warnings = warned(config, command, variables);
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(expected), "{warnings:?}");
        }
    }

    #[test]
    fn scripts_and_settings_are_left_to_who_reads_them() {
        for (config, command, variables) in [
            (
                "on_end = \"echo $PATH\"",
                &["sh", "-c", "$PATH"][..],
                &[][..],
            ),
            (
                "settings.a = \"$PATH\"\ngrid.b = [\"~/x\"]",
                &["srun", "bash", "-ec", "$PATH"],
                &[],
            ),
            (
                "",
                &["awk", "{ print $PATH }"],
                &[("LD_LIBRARY_PATH", "$ORIGIN/lib")],
            ),
            (
                "name = \"a~b\"",
                &["awk", "{print$NF}", "a=1"],
                &[("A", "{output_dir}/~")],
            ),
        ] {
            let warnings = warned(config, command, variables);
            assert!(warnings.is_empty(), "{warnings:?}");
        }
    }
}
