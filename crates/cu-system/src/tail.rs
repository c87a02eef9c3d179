//! The end of a text file that may be long.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::files;

/// The last `most_lines` lines of a text file that are not blank, from its last `most_bytes` bytes. A line
/// whose beginning lies before these is left out, unless it is the only one.
///
/// # Errors
/// Those of [`files::open`], and if it can't be read.
pub fn last_lines(path: &Path, most_lines: usize, most_bytes: u64) -> io::Result<Vec<String>> {
    let mut file = files::open(path, OpenOptions::new().read(true))?;
    let start = file.metadata()?.len().saturating_sub(most_bytes);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(most_bytes).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = match text.split_once('\n') {
        Some((_, whole)) if start > 0 && !whole.trim().is_empty() => whole,
        _ => &text,
    };
    let lines: Vec<_> = whole
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(most_lines)..];
    Ok(last.iter().map(|&line| line.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cut_at_its_beginning_is_left_out() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("stderr");
        let last = |text: &str, lines, bytes| {
            std::fs::write(&path, text).unwrap();
            last_lines(&path, lines, bytes).unwrap()
        };
        assert_eq!(last("one\ntwo\nthree\n", 9, 9), ["three"]);
        assert_eq!(last("one\ntwo\nthree\n", 2, 99), ["two", "three"]);
        assert_eq!(last("one\n\n  \ntwo\n \n", 9, 99), ["one", "two"]);
        assert_eq!(last("one long line\n\n", 1, 6), ["line"]);
        assert_eq!(last(" \n\n", 9, 9), [""; 0]);
    }
}
