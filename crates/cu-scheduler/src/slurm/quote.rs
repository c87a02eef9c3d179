//! Texts as bash and sbatch read them: one word, byte for byte, on one line.

use std::fmt::Write as _;
use std::path::Path;

use cu_system::shell;

/// `text` as one word of a bash script. It stays on one line, so that neither a line break in it
/// nor a `\r\n`, which sbatch refuses in a script, ever stands in one.
pub(super) fn for_bash(text: &str) -> String {
    if !text.chars().any(|letter| letter.is_ascii_control()) {
        return shell::quote(text);
    }
    let mut quoted = String::from("$'");
    for letter in text.chars() {
        match letter {
            '\n' => quoted.push_str(r"\n"),
            '\t' => quoted.push_str(r"\t"),
            '\r' => quoted.push_str(r"\r"),
            '\\' => quoted.push_str(r"\\"),
            '\'' => quoted.push_str(r"\'"),
            control if control.is_ascii_control() => {
                // Three digits always, so that a digit behind it is not taken for one of them.
                let _ = write!(quoted, r"\{:03o}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// Words of a bash script.
pub(super) fn words_for_bash<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| for_bash(word)).collect();
    quoted.join(" ")
}

/// A path as a word of a bash script, if it is UTF-8.
pub(super) fn path_for_bash(path: &Path) -> Result<String, String> {
    path.to_str()
        .map(for_bash)
        .ok_or_else(|| format!("the path {} is not UTF-8", path.display()))
}

/// The value of an option in an `#SBATCH` line.
pub(super) fn for_sbatch(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\\\""))
}

/// A path as the value of an option in an `#SBATCH` line.
///
/// # Errors
/// If the path holds what no version of sbatch takes as it is.
pub(super) fn path_for_sbatch(path: &Path) -> Result<String, String> {
    writable(path).map(for_sbatch)
}

/// A file in a directory as the value of an option that takes a pattern: of the `%` in it, those of
/// `file` are Slurm's, and those of the directory stand for themselves.
///
/// # Errors
/// If the path holds what no version of sbatch takes as it is.
pub(super) fn pattern_for_sbatch(directory: &Path, file: &str) -> Result<String, String> {
    let directory = writable(directory)?.replace('%', "%%");
    Ok(for_sbatch(&format!("{directory}/{file}")))
}

fn writable(path: &Path) -> Result<&str, String> {
    let unwritable = |letter: char| letter.is_control() || letter == '\\';
    match path.to_str() {
        Some(text) if !text.contains(unwritable) => Ok(text),
        _ => Err(format!(
            "sbatch can't be given the path {path:?}: it contains a backslash or a control \
             character, or is not UTF-8"
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(for_bash("/usr/bin/cu"), "/usr/bin/cu");
        assert_eq!(for_bash("a b"), "'a b'");
        assert_eq!(for_bash(""), "''");
        assert_eq!(for_bash("it's\r\n1"), r"$'it\'s\r\n1'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn bash_reads_what_was_meant(words in prop::collection::vec("[^\0]{0,12}", 1..8)) {
            let script = format!("printf '%s\\0' {}", words_for_bash(&words));
            prop_assert!(!script.contains('\n') && !script.contains('\r'));
            let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            let mut expected = words.join("\0").into_bytes();
            expected.push(0);
            prop_assert_eq!(output.stdout, expected);
        }
    }

    #[test]
    fn a_pattern_character_in_a_path_is_itself() {
        let path = Path::new("/a b/100%j");
        assert_eq!(
            pattern_for_sbatch(path, "%a.out").unwrap(),
            "\"/a b/100%%j/%a.out\""
        );
        assert_eq!(path_for_sbatch(path).unwrap(), "\"/a b/100%j\"");
        path_for_sbatch(Path::new("/a\nb")).unwrap_err();
    }
}
