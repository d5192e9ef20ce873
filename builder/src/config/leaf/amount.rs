//! Lengths of time, and numbers of bytes.
//!
//! In: a text. Out: its value.
//!
//! Source: Go `time.ParseDuration`; `github.com/dustin/go-humanize`, `bytes.go`, with which Talos
//! reads sizes.
//!
//! Not here: who takes which.

/// The length of time of a text in nanoseconds, rounded.
pub(in crate::config) fn duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.as_bytes() {
        [b'-', ..] => (-1, &text[1..]),
        [b'+', ..] => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        // What is below a nanosecond is lost; so is what is behind the 18th digit.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            total = total.checked_add(fraction.parse::<i128>().ok()?.checked_mul(unit)? / scale)?;
        }
        rest = tail;
    }
    (total <= i128::from(i64::MAX)).then_some(sign * total)
}

/// The number of bytes of a text: `10GB` and `10 gb` are 10¹⁰, `1KiB` and `1ki` are 1024.
pub(in crate::config) fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = go_float(&number.replace(',', ""))?;
    let (base, power) = match unit.trim().to_lowercase().as_str() {
        "" | "b" => (1_f64, 0),
        "k" | "kb" => (1000_f64, 1),
        "m" | "mb" => (1000_f64, 2),
        "g" | "gb" => (1000_f64, 3),
        "t" | "tb" => (1000_f64, 4),
        "p" | "pb" => (1000_f64, 5),
        "e" | "eb" => (1000_f64, 6),
        "ki" | "kib" => (1024_f64, 1),
        "mi" | "mib" => (1024_f64, 2),
        "gi" | "gib" => (1024_f64, 3),
        "ti" | "tib" => (1024_f64, 4),
        "pi" | "pib" => (1024_f64, 5),
        "ei" | "eib" => (1024_f64, 6),
        _ => return None,
    };
    let value = number * base.powi(power);
    // Decimal text carries a whole number of 64 bits exactly from one type to the other.
    (value < 18_446_744_073_709_551_615_f64)
        .then(|| format!("{:.0}", value.trunc()).parse().ok())?
}

/// A condition on a disk's size, `>= 1.5TB`: the comparison and the number of bytes.
pub(in crate::config) fn size_condition(text: &str) -> Option<(&'static str, u64)> {
    let text = text.trim();
    let operator = [">=", "<=", "==", ">", "<"].into_iter().find(|op| text.starts_with(op));
    let size = text.strip_prefix(operator.unwrap_or_default())?;
    Some((operator.unwrap_or("=="), bytes(size.trim())?))
}

/// A percentage from 0 to 100.
pub(super) fn is_percentage(text: &str) -> bool {
    text.strip_suffix('%').and_then(go_float).is_some_and(|number| (0.0..=100.0).contains(&number))
}

/// Go's `strconv.ParseFloat` of a decimal number.
fn go_float(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    (plain && text.bytes().any(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}
