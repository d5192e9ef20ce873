//! Where bytes from outside come from: `boot.assets`, `extensions`, `artifacts`, `registries`.
//!
//! In: texts with a scheme. Out: [`AssetSource`] and [`TreeSource`].
//!
//! Source: none, the file is ours; the schemes are those of skopeo(1), `containers-transports(5)`,
//! where it has them.
//!
//! Not here: opening them (`asset`, `oci`, `registry`).

use std::collections::BTreeMap;
use std::path::Path;

use super::boot::path;
use super::field::{Fields, Written, open, quote};
use super::key::cluster::{REGISTRY, SIGNER};
use super::{AssetSource, Signer, TreeSource, Url};
use crate::digest::Digest;
use crate::oci::ImageSource;
use crate::oci::reference::Reference;
use crate::registry::Host;
use crate::report::Diagnostic;

const ASSETS_HELP: &str = "name Talos' imager, `oci://ghcr.io/siderolabs/imager:v1.14.1`, or what \
    you have of a release: `dir:FOLDER`, `iso:FILE`, `raw:FILE`, `uki:FILE`, `oci-layout:FOLDER`, \
    `docker-archive:FILE`, `https://…`";

const TREE_HELP: &str = "name an extension of Sidero's, `siderolabs/iscsi-tools`, or an image, \
    `ghcr.io/siderolabs/iscsi-tools:v0.2.0`, or what you have of it: `oci-layout:FOLDER`, `docker-archive:FILE`, `tar:FILE`, `dir:FOLDER`";

/// Reads `boot.assets`.
pub(super) fn assets(
    text: &Written<&str>,
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Option<AssetSource> {
    let (scheme, rest) = match text.value.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => {
            if let Some((_, scheme)) = ENDINGS.iter().find(|(end, _)| text.value.ends_with(end)) {
                let message = format!("a file of boot assets is named by its kind, `{scheme}:`");
                let problem = Diagnostic::error("assets", message).at(text.place.clone());
                problems.push(problem.help(format!("write `{scheme}:{}`", text.value)));
                return None;
            }
            ("dir", text.value)
        }
    };
    let at = Written { value: rest, place: text.place.clone() };
    let file = |problems: &mut Vec<Diagnostic>| path(&at, "assets", folder, problems);
    match scheme {
        "dir" => file(problems).map(AssetSource::Dir),
        "uki" => file(problems).map(AssetSource::Uki),
        "iso" => file(problems).map(AssetSource::Iso),
        "raw" => file(problems).map(AssetSource::Raw),
        "https" | "http" => url(text, problems).map(AssetSource::Web),
        _ => match image(scheme, &at, folder) {
            Some(Ok(source)) => Some(AssetSource::Image { written: text.value.to_owned(), source }),
            Some(Err(why)) => refuse("assets", text, why, ASSETS_HELP, problems),
            None => {
                let message = format!("{} is no source of boot assets", quote(scheme));
                refuse("assets", text, message, ASSETS_HELP, problems)
            }
        },
    }
}

/// What official files end in, and how they are named here.
const ENDINGS: [(&str, &str); 7] = [
    (".efi", "uki"),
    (".iso", "iso"),
    (".raw", "raw"),
    (".raw.zst", "raw"),
    (".raw.xz", "raw"),
    (".raw.gz", "raw"),
    (".img", "raw"),
];

/// Reads a list of trees: `extensions`.
pub(super) fn trees(
    fields: &Fields<'_>,
    key: &str,
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Vec<TreeSource> {
    let mut sources: Vec<TreeSource> = Vec::new();
    for text in fields.texts(key, problems) {
        match tree(key, &text, folder, problems) {
            Some(source) if sources.contains(&source) => {
                let message = format!("{} is named twice", quote(text.value));
                let problem = Diagnostic::error("duplicate-source", message).at(text.place);
                problems.push(problem.help("drop one of them"));
            }
            source => sources.extend(source),
        }
    }
    sources
}

/// Reads the source of a tree of files: an image's, an archive's, a folder's.
fn tree(
    key: &str,
    text: &Written<&str>,
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Option<TreeSource> {
    let written = text.value.to_owned();
    let file = |rest, problems: &mut Vec<Diagnostic>| {
        path(&Written { value: rest, place: text.place.clone() }, key, folder, problems)
    };
    if key == "extensions" && is_official(text.value) {
        return Some(TreeSource::Official(written));
    }
    if let Ok(name) = Reference::parse(text.value) {
        return Some(TreeSource::Image { written, source: ImageSource::Registry(name) });
    }
    let (scheme, rest) = match text.value.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) && !scheme.contains('.') => (scheme, rest),
        _ if text.value.starts_with(['.', '/']) => {
            let is_tar = TARS.iter().any(|end| text.value.ends_with(end));
            (if is_tar { "tar" } else { "dir" }, text.value)
        }
        _ => ("oci", text.value),
    };
    match scheme {
        "dir" => file(rest, problems).map(TreeSource::Dir),
        "tar" => file(rest, problems).map(TreeSource::Tar),
        _ => match image(scheme, &Written { value: rest, place: text.place.clone() }, folder) {
            Some(Ok(source)) => Some(TreeSource::Image { written, source }),
            Some(Err(why)) => refuse("source", text, why, TREE_HELP, problems),
            None => {
                let message = format!("{} is no source of {key}", quote(scheme));
                refuse("source", text, message, TREE_HELP, problems)
            }
        },
    }
}

/// Whether a text is a name as Sidero's catalogue of extensions has them.
fn is_official(text: &str) -> bool {
    let name = text.strip_prefix("siderolabs/");
    let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(byte))
}

const TARS: [&str; 5] = [".tar", ".tgz", ".tar.gz", ".tar.zst", ".tar.xz"];

fn refuse<T>(
    code: &'static str,
    text: &Written<&str>,
    message: String,
    help: &str,
    problems: &mut Vec<Diagnostic>,
) -> Option<T> {
    problems.push(Diagnostic::error(code, message).at(text.place.clone()).help(help));
    None
}

/// Reads where an image is, if the scheme is one of an image.
fn image(scheme: &str, at: &Written<&str>, folder: &Path) -> Option<Result<ImageSource, String>> {
    let parts = |text: &str| {
        let (path, pick) = split_pick(text);
        if path.is_empty() || path.contains(char::is_control) {
            return Err("it names no file".to_owned());
        }
        Ok((folder.join(path), pick.map(str::to_owned)))
    };
    match scheme {
        "oci" | "docker" => {
            let name = Reference::parse(at.value.trim_start_matches('/'));
            Some(name.map(ImageSource::Registry).map_err(|error| error.to_string()))
        }
        "oci-layout" => {
            Some(parts(at.value).map(|(path, pick)| ImageSource::Layout { path, pick }))
        }
        "docker-archive" => {
            Some(parts(at.value).map(|(path, pick)| ImageSource::Archive { path, pick }))
        }
        _ => None,
    }
}

/// A path and what is picked behind it: `bundle:v1.13.9`, `bundle@sha256:…`,
/// `images.tar:ghcr.io/siderolabs/imager:v1.13.9`.
fn split_pick(text: &str) -> (&str, Option<&str>) {
    if let Some((path, digest)) = text.rsplit_once('@')
        && digest.strip_prefix("sha256:").is_some_and(|hex| hex.parse::<Digest>().is_ok())
    {
        return (path, Some(digest));
    }
    match text.split_once(':') {
        Some((path, pick)) if !pick.is_empty() => (path, Some(pick)),
        _ => (text, None),
    }
}

/// Reads a URL of a file. Credentials in it would end up in the lock file and in messages.
fn url(text: &Written<&str>, problems: &mut Vec<Diagnostic>) -> Option<Url> {
    Url::parse(text.value)
        .map_err(|why| {
            let help = "write `https://HOST/PATH`; what needs a password is fetched by yourself and \
                        named by `iso:` or the like";
            problems.push(Diagnostic::error("assets", why).at(text.place.clone()).help(help));
        })
        .ok()
}

/// RFC 3986, chapter 3.1; one letter alone is none, but a drive.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// Reads `artifacts`: where the files of boards come from, by the names that overlays have for them.
pub(super) fn artifacts(
    fields: &Fields<'_>,
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<String, TreeSource> {
    let mut artifacts = BTreeMap::new();
    for entry in fields.map("artifacts", problems) {
        let text = super::field::text(&entry.value, "artifacts", problems);
        let source = text.and_then(|text| tree("artifacts", &text, folder, problems));
        artifacts.extend(source.map(|source| (entry.key.clone(), source)));
    }
    artifacts
}

/// Reads `registries` of `boot`: how this program reaches them.
pub(super) fn hosts(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> BTreeMap<String, Host> {
    let mut hosts = BTreeMap::new();
    for entry in fields.map("registries", problems) {
        let Some(host) = open(&entry.value, &REGISTRY, problems) else { continue };
        let mirrors = host.strings("mirrors", problems);
        let plain_http = host.flag("plain_http", problems);
        hosts.insert(entry.key.clone(), Host { mirrors, plain_http });
    }
    hosts
}

/// Reads `signed_by`: who must have signed what comes from outside.
pub(super) fn signer(
    fields: &Fields<'_>,
    folder: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Option<Signer> {
    let node = fields.get("signed_by")?;
    if node.text().is_some() {
        let text = fields.text("signed_by", problems)?;
        return super::field::choose("signed_by", &text, &[("sidero", ())], problems)
            .map(|()| Signer::Sidero);
    }
    let own = open(node, &SIGNER, problems)?;
    let key = own.text("key", problems).and_then(|text| path(&text, "key", folder, problems));
    let identity = own.string("identity", problems);
    let issuer = own.string("issuer", problems);
    match (key, identity, issuer) {
        (Some(key), None, None) => Some(Signer::Key(key)),
        (None, Some(identity), Some(issuer)) => Some(Signer::Identity { identity, issuer }),
        _ => {
            let message = "`signed_by` needs a `key`, or an `identity` and its `issuer`";
            let problem = Diagnostic::error("signed-by", message).at(node.place());
            let help = "write `signed_by: sidero`, or `signed_by: {key: cosign.pub}`";
            problems.push(problem.help(help));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pick_follows_the_path() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(split_pick("a/b"), ("a/b", None));
        assert_eq!(split_pick("a/b:v1"), ("a/b", Some("v1")));
        assert_eq!(split_pick("a.tar:ghcr.io/x/y:v1"), ("a.tar", Some("ghcr.io/x/y:v1")));
        assert_eq!(split_pick(&format!("a@{digest}")), ("a", Some(digest.as_str())));
    }
}
