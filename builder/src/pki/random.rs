//! Random values: serial numbers, secrets, tokens.
//!
//! In: nothing. Out: bytes and texts that nobody can guess.
//!
//! Source: siderolabs/talos `pkg/machinery/config/generate/secrets/utils.go` (tokens). The bytes are
//! those of the crate `aws-lc-rs`, which is seeded by the kernel.
//!
//! Not here: keys (`key`).

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::Error;
use super::secret::Secret;

/// The characters of a token.
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The characters before and after a token's dot.
pub(super) const TOKEN: (usize, usize) = (6, 16);

/// Random bytes.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Generator)?;
    Ok(bytes)
}

/// A token, `[0-9a-z]{6}.[0-9a-z]{16}`, each character as likely as any other.
pub(super) fn token() -> Result<Secret, Error> {
    let length = TOKEN.0 + 1 + TOKEN.1;
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // 252 is the largest multiple of 36 in a byte: larger ones would favour some characters.
        let random = Zeroizing::new(bytes::<64>()?);
        for byte in random.iter().filter(|&&byte| byte < 252) {
            match text.len() {
                n if n == length => break,
                n if n == TOKEN.0 => text.push('.'),
                _ => text.push(char::from(ALPHABET[usize::from(byte % 36)])),
            }
        }
    }
    Ok(Secret::new(text))
}

/// Whether a text has a token's form.
pub(super) fn is_token(text: &str) -> bool {
    let plain = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| ALPHABET.contains(&byte))
    };
    text.split_once('.').is_some_and(|(id, rest)| plain(id, TOKEN.0) && plain(rest, TOKEN.1))
}
