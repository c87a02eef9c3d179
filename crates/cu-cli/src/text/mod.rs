//! Small texts: times, selections of jobs, what others wrote made visible, and what fits a terminal.

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
