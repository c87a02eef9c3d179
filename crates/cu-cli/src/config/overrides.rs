//! `key=value` on the command line, which replaces the key in the file.

use toml::{Table, Value};

use super::error::{Error, Result};
use super::literal;

/// One value given on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The parts of the dotted key.
    pub key: Vec<String>,
    /// Its value.
    pub value: Value,
    /// The value as it was typed, if it was: the type of a setting depends on the config, too.
    pub typed: Option<String>,
    /// The words in which it was given, for messages.
    pub words: String,
}

impl Override {
    /// `key=value`. The value is TOML if it can be read as such, else text: `4` is a number,
    /// `"4"` and `ten` are texts.
    ///
    /// # Errors
    /// If there is no `=`, or the key has an empty part.
    pub fn parse(words: &str) -> Result<Self> {
        let wrong = |reason: &str| Error::Override {
            words: words.to_owned(),
            reason: reason.to_owned(),
        };
        let (key, value) = words
            .split_once('=')
            .ok_or_else(|| wrong("it has no `=`"))?;
        let key = split_key(key).ok_or_else(|| wrong("a part of its key is empty"))?;
        Ok(Self {
            key,
            value: parse_value(value),
            typed: Some(value.to_owned()),
            words: words.to_owned(),
        })
    }

    /// The override that an option of `cu` stands for, `words` being as the user gave it.
    pub fn option(key: &str, value: impl Into<Value>, words: String) -> Self {
        Self {
            key: key.split('.').map(str::to_owned).collect(),
            value: value.into(),
            typed: None,
            words,
        }
    }

    /// Puts the value into `table`, with the tables on the way to it.
    ///
    /// # Errors
    /// If something on the way is not a table; for a setting, if its value looks like a mistake, or the
    /// config has another type.
    pub fn apply(&self, table: &mut Table) -> Result<()> {
        let wrong = |reason| Error::Override {
            words: self.words.clone(),
            reason,
        };
        let value = self.value_within(table).map_err(wrong)?;
        insert(table, &self.key, value).map_err(|part| wrong(format!("`{part}` is not a table")))
    }

    fn value_within(&self, table: &Table) -> Result<Value, String> {
        let is_setting = matches!(
            self.key.first().map(String::as_str),
            Some("settings" | "grid")
        );
        match &self.typed {
            Some(typed) if is_setting && self.key.len() > 1 => {
                literal::value(typed, find(table, &self.key))
            }
            _ => Ok(self.value.clone()),
        }
    }
}

/// The parts of a dotted key, if none is empty.
pub fn split_key(key: &str) -> Option<Vec<String>> {
    let parts: Vec<_> = key.split('.').map(|part| part.trim().to_owned()).collect();
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

fn find<'a>(table: &'a Table, key: &[String]) -> Option<&'a Value> {
    let (last, way) = key.split_last()?;
    let mut way = way.iter();
    let table = way.try_fold(table, |table, part| table.get(part)?.as_table())?;
    table.get(last)
}

/// Puts `value` at `key`, making the tables on the way. The error is the part of the key at which
/// something else than a table is in the way.
pub fn insert(table: &mut Table, key: &[String], value: Value) -> Result<(), String> {
    let Some((last, way)) = key.split_last() else {
        return Ok(());
    };
    let mut table = table;
    for part in way {
        let next = table
            .entry(part.clone())
            .or_insert_with(|| Value::Table(Table::new()));
        table = next.as_table_mut().ok_or_else(|| part.clone())?;
    }
    table.insert(last.clone(), value);
    Ok(())
}

/// Removes the value at the dotted `key`. Returns whether there was one.
pub fn remove(table: &mut Table, key: &str) -> bool {
    match key.split_once('.') {
        None => table.remove(key).is_some(),
        Some((first, rest)) => match table.get_mut(first) {
            Some(Value::Table(inner)) => remove(inner, rest),
            _ => false,
        },
    }
}

/// A value as TOML if it is one, else as the text it is.
fn parse_value(text: &str) -> Value {
    text.trim()
        .parse()
        .unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_toml_or_text() {
        for (words, value) in [
            ("a.b=4", Value::Integer(4)),
            ("a.b=0.5", Value::Float(0.5)),
            ("a.b=true", Value::Boolean(true)),
            ("a.b=\"4\"", Value::String("4".to_owned())),
            ("a.b=10s", Value::String("10s".to_owned())),
            ("a.b=x=y", Value::String("x=y".to_owned())),
            ("a.b=", Value::String(String::new())),
            ("a.b=1\nc=2", Value::String("1\nc=2".to_owned())),
            ("a.b=[1, 2]", Value::Array(vec![1.into(), 2.into()])),
        ] {
            let given = Override::parse(words).expect(words);
            assert_eq!(given.key, ["a", "b"]);
            assert_eq!(given.value, value, "{words}");
        }
    }

    #[test]
    fn a_key_has_no_empty_part() {
        for words in ["", "a", "=1", "a.=1", ".a=1", "a..b=1"] {
            assert!(Override::parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn a_setting_keeps_its_type_and_a_mistake_is_refused() {
        let config = "[settings]\nflag = true\nlr = 1.0\nopt.name = \"sgd\"\n";
        let mut table: Table = toml::from_str(config).expect("valid");
        let good = ["flag=False", "lr=.1", "opt.name=1.10", "new=True"];
        for words in good.map(|it| format!("settings.{it}")) {
            let given = Override::parse(&words).expect("well formed");
            given.apply(&mut table).expect("of its type");
        }
        let settings = table["settings"].as_table().expect("a table").clone();
        let expected = "flag = false\nlr = 0.1\nnew = true\n[opt]\nname = \"1.10\"\n";
        assert_eq!(settings, toml::from_str(expected).expect("valid"));
        for words in [
            "settings.flag=no",
            "settings.list=[1,2",
            "settings.x=None",
            "grid.lr=[.1,",
        ] {
            let given = Override::parse(words).expect(words);
            let error = given.apply(&mut table).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
        // Elsewhere the type of the key decides.
        let given = Override::parse("environment.X=[1,").expect("well formed");
        given.apply(&mut table).expect("a text");
        assert_eq!(table["environment"]["X"].as_str(), Some("[1,"));
    }

    #[test]
    fn tables_on_the_way_are_made_and_others_kept() {
        let mut table: Table = toml::from_str("[stop]\nafter = \"1h\"\n").expect("valid");
        for words in ["stop.grace=5s", "backend.local.cpus=2"] {
            let given = Override::parse(words).expect(words);
            given.apply(&mut table).expect(words);
        }
        assert_eq!(table["stop"]["after"].as_str(), Some("1h"));
        assert_eq!(table["stop"]["grace"].as_str(), Some("5s"));
        assert_eq!(table["backend"]["local"]["cpus"].as_integer(), Some(2));
        let through_text = Override::parse("stop.after.x=1").expect("well formed");
        assert!(through_text.apply(&mut table).is_err());
    }
}
