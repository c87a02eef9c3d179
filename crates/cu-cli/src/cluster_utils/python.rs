//! Literals of Python: read as `ast.literal_eval` reads them, written as `repr` writes them.

use serde_json::{Map, Number, Value};

/// The value of a literal. Tuples become lists.
///
/// # Errors
/// What is wrong with it.
pub fn literal(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value()?;
    reader.skip_space();
    match reader.rest() {
        "" => Ok(value),
        // A tuple needs no parentheses.
        rest if rest.starts_with(',') => {
            let mut values = vec![value];
            while reader.takes(",") {
                reader.skip_space();
                if reader.rest().is_empty() {
                    break;
                }
                values.push(reader.value()?);
                reader.skip_space();
            }
            match reader.rest() {
                "" => Ok(Value::Array(values)),
                rest => Err(unexpected(rest)),
            }
        }
        rest => Err(unexpected(rest)),
    }
}

fn unexpected(rest: &str) -> String {
    match rest.chars().next() {
        Some(_) => format!("`{rest}` is not a literal of Python"),
        None => "it ends too early".to_owned(),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn takes(&mut self, token: &str) -> bool {
        let is_there = self.rest().starts_with(token);
        if is_there {
            self.at += token.len();
        }
        is_there
    }

    fn value(&mut self) -> Result<Value, String> {
        self.skip_space();
        for (open, close) in [("[", "]"), ("(", ")")] {
            if self.takes(open) {
                return self.items(open, close);
            }
        }
        if self.takes("{") {
            return self.pairs();
        }
        if self.rest().starts_with(['\'', '"']) {
            return self.text().map(Value::String);
        }
        let is_word = |it: char| it.is_alphanumeric() || "+-._".contains(it);
        let length = self
            .rest()
            .find(|it| !is_word(it))
            .unwrap_or(self.rest().len());
        let word = &self.rest()[..length];
        let value = match word {
            "None" => Value::Null,
            "True" => true.into(),
            "False" => false.into(),
            _ => number(word).ok_or_else(|| unexpected(self.rest()))?,
        };
        self.at += length;
        Ok(value)
    }

    fn items(&mut self, open: &str, close: &str) -> Result<Value, String> {
        let mut values = Vec::new();
        let mut commas = 0;
        loop {
            self.skip_space();
            if self.takes(close) {
                break;
            }
            if values.len() > commas {
                return Err(unexpected(self.rest()));
            }
            values.push(self.value()?);
            self.skip_space();
            commas += usize::from(self.takes(","));
        }
        match (open, commas, values.len()) {
            // Parentheses alone make no tuple.
            ("(", 0, 1) => Ok(values.remove(0)),
            _ => Ok(Value::Array(values)),
        }
    }

    fn pairs(&mut self) -> Result<Value, String> {
        let mut pairs = Map::new();
        loop {
            self.skip_space();
            if self.takes("}") {
                return Ok(Value::Object(pairs));
            }
            let name = match self.value()? {
                Value::String(name) => name,
                other => return Err(format!("the key {other} is not a text")),
            };
            self.skip_space();
            if !self.takes(":") {
                return Err(unexpected(self.rest()));
            }
            pairs.insert(name, self.value()?);
            self.skip_space();
            if !self.takes(",") && !self.rest().starts_with('}') {
                return Err(unexpected(self.rest()));
            }
        }
    }

    fn text(&mut self) -> Result<String, String> {
        let mut letters = self.rest().char_indices();
        let quote = letters.next().map_or('"', |(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, letter)) = letters.next() {
            match letter {
                _ if letter == quote => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => match letters.next().map(|(_, letter)| letter) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(same @ ('\\' | '\'' | '"')) => text.push(same),
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(format!("the text {} has no end", self.rest()))
    }
}

fn number(word: &str) -> Option<Value> {
    let digits = word.trim_start_matches(['+', '-']);
    if !digits.starts_with(|it: char| it.is_ascii_digit() || it == '.') {
        return None;
    }
    let plain = word.replace('_', "");
    if let Ok(whole) = plain.parse::<i64>() {
        let is_padded = digits.len() > 1 && digits.starts_with('0') && whole != 0;
        return (!is_padded).then(|| whole.into());
    }
    plain
        .parse()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
}

/// A value in a cell of a table: a text as it is, nothing for `None`, else as `repr` writes it.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

fn repr(value: &Value) -> String {
    let all = |values: Vec<String>| values.join(", ");
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => repr_float(float),
            None => number.to_string(),
        },
        Value::String(text) if text.contains('\'') && !text.contains('"') => format!("\"{text}\""),
        Value::String(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        Value::Array(values) => format!("[{}]", all(values.iter().map(repr).collect())),
        Value::Object(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(name, value)| format!("{}: {}", repr(&name.as_str().into()), repr(value)));
            format!("{{{}}}", all(pairs.collect()))
        }
    }
}

/// The shortest digits that mean this number, with an exponent where Python writes one.
fn repr_float(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{float:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn literals_are_read_as_python_reads_them() {
        for (text, expected) in [
            ("None", json!(null)),
            (" True ", json!(true)),
            ("-1", json!(-1)),
            ("1_000", json!(1000)),
            ("1e-3", json!(0.001)),
            (".5", json!(0.5)),
            ("'a\\'b'", json!("a'b")),
            ("\"it's\"", json!("it's")),
            ("(1, 2,)", json!([1, 2])),
            ("(1,)", json!([1])),
            ("(1)", json!(1)),
            ("()", json!([])),
            ("1, 'x'", json!([1, "x"])),
            ("[ [1,2], [] ]", json!([[1, 2], []])),
            (
                "{'b': {'c': None}, 'a': (1, 2)}",
                json!({"b": {"c": null}, "a": [1, 2]}),
            ),
        ] {
            assert_eq!(literal(text), Ok(expected), "{text}");
        }
        for text in [
            "", "foo", "true", "[1 2]", "[1", "'a", "1 2", "010", "inf", "{1: 2}", "{'a' 1}",
            "[,]", "os.x",
        ] {
            assert!(literal(text).is_err(), "{text}: {:?}", literal(text));
        }
    }

    #[test]
    fn cells_look_as_in_python() {
        for (value, expected) in [
            (json!(null), ""),
            (json!("a, b"), "a, b"),
            (json!([1, "s", null, true]), "[1, 's', None, True]"),
            (json!(["it's"]), "[\"it's\"]"),
            (json!(1e-7), "1e-07"),
            (json!(1.5e300), "1.5e+300"),
            (json!(0.1), "0.1"),
            (json!(2.0), "2.0"),
            (json!({"a": 1e16}), "{'a': 1e+16}"),
        ] {
            assert_eq!(cell(&value), expected);
        }
    }
}
