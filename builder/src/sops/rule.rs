//! Which values of a file are encrypted.
//!
//! In: the rule in the `sops` mapping. Out: yes or no, for a path.
//!
//! Source: SOPS 3.13, `sops.go`, `shouldBeEncrypted`, and `stores/stores.go`, `ToInternal`: one rule
//! a file; it holds for what is below a key that it names. Patterns are those of Go's `regexp`,
//! which the crate `regex-lite` reads but for classes of Unicode and `\Q`.
//!
//! Not here: rules that go by comments as such. Of those files, the values that have the form of an
//! encrypted one are, which is the same: the MAC holds for every value's plain form.

use regex::{Regex, RegexBuilder};

use super::cipher::is_sealed;
use crate::report::Diagnostic;
use crate::yaml::{Node, Scalar};

/// What SOPS takes for a file without a rule.
const DEFAULT_SUFFIX: &str = "_unencrypted";

/// The most bytes of a pattern once it is compiled, which bounds the time that a key takes. Some
/// hundred words have a tenth of it.
const MAX_PATTERN_BYTES: usize = 1 << 18;

/// The rule of a file.
pub(super) enum Rule {
    /// What is below a key that is named is encrypted.
    Only(Keys),
    /// What is below a key that is named is not encrypted.
    AllBut(Keys),
    /// Values that look encrypted are.
    Form,
}

/// The keys that a rule names.
pub(super) enum Keys {
    Suffix(String),
    Pattern(Regex),
}

impl Rule {
    /// Reads the rule of a `sops` mapping.
    pub(super) fn read(sops: &Node) -> Result<Self, Diagnostic> {
        let mut rules = Vec::new();
        for name in [
            "encrypted_suffix",
            "unencrypted_suffix",
            "encrypted_regex",
            "unencrypted_regex",
            "encrypted_comment_regex",
            "unencrypted_comment_regex",
        ] {
            let text = |node: &Node| node.text().filter(|text| !text.is_empty()).map(str::to_owned);
            if let Some(node) = sops.get(name)
                && let Some(text) = text(node)
            {
                rules.push((name, node, text));
            }
        }
        if let [_, (name, node, _), ..] = rules.as_slice() {
            let message = format!("`{name}` is a second rule of what is encrypted");
            let help = "encrypt the file anew: SOPS takes one rule";
            return Err(Diagnostic::error("sops-rule", message).at(node.place()).help(help));
        }
        let Some((name, node, text)) = rules.pop() else {
            return Ok(Self::AllBut(Keys::Suffix(DEFAULT_SUFFIX.to_owned())));
        };
        let pattern = |text: &str| {
            let pattern = RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build();
            pattern.map(Keys::Pattern).map_err(|_| {
                let help = "encrypt the file with a simpler one; classes such as `\\pL` and `\\Q` \
                            are not supported";
                Diagnostic::error("sops-rule", "this pattern is not understood")
                    .at(node.place())
                    .help(help)
            })
        };
        Ok(match name {
            "encrypted_suffix" => Self::Only(Keys::Suffix(text)),
            "unencrypted_suffix" => Self::AllBut(Keys::Suffix(text)),
            "encrypted_regex" => Self::Only(pattern(&text)?),
            "unencrypted_regex" => Self::AllBut(pattern(&text)?),
            _ => Self::Form,
        })
    }

    /// Whether it names a key.
    pub(super) fn names(&self, key: &str) -> bool {
        match self {
            Self::Only(keys) | Self::AllBut(keys) => match keys {
                Keys::Suffix(suffix) => key.ends_with(suffix),
                Keys::Pattern(pattern) => pattern.is_match(key),
            },
            Self::Form => false,
        }
    }

    /// Whether a scalar is encrypted; `named` says whether a key above it is named.
    pub(super) fn encrypts(&self, named: bool, scalar: &Scalar) -> bool {
        match self {
            Self::Only(_) => named,
            Self::AllBut(_) => !named,
            Self::Form => is_sealed(&scalar.text),
        }
    }
}
