//! Selectors of the older style as expressions in CEL.
//!
//! In: `diskSelector` and `deviceSelector`. Out: expressions that choose the same.
//!
//! Source: Talos `pkg/machinery/config/types/v1alpha1/v1alpha1_provider.go`
//! (`DiskMatchExpression`: read-only disks, CD-ROMs and disks without a transport are never
//! chosen), `internal/app/machined/pkg/controllers/network/device_config.go` (`selectDevices`),
//! `pkg/machinery/cel/celenv/celenv.go` (variables and functions), `dustin/go-humanize`
//! `bytes.go` (sizes). `glob` knows one special character, `*`.
//!
//! Not here: whether an expression compiles (`valid`).

use super::output::{Fields, Output};
use crate::config::expression::{literal, matches};
use crate::config::leaf::amount;
use crate::config::tree::Tree;
use crate::digest::Digest;

/// The disk that an install section means, as an expression.
pub(super) fn disk(selector: Fields, output: &mut Output) -> Option<String> {
    let mut selector = selector;
    let at = selector.rest.clone();
    let mut terms = Vec::new();
    if let Some((value, text)) = selector.text("size") {
        match amount::size_condition(&text) {
            Some((comparison, bytes)) => terms.push(format!("disk.size {comparison} {bytes}u")),
            None => output.invalid(&value, "this is no size", "write a size, `>= 100GB`"),
        }
    }
    for key in ["uuid", "wwid", "model", "serial", "modalias", "busPath"] {
        if let Some((_, pattern)) = selector.text(key) {
            let field = if key == "busPath" { "bus_path" } else { key };
            terms.push(matches(&pattern, &format!("disk.{field}")));
        }
    }
    if let Some((value, text)) = selector.text("type") {
        match text.as_str() {
            "nvme" => terms.push("disk.transport == \"nvme\"".to_owned()),
            "sd" => terms.push("disk.transport == \"mmc\"".to_owned()),
            "hdd" => terms.push("disk.rotational".to_owned()),
            "ssd" => terms.push("!disk.rotational".to_owned()),
            _ => output.invalid(&value, "this is no type of disk", "write ssd, hdd, nvme or sd"),
        }
    }
    if let Some(value) = selector.take("name") {
        let help = "name the disk by what it has, `serial`, `wwid` or `busPath`";
        output.refuse(&value, "Talos chooses no disk by `name`", help);
    }
    selector.finish(output);
    if terms.is_empty() {
        output.invalid(&at, "the disk selector selects nothing", "name a serial or a wwid");
        return None;
    }
    terms.push("disk.transport != \"\" && !disk.readonly && !disk.cdrom".to_owned());
    Some(terms.join(" && "))
}

/// The disk of a path. Names below `/dev/disk/` are links to the disk's own.
pub(super) fn disk_path(path: &str) -> String {
    if path.starts_with("/dev/disk/") {
        format!("{} in disk.symlinks", literal(path))
    } else {
        format!("disk.dev_path == {}", literal(path))
    }
}

/// A link that a selector chooses.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The alias that it goes by.
    pub(super) alias: String,
    /// Whether the selector can choose but one link of a machine.
    pub(super) sure: bool,
}

/// The keys of a device selector, and what they are in the status of a link.
const LINK: [(&str, &str); 5] = [
    ("hardwareAddr", "mac(link.hardware_addr)"),
    ("permanentAddr", "mac(link.permanent_addr)"),
    ("pciID", "link.pciid"),
    ("driver", "link.driver"),
    ("busPath", "link.bus_path"),
];

/// Makes the alias of the link that a device selector chooses. Equal selectors have one alias: its
/// name comes of the expression.
///
/// A link that is `enslaved` takes its master's address: it is told by its permanent one.
pub(super) fn link(selector: Fields, enslaved: bool, output: &mut Output) -> Option<Chosen> {
    let mut selector = selector;
    let at = selector.rest.clone();
    let (mut terms, mut sure, mut fine) = (Vec::new(), false, true);
    for (key, mut field) in LINK {
        let Some((value, pattern)) = selector.text(key) else { continue };
        if key.ends_with("Addr") && pattern.contains(|c: char| c.is_ascii_uppercase()) {
            let help = "write it in lower case, as Talos does";
            output.invalid(&value, "an address in upper case is that of no link", help);
            fine = false;
        }
        if key == "hardwareAddr" && enslaved {
            field = "mac(link.permanent_addr)";
        }
        sure |= !pattern.contains('*') && !matches!(key, "pciID" | "driver");
        terms.push(matches(&pattern, field));
    }
    match selector.take("physical") {
        Some(value) if value.bool() == Some(false) => {
            let help = "name the link by `interface`";
            output.refuse(&value, "Talos gives aliases to physical links alone", help);
            fine = false;
        }
        // Only physical links have aliases.
        Some(_) if terms.is_empty() => terms.push("true".to_owned()),
        Some(_) => {}
        None if terms.is_empty() => {
            output.invalid(&at, "the device selector selects nothing", "name a `permanentAddr`");
            fine = false;
        }
        None => {}
    }
    selector.finish(output);
    if !fine {
        return None;
    }
    let expression = terms.join(" && ");
    let alias = format!("nic{:.6}", Digest::of(expression.as_bytes()).to_string());
    output
        .open("LinkAliasConfig", Some(&alias), &at)
        .set_at(&["selector", "match"], Tree::from(expression));
    Some(Chosen { alias, sure })
}
