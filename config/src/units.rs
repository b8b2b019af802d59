//! Durations and sizes as people write them.
//!
//! Called by `check`. It must not know which key it reads for.

/// Units of durations with their length in milliseconds; the first of a length is the one that is printed.
const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000)];

/// Units of sizes with their length in bytes.
const SIZES: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Milliseconds of a text such as `250ms`, `1.5s` or `2m`.
pub(crate) fn duration(text: &str) -> Option<u64> {
    with_unit(text, DURATIONS)
}

/// Bytes of a text such as `256MiB`.
pub(crate) fn size(text: &str) -> Option<u64> {
    with_unit(text, SIZES)
}

/// Milliseconds as a short text.
pub(crate) fn show_duration(milliseconds: u64) -> String {
    match DURATIONS.iter().rev().find(|(unit, length)| *unit != "min" && milliseconds.is_multiple_of(*length)) {
        Some((unit, length)) if milliseconds > 0 => format!("{}{unit}", milliseconds / length),
        _ => "0s".to_owned(),
    }
}

/// Bytes as a short text.
pub(crate) fn show_size(bytes: u64) -> String {
    match SIZES.iter().take(3).rev().find(|(_, length)| bytes.is_multiple_of(*length)) {
        Some((unit, length)) if bytes > 0 => format!("{}{unit}", bytes / length),
        _ => format!("{bytes}B"),
    }
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let length = units.iter().find(|(name, _)| *name == unit)?.1;
    let number = number.trim_end();
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(length);
    }
    let fraction: f64 = number.parse().ok()?;
    let product = fraction * length as f64;
    (product.fract() == 0.0 && product < 1e15).then_some(product as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_back() {
        for (text, expected) in
            [("50ms", Some(50)), ("1.5s", Some(1500)), ("2 m", Some(120_000)), ("1h", Some(3_600_000))]
        {
            assert_eq!(duration(text), expected, "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.0001ms", "5 parsecs", "inf s", "99999999999999999999s"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(size("256MiB"), Some(256 << 20));
        assert_eq!(size("1.5 kB"), Some(1500));
        assert_eq!(size("99999999999999GiB"), None);
        assert_eq!((show_duration(50).as_str(), show_duration(120_000).as_str()), ("50ms", "2m"));
        assert_eq!((show_size(256 << 20).as_str(), show_size(1000).as_str()), ("256MiB", "1000B"));
    }
}
