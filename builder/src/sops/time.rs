//! Times, which YAML 1.1 has and SOPS takes for a type of their own.
//!
//! In: the text of a scalar. Out: the time as RFC 3339 writes it.
//!
//! Source: go-yaml v3, `resolve.go`, `parseTimestamp` (which forms are times); Go `time.Parse`
//! (numbers may have one digit, a comma may stand for the point) and `time.RFC3339Nano` (no zeros
//! end a fraction, and an offset of nothing is `Z`).
//!
//! Not here: that a quoted scalar is no time (`super::value`).

/// What is left of a text.
struct Rest<'a>(&'a [u8]);

/// The time that a text is, as RFC 3339 writes it.
pub(super) fn canonical(text: &str) -> Option<String> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.number(4, 4)?;
    rest.take(b"-")?;
    let month = rest.number(1, 2)?;
    rest.take(b"-")?;
    let day = rest.number(1, 2)?;
    if !(1..=12).contains(&month) || !(1..=days(year, month)).contains(&day) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    if rest.0.is_empty() {
        return Some(format!("{date}T00:00:00Z"));
    }
    let separator = rest.take(b"Tt ")?;
    let hour = rest.number(1, 2).filter(|&hour| hour < 24)?;
    rest.take(b":")?;
    let minute = rest.number(1, 2).filter(|&minute| minute < 60)?;
    rest.take(b":")?;
    let second = rest.number(1, 2).filter(|&second| second < 60)?;
    let fraction = rest.fraction();
    let zone = if separator == b' ' { "Z".to_owned() } else { rest.zone()? };
    let whole = format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}");
    rest.0.is_empty().then_some(whole)
}

impl Rest<'_> {
    /// Takes a byte that is one of some.
    fn take(&mut self, any: &[u8]) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        if !any.contains(&first) {
            return None;
        }
        self.0 = rest;
        Some(first)
    }

    /// Takes a number of so many digits.
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let digits = self.0.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        let value = |number: &[u8]| number.iter().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
        (digits >= least).then(|| value(number))
    }

    /// Takes a fraction of a second, of which nine digits count.
    fn fraction(&mut self) -> String {
        let [b'.' | b',', digits @ ..] = self.0 else { return String::new() };
        let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 {
            return String::new();
        }
        let kept = digits.iter().take(count.min(9)).map(|&b| char::from(b)).collect::<String>();
        self.0 = &digits[count..];
        match kept.trim_end_matches('0') {
            "" => String::new(),
            kept => format!(".{kept}"),
        }
    }

    /// Takes `Z` or an offset such as `+02:00`.
    fn zone(&mut self) -> Option<String> {
        let sign = match self.take(b"Z+-")? {
            b'Z' => return Some("Z".to_owned()),
            sign => char::from(sign),
        };
        let hour = self.number(2, 2).filter(|&hour| hour < 24)?;
        self.take(b":")?;
        let minute = self.number(2, 2).filter(|&minute| minute < 60)?;
        let is_none = hour == 0 && minute == 0;
        Some(if is_none { "Z".to_owned() } else { format!("{sign}{hour:02}:{minute:02}") })
    }
}

fn days(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
