//! How much room a text takes on a terminal, where a character has one column, two or none.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::visible::printable;

/// Stands for what was cut off.
const CUT: char = '…';

/// The number of columns that `text` takes.
pub fn columns(text: &str) -> usize {
    text.width()
}

/// The beginning of `text`, of at most `most` columns. If something was cut off, it ends with `…`.
pub fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if columns(text) <= most {
        return Cow::Borrowed(text);
    }
    let Some(room) = most.checked_sub(1) else {
        return Cow::Borrowed("");
    };
    let mut taken = 0;
    let fits = |character: &char| {
        taken += character.width().unwrap_or(0);
        taken <= room
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.truncate(short.trim_end().len());
    short.push(CUT);
    Cow::Owned(short)
}

/// `text` as one line that a terminal shows as it is: line ends and tabs become blanks, and characters
/// that it would obey are shown by their number.
pub fn one_line(text: &str) -> Cow<'_, str> {
    let printable = printable(text);
    let breaks = ['\n', '\t'];
    match printable.contains(breaks) {
        true => Cow::Owned(printable.trim_end().replace(breaks, " ")),
        false => printable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_fits_and_says_so() {
        assert_eq!(cut("epoch 31", 8), "epoch 31");
        assert_eq!(cut("epoch 31", 7), "epoch…");
        assert_eq!(cut("epoch 31", 1), "…");
        assert_eq!(cut("epoch 31", 0), "");
        // Each of these has two columns.
        assert_eq!(cut("訓練中", 4), "訓…");
        assert_eq!(columns("訓練中"), 6);
    }

    #[test]
    fn a_cell_has_one_line_and_gives_no_orders() {
        assert_eq!(one_line("a\tb\nc\n"), "a b c");
        assert_eq!(one_line("a\u{1b}[2Jb"), "a\\x1b[2Jb");
    }
}
