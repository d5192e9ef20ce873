//! Dates as ISO 9660 stores them, always in UTC.
//!
//! In: seconds since 1970. Out: the 7-byte and the 17-byte form.
//!
//! Source: ECMA-119, 2nd edition, 8.4.26.1 ("Date and Time Format") and 9.1.5 ("Recording Date and
//! Time"), <https://ecma-international.org/publications-and-standards/standards/ecma-119/>.
//!
//! Not here: time zones and clocks.

/// A moment that both forms can hold: 1970 to 2155.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    year: u16,
    /// Month, day, hour, minute, second; the first two count from 1.
    rest: [u8; 5],
}

/// 17 bytes that say "no date".
pub(super) const NO_DATE: [u8; 17] = *b"0000000000000000\0";

/// The last year that the short form, which counts from 1900 in one byte, can hold.
const LAST_YEAR: u64 = 1900 + 255;

const DAY: u64 = 86_400;

impl Stamp {
    /// Takes seconds since 1970, or nothing past the year 2155.
    pub(super) fn new(epoch: u64) -> Option<Self> {
        let mut day = epoch / DAY;
        let mut year = 1970;
        while year <= LAST_YEAR && day >= days_of_year(year) {
            day -= days_of_year(year);
            year += 1;
        }
        if year > LAST_YEAR {
            return None;
        }
        let mut month = 0;
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        let second = epoch % DAY;
        let rest = [month + 1, day + 1, second / 3600, second / 60 % 60, second % 60];
        Some(Self { year: u16::try_from(year).ok()?, rest: rest.map(|n| n.to_le_bytes()[0]) })
    }

    /// Years since 1900, month, day, hour, minute, second, offset from UTC.
    pub(super) fn short(self) -> [u8; 7] {
        let [month, day, hour, minute, second] = self.rest;
        [(self.year - 1900).to_le_bytes()[0], month, day, hour, minute, second, 0]
    }

    /// `YYYYMMDDhhmmss`, hundredths `00`, offset from UTC.
    pub(super) fn long(self) -> [u8; 17] {
        let mut out = NO_DATE;
        let [month, day, hour, minute, second] = self.rest;
        let [century, in_century] = [self.year / 100, self.year % 100].map(|n| n.to_le_bytes()[0]);
        let pairs = [century, in_century, month, day, hour, minute, second];
        for (digits, n) in out.chunks_exact_mut(2).zip(pairs) {
            digits.copy_from_slice(&[b'0' + n / 10, b'0' + n % 10]);
        }
        out
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

/// `month` counts from 0.
fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        1 => 28 + u64::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_both_forms() {
        for (epoch, short, long) in [
            (0, [70, 1, 1, 0, 0, 0, 0], b"1970010100000000\0"),
            (951_827_696, [100, 2, 29, 12, 34, 56, 0], b"2000022912345600\0"),
            (1_700_000_000, [123, 11, 14, 22, 13, 20, 0], b"2023111422132000\0"),
            (4_107_542_400, [200, 3, 1, 0, 0, 0, 0], b"2100030100000000\0"),
            (5_869_583_999, [255, 12, 31, 23, 59, 59, 0], b"2155123123595900\0"),
        ] {
            let stamp = Stamp::new(epoch).unwrap();
            assert_eq!((stamp.short(), &stamp.long()), (short, long), "{epoch}");
        }
    }

    #[test]
    fn what_the_short_form_cannot_hold_is_refused() {
        assert_eq!(Stamp::new(5_869_584_000), None);
        assert_eq!(Stamp::new(u64::MAX), None);
    }
}
