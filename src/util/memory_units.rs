//! Amounts of memory in text: `64mb` in redis.conf, `1.50M` in INFO.

/// Parses a number of bytes with an optional unit, in any case: `b`, `k` (1000), `kb` (1024), `m`,
/// `mb`, `g`, `gb`.
///
/// None for any other unit. What exceeds an u64 is as much as one holds, and thus too much for whoever asks.
pub fn parse_memory(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let multiplier = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    // Redis reads no digits as 0.
    let number = if number.is_empty() { 0 } else { number.parse::<u64>().unwrap_or(u64::MAX) };
    Some(number.saturating_mul(multiplier))
}

/// Writes a number of bytes for people, in powers of 1024: `512B`, `1.00K`, `12.34M`
/// (`bytesToHuman`).
pub fn human(bytes: u64) -> String {
    let units = [('P', 50), ('T', 40), ('G', 30), ('M', 20), ('K', 10)];
    match units.into_iter().find(|&(_, power)| bytes >> power > 0) {
        // Redis has no word for more than 1024 P.
        Some((unit, power)) if bytes >> 60 == 0 => {
            format!("{:.2}{unit}", bytes as f64 / (1u64 << power) as f64)
        }
        _ => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            ("7b", Some(7)),
            ("1k", Some(1000)),
            ("1Kb", Some(1024)),
            ("2m", Some(2_000_000)),
            ("2MB", Some(2 << 20)),
            ("3g", Some(3_000_000_000)),
            ("3Gb", Some(3 << 30)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("17179869184gb", Some(u64::MAX)),
            ("", Some(0)),
            ("mb", Some(0)),
            ("-1", None),
            ("+1", None),
            ("1 mb", None),
            ("1tb", None),
            ("1.5gb", None),
            ("50%", None),
        ] {
            assert_eq!(parse_memory(text), expected, "{text:?}");
        }
    }

    #[test]
    fn writes_for_people() {
        for (bytes, expected) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (1_048_575, "1024.00K"),
            (12_939_427, "12.34M"),
            (3 << 29, "1.50G"),
            (1 << 40, "1.00T"),
            (1 << 50, "1.00P"),
            (1 << 60, "1152921504606846976B"),
        ] {
            assert_eq!(human(bytes), expected);
        }
    }
}
