//! An image: the manifest that fits, and its files.
//!
//! In: a place that has an image's content, and what names the image. Out: a [`Tree`].
//!
//! Source: OCI Image Format Specification 1.1, `image-index.md`, `layer.md`, "Applying Changesets".
//!
//! Not here: how layers are unpacked (`layer`) and laid over each other (`merge`).

use std::collections::BTreeSet;

use super::error::OciError;
use super::layer::{self, Failure, Listing};
use super::manifest::{Config, Document, Item, Layer, Manifest};
use super::merge::{Merge, Missing, Names};
use super::packing::Budget;
use super::{Content, Descriptor};
use crate::parallel;
use crate::store::Store;
use crate::talos::Arch;
use crate::tree::Tree;
use crate::units::GIB;

/// How deep indexes may lie in indexes. An index in a layout's own index is the second.
const INDEXES_MAX: usize = 4;
/// The most bytes of a layer as it is kept.
const LAYER_MAX: u64 = 16 * GIB;
/// The layers that are unpacked at a time; each keeps a second thread busy.
const WORKERS: usize = 2;

/// Which machines an image must be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// These: its programs run, or are built in.
    Only(Arch),
    /// These if there is a choice: its files serve all machines.
    Rather(Arch),
}

impl Platform {
    fn arch(self) -> Arch {
        match self {
            Self::Only(arch) | Self::Rather(arch) => arch,
        }
    }
}

/// The manifest of the image that fits. What an index has of attestations is passed over.
///
/// # Errors
///
/// Where there is none, or what there is breaks its specification.
pub fn manifest(
    content: &dyn Content,
    root: &Descriptor,
    platform: Platform,
) -> Result<Manifest, OciError> {
    let mut at = root.clone();
    for _ in 0..=INDEXES_MAX {
        match Document::get(content, &at)? {
            Document::Index(items) => at = choose(items, platform)?,
            Document::Manifest { config, layers } => {
                return whole(content, at, config, layers, platform);
            }
        }
    }
    let why = format!("more than {INDEXES_MAX} indexes lie in each other");
    Err(OciError::document(&format!("the index sha256:{}", root.digest), why))
}

/// The image of an index that fits.
fn choose(items: Vec<Item>, platform: Platform) -> Result<Descriptor, OciError> {
    let images: Vec<&Item> = items.iter().filter(|item| !item.is_attestation()).collect();
    let fits = |item: &&&Item| {
        item.platform.as_ref().is_some_and(|on| is_for(&on.os, &on.architecture, platform.arch()))
    };
    if let Some(item) = images.iter().find(fits) {
        return Ok(item.descriptor.clone());
    }
    // What says nothing of machines is looked into if it is the only one.
    let silent: Vec<_> = images.iter().filter(|item| item.platform.is_none()).collect();
    match (silent.as_slice(), images.as_slice(), platform) {
        ([only], _, _) => Ok(only.descriptor.clone()),
        (_, [first, ..], Platform::Rather(_)) => Ok(first.descriptor.clone()),
        _ => {
            let names: BTreeSet<String> = images
                .iter()
                .map(|item| match &item.platform {
                    Some(platform) => platform.to_string(),
                    None => "machines that it does not name".to_owned(),
                })
                .collect();
            Err(unfit(platform, names.into_iter().collect::<Vec<_>>().join(", ")))
        }
    }
}

fn is_for(os: &str, architecture: &str, arch: Arch) -> bool {
    os == "linux" && architecture == arch.name()
}

fn unfit(platform: Platform, there: String) -> OciError {
    let there = if there.is_empty() { "attestations".to_owned() } else { there };
    OciError::Platform { wanted: format!("linux/{}", platform.arch().name()), there }
}

/// A manifest with what its config says.
fn whole(
    content: &dyn Content,
    descriptor: Descriptor,
    config: Descriptor,
    layers: Vec<Descriptor>,
    platform: Platform,
) -> Result<Manifest, OciError> {
    let Config { os, architecture, diff_ids } = Config::get(content, &config)?;
    if let (Platform::Only(arch), Some(is)) = (platform, &architecture) {
        let os = os.as_deref().unwrap_or("linux");
        if !is_for(os, is, arch) {
            return Err(unfit(platform, super::error::shown(&format!("{os}/{is}"))));
        }
    }
    let what = format!("the manifest sha256:{}", descriptor.digest);
    if diff_ids.len() != layers.len() {
        let (layers, ids) = (layers.len(), diff_ids.len());
        let why = format!("it has {layers} layers, and its config {ids} digests of them");
        return Err(OciError::document(&what, why));
    }
    if let Some(large) = layers.iter().find(|layer| layer.len > LAYER_MAX) {
        let why = format!("the layer sha256:{} has {} bytes", large.digest, large.len);
        return Err(OciError::document(&what, format!("{why}, and may have {LAYER_MAX}")));
    }
    let layers = layers.into_iter().zip(diff_ids);
    let layers = layers.map(|(descriptor, diff_id)| Layer { descriptor, diff_id }).collect();
    Ok(Manifest { descriptor, config, architecture, layers })
}

/// The layers that were never unpacked into the store, so that their contents will be asked for.
///
/// # Errors
///
/// Where the store cannot be read.
pub fn missing(manifest: &Manifest, store: &Store) -> Result<Vec<Descriptor>, OciError> {
    let mut missing = Vec::new();
    for layer in &manifest.layers {
        if store.record(layer::RECORD, layer.descriptor.digest)?.is_none() {
            missing.push(layer.descriptor.clone());
        }
    }
    Ok(missing)
}

/// The image's files, each layer laid over those before it.
///
/// Contents are kept of the files that are `wanted`, by path; other files are left out. Folders and
/// symbolic links are all there, so that links can be followed. `watch` hears of the bytes of
/// layers that were gone through, those of [`Descriptor::len`] in all.
///
/// # Errors
///
/// Where a layer cannot be had, is damaged, or breaks a limit.
pub fn tree(
    content: &dyn Content,
    manifest: &Manifest,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    store: &Store,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<Tree, OciError> {
    let job = Job { content, store, layers: &manifest.layers };
    let listings = job.unpack(&|_, path| wanted(path), watch)?;
    let missing = match job.lay(&listings, wanted)? {
        Ok(tree) => return Ok(tree),
        Err(missing) => missing,
    };
    // Wanted files whose contents have another name: that of a hard link, or behind a link.
    let wanted_too =
        |layer: usize, path: &str| wanted(path) || missing.contains(&(layer, path.to_owned()));
    let listings = job.unpack(&wanted_too, &|_| {})?;
    let changed = |_| OciError::document("the image", "its content changed while it was read");
    job.lay(&listings, wanted)?.map_err(changed)
}

/// An image under unpacking.
struct Job<'a> {
    content: &'a dyn Content,
    store: &'a Store,
    layers: &'a [Layer],
}

impl Job<'_> {
    /// Unpacks all layers. What was unpacked before is taken from the store.
    fn unpack(
        &self,
        wanted: &(dyn Fn(usize, &str) -> bool + Sync),
        watch: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Listing>, OciError> {
        let budget = Budget::default();
        let layers: Vec<_> = self.layers.iter().enumerate().collect();
        parallel::try_in_order(WORKERS, &layers, |(index, layer)| {
            self.layer(layer, &|path| wanted(*index, path), &budget, watch)
        })
    }

    fn layer(
        &self,
        layer: &Layer,
        wanted: &dyn Fn(&str) -> bool,
        budget: &Budget,
        watch: &(dyn Fn(u64) + Sync),
    ) -> Result<Listing, OciError> {
        let digest = layer.descriptor.digest;
        let known = layer::recall(self.store, digest)?.filter(|l| l.diff_id == layer.diff_id);
        let what = || format!("the layer sha256:{digest}");
        if let Some(known) = known.as_ref().filter(|known| known.has(wanted)) {
            let counted = known.items.iter().try_for_each(|item| budget.member(item.names()));
            counted.map_err(OciError::archive(&what()))?;
            watch(layer.descriptor.len);
            return Ok(known.clone());
        }
        // Contents that others wanted stay.
        let stored = known.as_ref().map(Listing::stored).unwrap_or_default();
        let wanted = |path: &str| wanted(path) || stored.contains(path);
        let blob = self.content.get(&layer.descriptor)?;
        let unpacked = layer::unpack(&blob, &wanted, self.store, budget, watch);
        let listing = unpacked.map_err(|failure| failure.of(&what()))?;
        if listing.diff_id != layer.diff_id {
            let (wanted, found) = (layer.diff_id, listing.diff_id);
            return Err(OciError::DiffId { layer: digest, wanted, found });
        }
        layer::remember(self.store, digest, &listing)?;
        Ok(listing)
    }

    /// Lays the layers over each other.
    fn lay(
        &self,
        listings: &[Listing],
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Result<Tree, Missing>, OciError> {
        let budget = Budget::default();
        let mut merge = Merge::new(Names::Layer, &budget);
        for (index, (listing, layer)) in listings.iter().zip(self.layers).enumerate() {
            let what = format!("the layer sha256:{}", layer.descriptor.digest);
            merge.apply(index, listing).map_err(OciError::archive(&what))?;
        }
        Ok(merge.finish(listings, wanted))
    }
}

impl Failure {
    pub(super) fn of(self, what: &str) -> OciError {
        match self {
            Self::Archive(why) => OciError::archive(what)(why),
            Self::Store(error) => OciError::Store(error),
        }
    }
}
