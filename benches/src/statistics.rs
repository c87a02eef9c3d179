//! Medians, and numbers for people.

/// The value in the middle; of an even number of values, the lower of the two.
///
/// ```
/// use cu_benches::statistics::median;
///
/// assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
/// assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.0));
/// assert_eq!(median(&[]), None);
/// ```
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The quantile of the values at `part`, from 0 to 1.
///
/// ```
/// use cu_benches::statistics::quantile;
///
/// let values = [5.0, 1.0, 4.0, 2.0, 3.0];
/// assert_eq!(quantile(&values, 0.0), Some(1.0));
/// assert_eq!(quantile(&values, 0.8), Some(4.0));
/// assert_eq!(quantile(&values, 1.0), Some(5.0));
/// ```
pub fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Seconds in the unit that suits them, with three digits.
///
/// ```
/// use cu_benches::statistics::seconds;
///
/// assert_eq!(seconds(0.000_000_123_4), "123 ns");
/// assert_eq!(seconds(0.000_012_34), "12.3 µs");
/// assert_eq!(seconds(0.001_234), "1.23 ms");
/// assert_eq!(seconds(12.34), "12.3 s");
/// ```
pub fn seconds(value: f64) -> String {
    let (scaled, unit) = match value {
        _ if value < 1e-6 => (value * 1e9, "ns"),
        _ if value < 1e-3 => (value * 1e6, "µs"),
        _ if value < 1.0 => (value * 1e3, "ms"),
        _ => (value, "s"),
    };
    format!("{} {unit}", three_digits(scaled))
}

/// A number with three digits, or all of those before its point.
///
/// ```
/// use cu_benches::statistics::three_digits;
///
/// assert_eq!(three_digits(0.123_4), "0.12");
/// assert_eq!(three_digits(1.234), "1.23");
/// assert_eq!(three_digits(12.34), "12.3");
/// assert_eq!(three_digits(1234.5), "1234");
/// ```
pub fn three_digits(value: f64) -> String {
    let decimals = match value {
        _ if value < 10.0 => 2,
        _ if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}
