//! The signals for which a bash script has a trap, by its text.
//!
//! A trap on `EXIT` has bash catch all signals that would end it, so that its process shows no longer which of them the
//! script means. A script that saves at USR1 and cleans up at `EXIT` would then be asked by a signal that only ends it.

use std::fs;
use std::io::Read;
use std::path::Path;

use cu_system::process::SignalSet;
use rustix::process::Signal;

/// Where bash keeps the script open that it reads.
const SCRIPT: &str = "255";
/// Longer scripts are read as far as this, in bytes.
const LONGEST: u64 = 256 * 1024;

/// A signal by which a program may be asked, with its names.
const SIGNALS: [(Signal, &str); 5] = [
    (Signal::HUP, "HUP"),
    (Signal::INT, "INT"),
    (Signal::USR1, "USR1"),
    (Signal::USR2, "USR2"),
    (Signal::TERM, "TERM"),
];

/// The signals by which a program may be asked and for which the script of this bash has a trap. Empty if it has none,
/// or is not to be found.
pub(crate) fn of(pid: u32) -> SignalSet {
    in_script(&script(pid).unwrap_or_default())
}

/// The text that a bash executes: its script, or what stands behind `-c`.
fn script(pid: u32) -> Option<String> {
    let directory = Path::new("/proc").join(pid.to_string());
    let open = directory.join("fd").join(SCRIPT);
    // A pipe would have us wait, and take away what bash wants to read.
    if fs::metadata(&open).is_ok_and(|it| it.is_file()) {
        let mut text = Vec::new();
        let file = fs::File::open(&open).ok()?;
        file.take(LONGEST).read_to_end(&mut text).ok()?;
        return Some(String::from_utf8_lossy(&text).into_owned());
    }
    let words = fs::read(directory.join("cmdline")).ok()?;
    let mut words = words.split(|byte| *byte == 0).skip(1);
    // `-c`, alone or behind others as in `-lc`.
    let is_short = |word: &&[u8]| word.starts_with(b"-") && !word.starts_with(b"--");
    words.find(|word| is_short(word) && word.ends_with(b"c"))?;
    Some(String::from_utf8_lossy(words.next()?).into_owned())
}

fn in_script(text: &str) -> SignalSet {
    let commands = text.match_indices("trap").filter_map(|(at, trap)| {
        let before = text[..at].chars().next_back();
        let is_word = before.is_none_or(|it| it.is_whitespace() || ";&|{(".contains(it));
        let rest = &text[at + trap.len()..];
        (is_word && rest.starts_with([' ', '\t'])).then_some(rest)
    });
    commands.flat_map(trapped).collect()
}

/// The signals of a command `trap`, which begins behind that word.
fn trapped(command: &str) -> Vec<Signal> {
    let words = words(command).into_iter().skip_while(|word| word == "--");
    let names = words.skip(1); // The action comes first.
    let signal = |name: String| {
        let name = name.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let known = SIGNALS
            .iter()
            .find(|(signal, known)| *known == name || signal.as_raw().to_string() == name);
        known.map(|(signal, _)| *signal)
    };
    names.filter_map(signal).collect()
}

/// The words of a shell's command, without their quotes, up to its end.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some('"') | None, '\\') => match letters.next() {
                Some('\n') | None => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
            },
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '\n' | ';' | '&' | '|' | ')') => break,
            (None, '#') if word.is_none() => break,
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        let found = in_script(text);
        let names = SIGNALS.iter().filter(|(signal, _)| found.has(*signal));
        names.map(|(_, name)| *name).collect()
    }

    #[test]
    fn traps_in_the_styles_of_scripts_are_found() {
        for (text, expected) in [
            ("trap 'asked=1' USR1", &["USR1"][..]),
            ("trap \"save; exit 3\" SIGUSR1 SIGTERM\n", &["USR1", "TERM"]),
            ("#!/bin/bash\ntrap save 10 EXIT", &["USR1"]),
            ("set -e; trap save usr2; true", &["USR2"]),
            ("f() { trap -- 'echo \"a; b\"' INT HUP; }", &["HUP", "INT"]),
            (
                "trap 'rm -rf \"$scratch\"' EXIT\ntrap 'asked=1' USR1",
                &["USR1"],
            ),
            ("trap 'first\nsecond USR2' \\\n  TERM # and USR1", &["TERM"]),
            ("(trap save USR1)", &["USR1"]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn other_words_are_no_traps() {
        for text in [
            "",
            "trap cleanup EXIT",
            "trap 'kill -USR1 $child' EXIT",
            "entrap save USR1",
            "trapped save USR1",
            "trap",
            "trap -p",
            "trap save; echo USR1",
            "echo $trap_USR1",
        ] {
            assert!(names(text).is_empty(), "{text}");
        }
    }
}
