//! The last lines of a program's output, as a person has seen them.

use std::path::Path;

use cu_system::tail::last_lines;

use super::visible::printable;

/// At most this much of the end of a file is read.
const MOST_BYTES: u64 = 8192;
/// A longer line is cut.
const MOST_CHARACTERS: usize = 300;
/// What the supervisor's own lines begin with.
const OURS: &str = "cu exec: ";

/// The last lines of what an attempt has printed, whose files are in `directory`: on its standard error, or on
/// its standard output if its program wrote nothing but that. At most `most`, in order.
pub fn of_attempt(directory: &Path, most: usize) -> Vec<String> {
    let errors = of_file(&directory.join("stderr"), most);
    if errors.iter().any(|line| !line.starts_with(OURS)) {
        return errors;
    }
    match of_file(&directory.join("stdout"), most) {
        output if output.is_empty() => errors,
        output => output,
    }
}

/// The last lines of the text file at `path`, at most `most`, in order. Lines that the supervisor wrote
/// are left out if there are others: it clears up after the program. None if the file can't be read.
fn of_file(path: &Path, most: usize) -> Vec<String> {
    let lines = last_lines(path, usize::MAX, MOST_BYTES).unwrap_or_default();
    let is_own = |line: &&String| !line.starts_with(OURS);
    let has_own = lines.iter().any(|line| is_own(&line));
    let lines = lines.iter().filter(|line| !has_own || is_own(line));
    let mut seen: Vec<_> = lines.map(|line| as_seen(line)).collect();
    // Advice about the panic that the line before names.
    let is_advice = |line: &String| line.starts_with("note: run with `RUST_BACKTRACE=1`");
    seen.retain(|line| !line.trim().is_empty() && !is_advice(line));
    seen.split_off(seen.len().saturating_sub(most))
}

/// A line as a terminal has shown it: what follows the last carriage return, without escape sequences.
fn as_seen(line: &str) -> String {
    let plain = anstream::adapter::strip_str(line).to_string();
    let mut parts = plain.split('\r').rev();
    let last = parts.find(|part| !part.trim().is_empty());
    let last = last.unwrap_or_default().trim_end();
    let shown = printable(last);
    match shown.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progress_bar_and_colours_are_as_a_person_sees_them() {
        let bar = "\r 10%|#     |\r 50%|###   |\r\x1b[31mError\x1b[0m: no \u{202e}memory\r";
        assert_eq!(as_seen(bar), r"Error: no \u{202e}memory");
        assert_eq!(as_seen(&"x".repeat(1000)).chars().count(), 301);
    }

    #[test]
    fn a_program_that_writes_no_errors_is_quoted_from_its_output() {
        let scratch = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            std::fs::write(scratch.path().join(name), text).expect("a file");
        };
        let quoted = || of_attempt(scratch.path(), 1);
        write("stderr", "cu exec: clearing up\n");
        assert_eq!(quoted(), ["cu exec: clearing up"]);
        write("stdout", "step 1\nno such file\n");
        assert_eq!(quoted(), ["no such file"]);
        write("stderr", "Traceback\ncu exec: clearing up\n");
        assert_eq!(quoted(), ["Traceback"]);
    }

    #[test]
    fn the_supervisor_speaks_only_where_the_program_did_not() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("stderr");
        let of = |text: &str| {
            std::fs::write(&path, text).expect("a file");
            of_file(&path, 2)
        };
        assert_eq!(
            of("a\nb\nValueError: 1\ncu exec: x\n"),
            ["b", "ValueError: 1"]
        );
        assert_eq!(of("cu exec: no module\n"), ["cu exec: no module"]);
        let panic = "panicked at 7:\nno\nnote: run with `RUST_BACKTRACE=1` environment variable\n";
        assert_eq!(of(panic), ["panicked at 7:", "no"]);
        assert_eq!(of_file(&scratch.path().join("none"), 2), [""; 0]);
    }
}
