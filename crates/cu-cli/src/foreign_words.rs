//! Keeps the words behind `cu sbatch` and `cu condor-submit` apart: they are options of sbatch and condor_submit,
//! of which some have the letters of options of `cu`.

use std::ffi::OsString;

const COMMANDS: [&str; 2] = ["sbatch", "condor-submit"];
/// Options of `cu` whose value is the next word.
const WITH_VALUE: [&str; 2] = ["--results-dir", "--color"];

/// The words, with `--` behind the command if it is one of these, unless help is asked for.
pub fn apart(words: &[OsString]) -> Vec<OsString> {
    let mut words = words.to_vec();
    let Some(place) = place(&words) else {
        return words;
    };
    let next = words.get(place + 1).and_then(|word| word.to_str());
    if !matches!(next, Some("--help" | "-h")) {
        words.insert(place + 1, "--".into());
    }
    words
}

/// Where the command is, if it is one of these.
fn place(words: &[OsString]) -> Option<usize> {
    let mut is_value = false;
    for (place, word) in words.iter().enumerate().skip(1) {
        let word = word.to_str()?;
        match word {
            _ if is_value => is_value = false,
            _ if COMMANDS.contains(&word) => return Some(place),
            _ if WITH_VALUE.contains(&word) => is_value = true,
            _ if word.starts_with('-') && word != "--" => {}
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_behind_the_command_are_kept_apart() {
        for (words, expected) in [
            ("cu sbatch -q a x.sh", "cu sbatch -- -q a x.sh"),
            ("cu --json sbatch x.sh", "cu --json sbatch -- x.sh"),
            (
                "cu --results-dir sbatch sbatch -n 1",
                "cu --results-dir sbatch sbatch -- -n 1",
            ),
            ("cu sbatch", "cu sbatch --"),
            (
                "cu condor-submit -name a x.sub",
                "cu condor-submit -- -name a x.sub",
            ),
            ("cu sbatch --help", "cu sbatch --help"),
            ("cu run -- sbatch x.sh", "cu run -- sbatch x.sh"),
            ("cu help sbatch", "cu help sbatch"),
        ] {
            let split = |text: &str| -> Vec<OsString> { text.split(' ').map(Into::into).collect() };
            assert_eq!(apart(&split(words)), split(expected), "{words}");
        }
    }
}
