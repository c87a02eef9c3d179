//! The files in which a person looks for what a job prints: the patterns of sbatch, for bash.
//!
//! `%j` and the like are known on the node alone. The script says there which files these are; the supervisor
//! copies what the command prints into them.

use std::fmt::Write as _;
use std::path::Path;

use super::options::Output;
use super::quote::{for_bash, path_for_bash};

/// The task of a job that is not an array, as Slurm writes it.
const NO_TASK: &str = "4294967294";

/// The lines of a script that name the files, and make or empty them. `is_first`: for the first attempt of
/// its job.
///
/// # Errors
/// The part that a script can't express, in a sentence.
pub(super) fn text(output: &Output, directory: &Path, is_first: bool) -> Result<String, String> {
    let names = [
        ("CU_STDOUT_COPY", &output.stdout),
        ("CU_STDERR_COPY", &output.stderr),
    ];
    let mut text = String::new();
    let mut files = Vec::new();
    for (name, pattern) in names {
        let Some(pattern) = pattern.as_deref().filter(|pattern| *pattern != "/dev/null") else {
            let _ = writeln!(text, "unset {name}");
            continue;
        };
        let directory = match pattern.starts_with('/') {
            true => String::new(),
            false => path_for_bash(directory)? + "/",
        };
        let _ = writeln!(text, "export {name}={directory}{}", in_bash(pattern));
        files.push(name);
    }
    if output.stderr.is_none() && !files.is_empty() {
        text.push_str("export CU_STDERR_COPY=$CU_STDOUT_COPY\n");
    }
    for name in files {
        let _ = writeln!(text, "mkdir -p -- \"${{{name}%/*}}\"");
        if is_first && !output.append {
            let _ = writeln!(text, ": >\"${name}\"");
        }
    }
    Ok(text)
}

/// A pattern of sbatch as a word of bash.
fn in_bash(pattern: &str) -> String {
    let mut word = String::new();
    let mut plain = String::new();
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('%') {
        plain.push_str(before);
        let digits = behind.len()
            - behind
                .trim_start_matches(|it: char| it.is_ascii_digit())
                .len();
        let (width, behind) = behind.split_at(digits);
        let mut letters = behind.chars();
        let value = match (letters.next(), width) {
            (Some('%'), "") => {
                plain.push('%');
                None
            }
            (Some('j' | 'J'), _) => Some(number("${SLURM_JOB_ID}", width)),
            (Some('A'), _) => Some(number("${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}", width)),
            (Some('a'), _) => {
                let task = format!("${{SLURM_ARRAY_TASK_ID:-{NO_TASK}}}");
                Some(number(&task, width))
            }
            (Some('b'), _) => {
                let task = format!("$((${{SLURM_ARRAY_TASK_ID:-{NO_TASK}}} % 10))");
                Some(number(&task, width))
            }
            (Some('n' | 't' | 'r'), _) => Some(number("0", width)),
            (Some('s'), _) => Some("batch".to_owned()),
            (Some('N'), _) => Some("\"${SLURMD_NODENAME%%.*}\"".to_owned()),
            (Some('u'), _) => Some("\"$(id -un)\"".to_owned()),
            (Some('x'), _) => Some("\"$SLURM_JOB_NAME\"".to_owned()),
            // As it is.
            (other, _) => {
                plain.push('%');
                plain.push_str(width);
                plain.extend(other);
                None
            }
        };
        rest = letters.as_str();
        if let Some(value) = value {
            flush(&mut plain, &mut word);
            word.push_str(&value);
        }
    }
    plain.push_str(rest);
    flush(&mut plain, &mut word);
    word
}

fn flush(plain: &mut String, word: &mut String) {
    if !plain.is_empty() {
        word.push_str(&for_bash(plain));
        plain.clear();
    }
}

/// A number with leading zeros. Slurm knows a width of at most 10.
fn number(value: &str, width: &str) -> String {
    match width.parse::<u32>() {
        Ok(width) if width > 0 => format!("\"$(printf %0{}d \"{value}\")\"", width.min(10)),
        _ => format!("\"{value}\""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said_by_bash(text: &str) -> String {
        let script = format!("{text}printf %s \"$CU_STDOUT_COPY|$CU_STDERR_COPY\"");
        let mut bash = std::process::Command::new("bash");
        let variables = [
            ("SLURM_JOB_ID", "17"),
            ("SLURMD_NODENAME", "n1.example.org"),
            ("SLURM_JOB_NAME", "a b"),
        ];
        let output = bash.args(["-c", &script]).envs(variables).output();
        let output = output.expect("bash");
        assert!(output.stderr.is_empty(), "{output:?}\n{text}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn file(pattern: &str) -> String {
        let word = in_bash(pattern);
        let said = said_by_bash(&format!("CU_STDOUT_COPY={word}\n"));
        said.trim_end_matches('|').to_owned()
    }

    #[test]
    fn patterns_become_what_slurm_makes_of_them() {
        for (pattern, expected) in [
            ("slurm-%j.out", "slurm-17.out"),
            (
                "o%J-%s-%t-%n-%A-%a-%5j",
                "o17-batch-0-0-17-4294967294-00017",
            ),
            ("%x/%N_%b%%j$(x)%", "a b/n1_4%j$(x)%"),
            ("%z-%3z", "%z-%3z"),
            ("100% 'a'", "100% 'a'"),
        ] {
            assert_eq!(file(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn the_first_attempt_empties_what_is_there() {
        let scratch = tempfile::tempdir().expect("a directory");
        let directory = scratch.path().join("it's here");
        let log = directory.join("logs/log");
        let mut output = Output::new("logs/log");
        let said = said_by_bash(&text(&output, &directory, true).expect("a text"));
        assert_eq!(said, format!("{0}|{0}", log.display()));
        for (is_first, append, expected) in [
            (false, false, "before"),
            (true, true, "before"),
            (true, false, ""),
        ] {
            std::fs::write(&log, "before").expect("its directory was made");
            output.append = append;
            said_by_bash(&text(&output, &directory, is_first).expect("a text"));
            assert_eq!(std::fs::read_to_string(&log).expect("a file"), expected);
        }
    }

    #[test]
    fn output_that_goes_nowhere_is_not_copied() {
        let mut output = Output::new("/dev/null");
        let said =
            |output: &Output| said_by_bash(&text(output, Path::new("/"), false).expect("a text"));
        assert_eq!(said(&output), "|");
        output.stderr = Some("/tmp/err".to_owned());
        assert_eq!(said(&output), "|/tmp/err");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn any_other_text_stays_as_it_is(pattern in "[^\0%]{0,20}") {
            prop_assert_eq!(file(&pattern), pattern.trim_end_matches('|'));
        }
    }
}
