//! Whom a site trusts, and what was fetched held to that.
//!
//! In: a site's `signed_by`, images and release files. Out: nothing, if all of it is signed as asked.
//!
//! Source: cosign, "Signature Specification" (where an image's signatures are); Talos' releases, each
//! file of which has a `.bundle` beside it.
//!
//! Not here: how a signature is verified (`signature`).

use std::path::{Path, PathBuf};

use crate::asset::InputFile;
use crate::blob::Blob;
use crate::digest::Digest;
use crate::oci::reference::Reference;
use crate::oci::{Content, Descriptor};
use crate::registry::Client;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::signature::attached::{self, Attached, Listed, SIGNATURES_MAX};
use crate::signature::error::SignatureError;
use crate::signature::key::PublicKey;
use crate::signature::roots::Roots;
use crate::signature::{self, Signed, Signee, Trust};
use crate::site::{Signer, Site};
use crate::verb::{Cause, Failure, chain, file};

/// The largest bundle and the largest list of checksums.
const FILE_LIMIT: u64 = LIMIT as u64;
const LIMIT: usize = 1 << 20;

/// Whom a site trusts.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    trust: Trust,
    roots: Roots,
    progress: &'a Progress,
}

impl<'a> Judge<'a> {
    /// The one that the site asks for, if it does.
    ///
    /// # Errors
    ///
    /// Where its key cannot be read.
    pub(super) fn of(site: &Site, progress: &'a Progress) -> Result<Option<Self>, Failure> {
        let Some(signer) = &site.boot.signed_by else { return Ok(None) };
        let trust = match signer {
            Signer::Sidero => Trust::Sidero,
            Signer::Key(path) => {
                let pem = file::read(path, "public key", FILE_LIMIT)?;
                let shown = path.display().to_string();
                Trust::Key(PublicKey::parse(&pem).map_err(|error| failure(&shown, &error))?)
            }
            Signer::Identity { identity, issuer } => {
                Trust::Identity { identity: identity.clone(), issuer: issuer.clone() }
            }
        };
        let roots = Roots::public().map_err(|error| failure("the built-in roots", &error))?;
        Ok(Some(Self { trust, roots, progress }))
    }

    /// An image of a registry, by what its reference means.
    ///
    /// # Errors
    ///
    /// Where no signature of it holds, or they cannot be fetched.
    pub(super) fn image(
        &self,
        client: &Client,
        name: &Reference,
        image: Digest,
    ) -> Result<(), Failure> {
        let mut last = SignatureError::Absent;
        for tag in attached::tags(image) {
            let text = format!("{}/{}:{tag}", name.registry(), name.repository());
            let at = Reference::parse(&text)
                .map_err(|error| Failure::of(Cause::Assets, "signature", &error))?;
            let root = match client.resolve(&at) {
                Ok(root) => root,
                Err(error) if error.is_absent() => continue,
                Err(error) => {
                    let diagnostic = Diagnostic::error("signature", chain(&error));
                    return Err(Failure::new(Cause::Assets, diagnostic.help(error.help())));
                }
            };
            let content = client.image(&at);
            let found = self.attached(&content, &root);
            let judged = found.and_then(|all| {
                attached::image(&self.trust, image, &all, &self.roots).map_err(Unproven::Signature)
            });
            match judged {
                Ok(signed) => return self.tell(&name.to_string(), &signed),
                Err(Unproven::Signature(error)) => last = error,
                Err(Unproven::Content(message)) => {
                    let diagnostic = Diagnostic::error("signature", message);
                    return Err(Failure::new(Cause::Assets, diagnostic));
                }
            }
        }
        Err(failure(&name.to_string(), &last))
    }

    /// The signatures that a document and those that it names list.
    fn attached(
        &self,
        content: &dyn Content,
        root: &Descriptor,
    ) -> Result<Vec<Attached>, Unproven> {
        let mut found = Vec::new();
        let mut documents = vec![root.clone()];
        let mut depth = 0;
        while !documents.is_empty() && depth < 2 {
            let mut next = Vec::new();
            for document in documents {
                let listed = attached::listed(&bytes(content, &document)?);
                for item in listed.map_err(Unproven::Signature)?.into_iter().take(SIGNATURES_MAX) {
                    match item {
                        Listed::Manifest(descriptor) => next.push(descriptor),
                        Listed::Signature(place) => {
                            let content = bytes(content, &place.descriptor)?;
                            found.push(Attached { place, content });
                        }
                    }
                }
            }
            documents = next;
            depth += 1;
        }
        Ok(found)
    }

    /// A file of a web server, by the bundle that was fetched from beside it.
    ///
    /// # Errors
    ///
    /// Where the bundle does not hold.
    pub(super) fn fetched(&self, name: &str, digest: Digest, bundle: &Blob) -> Result<(), Failure> {
        if bundle.len() > FILE_LIMIT {
            return Err(failure(name, &SignatureError::TooLarge { what: "bytes", limit: LIMIT }));
        }
        let bundle = bundle.to_vec();
        let bundle = bundle.map_err(|error| Failure::of(Cause::World, "read", &error))?;
        self.file(name, Signee::Digest(digest), &bundle)
    }

    fn file(&self, name: &str, signee: Signee<'_>, bundle: &[u8]) -> Result<(), Failure> {
        let signed = signature::blob(&self.trust, signee, bundle, &self.roots);
        self.tell(name, &signed.map_err(|error| failure(name, &error))?)
    }

    /// A file on this machine, by the bundle that lies beside it.
    ///
    /// # Errors
    ///
    /// Where there is none, or it does not hold.
    pub(super) fn local(&self, path: &Path, digest: Digest) -> Result<(), Failure> {
        let shown = path.display().to_string();
        match bundle_of(path)? {
            Some(bundle) => self.file(&shown, Signee::Digest(digest), &bundle),
            None => Err(failure(&shown, &SignatureError::Absent)),
        }
    }

    /// The files of a folder that were used: each by its own bundle, or by that of a list of checksums
    /// that has it. A list without a bundle vouches for nothing.
    ///
    /// # Errors
    ///
    /// The first file that nobody vouches for.
    pub(super) fn folder(&self, folder: &Path, inputs: &[InputFile]) -> Result<(), Failure> {
        let is_list = |name: &String| inputs.iter().any(|other| other.vouched_by.contains(name));
        for input in inputs {
            let path = folder.join(&input.name);
            let has_bundle = |name: &String| bundle_path(&folder.join(name)).exists();
            // A list is an input, too, and has its turn.
            if !path.is_file() || input.vouched_by.iter().any(has_bundle) {
                continue;
            }
            match is_list(&input.name) {
                true => self.list(&path, &input.blob)?,
                false => self.local(&path, input.digest)?,
            }
        }
        Ok(())
    }

    /// A list of checksums, where there is a bundle beside it.
    fn list(&self, path: &Path, list: &Blob) -> Result<(), Failure> {
        let Some(bundle) = bundle_of(path)? else { return Ok(()) };
        let shown = path.display().to_string();
        if list.len() > FILE_LIMIT {
            return Err(failure(&shown, &SignatureError::TooLarge { what: "bytes", limit: LIMIT }));
        }
        let text = list.to_vec().map_err(|error| Failure::of(Cause::World, "read", &error))?;
        self.file(&shown, Signee::Bytes(&text), &bundle)
    }

    fn tell(&self, name: &str, signed: &Signed) -> Result<(), Failure> {
        self.progress.event(serde_json::json!({
            "event": "signed", "name": name, "by": signed.by, "issuer": signed.issuer,
        }));
        self.progress.note(&format!("{name}: signed by {}", signed.by));
        Ok(())
    }
}

/// Why signatures were not found to hold.
enum Unproven {
    Signature(SignatureError),
    Content(String),
}

fn bytes(content: &dyn Content, wanted: &Descriptor) -> Result<Vec<u8>, Unproven> {
    if wanted.len > FILE_LIMIT {
        let error = SignatureError::TooLarge { what: "bytes", limit: LIMIT };
        return Err(Unproven::Signature(error));
    }
    let read = content.get(wanted).map_err(|error| Unproven::Content(chain(&error)))?;
    read.to_vec().map_err(|error| Unproven::Content(error.to_string()))
}

/// Where the bundle of a file lies.
fn bundle_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bundle");
    name.into()
}

/// The bundle beside a file, if there is one.
fn bundle_of(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let bundle = bundle_path(path);
    if !bundle.exists() {
        return Ok(None);
    }
    Ok(Some(file::read(&bundle, "bundle", FILE_LIMIT)?.to_vec()))
}

fn failure(name: &str, error: &SignatureError) -> Failure {
    let help = match error {
        SignatureError::Absent => {
            "put its `.bundle` beside it, take an image that is signed, or drop `boot.signed_by`"
        }
        SignatureError::Key | SignatureError::Roots(_) => "check `boot.signed_by`",
        _ => {
            "do not use it: fetch it anew from its maker, and see that `boot.signed_by` names them"
        }
    };
    let message = format!("`{name}`: {}", chain(error));
    Failure::new(Cause::Assets, Diagnostic::error("signature", message).help(help))
}
