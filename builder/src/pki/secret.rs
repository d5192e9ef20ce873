//! Texts that nobody may see: wiped when dropped, and not shown by `Debug`.
//!
//! In: a text. Out: the same text, to whoever asks for it by name.
//!
//! Source: none; the wiping is the crate `zeroize`.
//!
//! Not here: what the texts mean.

use std::fmt;

use zeroize::Zeroizing;

/// A secret text. Its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for a file or a machine config and never for a message.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The length, never the text.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}
