//! The JSON Schema of a site file, for editors.
//!
//! In: nothing. Out: the schema.
//!
//! Source: JSON Schema 2020-12, <https://json-schema.org/draft/2020-12>.
//!
//! Not here: checks that a schema cannot make; the rest of this room makes those.

use serde_json::{Value, json};

use super::key::{self, Section};
use crate::catalog;

/// The schema of the whole file.
pub(super) fn site() -> Value {
    let mut schema = section(&key::SITE, &["version", "cluster", "boot", "nodes"]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("talforge site");
    schema["description"] = json!("A whole site: a cluster, what its machines boot, the machines");
    schema
}

/// A mapping with its keys and no others.
fn section(section: &Section, required: &[&str]) -> Value {
    let properties: serde_json::Map<_, _> =
        section.keys.iter().map(|&key| (key.to_owned(), property(section, key))).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = json!(description);
    schema
}

/// The schema of one key.
fn property(section: &Section, key: &str) -> Value {
    match (section.name, key) {
        ("`cluster`", _) => cluster(key),
        ("`boot`", "assets" | "arch" | "grub") => boot(key),
        ("a node", "name" | "role" | "config") => node(key),
        ("the site file", _) => part(key),
        _ => common(key),
    }
}

fn part(key: &str) -> Value {
    match key {
        "version" => described(json!({"enum": [1, "1"]}), "The version of the file's format: 1"),
        "cluster" => described(
            self::section(&key::CLUSTER, &["name", "endpoint", "talos"]),
            "The cluster that the nodes join",
        ),
        "boot" => described(self::section(&key::BOOT, &["assets"]), "What all nodes boot from"),
        "defaults" => {
            described(self::section(&key::DEFAULTS, &[]), "What holds for nodes that say no other")
        }
        _ => described(
            json!({
                "type": "array",
                "minItems": 1,
                "items": self::section(&key::NODE, &["name", "role"]),
            }),
            "The machines",
        ),
    }
}

fn cluster(key: &str) -> Value {
    match key {
        "name" => described(text("^[A-Za-z0-9.-]{1,253}$"), "The cluster's name"),
        "endpoint" => described(
            text("^https://[^/@?#]+/?$"),
            "Where the Kubernetes API is reached: https, a host, perhaps a port. An IPv6 address stands in brackets",
        ),
        "talos" => described(
            text(r"^v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$"),
            "The release of Talos, as its tag: v1.13.9. Machine configs are embedded since v1.12.0",
        ),
        _ => described(
            text(r"^v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$"),
            "The version of Kubernetes, for the reader; the machine configs tell it to Talos",
        ),
    }
}

fn boot(key: &str) -> Value {
    match key {
        "assets" => described(
            text("^.+$"),
            "Where kernel, initramfs and systemd-boot come from: `dir:` and a folder of Talos' files, or `uki:` and a UKI. Paths start at this file's folder",
        ),
        "arch" => described(
            json!({"enum": ["amd64", "arm64"], "default": "amd64"}),
            "The machines' processors",
        ),
        _ => described(
            text("^.+$"),
            "A folder with GRUB's i386-pc files, for media that start under a BIOS",
        ),
    }
}

fn node(key: &str) -> Value {
    match key {
        "name" => described(
            text("^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"),
            "The machine's name, and that of its files",
        ),
        "role" => {
            described(json!({"enum": ["controlplane", "worker"]}), "What it does in the cluster")
        }
        _ => described(
            text("^.+$"),
            "The file with its machine config, from this file's folder. It may be missing only with `embed: none`",
        ),
    }
}

fn common(key: &str) -> Value {
    let own_file = text(r"(/|\.yaml$)");
    match key {
        "profile" => {
            let names: Vec<_> = catalog::profile_names().collect();
            described(
                json!({"anyOf": [{"enum": names}, own_file]}),
                "The kind of medium, or a file of your own: ./mine.yaml. metal-iso if no one says",
            )
        }
        "overlays" => {
            let names: Vec<_> = catalog::overlay_names().collect();
            let item = json!({"anyOf": [{"enum": names}, own_file]});
            described(
                json!({"type": "array", "uniqueItems": true, "items": item}),
                "Variations of the medium; a node's come after the defaults'",
            )
        }
        "kernel_args" => described(
            json!({"type": "array", "items": text("^[!#-~]+$")}),
            "Kernel arguments to add, one an item; `-key` and `-key=value` take away",
        ),
        "embed" => described(
            json!({"enum": ["auto", "addon", "initramfs", "none"], "default": "auto"}),
            "How the machine config gets into the medium",
        ),
        _ => described(
            json!({
                "type": "object",
                "propertyNames": {"pattern": "^(0[xX][0-9A-Fa-f]+|[1-9][0-9]*)$"},
                "additionalProperties": {
                    "type": ["string", "number", "boolean"],
                    "not": {"type": "string", "pattern": ";"},
                },
            }),
            "Values for Talos' META partition by their keys: 0x0a network, 0x0b download code, 0x0c to 0x0e your own, 0x0f UUID, 0x10 machine token",
        ),
    }
}

fn text(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}
