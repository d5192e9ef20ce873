//! `talforge render`: every node's final machine config, and a talosconfig.
//!
//! In: the site file. Out: one file a node in a folder, or one config on standard output.
//!
//! Source: none; `build` embeds the same bytes.
//!
//! Not here: what is in them (`render`).

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde_json::json;

use crate::cli::Render;
use crate::pki::issue::{CLIENT_LIFETIME, Role};
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::sink::private;
use crate::verb::file::{self, Secrecy};
use crate::verb::{Cause, Failure, clients, known_nodes, load};

/// Writes the configs.
///
/// # Errors
///
/// Where the site is wrong, or the files cannot be written.
pub fn render(args: &Render, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    let loaded = load(&args.site, now, progress)?;
    known_nodes(&loaded.site, &args.nodes)?;
    let nodes = loaded.site.nodes.iter().zip(&loaded.rendered.nodes);
    let wanted = |name: &str| args.nodes.is_empty() || args.nodes.iter().any(|n| n == name);
    let nodes: Vec<_> = nodes.filter(|(node, _)| wanted(node.name.as_str())).collect();
    let Some(out) = &args.out else {
        return match nodes.as_slice() {
            [(_, Some(config))] => {
                progress.print(config.text.bytes());
                Ok(())
            }
            [(node, None)] => Err(Failure::new(Cause::Files, without(node.name.as_str()))),
            _ => {
                let message = format!("{} configs do not go to one output", nodes.len());
                let problem = Diagnostic::error("render-out", message);
                let help = "name a folder, `--out configs`, or a node, `--node cp-1`";
                Err(Failure::new(Cause::Files, problem.help(help)))
            }
        };
    };
    std::fs::create_dir_all(out).map_err(|error| {
        let message = format!("the folder `{}` cannot be made: {error}", out.display());
        Failure::new(Cause::World, Diagnostic::error("write", message))
    })?;
    let made = nodes.iter().filter_map(|(node, config)| {
        Some((format!("{}.yaml", node.name), config.as_ref()?.text.bytes().as_ref()))
    });
    private::write_all(out, made).map_err(|error| {
        let message = format!("configs cannot be written to `{}`: {error}", out.display());
        Failure::new(Cause::World, Diagnostic::error("write", message))
    })?;
    let mut written = 0;
    for (node, config) in &nodes {
        match config {
            Some(config) => {
                written += 1;
                let file = out.join(format!("{}.yaml", node.name)).display().to_string();
                progress.event(json!({
                    "event": "written", "what": "machine config", "node": node.name.to_string(),
                    "file": file, "sha256": config.text.digest().to_string(),
                }));
            }
            None => progress.diagnostic(&without(node.name.as_str())),
        }
    }
    progress.note(&format!("wrote {written} machine configs to `{}`", out.display()));
    let path = out.join("talosconfig");
    if path.exists() {
        let note = "it stays; `talforge talosconfig --force` makes a new one";
        progress.note(&format!("`{}` is there already: {note}", path.display()));
        return Ok(());
    }
    let Ok(bundle) = clients::bundle(&loaded, now) else {
        progress.note("no talosconfig is made: the site holds no secrets of the whole cluster");
        return Ok(());
    };
    let admin = BTreeSet::from([Role::Admin]);
    let text = clients::talosconfig_text(&loaded.site, &bundle, &admin, now, CLIENT_LIFETIME)?;
    let secrecy = Secrecy { what: "talosconfig", advice: "" };
    file::write(&path, text.reveal().as_bytes(), false, secrecy, progress)
}

fn without(name: &str) -> Diagnostic {
    let message = format!("node `{name}` has no machine config");
    Diagnostic::warning("render-none", message)
        .help("name its config, or the cluster's secrets to make one of")
}
