//! Why a signature is not accepted.
//!
//! In: findings of this room and of `sigstore-verify`. Out: one line, for a person, that names the
//! check.
//!
//! Source: none.
//!
//! Not here: what was to be signed, and what to do (`verb`).

use sigstore_verify::Error;
use thiserror::Error as ThisError;

/// Which check failed. Texts from outside are escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum SignatureError {
    /// There is none.
    #[error("there is no signature")]
    Absent,
    /// A document beyond a limit.
    #[error("the signature has more than {limit} {what}")]
    TooLarge {
        /// What it has too much of.
        what: &'static str,
        /// How many are read.
        limit: usize,
    },
    /// A document of no known format.
    #[error("the signature cannot be read: {0}")]
    Format(String),
    /// A signature of a kind that does not fit what is asked for.
    #[error("the signature is of another kind: {0}")]
    Kind(&'static str),
    /// A public key that cannot be read, or of a kind that is not supported.
    #[error("the public key is no PEM text of a P-256, P-384, Ed25519 or RSA key")]
    Key,
    /// A trusted root that cannot be read.
    #[error("the trusted root cannot be used: {0}")]
    Roots(String),
    /// A signature of something else.
    #[error("the signature is of something else")]
    Other,
    /// The signature itself.
    #[error("the signature is not by this key, or of something else")]
    Signature,
    /// The certificate: its chain, its validity at the time, its certificate transparency.
    #[error("the signer's certificate does not hold: {0}")]
    Certificate(String),
    /// The transparency log.
    #[error("the transparency log does not confirm it: {0}")]
    Log(String),
    /// The timestamp.
    #[error("the time of the signature is not proven: {0}")]
    Time(String),
    /// Someone else signed it.
    #[error("it is signed by {found}, not by {wanted}")]
    Identity {
        /// Whom the certificate names.
        found: String,
        /// Who was asked for.
        wanted: String,
    },
    /// Someone else vouched for who signed it.
    #[error("{found} vouches for who signed it, not {wanted}")]
    Issuer {
        /// Whom the certificate names.
        found: String,
        /// Who was asked for.
        wanted: String,
    },
}

impl SignatureError {
    /// How far it came: of several signatures, the one that came furthest is told about.
    pub(super) fn reach(&self) -> u8 {
        match self {
            Self::Absent | Self::Key | Self::Roots(_) => 0,
            Self::TooLarge { .. } | Self::Format(_) => 1,
            Self::Kind(_) | Self::Other => 2,
            Self::Time(_) | Self::Certificate(_) => 3,
            Self::Log(_) | Self::Signature => 4,
            Self::Issuer { .. } => 5,
            Self::Identity { .. } => 6,
        }
    }

    /// What is no document of the format.
    pub(super) fn format(why: &dyn std::fmt::Display) -> Self {
        Self::Format(shown(&why.to_string()))
    }
}

impl From<Error> for SignatureError {
    fn from(error: Error) -> Self {
        let text = shown(&error.to_string());
        match error {
            Error::SignatureInvalid(_) => Self::Signature,
            Error::ArtifactMismatch(_) => Self::Other,
            Error::UnsupportedArtifact(_) => Self::Kind("its hash is not SHA-256"),
            Error::Certificate(_) | Error::TrustedCertificate(_) => Self::Certificate(text),
            Error::TransparencyLog(_) => Self::Log(text),
            Error::Timestamp(_) => Self::Time(text),
            Error::InvalidTrustRoot(_) | Error::TrustRoot(_) => Self::Roots(text),
            _ => Self::Format(text),
        }
    }
}

/// A text from outside for a message: what cannot be shown escaped, and not more than a line.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let mut out: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    out
}
