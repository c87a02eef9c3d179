//! A path in a command that we tell people to type: as one word, whatever is in it.

use std::path::Path;

/// `path` as a shell reads it: as it is if nothing in it means anything to a shell, else quoted.
pub fn shell_word(path: &Path) -> String {
    cu_system::shell::quote(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_means_something_to_a_shell_is_quoted() {
        for (path, word) in [
            ("/home/ada/results/digits-2", "/home/ada/results/digits-2"),
            ("/Ergebnisse/Zürich", "'/Ergebnisse/Zürich'"),
            ("/my results/a", "'/my results/a'"),
            ("/Lea's", r"'/Lea'\''s'"),
            ("/$HOME", "'/$HOME'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
