//! What a site's sources name, at hand: by the lock file, from the store, from registries.
//!
//! In: a site, its lock file, the store. Out: boot assets' supplies, trees of extensions and of boards.
//!
//! A reference means what `site.lock` says. One that is not there is looked up and added, so that
//! the next build on any machine takes the same bytes.
//!
//! Source: Image Factory `internal/artifacts/versions.go` (Sidero's catalogues of extensions and
//! overlays: images whose files name others).
//!
//! Not here: how images are read (`oci`), fetched (`registry`), kept (`store`), and used.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::asset::{InputFile, Supply, input};
use crate::blob::Blob;
use crate::cli::Sources;
use crate::digest::Digest;
use crate::lock::{Lock, Locked};
use crate::oci::archive::Archive;
use crate::oci::error::OciError;
use crate::oci::image::{self, Platform};
use crate::oci::layout::Layout;
use crate::oci::manifest::Manifest;
use crate::oci::reference::Reference;
use crate::oci::{Content, Descriptor, ImageSource, Unavailable, unpack};
use crate::registry::error::RegistryError;
use crate::registry::{Client, Network, Settings};
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::private::{self, Old};
use crate::site::{AssetSource, Site, TreeSource, Url};
use crate::store::{self, Store};
use crate::tree::Tree;
use crate::verb::trust::Judge;
use crate::verb::{Cause, Failure, asset_failure, chain};

/// Where Sidero's images are.
const OFFICIAL: &str = "ghcr.io";
/// The images that list the extensions and the overlays of a release, and their files that do.
const EXTENSIONS: (&str, &str) = ("ghcr.io/siderolabs/extensions", "image-digests");
const OVERLAYS: (&str, &str) = ("ghcr.io/siderolabs/overlays", "overlays.yaml");
/// The most of such a list that is read.
const LIST_LIMIT: u64 = 1 << 20;
/// The largest lock file.
const LOCK_LIMIT: u64 = 4 << 20;

/// What to do with references that the lock file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Take what it says.
    Locked,
    /// Ask anew.
    Anew,
}

/// Gets what a site's sources name.
#[derive(Debug)]
pub(super) struct Supplier<'a> {
    site: &'a Site,
    pub(super) store: Store,
    client: Client,
    path: PathBuf,
    old: Lock,
    used: Lock,
    look: Look,
    judge: Option<Judge<'a>>,
    trees: BTreeMap<String, Tree>,
    /// Whether something could not be had, so that what was looked at is not all.
    has_gap: bool,
    progress: &'a Progress,
}

/// An image, found.
struct Found<'c> {
    root: Descriptor,
    manifest: Manifest,
    content: Box<dyn Content + 'c>,
}

impl<'a> Supplier<'a> {
    /// Reads the lock file. Nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// Where the lock file or a mirror's name is wrong.
    pub(super) fn open(
        site: &'a Site,
        args: &Sources,
        look: Look,
        progress: &'a Progress,
    ) -> Result<Self, Failure> {
        let store = self::store(args, &site.path);
        let mut settings = Settings::from_environment(&variable);
        settings.hosts.clone_from(&site.boot.registries);
        if args.offline {
            let verb = match look {
                Look::Locked => "build",
                Look::Anew => "lock",
            };
            let command = format!("talforge {verb} {}", site.path.display());
            settings.network = Network::Offline { command };
        }
        let client = Client::new(settings, store.clone(), progress.clone());
        let client = client.map_err(|error| registry_failure(&error))?;
        let path = lock_path(&site.path);
        let old = read_lock(&path)?;
        Ok(Self {
            site,
            store,
            client,
            path,
            old,
            used: Lock::default(),
            look,
            judge: Judge::of(site, progress)?,
            trees: BTreeMap::new(),
            has_gap: false,
            progress,
        })
    }

    /// The boot assets, one supply from each source.
    ///
    /// # Errors
    ///
    /// Where a source cannot be had.
    pub(super) fn assets(&mut self) -> Result<Supply, Failure> {
        let site = self.site;
        let mut supplies = Vec::new();
        for source in &site.boot.assets {
            supplies.push(match source {
                AssetSource::Dir(path) => Supply::Folder(path.clone()),
                AssetSource::Iso(path) | AssetSource::Raw(path) => self.local(path)?,
                // What a UKI has not, its boot loader and GRUB, may lie beside it.
                AssetSource::Uki(path) => {
                    let uki = self.local(path)?;
                    let beside = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                    let beside = beside.unwrap_or(Path::new(".")).to_owned();
                    Supply::Several(vec![uki, Supply::Folder(beside)])
                }
                AssetSource::Image { written, source } => {
                    let wanted = |path: &str| {
                        path.starts_with("usr/install/")
                            || path.starts_with("usr/lib/grub/i386-pc/")
                    };
                    let platform = Platform::Rather(site.boot.arch);
                    Supply::Tree(self.image(written, source, platform, &wanted)?)
                }
                AssetSource::Web(url) => {
                    let blob = self.file(url)?;
                    Supply::File { name: url.file_name().to_owned(), blob }
                }
            });
        }
        Ok(Supply::Several(supplies))
    }

    /// The files of an extension.
    ///
    /// # Errors
    ///
    /// Where it cannot be had.
    pub(super) fn extension(&mut self, source: &TreeSource) -> Result<Tree, Failure> {
        let tree = self.tree(source, &|_| true);
        self.has_gap |= tree.is_err();
        tree
    }

    /// The files of boards that an overlay names: Sidero's own, or those of the site's `artifacts`.
    ///
    /// # Errors
    ///
    /// Where they cannot be had.
    pub(super) fn artifacts(&mut self, name: &str) -> Result<Tree, Failure> {
        let wanted = |path: &str| path.starts_with("artifacts/");
        let tree = match self.site.boot.artifacts.get(name) {
            Some(source) => self.tree(source, &wanted),
            None => self.official(&format!("siderolabs/{name}"), OVERLAYS, &wanted),
        };
        self.has_gap |= tree.is_err();
        tree
    }

    /// Writes the lock file if it says something else now. What no source names any more is dropped
    /// where all sources were looked at and could be had.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub(super) fn keep(self, is_whole: bool) -> Result<(), Failure> {
        let mut lock = if is_whole && !self.has_gap { Lock::default() } else { self.old.clone() };
        for (reference, locked) in self.used.iter() {
            lock.set(reference, locked.clone());
        }
        if lock == self.old {
            return Ok(());
        }
        let shown = self.path.display();
        private::write(&self.path, lock.emit().as_bytes(), Old::Replace).map_err(|error| {
            let message = format!("`{shown}` cannot be written: {error}");
            Failure::new(Cause::World, Diagnostic::error("lock-write", message))
        })?;
        self.progress.event(serde_json::json!({"event": "locked", "file": shown.to_string()}));
        self.progress.note(&format!("wrote `{shown}`: keep it with the site file"));
        Ok(())
    }

    /// What was looked at, and what it meant.
    pub(super) fn used(&self) -> impl Iterator<Item = (&str, &Locked)> {
        self.used.iter()
    }

    /// What the lock file says of a reference, where that is to be taken.
    fn locked(&self, reference: &str) -> Option<&Locked> {
        self.used
            .get(reference)
            .or_else(|| self.old.get(reference).filter(|_| self.look == Look::Locked))
    }

    fn tree(
        &mut self,
        source: &TreeSource,
        wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Tree, Failure> {
        let arch = self.site.boot.arch;
        match source {
            TreeSource::Official(name) => self.official(name, EXTENSIONS, wanted),
            TreeSource::Image { written, source } => {
                self.image(written, source, Platform::Only(arch), wanted)
            }
            TreeSource::Dir(path) => unpack::folder(path, wanted, &self.store)
                .map_err(|error| oci_failure(&path.display().to_string(), &error)),
            TreeSource::Tar(path) => {
                let name = path.display().to_string();
                let blob = input::open_file(path, &name).map_err(|error| asset_failure(&error))?;
                let task = self.progress.task(&name, blob.len());
                let tree =
                    unpack::tarball(&name, &blob, wanted, &self.store, &|bytes| task.add(bytes));
                let tree = tree.map_err(|error| oci_failure(&name, &error))?;
                task.done("unpacked");
                Ok(tree)
            }
        }
    }

    /// The files of an image of Sidero's by the name that the catalogue of the release has for it.
    fn official(
        &mut self,
        name: &str,
        (catalogue, list): (&str, &str),
        wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Tree, Failure> {
        let platform = Platform::Only(self.site.boot.arch);
        let repository = format!("{OFFICIAL}/{name}");
        // What a name means depends on the release.
        let written = format!("{name} of {}", self.site.cluster.talos);
        let pinned = match self.locked(&written) {
            Some(Locked::Image { digest, .. }) => {
                Reference::parse(&format!("{repository}@sha256:{digest}"))
            }
            _ => {
                let catalogue = format!("{catalogue}:{}", self.site.cluster.talos);
                let image = Reference::parse(&catalogue).map(ImageSource::Registry);
                let image = image.expect("our own names and a version's tag are a reference");
                let listed = |path: &str| path == list;
                // The list serves to find the image, which is locked itself.
                let any = Platform::Rather(self.site.boot.arch);
                let tree = self.unlocked(&catalogue, &image, any, &listed)?;
                let found = tree.file(list).and_then(|(blob, _)| text_of(blob));
                let found = found.and_then(|text| find(&text, &repository));
                let found = found.ok_or_else(|| {
                    let message = format!("Sidero's catalogue `{catalogue}` has no `{name}`");
                    let help = "check the name, or give the image itself";
                    Failure::new(
                        Cause::Files,
                        Diagnostic::error("no-such-image", message).help(help),
                    )
                })?;
                Reference::parse(&found)
            }
        };
        let pinned = pinned.map_err(|error| Failure::of(Cause::Assets, "catalogue", &error))?;
        self.image(&written, &ImageSource::Registry(pinned), platform, wanted)
    }

    /// The files of an image, which is in the lock file then.
    fn image(
        &mut self,
        written: &str,
        source: &ImageSource,
        platform: Platform,
        wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Tree, Failure> {
        if let Some(tree) = self.trees.get(written) {
            return Ok(tree.clone());
        }
        let (tree, meaning) = {
            let found = self.find_image(written, source, platform)?;
            let tree = self.unpack(written, source, &found, wanted)?;
            let Descriptor { media_type, digest, len } = found.root.clone();
            let own = found.manifest.descriptor.digest;
            let manifests = BTreeMap::from([(self.site.boot.arch, own)]);
            (tree, Locked::Image { digest, len, media_type, manifests })
        };
        self.used.set(written, meaning);
        self.trees.insert(written.to_owned(), tree.clone());
        Ok(tree)
    }

    /// The files of an image that nobody locks.
    fn unlocked(
        &self,
        written: &str,
        source: &ImageSource,
        platform: Platform,
        wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Tree, Failure> {
        let found = self.find_image(written, source, platform)?;
        self.unpack(written, source, &found, wanted)
    }

    fn unpack(
        &self,
        written: &str,
        source: &ImageSource,
        found: &Found<'_>,
        wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Tree, Failure> {
        if let ImageSource::Registry(name) = source {
            let layers = image::missing(&found.manifest, &self.store);
            let layers = layers.map_err(|error| oci_failure(written, &error))?;
            self.client.fetch_all(name, &layers).map_err(|error| registry_failure(&error))?;
        }
        let total = found.manifest.layers.iter().map(|layer| layer.descriptor.len).sum();
        let task = self.progress.task(written, total);
        let watch = |bytes| task.add(bytes);
        let tree =
            image::tree(found.content.as_ref(), &found.manifest, wanted, &self.store, &watch);
        let tree = tree.map_err(|error| oci_failure(written, &error))?;
        task.done("unpacked");
        Ok(tree)
    }

    /// The manifest of an image, by the lock file where that has it.
    fn find_image(
        &self,
        written: &str,
        source: &ImageSource,
        platform: Platform,
    ) -> Result<Found<'_>, Failure> {
        let locked = match self.locked(written) {
            Some(Locked::Image { digest, len, media_type, .. }) => {
                Some(Descriptor { media_type: media_type.clone(), digest: *digest, len: *len })
            }
            _ => None,
        };
        let oci = |error: OciError| oci_failure(written, &error);
        let (root, content): (Descriptor, Box<dyn Content + '_>) = match source {
            ImageSource::Registry(name) => {
                let said = name.digest();
                let root = match locked {
                    Some(root) if said.is_none_or(|digest| digest == root.digest) => root,
                    // A digest in the reference itself is what it means.
                    _ => self.client.resolve(name).map_err(|error| registry_failure(&error))?,
                };
                if let Some(judge) = &self.judge {
                    judge.image(&self.client, name, root.digest)?;
                }
                (root, Box::new(self.client.image(name)))
            }
            ImageSource::Layout { path, pick } => {
                let layout = Layout::open(path).map_err(oci)?;
                let root = layout.pick(pick.as_deref()).map_err(oci)?;
                (self.same(written, locked, root)?, Box::new(layout))
            }
            ImageSource::Archive { path, pick } => {
                let archive = Archive::open(path).map_err(oci)?;
                let root = archive.pick(pick.as_deref()).map_err(oci)?;
                (self.same(written, locked, root)?, Box::new(archive))
            }
        };
        let manifest = image::manifest(content.as_ref(), &root, platform).map_err(|error| {
            match self.locked(written) {
                Some(_) if is_nowhere(&error) => self.blame_lock(written, oci(error)),
                _ => oci(error),
            }
        })?;
        Ok(Found { root, manifest, content })
    }

    /// What cannot be had is what the lock file names.
    fn blame_lock(&self, written: &str, failure: Failure) -> Failure {
        let (lock, site) = (self.path.display(), self.site.path.display());
        let help = format!(
            "`{lock}` names it for `{written}`: take back what was edited there, or run \
             `talforge lock {site}` to take what the name means now"
        );
        let blame = |diagnostic: Diagnostic| diagnostic.help(help.clone());
        let diagnostics = failure.diagnostics.into_iter().map(blame).collect();
        Failure { cause: failure.cause, diagnostics }
    }

    /// What a file has, which must be what the lock file says.
    fn same(
        &self,
        written: &str,
        locked: Option<Descriptor>,
        found: Descriptor,
    ) -> Result<Descriptor, Failure> {
        match locked {
            Some(locked) if locked.digest != found.digest => {
                Err(changed(written, &self.path, (locked.digest, found.digest), &self.site.path))
            }
            _ => Ok(found),
        }
    }

    /// A file of a web server, which is in the lock file then.
    fn file(&mut self, url: &Url) -> Result<Blob, Failure> {
        let text = url.as_str();
        let locked = match self.locked(text) {
            Some(Locked::File { digest, .. }) => Some(*digest),
            _ => None,
        };
        let got = self.client.file(text, locked);
        let (digest, blob) = got.map_err(|error| registry_failure(&error))?;
        if let Some(judge) = &self.judge {
            let bundle = self.client.file(&format!("{text}.bundle"), None);
            let (_, bundle) = bundle.map_err(|error| registry_failure(&error))?;
            judge.fetched(text, digest, &bundle)?;
        }
        self.used.set(text, Locked::File { digest, len: blob.len() });
        Ok(blob)
    }

    /// A file on this machine.
    fn local(&self, path: &Path) -> Result<Supply, Failure> {
        let supply = Supply::file(path).map_err(|error| asset_failure(&error))?;
        if let (Some(judge), Supply::File { blob, .. }) = (&self.judge, &supply) {
            let digest = Digest::of_blob(blob);
            let digest = digest.map_err(|error| Failure::of(Cause::World, "read", &error))?;
            judge.local(path, digest)?;
        }
        Ok(supply)
    }

    /// Holds the files that were used of folders to what the site asks of their signatures.
    ///
    /// # Errors
    ///
    /// The first file that nobody vouches for.
    pub(super) fn judge(&self, inputs: &[InputFile]) -> Result<(), Failure> {
        let Some(judge) = &self.judge else { return Ok(()) };
        let folders = self.site.boot.assets.iter().filter_map(|source| match source {
            AssetSource::Dir(path) => Some(path.as_path()),
            AssetSource::Uki(path) => path.parent(),
            _ => None,
        });
        folders.into_iter().try_for_each(|folder| judge.folder(folder, inputs))
    }
}

/// The environment.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The store: the one that is named, or the user's, or beside the site file where there is none.
fn store(args: &Sources, site: &Path) -> Store {
    let usual = || store::default_root(&variable);
    let root = args.store.clone().or_else(usual);
    Store::at(root.unwrap_or_else(|| site.with_file_name(".talforge")))
}

/// The lock file of a site: `site.lock` of `site.yaml`.
fn lock_path(site: &Path) -> PathBuf {
    site.with_extension("lock")
}

/// Reads a lock file; one that is not there says nothing.
fn read_lock(path: &Path) -> Result<Lock, Failure> {
    if !path.exists() {
        return Ok(Lock::default());
    }
    let bytes = crate::verb::file::read(path, "lock file", LOCK_LIMIT)?;
    Lock::parse(&path.display().to_string(), &bytes)
        .map_err(|problem| Failure::new(Cause::Files, problem))
}

/// A short text file.
fn text_of(blob: &Blob) -> Option<String> {
    let bytes = (blob.len() <= LIST_LIMIT).then(|| blob.to_vec().ok())??;
    String::from_utf8(bytes).ok()
}

/// The reference of a repository's image in a catalogue: a line of `image-digests`, or an item of
/// `overlays.yaml`.
fn find(list: &str, repository: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Overlays {
        overlays: Vec<Overlay>,
    }
    #[derive(Deserialize)]
    struct Overlay {
        image: String,
        digest: String,
    }
    let is_it = |image: &str| {
        let rest = image.strip_prefix(repository);
        rest.is_some_and(|rest| rest.starts_with([':', '@']))
    };
    if let Some(line) = list.lines().map(str::trim).find(|line| is_it(line)) {
        return Some(line.to_owned());
    }
    let overlays: Overlays = serde_yaml::from_str(list).ok()?;
    let found = overlays.overlays.iter().find(|overlay| is_it(&overlay.image))?;
    Some(format!("{}@{}", found.image, found.digest))
}

fn changed(written: &str, lock: &Path, (locked, found): (Digest, Digest), site: &Path) -> Failure {
    let message = format!(
        "`{written}` is another image than `{}` says: sha256:{found}, not sha256:{locked}",
        lock.display()
    );
    let help = format!("if that is meant, run `talforge lock {}`", site.display());
    Failure::new(Cause::Assets, Diagnostic::error("lock-changed", message).help(help))
}

fn registry_failure(error: &RegistryError) -> Failure {
    let cause = if error.is_local() { Cause::World } else { Cause::Assets };
    Failure::new(cause, Diagnostic::error("registry", chain(error)).help(error.help()))
}

/// Whether there is no such content where it was looked for: another try does not help.
fn is_nowhere(error: &OciError) -> bool {
    let OciError::Content(Unavailable(why)) = error else { return false };
    match why.downcast_ref::<RegistryError>() {
        Some(RegistryError::Length { .. }) => true,
        Some(error) => error.is_absent(),
        None => false,
    }
}

fn oci_failure(name: &str, error: &OciError) -> Failure {
    if let OciError::Content(Unavailable(why)) = error
        && let Some(error) = why.downcast_ref::<RegistryError>()
    {
        return registry_failure(error);
    }
    let (cause, help) = match error {
        OciError::Store(_) => (Cause::World, "free some room, or name another store by `--store`"),
        OciError::Io { .. } => (Cause::World, "check the path and the file's permissions"),
        OciError::Platform { .. } => {
            (Cause::Assets, "set `boot.arch`, or take an image for the site's architecture")
        }
        OciError::Pick { .. } => (Cause::Files, "name the one that is meant behind the path"),
        _ => (Cause::Assets, "fetch it again, and compare its digest with its maker's"),
    };
    let message = match error {
        // It says itself which file it is.
        OciError::Io { .. } => chain(error),
        _ => format!("`{name}`: {}", chain(error)),
    };
    Failure::new(cause, Diagnostic::error("image", message).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalogues_name_images_by_digest() {
        let digest = "0".repeat(64);
        let lines = format!(
            "ghcr.io/siderolabs/zfs-x:1@sha256:{digest}\nghcr.io/siderolabs/zfs:2@sha256:{digest}\n"
        );
        let zfs = find(&lines, "ghcr.io/siderolabs/zfs").unwrap();
        assert_eq!(zfs, format!("ghcr.io/siderolabs/zfs:2@sha256:{digest}"));
        assert!(Reference::parse(&zfs).is_ok());
        let overlays = format!(
            "overlays:\n  - {{name: rock64, image: ghcr.io/siderolabs/sbc-rockchip:v0.1.4, digest: \"sha256:{digest}\"}}\n"
        );
        let board = find(&overlays, "ghcr.io/siderolabs/sbc-rockchip").unwrap();
        assert_eq!(board, format!("ghcr.io/siderolabs/sbc-rockchip:v0.1.4@sha256:{digest}"));
        assert_eq!(find(&overlays, "ghcr.io/siderolabs/sbc"), None);
        assert_eq!(find("- a", "ghcr.io/siderolabs/sbc"), None);
    }
}
