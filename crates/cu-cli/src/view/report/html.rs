//! Texts within HTML.

use std::borrow::Cow;

use crate::text::visible::printable;

/// The text as HTML shows it: nothing in it is markup, and what would hide or reverse a text is visible.
pub fn escape(text: &str) -> Cow<'_, str> {
    const SPECIAL: [char; 5] = ['&', '<', '>', '"', '\''];
    let shown = printable(text);
    if !shown.contains(SPECIAL) {
        return shown;
    }
    let mut escaped = String::with_capacity(shown.len() + 16);
    for letter in shown.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}
