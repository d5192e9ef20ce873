//! Registries as documents, one for each registry and purpose.
//!
//! In: `machine.registries`. Out: mirrors, credentials and certificates.
//!
//! Source: Talos v1.14.1 `pkg/machinery/config/types/cri/`.
//!
//! Not here: the registries' names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::output::{self, Fields, Output};
use crate::config::tree::Tree;

/// Translates the section.
pub(super) fn translate(rest: &mut Tree, output: &mut Output) {
    let Some(mut registries) = output::section(rest, "machine.registries") else { return };
    let mirrors = registries.section("mirrors");
    for (name, mirror) in mirrors.rest.entries() {
        let path = format!("{}.{name}", mirrors.path);
        translate_mirror(name, mirror, Fields::new(path, mirror.clone()), output);
    }
    let configs = registries.section("config");
    for (name, config) in configs.rest.entries() {
        let mut fields = Fields::new(format!("{}.{name}", configs.path), config.clone());
        if let Some(auth) = fields.take("auth") {
            let document = output.open("RegistryAuthConfig", Some(name), &auth);
            for (key, value) in auth.entries() {
                document.set(key, value.clone());
            }
        }
        if let Some(tls) = fields.take("tls") {
            translate_tls(name, Fields::new(format!("{}.tls", fields.path), tls), output);
        }
        fields.finish(output);
    }
    registries.finish(output);
}

fn translate_mirror(name: &str, at: &Tree, mut mirror: Fields, output: &mut Output) {
    let endpoints = mirror.items("endpoints");
    let override_path = mirror.take("overridePath");
    if let Some(value) = override_path.as_ref().filter(|_| endpoints.is_empty()) {
        let help = "write it at each endpoint:\nkind: RegistryMirrorConfig\nname: NAME\n\
                    endpoints:\n  - url: ...\n    overridePath: true";
        output.refuse(value, "Talos 1.14 has `overridePath` at each endpoint", help);
    }
    let skip = mirror.take("skipFallback");
    mirror.finish(output);
    let document = output.open("RegistryMirrorConfig", Some(name), at);
    for endpoint in endpoints {
        let mut item = Tree::map([("url", endpoint)]);
        if let Some(value) = &override_path {
            item.set("overridePath", value.clone());
        }
        let list = document.open("endpoints");
        list.items_mut().push(item);
    }
    if let Some(value) = skip {
        document.set("skipFallback", value);
    }
}

fn translate_tls(name: &str, mut tls: Fields, output: &mut Output) {
    let at = tls.rest.clone();
    let ca = tls.take("ca").and_then(|ca| pem(&ca, output));
    let identity = tls.take("clientIdentity").and_then(|pair| certificate(&pair, output));
    let insecure = tls.take("insecureSkipVerify");
    tls.finish(output);
    let document = output.open("RegistryTLSConfig", Some(name), &at);
    for (key, value) in [("ca", ca), ("clientIdentity", identity), ("insecureSkipVerify", insecure)]
    {
        if let Some(value) = value {
            document.set(key, value);
        }
    }
}

/// The text of a value that older fields have in base64.
pub(super) fn pem(value: &Tree, output: &mut Output) -> Option<Tree> {
    let text: String = value.text()?.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let decoded = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(text) = decoded else {
        output.invalid(value, "this is not PEM in base64", "encode the PEM file by `base64 -w0`");
        return None;
    };
    Some(Tree::from(text))
}

/// A certificate and its key as documents have them.
pub(super) fn certificate(pair: &Tree, output: &mut Output) -> Option<Tree> {
    let mut found = Tree::empty();
    for (from, to) in [("crt", "cert"), ("key", "key")] {
        if let Some(value) = pair.get(from).filter(|value| value.text() != Some("")) {
            found.set(to, pem(value, output)?);
        }
    }
    Some(found)
}
