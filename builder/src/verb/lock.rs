//! `talforge lock`: what every reference of a site means, looked up anew.
//!
//! In: the site file. Out: `site.lock`, and everything that it names in the store.
//!
//! Source: none.
//!
//! Not here: the lock file's format (`lock`), and fetching (`supply`).

use std::collections::BTreeSet;

use serde_json::json;

use crate::cli::Lock;
use crate::report::progress::Progress;
use crate::site;
use crate::verb::supply::{Look, Supplier};
use crate::verb::{Cause, Failure};

/// Looks up and fetches.
///
/// # Errors
///
/// Where the site is wrong, or something cannot be had.
pub fn lock(args: &Lock, progress: &Progress) -> Result<(), Failure> {
    let site = site::load(&args.site, &|name| std::env::var_os(name));
    let site = site.map_err(|diagnostics| Failure { cause: Cause::Files, diagnostics })?;
    site.warnings.iter().for_each(|warning| progress.diagnostic(warning));
    let mut supplier = Supplier::open(&site, &args.sources, Look::Anew, progress)?;
    supplier.assets()?;
    for node in &site.nodes {
        for source in &node.extensions {
            supplier.extension(source)?;
        }
    }
    let overlays = site.nodes.iter().flat_map(|node| &node.overlays);
    let artifacts: BTreeSet<_> = overlays.filter_map(|(_, overlay)| overlay.artifacts()).collect();
    for name in artifacts {
        supplier.artifacts(name)?;
    }
    for (reference, locked) in supplier.used() {
        let digest = locked.digest();
        progress.say(&format!("sha256:{digest}  {reference}"));
        progress.event(json!({
            "event": "reference", "reference": reference, "sha256": digest.to_string(),
        }));
    }
    supplier.keep(true)
}
