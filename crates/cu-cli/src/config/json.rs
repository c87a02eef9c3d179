//! TOML values as the JSON of a job's settings.

use serde_json::{Map, Number, Value as Json};
use toml::{Table, Value as Toml};

/// A table as a JSON object. Dates become text. A number that JSON does not have (`nan`, `inf`) is
/// the error: the dotted key that holds it.
pub fn object(table: &Table) -> Result<Map<String, Json>, String> {
    let values = table.iter().map(|(name, value)| {
        let value = value_of(value).map_err(|inner| super::table::join(name, &inner))?;
        Ok((name.clone(), value))
    });
    let object: Result<_, String> = values.collect();
    object.map_err(|key| key.trim_end_matches('.').to_owned())
}

/// A value as JSON; the error is the dotted key within it that JSON can't hold.
pub fn value_of(value: &Toml) -> Result<Json, String> {
    Ok(match value {
        Toml::String(text) => Json::String(text.clone()),
        Toml::Integer(number) => Json::from(*number),
        Toml::Float(number) => Json::Number(Number::from_f64(*number).ok_or_else(String::new)?),
        Toml::Boolean(value) => Json::Bool(*value),
        Toml::Datetime(moment) => Json::String(moment.to_string()),
        Toml::Array(values) => Json::Array(values.iter().map(value_of).collect::<Result<_, _>>()?),
        Toml::Table(table) => Json::Object(object(table)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_kind() {
        let table: Table = toml::from_str(
            "a = 1\nb = 0.5\nc = \"x\"\nd = [true, {e = 1}]\nf = 2020-01-02\n[g]\nh = -1\n",
        )
        .expect("valid");
        let expected = serde_json::json!(
            {"a": 1, "b": 0.5, "c": "x", "d": [true, {"e": 1}], "f": "2020-01-02", "g": {"h": -1}}
        );
        assert_eq!(object(&table).map(Json::Object), Ok(expected));
    }

    #[test]
    fn a_number_that_json_lacks_is_an_error() {
        let table: Table = toml::from_str("[a]\nb = [1.0, nan]\n").expect("valid");
        assert_eq!(object(&table), Err("a.b".to_owned()));
    }
}
