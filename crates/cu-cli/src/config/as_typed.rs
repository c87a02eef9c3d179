//! Warnings about `$NAME` and `~` in values that no shell reads: the program gets them as they were typed.

use cu_core::JobPlan;
use cu_run_dir::Template;
use toml::{Table, Value};

use super::table::join;
use crate::runs::is_interpreter;
use crate::unshelled::{in_argument, in_value};

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

/// Programs whose arguments may be code, besides those that are known for their scripts.
const OTHER_INTERPRETERS: [&str; 7] = ["R", "awk", "csh", "fish", "ksh", "lua", "tcsh"];

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
    for (word, part) in unread_arguments(&command) {
        warnings.push(format!(
            "`command` has the argument {word:?}: no shell reads it, so `{part}` stays as it is. Write the \
             value, or have a shell read it: \"sh\", \"-c\", \"...\""
        ));
    }
    for (name, value) in &first.environment {
        if let Some(part) = in_value(&value.to_string()) {
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
    let warning = |(text, part): (&str, &str)| {
        format!("`{key}`: no shell reads {text:?}, so `{part}` stays as it is. Write the value")
    };
    match value {
        Value::String(text) => {
            warnings.extend(in_argument(text).map(|part| warning((text, part))));
        }
        Value::Array(values) => {
            let words = values.iter().filter_map(Value::as_str);
            let words: Vec<_> = words.map(str::to_owned).collect();
            let others = values.iter().filter(|value| !value.is_str());
            warnings.extend(unread_arguments(&words).map(warning));
            others.for_each(|value| look(key, value, warnings));
        }
        Value::Table(table) => {
            for (name, value) in table {
                look(&join(key, name), value, warnings);
            }
        }
        _ => {}
    }
}

/// The words in which a shell would have replaced something, each with the first such part. Not those that are read
/// by a shell, by another language, or on another machine.
fn unread_arguments(words: &[String]) -> impl Iterator<Item = (&str, &str)> {
    let here = words.iter().take_while(|word| program_of(word) != "ssh");
    here.enumerate().filter_map(|(place, word)| {
        let before = &words[..place];
        let is_code = before.last().is_some_and(|option| takes_code(option))
            && before.iter().any(|word| reads_code(program_of(word)));
        let is_read = is_code || word.contains(char::is_whitespace);
        let part = in_argument(word).filter(|_| !is_read)?;
        Some((word.as_str(), part))
    })
}

/// The name of the program that a word of a command may be, without a version at its end.
fn program_of(word: &str) -> &str {
    let name = word.rsplit('/').next().unwrap_or_default();
    name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.')
}

fn reads_code(program: &str) -> bool {
    is_interpreter(program) || OTHER_INTERPRETERS.contains(&program)
}

/// Whether what follows the option is code: `-c`, `-e`, or several options in one that end so.
fn takes_code(option: &str) -> bool {
    option.starts_with('-') && !option.starts_with("--") && option.ends_with(['c', 'e'])
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
                "",
                &["train", "-c", "~/a.yaml"],
                &[],
                "argument \"~/a.yaml\"",
            ),
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
    fn a_text_that_something_else_reads_is_left_alone() {
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
            ("", &["ssh", "host", "ls", "~/data"], &[]),
            ("", &["rsync", "-a", "host:~/data", "."], &[]),
            ("", &["python3.11", "-c", "f(\"$PATH\")"], &[]),
            (
                "[backend.slurm]\nwrapper = [\"bash\", \"-c\", \"cd $PATH\", \"x\"]",
                &["a"],
                &[],
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
