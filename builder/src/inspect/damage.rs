//! What is wrong with a medium, and where.
//!
//! In: findings of the readers. Out: [`Damage`], one sentence with a place.
//!
//! Source: none.
//!
//! Not here: what a finding means for the user (`verb`).

use std::fmt;
use std::io;

use thiserror::Error;

/// A medium, or a part of it, that does not read as it must. Nothing secret is in it.
///
/// It prints as one line, the whole before its parts:
///
/// ```text
/// efi partition, `EFI/Linux/Talos.efi`: pe header at 0x80: machine is 0x1c0, should be 0x8664
/// ```
#[derive(Debug, Error)]
pub struct Damage {
    within: Vec<String>,
    place: &'static str,
    offset: u64,
    wrong: String,
    should: Option<String>,
    #[source]
    cause: Option<io::Error>,
}

impl Damage {
    /// Something wrong in the structure `place` at `offset`, which counts in bytes from the start
    /// of the blob that the reader was given.
    pub fn new(place: &'static str, offset: u64, wrong: impl Into<String>) -> Self {
        let wrong = wrong.into();
        Self { within: Vec::new(), place, offset, wrong, should: None, cause: None }
    }

    /// A read of the structure `place` at `offset` that did not come to pass.
    pub fn read(place: &'static str, offset: u64, cause: io::Error) -> Self {
        let wrong = match cause.kind() {
            io::ErrorKind::UnexpectedEof => "it ends past its container",
            _ => "it cannot be read",
        };
        Self { cause: Some(cause), ..Self::new(place, offset, wrong) }
    }

    /// The same, with what should be there instead.
    pub fn should(self, be: impl Into<String>) -> Self {
        Self { should: Some(be.into()), ..self }
    }

    /// The same, inside a larger part: a file, a partition.
    pub fn within(mut self, part: impl Into<String>) -> Self {
        self.within.insert(0, part.into());
        self
    }

    /// The structure that is damaged: `gpt header`.
    pub fn place(&self) -> &'static str {
        self.place
    }

    /// Where the structure lies, in bytes from the start of the innermost part.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The parts that hold it, the outermost first.
    pub fn parts(&self) -> &[String] {
        &self.within
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.within.is_empty() {
            write!(f, "{}: ", self.within.join(", "))?;
        }
        write!(f, "{} at {:#x}: {}", self.place, self.offset, self.wrong)?;
        self.should.iter().try_for_each(|should| write!(f, ", should be {should}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damage_prints_from_the_whole_to_the_part() {
        let damage = Damage::new("pe header", 0x80, "machine is 0x1c0").should("0x8664");
        let damage = damage.within("`EFI/Linux/Talos.efi`").within("efi partition");
        let want = "efi partition, `EFI/Linux/Talos.efi`: pe header at 0x80: machine is 0x1c0, \
                    should be 0x8664";
        assert_eq!(damage.to_string(), want);
    }
}
