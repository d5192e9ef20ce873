//! Signatures on questions to S3-compatible stores.
//!
//! In: a question's method, host, path, what is sent, the time; a key. Out: headers to add.
//!
//! Source: Amazon S3, "API Reference", "Authenticating Requests: Using the Authorization Header (AWS
//! Signature Version 4)"; its examples are the tests.
//!
//! Not here: where keys come from (`aws`), and what is asked (`bucket`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::pki::secret::Secret;
use crate::registry::aws::Key;

/// A question, as far as it is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// The host with its port, where that is not the scheme's own.
    pub(super) host: &'a str,
    /// The path, encoded, without a query.
    pub(super) path: &'a str,
    /// Further headers that are signed: names in lower case, in order, and values.
    pub(super) headers: &'a [(&'a str, &'a str)],
    /// The digest of what is sent.
    pub(super) load: Digest,
}

/// A time in the two forms that signatures have: a day, and all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    day: String,
    /// `20130524T000000Z`.
    pub(super) time: String,
}

impl Stamp {
    /// The form of a time; what is before 1970 is its start.
    pub(super) fn of(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let (days, rest) = (since / 86_400, since % 86_400);
        let (year, month, day) = date(days);
        let day = format!("{year:04}{month:02}{day:02}");
        let time = format!("{day}T{:02}{:02}{:02}Z", rest / 3600, rest / 60 % 60, rest % 60);
        Self { day, time }
    }
}

/// The date of a day after the start of 1970, in the Gregorian calendar.
fn date(mut days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097;
    let mut year = 1970 + days / CYCLE * 400;
    days %= CYCLE;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let length = |year| if is_leap(year) { 366 } else { 365 };
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let mut months = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    months[1] += u64::from(is_leap(year));
    let mut month = 1;
    for length in months {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

/// The value of the `Authorization` header. It covers the host, the two headers that the caller must
/// send beside it, `x-amz-content-sha256` and `x-amz-date`, a session's token, and the further ones.
pub(super) fn authorization(ask: &Signed<'_>, key: &Key, region: &str, stamp: &Stamp) -> Secret {
    let load = ask.load.to_string();
    let mut headers = ask.headers.to_vec();
    headers.extend([("host", ask.host), ("x-amz-content-sha256", &load)]);
    headers.push(("x-amz-date", &stamp.time));
    if let Some(token) = &key.token {
        headers.push(("x-amz-security-token", token.reveal()));
    }
    headers.sort_unstable();
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut text = Zeroizing::new(format!("{}\n{}\n\n", ask.method, ask.path));
    for (name, value) in &headers {
        text.push_str(&format!("{name}:{}\n", value.trim()));
    }
    text.push_str(&format!("\n{names}\n{load}"));
    let scope = format!("{}/{region}/s3/aws4_request", stamp.day);
    let digest = Digest::of(text.as_bytes());
    let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", stamp.time);
    let first = Zeroizing::new(format!("AWS4{}", key.secret.reveal()));
    let mut step = mac(first.as_bytes(), &stamp.day);
    for part in [region, "s3", "aws4_request"] {
        step = mac(step.as_ref(), part);
    }
    let signature: String =
        mac(step.as_ref(), &to_sign).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Secret::new(format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
        key.id.reveal()
    ))
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            id: Secret::new("AKIAIOSFODNN7EXAMPLE".into()),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into()),
            token: None,
        }
    }

    fn stamp() -> Stamp {
        Stamp::of(UNIX_EPOCH + Duration::from_secs(1_369_353_600))
    }

    fn signature(ask: &Signed<'_>) -> String {
        let value = authorization(ask, &key(), "us-east-1", &stamp());
        value.reveal().rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// The examples "GET Object" and "PUT Object" of the reference.
    #[test]
    fn signatures_are_those_of_the_reference() {
        let host = "examplebucket.s3.amazonaws.com";
        let headers = [("range", "bytes=0-9")];
        let load = Digest::of(b"");
        let get = Signed { method: "GET", host, path: "/test.txt", headers: &headers, load };
        let want = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert_eq!(signature(&get), want);
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let load = Digest::of(b"Welcome to Amazon S3.");
        let put =
            Signed { method: "PUT", path: "/test%24file.text", headers: &headers, load, host };
        let want = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
        assert_eq!(signature(&put), want);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let of = |seconds| Stamp::of(UNIX_EPOCH + Duration::from_secs(seconds)).time;
        assert_eq!(of(0), "19700101T000000Z");
        assert_eq!(of(951_782_399), "20000228T235959Z");
        assert_eq!(of(951_782_400), "20000229T000000Z");
        assert_eq!(of(1_735_689_599), "20241231T235959Z");
        assert_eq!(of(4_107_542_400), "21000301T000000Z");
        assert_eq!(Stamp::of(UNIX_EPOCH - Duration::from_secs(1)).time, "19700101T000000Z");
    }
}
