//! An error with its causes: errors of ours show their own part only, and name the rest as their source.

use std::error::Error;

/// The messages of the causes of `error`, the nearest first.
pub fn of(error: &dyn Error) -> impl Iterator<Item = String> {
    std::iter::successors(error.source(), |&cause| cause.source()).map(|cause| cause.to_string())
}

/// `error` and its causes in one line: `can't read /results/a/run.toml: Permission denied`.
///
/// ```
/// let error = std::io::Error::other("the disk is full");
/// assert_eq!(cu_system::causes::in_one_line(&error), "the disk is full");
/// ```
#[must_use]
pub fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in of(error) {
        text.push_str(": ");
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::io;

    use super::*;

    /// An error of a layer, with its source.
    #[derive(Debug)]
    struct Layer(&'static str, io::Error);

    impl fmt::Display for Layer {
        fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn each_cause_is_shown_once_in_order() {
        let full = Layer("can't sync", io::Error::other("the disk is full"));
        let error = Layer("can't write run.toml", io::Error::other(full));
        // `io::Error` shows the error in it, and names that error's source.
        let expected = "can't write run.toml: can't sync: the disk is full";
        assert_eq!(in_one_line(&error), expected);
    }
}
