//! Limits on the metrics of a job, so that no job fills the main process's memory, disk and tables. A
//! main process has thousands of jobs.

use crate::{MetricValue, Metrics};

/// The greatest number of metrics that a job may have, early ones and results together.
pub const MOST_METRICS: usize = 1024;

/// The greatest length of a metric's name, and of its text: 64 KiB.
pub const LONGEST_METRIC: usize = 64 * 1024;

/// The greatest length of all names and texts of a job's metrics together: 256 KiB.
pub const METRICS_LIMIT: usize = 256 * 1024;

/// Metrics exceed a limit. The message names the limit and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooMuch {
    /// More names than [`MOST_METRICS`].
    #[error(
        "with these the job would have {0} metrics, but at most {MOST_METRICS} are allowed; write \
         the others into a file"
    )]
    Names(usize),
    /// A name longer than [`LONGEST_METRIC`].
    #[error(
        "the name of a metric has {0} bytes, but at most {LONGEST_METRIC} are allowed; give it a \
         shorter name"
    )]
    Name(usize),
    /// A text longer than [`LONGEST_METRIC`].
    #[error(
        "the text of the metric `{name}` has {bytes} bytes, but at most {LONGEST_METRIC} are \
         allowed; write it into a file"
    )]
    Text {
        /// The beginning of the metric's name.
        name: String,
        /// The length of its text.
        bytes: usize,
    },
    /// More than [`METRICS_LIMIT`] altogether.
    #[error(
        "with these the names and texts of the job's metrics would have {0} bytes, but at \
         most {METRICS_LIMIT} are allowed; write long texts into a file"
    )]
    Bytes(usize),
}

/// Checks that a job with the metrics `so_far` may announce `more`. Results replace all earlier
/// metrics, so check them against no metrics.
///
/// ```
/// use cu_protocol::{MOST_METRICS, Metrics, check_metrics};
///
/// let metrics = |count| -> Metrics {
///     (0..count).map(|it| (format!("metric {it}"), 0.5.into())).collect()
/// };
/// let most = metrics(MOST_METRICS);
/// assert_eq!(check_metrics(&Metrics::new(), &most), Ok(()));
/// assert_eq!(check_metrics(&most, &most), Ok(()));
/// let error = check_metrics(&most, &[("new".into(), 1.into())].into()).unwrap_err();
/// assert!(error.to_string().contains("1025 metrics, but at most 1024"));
/// ```
///
/// # Errors
/// [`TooMuch`] if a limit is exceeded; the job then keeps only `so_far`.
pub fn check_metrics(so_far: &Metrics, more: &Metrics) -> Result<(), TooMuch> {
    let mut names = so_far.len();
    let mut bytes: usize = so_far.iter().map(|(name, value)| size(name, value)).sum();
    for (name, value) in more {
        if name.len() > LONGEST_METRIC {
            return Err(TooMuch::Name(name.len()));
        }
        let text = text_length(value);
        if text > LONGEST_METRIC {
            let name = name.chars().take(80).collect();
            return Err(TooMuch::Text { name, bytes: text });
        }
        match so_far.get(name) {
            Some(old) => bytes -= size(name, old),
            None => names += 1,
        }
        bytes = bytes.saturating_add(size(name, value));
    }
    if names > MOST_METRICS {
        return Err(TooMuch::Names(names));
    }
    if bytes > METRICS_LIMIT {
        return Err(TooMuch::Bytes(bytes));
    }
    Ok(())
}

fn size(name: &str, value: &MetricValue) -> usize {
    name.len() + text_length(value)
}

fn text_length(value: &MetricValue) -> usize {
    match value {
        MetricValue::Text(text) => text.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, bytes: usize) -> Metrics {
        Metrics::from([(name.to_owned(), "x".repeat(bytes).into())])
    }

    #[test]
    fn each_limit_holds_to_the_byte() {
        let nothing = Metrics::new();
        assert_eq!(check_metrics(&nothing, &text("a", LONGEST_METRIC)), Ok(()));
        let error = check_metrics(&nothing, &text("a", LONGEST_METRIC + 1));
        assert!(matches!(error, Err(TooMuch::Text { .. })), "{error:?}");
        let error = check_metrics(&nothing, &text(&"a".repeat(LONGEST_METRIC + 1), 0));
        assert!(matches!(error, Err(TooMuch::Name(_))), "{error:?}");

        let mut full = Metrics::new();
        for name in ["a", "b", "c"] {
            full.extend(text(name, LONGEST_METRIC));
        }
        let left = METRICS_LIMIT - 3 * (LONGEST_METRIC + 1) - 1;
        assert_eq!(check_metrics(&full, &text("d", left)), Ok(()));
        let error = check_metrics(&full, &text("d", left + 1));
        assert_eq!(error, Err(TooMuch::Bytes(METRICS_LIMIT + 1)));
        // A metric that replaces another is not counted twice.
        full.extend(text("d", left));
        assert_eq!(check_metrics(&full, &text("d", left)), Ok(()));
        assert_eq!(check_metrics(&full, &text("d", 0)), Ok(()));
    }
}
