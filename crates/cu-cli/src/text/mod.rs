//! Small texts: times, selections of jobs, what others wrote made visible, and what fits a terminal.

pub mod last_line;
pub mod moment;
pub mod selection;
pub mod visible;
pub mod width;

/// `1 job`, `2 jobs`.
pub fn plural(count: u64, name: &str) -> String {
    match count {
        1 => format!("1 {name}"),
        _ => format!("{count} {name}s"),
    }
}

/// The lines of `text` in at most `width` columns, broken between words. A longer word has a line of its
/// own.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut begun = String::new();
        for word in line.split_whitespace() {
            if !begun.is_empty() && begun.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut begun));
            }
            if !begun.is_empty() {
                begun.push(' ');
            }
            begun.push_str(word);
        }
        if !begun.is_empty() {
            lines.push(begun);
        }
    }
    lines
}

/// `3.2 GiB`.
pub fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => plural(bytes, "byte"),
        _ => format!("{amount:.1} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size(1), "1 byte");
        assert_eq!(size(17), "17 bytes");
        assert_eq!(size(5 << 29), "2.5 GiB");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
    }
}
