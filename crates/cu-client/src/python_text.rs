//! Formats values as Python does: `repr`, `json.dumps(indent=4, sort_keys=True)` and the default
//! dialect of its `csv` module. So the files of a job look the same in all languages.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::tree::Tree;

/// One header line and one line of values, each ended by `\r\n`.
pub(crate) fn one_line_csv(cells: &BTreeMap<String, Tree>) -> String {
    let mut text = String::new();
    line(&mut text, cells.keys().cloned());
    line(&mut text, cells.values().map(cell));
    text
}

/// `json.dumps(value, indent=4, sort_keys=True)`.
pub(crate) fn json(value: &Tree) -> String {
    let mut text = String::new();
    write_json(&mut text, value, 0);
    text
}

/// `repr(value)`.
pub(crate) fn literal(value: &Tree) -> String {
    match value {
        Tree::Null => "None".to_owned(),
        Tree::Boolean(true) => "True".to_owned(),
        Tree::Boolean(false) => "False".to_owned(),
        Tree::Integer(value) => value.to_string(),
        Tree::Float(value) => float(*value),
        Tree::Text(value) => quoted(value),
        Tree::List(items) => {
            let items: Vec<_> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Tree::Map(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(key), literal(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// The content of a cell: text as it is, nothing for null, else `repr`.
fn cell(value: &Tree) -> String {
    match value {
        Tree::Null => String::new(),
        Tree::Text(value) => value.clone(),
        other => literal(other),
    }
}

fn line(text: &mut String, cells: impl ExactSizeIterator<Item = String>) {
    let alone = cells.len() == 1;
    for (position, cell) in cells.enumerate() {
        if position > 0 {
            text.push(',');
        }
        // Quote a single empty cell: it would be an empty line, which readers skip.
        if cell.contains(['"', ',', '\r', '\n']) || (alone && cell.is_empty()) {
            text.push('"');
            text.push_str(&cell.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(&cell);
        }
    }
    text.push_str("\r\n");
}

/// The shortest digits that parse to the same number, with an exponent where Python writes one.
fn float(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string().to_lowercase();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific
        .split_once('e')
        .expect("the format `e` always writes an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent of a float is small");
    if (-4..16).contains(&exponent) {
        format!("{value:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if character == quote => out.extend(['\\', quote]),
            character if character.is_control() => escape(&mut out, "\\x", 2, character as u32),
            character => out.push(character),
        }
    }
    out.push(quote);
    out
}

fn escape(out: &mut String, prefix: &str, width: usize, number: u32) {
    write!(out, "{prefix}{number:0width$x}").expect("writing to a string does not fail");
}

fn write_json(text: &mut String, value: &Tree, depth: usize) {
    match value {
        Tree::Null => text.push_str("null"),
        Tree::Boolean(value) => text.push_str(if *value { "true" } else { "false" }),
        Tree::Float(value) if value.is_nan() => text.push_str("NaN"),
        Tree::Float(value) if value.is_infinite() => {
            text.push_str(if *value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            });
        }
        Tree::Integer(_) | Tree::Float(_) => text.push_str(&literal(value)),
        Tree::Text(value) => json_text(text, value),
        Tree::List(items) => {
            let items = items.iter().map(|item| (None, item));
            block(text, ['[', ']'], items, depth);
        }
        Tree::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| (Some(key), value));
            block(text, ['{', '}'], entries, depth);
        }
    }
}

fn block<'a>(
    text: &mut String,
    [open, close]: [char; 2],
    entries: impl ExactSizeIterator<Item = (Option<&'a String>, &'a Tree)>,
    depth: usize,
) {
    text.push(open);
    let empty = entries.len() == 0;
    for (position, (key, value)) in entries.enumerate() {
        text.push_str(if position > 0 { ",\n" } else { "\n" });
        indent(text, depth + 1);
        if let Some(key) = key {
            json_text(text, key);
            text.push_str(": ");
        }
        write_json(text, value, depth + 1);
    }
    if !empty {
        text.push('\n');
        indent(text, depth);
    }
    text.push(close);
}

fn indent(text: &mut String, depth: usize) {
    text.extend(std::iter::repeat_n("    ", depth));
}

/// Only ASCII, as is Python's default.
fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    escape(out, "\\u", 4, u32::from(*unit));
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn floats_read_as_in_python() {
        for (value, text) in [
            (0.1, "0.1"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn an_empty_cell_alone_is_not_an_empty_line() {
        let alone = BTreeMap::from([("note".to_owned(), Tree::Null)]);
        assert_eq!(one_line_csv(&alone), "note\r\n\"\"\r\n");
    }

    /// A reader of the dialect, written from its description and independent of the writer.
    fn read_csv(text: &str) -> Vec<Vec<String>> {
        let mut rows = vec![vec![String::new()]];
        let mut in_quotes = false;
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let row = rows.last_mut().unwrap();
            match (character, in_quotes) {
                ('"', true) if characters.peek() == Some(&'"') => {
                    characters.next();
                    row.last_mut().unwrap().push('"');
                }
                ('"', _) => in_quotes = !in_quotes,
                (',', false) => row.push(String::new()),
                ('\r', false) => {
                    assert_eq!(characters.next(), Some('\n'));
                    rows.push(vec![String::new()]);
                }
                (other, _) => row.last_mut().unwrap().push(other),
            }
        }
        assert!(!in_quotes);
        assert_eq!(
            rows.pop(),
            Some(vec![String::new()]),
            "the last line ends with a line end"
        );
        rows
    }

    proptest! {
        #[test]
        fn cells_come_back(cells in btree_map(r#"[a-c",\r\n ü]{0,4}"#, r#"[a-c",\r\n ü]{0,6}"#, 1..5)) {
            let leaves = cells.clone().into_iter().map(|(name, text)| (name, Tree::Text(text)));
            let rows = read_csv(&one_line_csv(&leaves.collect()));
            let (names, values): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
            prop_assert_eq!(rows, [names, values]);
        }

        #[test]
        fn floats_come_back(bits: u64) {
            let value = f64::from_bits(bits);
            let parsed: f64 = float(value).parse().unwrap();
            prop_assert!(parsed.to_bits() == bits || value.is_nan() && parsed.is_nan());
        }

        #[test]
        fn json_is_json(text in ".*", number: f64) {
            let map = BTreeMap::from([(text.clone(), Tree::List(vec![Tree::Text(text), Tree::Float(number)]))]);
            let read: serde_json::Value = serde_json::from_str(&json(&Tree::Map(map.clone()))).unwrap();
            prop_assert_eq!(Tree::of(&read).unwrap(), Tree::Map(map));
        }
    }
}
