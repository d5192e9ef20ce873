//! The documents of volume groups, logical volumes and arrays.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/storage`.
//!
//! Not here: volumes on partitions (`block`).

use super::block::size;
use super::found::Found;
use super::name::Label;
use super::selector::{self, Scope};
use super::{Context, Rule, name, view};
use crate::config::tree::Tree;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("LVMVolumeGroupConfig", |doc, context, found| members(doc, 63, context, found)),
    ("RAIDArrayConfig", |doc, context, found| members(doc, 32, context, found)),
    ("LVMLogicalVolumeConfig", logical_volume),
];

fn members(doc: &Tree, max: usize, context: Context, found: &mut Found) {
    name::label(doc, "array or volume group", &Label { max, underscore: true }, found);
    let path = ["provisioning", "volumeSelector", "match"];
    selector::required(doc, &path, Scope::MemberVolume, context, found);
}

fn logical_volume(doc: &Tree, _: Context, found: &mut Found) {
    name::label(doc, "logical volume", &Label { max: 63, underscore: true }, found);
    let kind = view::text(doc, &["type"]).to_lowercase();
    let copies = [("mirrors", ["raid1", "raid10"], 1), ("stripes", ["raid0", "raid10"], 2)];
    for (key, kinds, least) in copies {
        let Some(at) = view::pointer(doc, &[key]) else { continue };
        if !kinds.contains(&kind.as_str()) || view::number(doc, &[key]) < least {
            let message =
                format!("`{key}` is below {least}, or is none that the volume's type has");
            let help = format!("only `{}` and `{}` have it; else drop it", kinds[0], kinds[1]);
            found.refuse(at, "talos-lvm-copies", message, help);
        }
    }
    if view::text(doc, &["provisioning", "volumeGroup"]).is_empty() {
        let at = view::place(doc, &["provisioning"]);
        let message = "the logical volume has no volume group";
        found.refuse(at, "talos-lvm-group", message, "name one in `provisioning.volumeGroup`");
    }
    let set =
        |key| view::pointer(doc, &["provisioning", key]).filter(|size| size.text() != Some(""));
    let (min, max) = (set("minSize"), set("maxSize"));
    let at = view::place(doc, &["provisioning", "maxSize"]);
    let negative = at.text().is_some_and(|text| text.starts_with('-'));
    if max.is_none() || negative {
        let message = "the logical volume has no size above zero";
        found.refuse(at, "talos-lvm-size", message, "write `maxSize: 10GiB`, or `100%`");
    }
    let relative = max.and_then(Tree::text).is_some_and(|text| text.contains('%'));
    let most = max.and_then(size).unwrap_or_default();
    if min.and_then(size).is_some_and(|least| least > most) && !relative {
        let message = "the least size of the volume is above the most";
        found.refuse(at, "talos-volume-size", message, "raise `maxSize`");
    }
}
