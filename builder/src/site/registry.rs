//! Where images come from, and who is trusted: `registries`, `trusted_roots`, `proxy`.
//!
//! In: their mappings. Out: what `config::facts` has for them.
//!
//! Source: none, the file is ours.
//!
//! Not here: what cannot work (`config::facts`). No message quotes a URL or a credential.

use std::collections::BTreeMap;

use super::field::{Fields, items, open, text};
use super::file::Files;
use super::key::node::{AUTH, ENDPOINT, MIRROR, PROXY, REGISTRIES, TLS};
use super::storage::secret;
use crate::config::facts::node::Proxy;
use crate::config::facts::registry::{Auth, Endpoint, Mirror, Registries, Tls};
use crate::report::Diagnostic;
use crate::yaml::Node;

/// Reads `registries`.
pub(super) fn registries(
    node: &Fields<'_>,
    files: &mut Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Registries {
    let Some(fields) = node.part("registries", &REGISTRIES, problems) else {
        return Registries::default();
    };
    let mut registries = Registries::default();
    for entry in fields.map("mirrors", problems) {
        let mirror = open(&entry.value, &MIRROR, problems);
        let mirror = mirror.map(|fields| self::mirror(&fields, problems));
        registries.mirrors.extend(mirror.map(|mirror| (entry.key.clone(), mirror)));
    }
    for entry in fields.map("auth", problems) {
        let auth = open(&entry.value, &AUTH, problems);
        let auth = auth.and_then(|fields| self::auth(&fields, problems));
        registries.auth.extend(auth.map(|auth| (entry.key.clone(), auth)));
    }
    for entry in fields.map("tls", problems) {
        let tls = open(&entry.value, &TLS, problems);
        let tls = tls.and_then(|fields| self::tls(&fields, files, problems));
        registries.tls.extend(tls.map(|tls| (entry.key.clone(), tls)));
    }
    registries
}

fn mirror(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Mirror {
    let endpoints = fields.get("endpoints").map(|node| items(node, "endpoints", problems));
    let endpoints = endpoints.unwrap_or_default().iter();
    Mirror {
        endpoints: endpoints.filter_map(|item| endpoint(item, problems)).collect(),
        skip_fallback: fields.flag("skip_fallback", problems),
    }
}

fn endpoint(item: &Node, problems: &mut Vec<Diagnostic>) -> Option<Endpoint> {
    if item.scalar().is_some() {
        let url = text(item, "endpoints", problems)?;
        return Some(Endpoint { url: secret(&url), override_path: false });
    }
    let fields = open(item, &ENDPOINT, problems)?;
    let url = fields.need_text("url", "https://registry.example:5000", problems);
    let override_path = fields.flag("override_path", problems);
    Some(Endpoint { url: secret(&url?), override_path })
}

fn auth(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Auth> {
    let text = |key: &str, problems: &mut _| fields.text(key, problems).map(|text| secret(&text));
    let (key, _) =
        fields.choice(&["username", "auth", "identity_token"], problems).or_else(|| {
            fields.need("username", "…", problems);
            None
        })?;
    match key {
        "auth" => text("auth", problems).map(Auth::Basic),
        "identity_token" => text("identity_token", problems).map(Auth::IdentityToken),
        _ => {
            let username = fields.string("username", problems);
            fields.need("password", "…", problems)?;
            let password = text("password", problems);
            Some(Auth::Password { username: username?, password: password? })
        }
    }
}

fn tls(fields: &Fields<'_>, files: &mut Files<'_>, problems: &mut Vec<Diagnostic>) -> Option<Tls> {
    let before = problems.len();
    let mut pem = |key: &str| {
        let name = fields.text(key, problems)?;
        files.pem(&name, problems)
    };
    let (ca, cert, key) = (pem("ca"), pem("cert"), pem("key"));
    let insecure_skip_verify = fields.flag("insecure", problems);
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        if fields.get(one).is_some() {
            fields.need(other, "client.pem", problems);
        }
    }
    let client = cert.zip(key).map(|(cert, key)| (cert.reveal().to_owned(), key));
    let ca = ca.map(|ca| ca.reveal().to_owned());
    (problems.len() == before).then_some(Tls { ca, client, insecure_skip_verify })
}

/// Reads `trusted_roots`.
pub(super) fn trusted_roots(
    node: &Fields<'_>,
    files: &mut Files<'_>,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<String, String> {
    let entries = node.map("trusted_roots", problems);
    let pem = |entry: &&crate::yaml::Entry| {
        let name = text(&entry.value, "trusted_roots", problems)?;
        let pem = files.pem(&name, problems)?;
        Some((entry.key.clone(), pem.reveal().to_owned()))
    };
    entries.iter().filter_map(pem).collect()
}

/// Reads `proxy`.
pub(super) fn proxy(node: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Proxy {
    let Some(fields) = node.part("proxy", &PROXY, problems) else { return Proxy::default() };
    let url = |key: &str, problems: &mut _| fields.text(key, problems).map(|url| secret(&url));
    Proxy {
        http: url("http", problems),
        https: url("https", problems),
        no_proxy: fields.strings("no_proxy", problems),
    }
}
