//! Why bytes cannot be had.
//!
//! In: what servers, certificates and files of credentials said. Out: errors without secrets.
//!
//! Source: OCI Distribution Specification 1.1, "Error Codes".
//!
//! Not here: what is done about it (`transfer`).

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::digest::Digest;
use crate::store::StoreError;

/// Why something cannot be had.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// A URL, or a mirror of the settings.
    #[error("`{url}` cannot be fetched from: {why}")]
    Url {
        /// The URL, without its query and what may be credentials.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nothing may be fetched, and it is not there.
    #[error("`{what}` is not in the store, and nothing is fetched offline")]
    Offline {
        /// Its name.
        what: String,
        /// The command that fetches it.
        command: String,
    },
    /// Nobody who was asked gave it.
    #[error("`{what}` cannot be fetched: {}", told(.tried))]
    Unavailable {
        /// Its name.
        what: String,
        /// Who was asked, in order, and what came of it; one at least.
        tried: Vec<Attempt>,
    },
    /// It was not taken.
    #[error("`{what}` cannot be put there: `{}` {}", attempt.host, attempt.trouble)]
    NotSent {
        /// Its name.
        what: String,
        /// Who was asked, and what came of it.
        attempt: Attempt,
    },
    /// What is in the store under the digest has another length than was said.
    #[error("`{what}` has {found} bytes, and should have {wanted}")]
    Length {
        /// Its name.
        what: String,
        /// What should be.
        wanted: u64,
        /// What is.
        found: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of certificates.
    #[error("the certificates in `{}` cannot be used: {why}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl RegistryError {
    /// What to do, as an imperative.
    pub fn help(&self) -> String {
        match self {
            Self::Url { .. } => {
                "write `https://`, a host and a path; credentials belong into `docker login`".into()
            }
            Self::Offline { command, .. } => format!("run `{command}` where there is a network"),
            Self::Unavailable { tried, .. } => {
                let last = tried.last().map(|attempt| attempt.trouble.help());
                last.unwrap_or("try again").into()
            }
            Self::NotSent { attempt, .. } => match &attempt.trouble {
                Trouble::Status { status: 403, .. } => "see that your account may write there",
                Trouble::Status { status: 404, .. } => "make the repository or bucket first",
                Trouble::Status { status: 413, .. } => "let it take bodies of 32 MiB",
                Trouble::Plain => "use TLS, or say `--plain-http`",
                Trouble::Unreachable(_) => "check the name and the network",
                Trouble::Digest(_) => "do not trust this host; ask another",
                Trouble::Broken(_) | Trouble::Stalled(_) => {
                    "try again later; what was sent so far is kept"
                }
                trouble => trouble.help(),
            }
            .into(),
            Self::Length { .. } => "ask whoever made the image; its manifest is wrong".into(),
            Self::Store(error) => error.help().into(),
            Self::Certificates { .. } => {
                "name a file of PEM certificates in `SSL_CERT_FILE`, or unset it".into()
            }
        }
    }

    /// Whether all who were asked have no such thing: another try does not help.
    pub fn is_absent(&self) -> bool {
        let is_404 = |at: &Attempt| matches!(at.trouble, Trouble::Status { status: 404, .. });
        matches!(self, Self::Unavailable { tried, .. } if tried.iter().all(is_404))
    }

    /// Whether it is the machine's fault rather than that of who was asked.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Certificates { .. })
    }
}

/// What came of asking one host.
#[derive(Debug)]
pub struct Attempt {
    /// The host, with its port.
    pub host: String,
    /// What went wrong.
    pub trouble: Trouble,
}

fn told(tried: &[Attempt]) -> String {
    let each = tried.iter().map(|Attempt { host, trouble }| format!("`{host}` {trouble}"));
    each.collect::<Vec<_>>().join("; ")
}

/// What goes wrong with one host.
#[derive(Debug, Error)]
pub enum Trouble {
    /// Nobody is there.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// Its certificate, or none of ours.
    #[error("cannot be trusted: {0}")]
    Tls(String),
    /// It would be asked without TLS.
    #[error("would be asked without TLS")]
    Plain,
    /// The connection ended.
    #[error("ended the connection ({0})")]
    Broken(String),
    /// Nothing came, or next to nothing.
    #[error("sent next to nothing for {} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// An HTTP status that is no success.
    #[error("answered {status}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Status {
        /// The status.
        status: u16,
        /// The registry's own code.
        code: Option<String>,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// No credentials, or wrong ones.
    #[error("{}", unauthorized(.credentials.as_deref()))]
    Unauthorized {
        /// Where those that were sent come from.
        credentials: Option<String>,
    },
    /// Credentials that cannot be read.
    #[error("wants credentials, and {0}")]
    Credentials(String),
    /// A redirect that is not followed.
    #[error("sent us on to where we do not go: {0}")]
    Redirect(&'static str),
    /// An answer that is none.
    #[error("answered with something else: {0}")]
    Answer(&'static str),
    /// Bytes with another digest.
    #[error("sent bytes with the digest sha256:{0}")]
    Digest(Digest),
    /// More or fewer bytes.
    #[error("has {found} bytes where there should be {wanted}")]
    Length {
        /// What should be.
        wanted: u64,
        /// What it has.
        found: u64,
    },
    /// More bytes than anything of that kind has.
    #[error("sends more than {0} bytes")]
    TooLong(u64),
}

fn unauthorized(credentials: Option<&str>) -> String {
    match credentials {
        Some(from) => format!("does not accept the credentials from {from}"),
        None => "wants credentials, and none are known for it".to_owned(),
    }
}

impl Trouble {
    /// Whether the same question may be answered a little later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Broken(_) | Self::Stalled(_) => true,
            Self::Status { status, .. } => {
                matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    fn help(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "check the name and the network, or set a mirror",
            Self::Tls(_) => "name a file with the host's CA in `SSL_CERT_FILE`",
            Self::Plain => "use `https://`, or say that this host may be asked without TLS",
            Self::Unauthorized { .. } | Self::Credentials(_) => {
                "log in, as with `docker login` or `podman login`"
            }
            Self::Status { status: 404, .. } => "check the name and the tag",
            Self::Status { status: 403, .. } => "see that your account may read it",
            Self::Broken(_) | Self::Stalled(_) | Self::Status { .. } => {
                "try again later; what came so far is kept"
            }
            Self::Redirect(_) | Self::Answer(_) => "check that the host is a registry",
            Self::Digest(_) | Self::Length { .. } | Self::TooLong(_) => {
                "do not trust this host; ask another"
            }
        }
    }
}
