//! Makes texts of others safe to show. Some characters are shown by their number, since a terminal or
//! an editor would obey them or show a misleading text. This one rule holds for all that `cu` prints
//! and logs.
//!
//! Shown as `\x1b` or `\u{202e}`:
//! - control characters other than line ends and tabs: they move the cursor, set the title, or answer
//!   in our place;
//! - bidirectional controls: they reverse parts of a text;
//! - characters without width: they hide in names. Those that join emoji are among them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::Utf8Error;

/// Whether this character makes a text differ from what it looks like.
pub fn is_order(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{ad}' // The soft hyphen.
        | '\u{34f}'
        | '\u{61c}' // A mark of direction for Arabic.
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}' // Without width, and marks of direction.
        | '\u{2028}'..='\u{202e}' // Ends of lines, embeddings and overrides of direction.
        | '\u{2060}'..='\u{206f}' // Without width, and isolates of direction.
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => true, // Tags: whole texts that nobody sees.
        other => other.is_control(),
    }
}

/// `text` with each such character in visible form.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_order) {
        return Cow::Borrowed(text);
    }
    let mut printable = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        push(&mut printable, character);
    }
    Cow::Owned(printable)
}

fn push(out: &mut String, character: char) {
    let number = u32::from(character);
    // Writing to a String can't fail.
    match is_order(character) {
        true if number <= 0xff => drop(write!(out, "\\x{number:02x}")),
        true => drop(write!(out, "\\u{{{number:x}}}")),
        false => out.push(character),
    }
}

/// The output of a program that arrives in pieces, made visible. As [`printable`], but carriage returns
/// pass, since progress bars begin their line anew with them, and bytes that are not text are shown
/// by their number, too.
#[derive(Debug, Default)]
pub struct Visible {
    /// The beginning of a character: at most three bytes.
    begun: Vec<u8>,
}

impl Visible {
    /// Adds what can be shown of `bytes` by now to `out`.
    pub fn show(&mut self, bytes: &[u8], out: &mut String) {
        let joined;
        let mut rest = match self.begun.is_empty() {
            true => bytes,
            false => {
                joined = [&std::mem::take(&mut self.begun), bytes].concat();
                &joined
            }
        };
        loop {
            let (text, error) = longest_text(rest);
            for character in text.chars() {
                match character {
                    '\r' => out.push('\r'),
                    other => push(out, other),
                }
            }
            rest = &rest[text.len()..];
            match error.map(|error| error.error_len()) {
                None => return,
                Some(None) => {
                    self.begun = rest.to_vec();
                    return;
                }
                Some(Some(length)) => {
                    push_bytes(out, &rest[..length]);
                    rest = &rest[length..];
                }
            }
        }
    }

    /// Adds what is left: a character without its end.
    pub fn end(&mut self, out: &mut String) {
        push_bytes(out, &std::mem::take(&mut self.begun));
    }
}

fn longest_text(bytes: &[u8]) -> (&str, Option<Utf8Error>) {
    match str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let text = str::from_utf8(&bytes[..error.valid_up_to()]);
            (text.unwrap_or_default(), Some(error))
        }
    }
}

fn push_bytes(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String can't fail.
        let _ = write!(out, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_gets_no_orders() {
        let orders = "\x1b]0;title\x07\x1b[2J\r\u{9b}31m\x7f";
        let shown = r"\x1b]0;title\x07\x1b[2J\x0d\x9b31m\x7f";
        assert_eq!(printable(orders), shown);
        let harmless = "µ = 1\n\tb, Ελλάδα, שלום, 日本, é, ❤\u{fe0f}";
        assert!(matches!(printable(harmless), Cow::Borrowed(text) if text == harmless));
    }

    #[test]
    fn hidden_and_reversing_characters_are_shown() {
        let hidden = "a\u{202e}b\u{2066}c\u{200f}d\u{200b}e\u{feff}f\u{e0041}";
        let shown = r"a\u{202e}b\u{2066}c\u{200f}d\u{200b}e\u{feff}f\u{e0041}";
        assert_eq!(printable(hidden), shown);
    }

    fn show<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut visible = Visible::default();
        let mut out = String::new();
        for piece in pieces {
            visible.show(piece, &mut out);
        }
        visible.end(&mut out);
        out
    }

    #[test]
    fn progress_bars_pass_and_broken_text_is_shown() {
        let log = b"\r10 %\r20 %\n\xe9t\xe9 \xc2\xb5 \x1b[31m\xf0\x9f\x98";
        let expected = "\r10 %\r20 %\n\\xe9t\\xe9 µ \\x1b[31m\\xf0\\x9f\\x98";
        assert_eq!(show([&log[..]]), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_the_same_wherever_they_are_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            cut in 0..40_usize,
        ) {
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            let shown = show([left, right]);
            prop_assert_eq!(&shown, &show([&bytes[..]]));
            prop_assert!(!shown.contains(|it| is_order(it) && it != '\r'));
        }
    }
}
