//! `NAME=VALUE` as metrics.

use cu_protocol::{MetricValue, Metrics};

use crate::{Error, Result};

/// Metrics from words such as `accuracy=0.92`.
///
/// A value is a whole number, a number, `true` or `false`, nothing (null), else text. A value in
/// double quotes is always text, written as in JSON.
///
/// # Errors
/// [`Error::Word`] with the word that has no name or no `=`, or that begins with a quote but is not
/// a JSON string.
///
/// ```
/// use cu_client::shell::parse_metrics;
/// # use cu_protocol::MetricValue;
///
/// let metrics = parse_metrics(&["epochs=3", "loss=nan", "note=ok", r#"commit="1234e5""#])?;
/// assert_eq!(metrics["epochs"], MetricValue::Integer(3));
/// assert_eq!(metrics["commit"], MetricValue::Text("1234e5".to_owned()));
/// # Ok::<(), cu_client::Error>(())
/// ```
pub fn parse_metrics<W: AsRef<str>>(words: &[W]) -> Result<Metrics> {
    words
        .iter()
        .map(|word| {
            let word = word.as_ref();
            parse_metric(word).ok_or_else(|| Error::Word {
                word: word.to_owned(),
                expected: "a metric of the form NAME=VALUE, such as accuracy=0.92",
            })
        })
        .collect()
}

fn parse_metric(word: &str) -> Option<(String, MetricValue)> {
    let (name, value) = word.split_once('=')?;
    if name.is_empty() {
        return None;
    }
    let value = if value.is_empty() {
        MetricValue::Null
    } else if value.starts_with('"') {
        MetricValue::Text(serde_json::from_str(value).ok()?)
    } else if let Ok(flag) = value.parse() {
        MetricValue::Boolean(flag)
    } else if let Ok(number) = value.parse() {
        MetricValue::Integer(number)
    } else if let Ok(number) = value.parse() {
        MetricValue::Float(number)
    } else {
        MetricValue::Text(value.to_owned())
    };
    Some((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_type_they_look_like() {
        let text = |text: &str| MetricValue::Text(text.to_owned());
        for (word, value) in [
            ("a=-3", MetricValue::Integer(-3)),
            ("a=1e-3", MetricValue::Float(1e-3)),
            ("a=inf", MetricValue::Float(f64::INFINITY)),
            ("a=99999999999999999999", MetricValue::Float(1e20)),
            ("a=true", MetricValue::Boolean(true)),
            ("a=", MetricValue::Null),
            ("a=x=y", text("x=y")),
            ("a=True", text("True")),
            (r#"a="line\nline""#, text("line\nline")),
        ] {
            let parsed = parse_metrics(&[word]).unwrap();
            assert_eq!(parsed.get("a"), Some(&value), "{word}");
        }
        assert!(matches!(
            parse_metrics(&["a=NaN"]).unwrap()["a"],
            MetricValue::Float(value) if value.is_nan()
        ));
    }

    #[test]
    fn a_malformed_metric_is_named() {
        for word in ["accuracy", "=3", r#"a="open"#] {
            let message = parse_metrics(&["fine=1", word]).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}
