//! Reads options from words, as `getopt_long` does.

use super::table::{self, Known, Takes};
use super::{BatchOption, Origin};

/// The words behind `sbatch`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The options.
    pub options: Vec<BatchOption>,
    /// The script and its arguments: everything from the first word that is not an option.
    pub rest: Vec<String>,
}

/// Reads the words behind `sbatch`.
///
/// # Errors
/// The first word that is wrong, in a sentence.
pub fn command_line(words: &[String]) -> Result<CommandLine, String> {
    read(words, Origin::CommandLine)
}

pub(super) fn read(words: &[String], origin: Origin) -> Result<CommandLine, String> {
    let mut found = CommandLine::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            found.rest.extend(words.cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            let option = read_long(word, long, &mut words, origin)?;
            found.options.push(option);
            continue;
        } else if word.len() > 1 && word.starts_with('-') {
            read_letters(word, &mut words, origin, &mut found.options)?;
            continue;
        } else {
            found.rest.push(word.clone());
            found.rest.extend(words.cloned());
        }
        break;
    }
    Ok(found)
}

fn read_long<'a>(
    word: &str,
    long: &str,
    following: &mut impl Iterator<Item = &'a String>,
    origin: Origin,
) -> Result<BatchOption, String> {
    let (name, glued) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (long, None),
    };
    let mut matching = table::beginning(name).into_iter();
    let known = match (matching.next(), matching.next()) {
        (Some(known), None) => known,
        (None, _) => return unknown(name, glued, word, origin),
        (Some(first), Some(second)) => {
            let others = [first, second].into_iter().chain(matching);
            let names: Vec<String> = others.map(|it| format!("--{}", it.long)).collect();
            return Err(format!(
                "`{word}` may be any of {}; write it out",
                names.join(", ")
            ));
        }
    };
    let (value, words) = match (known.value, glued) {
        (Takes::Nothing, Some(_)) => {
            return Err(format!("`{word}`: --{} takes no value", known.long));
        }
        (Takes::Value, None) => next_value(word, following)?,
        (_, glued) => (glued, word.to_owned()),
    };
    Ok(option(known, value, words, origin))
}

/// An option of a version of Slurm that is newer than the table. sbatch itself refuses what it does not know.
fn unknown(
    name: &str,
    value: Option<String>,
    word: &str,
    origin: Origin,
) -> Result<BatchOption, String> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if value.is_none() || name.is_empty() || !name.chars().all(is_plain) {
        return Err(format!(
            "`{word}` is not an option of sbatch that cu knows; if your sbatch has it and it takes a \
             value, write `--{name}=VALUE`"
        ));
    }
    Ok(BatchOption {
        name: name.to_owned(),
        value,
        words: word.to_owned(),
        origin,
    })
}

/// Letters behind one dash: switches, and at the end perhaps an option with its value.
fn read_letters<'a>(
    word: &str,
    following: &mut impl Iterator<Item = &'a String>,
    origin: Origin,
    options: &mut Vec<BatchOption>,
) -> Result<(), String> {
    let mut rest = word[1..].chars();
    while let Some(letter) = rest.next() {
        let known = table::of_letter(letter)
            .ok_or_else(|| format!("`{word}`: sbatch has no option -{letter}"))?;
        let glued = Some(rest.as_str()).filter(|value| !value.is_empty());
        let (value, words) = match (known.value, glued) {
            (Takes::Nothing, _) => {
                options.push(option(known, None, word.to_owned(), origin));
                continue;
            }
            (Takes::Value, None) => next_value(word, following)?,
            (_, glued) => (glued.map(str::to_owned), word.to_owned()),
        };
        options.push(option(known, value, words, origin));
        break;
    }
    Ok(())
}

/// The next word as the value of the option `word`, and the two words.
fn next_value<'a>(
    word: &str,
    following: &mut impl Iterator<Item = &'a String>,
) -> Result<(Option<String>, String), String> {
    let value = following.next().cloned();
    let value = value.ok_or_else(|| format!("`{word}` lacks its value"))?;
    let words = format!("{word} {value}");
    Ok((Some(value), words))
}

fn option(known: &Known, value: Option<String>, words: String, origin: Origin) -> BatchOption {
    BatchOption {
        name: known.long.to_owned(),
        value,
        words,
        origin,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn given(words: &[&str]) -> (Vec<String>, Vec<String>) {
        let read = command_line(&owned(words)).expect("options");
        let options = read.options.iter().map(BatchOption::word).collect();
        (options, read.rest)
    }

    #[test]
    fn options_are_read_in_every_style() {
        for (words, options, rest) in [
            (
                &["-n4", "-c", "2", "x.sh"][..],
                &["--ntasks=4", "--cpus-per-task=2"][..],
                &["x.sh"][..],
            ),
            (
                &["-HsOn", "3"],
                &["--hold", "--oversubscribe", "--overcommit", "--ntasks=3"],
                &[],
            ),
            (&["--time=5", "--time", "6"], &["--time=5", "--time=6"], &[]),
            (
                &["--part=a,b", "--job", "x"],
                &["--partition=a,b", "--job-name=x"],
                &[],
            ),
            (
                &["--tasks-per-node=2", "--cluster=a"],
                &["--ntasks-per-node=2", "--clusters=a"],
                &[],
            ),
            (
                &["--nice", "-k", "x.sh", "-n", "1"],
                &["--nice", "--no-kill"],
                &["x.sh", "-n", "1"],
            ),
            (
                &["--nice=5", "-koff", "--", "-n"],
                &["--nice=5", "--no-kill=off"],
                &["-n"],
            ),
            (
                &["--comment=", "--wrap", "-c a=b"],
                &["--comment=", "--wrap=-c a=b"],
                &[],
            ),
            (
                &["--exclusive=user", "--mem", "1G", "-"],
                &["--exclusive=user", "--mem=1G"],
                &["-"],
            ),
            (&["--brand-new=1"], &["--brand-new=1"], &[]),
        ] {
            let (found, others) = given(words);
            assert_eq!((found, others), (owned(options), owned(rest)), "{words:?}");
        }
    }

    #[test]
    fn a_wrong_word_is_named() {
        for (words, expected) in [
            (&["--mem-per=3"][..], "any of --mem-per-cpu, --mem-per-gpu"),
            (&["--brand-new"], "--brand-new=VALUE"),
            (&["-n"], "`-n` lacks its value"),
            (&["--time"], "`--time` lacks its value"),
            (&["-Z"], "no option -Z"),
            (&["--hold=1"], "--hold takes no value"),
            (&["-HZ"], "no option -Z"),
        ] {
            let error = command_line(&owned(words)).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_read_or_refused(words in prop::collection::vec("-{0,3}[a-zA-Z]{0,5}=?[^\0]{0,6}", 0..6)) {
            let _ = command_line(&words);
        }

        #[test]
        fn words_that_were_read_are_read_again(words in prop::collection::vec("(-[a-zA-Z][^\0]{0,3}|--(time|mem|nice|hold|part)=?[^\0]{0,6}|[^\0-]{1,6})", 0..6)) {
            if let Ok(read) = command_line(&words) {
                let mut again: Vec<String> = read.options.iter().map(BatchOption::word).collect();
                again.push("--".to_owned());
                again.extend(read.rest.clone());
                let again = command_line(&again).expect("its own words");
                let plain = |options: &[BatchOption]| -> Vec<_> {
                    options.iter().map(|it| (it.name.clone(), it.value.clone())).collect()
                };
                prop_assert_eq!(plain(&again.options), plain(&read.options));
                prop_assert_eq!(again.rest, read.rest);
            }
        }
    }
}
