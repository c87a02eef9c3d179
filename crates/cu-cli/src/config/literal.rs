//! The value of a setting as people type it on a command line: of the type that the config has, and never
//! by accident a text.

use toml::Value;

/// The value that was typed as `text`, where the config has `known`. Without one, TOML decides, and what is
/// not TOML is a text, unless it looks like something else that went wrong.
///
/// # Errors
/// What is wrong with it and what to type.
pub fn value(text: &str, known: Option<&Value>) -> Result<Value, String> {
    match known {
        // However it looks, it stays a text, without the quotes of TOML.
        Some(Value::String(_)) => Ok(match text.trim().parse() {
            Ok(Value::String(unquoted)) => Value::String(unquoted),
            _ => Value::String(text.to_owned()),
        }),
        Some(known) => of_type(read(text)?, known),
        None => read(text),
    }
}

/// The same value in the type of `known`, if it has it.
fn of_type(value: Value, known: &Value) -> Result<Value, String> {
    match (known, value) {
        (Value::Integer(_), Value::Float(float)) => {
            // Beyond 2^53 a float no longer holds every whole number.
            let is_whole = float.fract() == 0.0 && float.abs() <= 2f64.powi(53);
            match is_whole {
                true => Ok(Value::Integer(float as i64)),
                false => Err(format!(
                    "the config has a whole number ({known}); write one, or write {known}.0 in the config"
                )),
            }
        }
        (Value::Float(_), Value::Integer(integer)) => Ok(Value::Float(integer as f64)),
        (known, value) if known.same_type(&value) => Ok(value),
        (known, _) => Err(format!("the config has {}", expected(known))),
    }
}

fn expected(known: &Value) -> String {
    match known {
        Value::String(_) => "a text".to_owned(),
        Value::Integer(number) => format!("a whole number ({number}); write one"),
        Value::Float(number) => format!("a number ({number}); write one, such as 0.1"),
        Value::Boolean(truth) => format!("the truth value {truth}; write true or false"),
        Value::Datetime(date) => format!("a date ({date}); write one"),
        Value::Array(_) => {
            "a list; write one, such as '[1, 2]', in quotes for the shell".to_owned()
        }
        Value::Table(_) => {
            "a table; set its keys one by one, such as `settings.optimizer.name=adam`".to_owned()
        }
    }
}

/// TOML, a literal of Python or YAML that can mean only one thing, or a text.
fn read(text: &str) -> Result<Value, String> {
    let typed = text.trim();
    let broken = match typed.parse() {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    match typed {
        "True" | "TRUE" => return Ok(Value::Boolean(true)),
        "False" | "FALSE" => return Ok(Value::Boolean(false)),
        "None" | "null" | "Null" | "NULL" | "~" => {
            return Err(format!(
                "there is no value for \"nothing\" in TOML; leave the setting out, or {}",
                as_text(typed)
            ));
        }
        _ => {}
    }
    let is_numeric = typed.contains(|letter: char| letter.is_ascii_digit());
    if is_numeric && let Ok(number) = typed.parse::<f64>() {
        let digits = typed.trim_start_matches(['+', '-']);
        let is_padded =
            digits.starts_with('0') && digits[1..].starts_with(|it: char| it.is_ascii_digit());
        return match is_padded {
            false => Ok(Value::Float(number)),
            true => Err(format!(
                "a number can't begin with 0; write it without, or {}",
                as_text(typed)
            )),
        };
    }
    let bracketed = typed.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
    let as_list = bracketed.map(|inner| format!("[{inner}]"));
    if let Some(list) = as_list.filter(|list| list.parse::<Value>().is_ok()) {
        return Err(format!("a list is written '{list}', or {}", as_text(typed)));
    }
    let kind = match typed.chars().next() {
        Some('[') => "a list",
        Some('{') => "a table",
        Some('"' | '\'') => "a text in quotes",
        _ => return Ok(Value::String(text.to_owned())),
    };
    let reason = broken.message().lines().next().unwrap_or_default();
    Err(format!(
        "this begins like {kind} and is not valid TOML: {reason}; put it in quotes for the shell, such as \
         'settings.x=[1, 2]', or {}",
        as_text(typed)
    ))
}

fn as_text(typed: &str) -> String {
    format!("write '\"{}\"' if it is a text", typed.replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> Value {
        text.parse().expect("TOML")
    }

    #[test]
    fn literals_of_python_are_converted_or_refused() {
        for (typed, expected) in [
            ("False", "false"),
            ("TRUE", "true"),
            (".1", "0.1"),
            ("-.5e-3", "-0.0005"),
            ("1.", "1.0"),
            ("1e-3", "0.001"),
            ("3", "3"),
            ("[1, 2]", "[1, 2]"),
            ("adam", "\"adam\""),
            ("1.2.3", "\"1.2.3\""),
            ("10s", "\"10s\""),
            ("infinity", "\"infinity\""),
            ("", "\"\""),
            ("\"True\"", "\"True\""),
        ] {
            assert_eq!(value(typed, None), Ok(toml(expected)), "{typed}");
        }
        for (typed, words) in [
            ("None", "leave the setting out"),
            ("null", "leave the setting out"),
            ("[1,2", "begins like a list"),
            ("[True, 1]", "begins like a list"),
            ("{a:", "begins like a table"),
            ("\"a", "begins like a text in quotes"),
            ("(1, 2)", "'[1, 2]'"),
            ("007", "can't begin with 0"),
        ] {
            let error = value(typed, None).expect_err(typed);
            assert!(error.contains(words), "{error}");
            assert!(error.contains("if it is a text"), "{error}");
        }
    }

    #[test]
    fn the_type_of_the_config_is_kept_or_the_value_refused() {
        for (typed, known, expected) in [
            ("False", "true", "false"),
            ("1", "0.5", "1.0"),
            (".1", "0.5", "0.1"),
            ("1e3", "10", "1000"),
            ("5.", "10", "5"),
            ("1.10", "\"a\"", "\"1.10\""),
            ("True", "\"a\"", "\"True\""),
            ("None", "\"a\"", "\"None\""),
            ("[1,2", "\"a\"", "\"[1,2\""),
            ("\"4\"", "\"a\"", "\"4\""),
            ("[3]", "[1, 2]", "[3]"),
        ] {
            assert_eq!(
                value(typed, Some(&toml(known))),
                Ok(toml(expected)),
                "{typed}"
            );
        }
        for (typed, known, words) in [
            ("yes", "true", "write true or false"),
            ("1", "true", "write true or false"),
            ("0.5", "10", "write 10.0 in the config"),
            ("ten", "10", "a whole number (10)"),
            ("1,5", "0.5", "a number (0.5)"),
            ("None", "0.5", "leave the setting out"),
            ("3", "[1, 2]", "a list"),
            ("adam", "{ name = \"sgd\" }", "set its keys one by one"),
        ] {
            let error = value(typed, Some(&toml(known))).expect_err(typed);
            assert!(error.contains(words), "{error}");
        }
    }
}
