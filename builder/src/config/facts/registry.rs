//! Where images come from.
//!
//! In: [`Registries`]. Out: `RegistryMirrorConfig`, `RegistryAuthConfig` and `RegistryTLSConfig`
//! documents.
//!
//! Source: Talos `pkg/machinery/config/types/cri/` (`registry_mirror.go`, `registry_auth.go`,
//! `registry_tls.go`).
//!
//! Not here: which images a node needs.

use std::collections::BTreeMap;

use super::Problems;
use super::node::is_certificate;
use crate::config::documents::Documents;
use crate::config::tree::Tree;
use crate::pki::secret::Secret;

/// What a site says about registries. Each is called by its host, and its port if it is not the
/// usual one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// The mirrors of a registry; `*` is any.
    pub mirrors: BTreeMap<String, Mirror>,
    /// How to sign in to a registry.
    pub auth: BTreeMap<String, Auth>,
    /// How to trust a registry, and be trusted by it.
    pub tls: BTreeMap<String, Tls>,
}

/// The mirrors of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// The mirrors, the first one being asked first.
    pub endpoints: Vec<Endpoint>,
    /// Whether the registry itself is never asked: where it cannot be reached, that saves minutes.
    pub skip_fallback: bool,
}

/// A mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its URL; it may have credentials.
    pub url: Secret,
    /// Whether the URL's path is the whole one: nothing is put before the image's name.
    pub override_path: bool,
}

/// How to sign in to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// By name and password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// By both in one, base64 of `name:password`, as Docker has it.
    Basic(Secret),
    /// By a token.
    IdentityToken(Secret),
}

/// How to trust a registry, and be trusted by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The CA's certificates, PEM.
    pub ca: Option<String>,
    /// The certificate to show and its key, PEM.
    pub client: Option<(String, Secret)>,
    /// Whether any certificate is trusted.
    pub insecure_skip_verify: bool,
}

/// Says what is wrong. URLs are not quoted: they may have credentials.
pub(super) fn check(registries: &Registries, problems: &mut Problems<'_>) {
    for (name, mirror) in &registries.mirrors {
        let web = |url: &str| ["http://", "https://"].iter().any(|&scheme| url.starts_with(scheme));
        if !mirror.endpoints.iter().all(|endpoint| web(endpoint.url.reveal())) {
            let subject = format!("mirror of registry `{name}`");
            let help = "give URLs, such as `https://registry.example:5000`";
            problems.add("registry-url", &subject, "is no URL of `http` or `https`", help);
        }
    }
    for (name, tls) in &registries.tls {
        let client = tls.client.as_ref().map(|(certificate, _)| certificate);
        if !tls.ca.iter().chain(client).all(|pem| is_certificate(pem)) {
            let subject = format!("certificate for registry `{name}`");
            let help = "give what is between `BEGIN CERTIFICATE` and `END CERTIFICATE`, with both";
            problems.add("registry-certificate", &subject, "is no PEM", help);
        }
    }
}

/// Writes them down.
pub(super) fn write(documents: &mut Documents, registries: &Registries) {
    for (name, mirror) in &registries.mirrors {
        let endpoint = |endpoint: &Endpoint| {
            let mut tree = Tree::map([("url", endpoint.url.reveal().into())]);
            if endpoint.override_path {
                tree.set("overridePath", true);
            }
            tree
        };
        let tree = documents.open("RegistryMirrorConfig", Some(name));
        if !mirror.endpoints.is_empty() {
            tree.set("endpoints", Tree::list(mirror.endpoints.iter().map(endpoint)));
        }
        if mirror.skip_fallback {
            tree.set("skipFallback", true);
        }
    }
    for (name, auth) in &registries.auth {
        let tree = documents.open("RegistryAuthConfig", Some(name));
        match auth {
            Auth::Password { username, password } => {
                tree.set("username", username.as_str());
                tree.set("password", password.reveal());
            }
            Auth::Basic(auth) => tree.set("auth", auth.reveal()),
            Auth::IdentityToken(token) => tree.set("identityToken", token.reveal()),
        }
    }
    for (name, tls) in &registries.tls {
        let tree = documents.open("RegistryTLSConfig", Some(name));
        if let Some((certificate, key)) = &tls.client {
            tree.set_at(&["clientIdentity", "cert"], certificate.as_str());
            tree.set_at(&["clientIdentity", "key"], key.reveal());
        }
        if let Some(ca) = &tls.ca {
            tree.set("ca", ca.as_str());
        }
        if tls.insecure_skip_verify {
            tree.set("insecureSkipVerify", true);
        }
    }
}
