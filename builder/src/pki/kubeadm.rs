//! The keys of a cluster that kubeadm made, taken over into a bundle.
//!
//! In: the files of `/etc/kubernetes/pki`. Out: a [`Bundle`] whose other secrets are new.
//!
//! Source: siderolabs/talos `pkg/machinery/config/generate/secrets/bundle.go`
//! (`NewBundleFromKubernetesPKI`), kubernetes "PKI certificates and requirements",
//! <https://kubernetes.io/docs/setup/best-practices/certificates/>.
//!
//! Not here: reading the files (`verb`).

use std::fmt;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::check::{Check, Found};
use super::secret::Secret;
use super::{Bundle, Kubernetes, Loaded, random};
use crate::report::{Diagnostic, Place, Severity};
use crate::talos::Version;

/// The largest file that is read, in bytes: ten times an RSA key of 4096 bits, with text around it.
pub const MAX_FILE_BYTES: u64 = 48 << 10;

/// The files of a folder that kubeadm made, and what else is taken over.
pub struct Folder {
    /// The folder's path, as the user would write it.
    pub path: String,
    /// The bytes of the files, in the order of [`FILES`].
    pub files: [Zeroizing<Vec<u8>>; 7],
    /// A bootstrap token that is to go on working; else a new one is made.
    pub bootstrap_token: Option<Secret>,
}

/// The files' names in the folder.
pub const FILES: [&str; 7] = [
    "ca.crt",
    "ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "sa.key",
];

impl Bundle {
    /// Takes a folder's CAs over, byte for byte, and makes the rest for a cluster that starts with
    /// this version of Talos.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the files, with the warnings among it.
    pub fn from_kubeadm(
        folder: Folder,
        version: &Version,
        now: SystemTime,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        let mut check = Check { now, findings: Vec::new() };
        let kubernetes = kubernetes(folder, &mut check);
        let failed = check.findings.iter().any(|finding| finding.severity == Severity::Error);
        let Some(kubernetes) = kubernetes.filter(|_| !failed) else {
            return Err(check.findings);
        };
        match Self::complete(kubernetes, version, now) {
            Ok(bundle) => Ok(Loaded { bundle, warnings: check.findings }),
            Err(error) => Err(vec![Diagnostic::error("pki-generate", error.to_string())]),
        }
    }
}

fn kubernetes(folder: Folder, check: &mut Check) -> Option<Kubernetes> {
    let mut found = FILES.iter().zip(folder.files).map(|(name, bytes)| {
        let place = Place { file: format!("{}/{name}", folder.path), line: 1, column: 1 };
        (*name, place, bytes)
    });
    let mut next = |check: &mut Check| {
        let (name, place, bytes) = found.next()?;
        text(name, place, &bytes, check)
    };
    let mut pair = |check: &mut Check, name| {
        let (crt, key) = (next(check), next(check));
        check.authority(name, crt, key)
    };
    let k8s = pair(check, "ca");
    let etcd = pair(check, "etcd/ca");
    let aggregator = pair(check, "front-proxy-ca");
    let service_account = next(check).and_then(|key| check.key(key));
    let bootstrap_token = match folder.bootstrap_token {
        None => random::token().ok(),
        Some(text) => {
            let place = Place { file: folder.path, line: 1, column: 1 };
            let name = "bootstrap token".to_owned();
            check.bootstrap_token(Found { name, place, text })
        }
    };
    Some(Kubernetes {
        etcd: etcd?,
        k8s: k8s?,
        aggregator: aggregator?,
        service_account: service_account?,
        bootstrap_token: bootstrap_token?,
    })
}

fn text(name: &str, place: Place, bytes: &[u8], check: &mut Check) -> Option<Found> {
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("`{name}` is larger than {}", crate::units::Size(MAX_FILE_BYTES));
        check.error("pki-too-large", message, &place, "is this the right file?");
        return None;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        let message = format!("`{name}` is no text");
        check.error("pki-pem", message, &place, "convert it from DER to PEM");
        return None;
    };
    Some(Found { name: name.to_owned(), place, text: Secret::new(text.to_owned()) })
}

/// The path, never the files.
impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("path", &self.path).finish_non_exhaustive()
    }
}
