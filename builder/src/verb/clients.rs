//! `talforge talosconfig` and `talforge kubeconfig`: an administrator's credentials.
//!
//! In: the site file. Out: a file with a certificate that the cluster's CA signed; the cluster is
//! not asked.
//!
//! Source: Talos `pkg/machinery/config/generate/talosconfig.go`, `pkg/kubeconfig/generate.go`.
//!
//! Not here: the certificates and the files' layout (`pki`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::cli::{Kubeconfig, Talosconfig};
use crate::config::recover;
use crate::pki::issue::{self, Role as Grant};
use crate::pki::secret::Secret;
use crate::pki::{Bundle, client};
use crate::render;
use crate::report::Diagnostic;
use crate::report::progress::Progress;
use crate::site::{Node, Site};
use crate::talos::Role;
use crate::verb::file::{self, Secrecy};
use crate::verb::{Cause, Failure, Loaded, load};

/// Writes a talosconfig.
///
/// # Errors
///
/// Where the site is wrong or tells no secrets, a role is not known, or the file is there already.
pub fn talosconfig(
    args: &Talosconfig,
    now: SystemTime,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut roles = BTreeSet::new();
    for name in &args.roles {
        roles.insert(Grant::find(name).ok_or_else(|| {
            let known: Vec<_> = Grant::ALL.iter().map(|role| role.name()).collect();
            let problem = Diagnostic::error("role", format!("Talos knows no role `{name}`"));
            Failure::new(Cause::Files, problem.help(format!("use one of {}", known.join(", "))))
        })?);
    }
    let loaded = load(&args.site, now, progress)?;
    let bundle = bundle(&loaded, now)?;
    let text = talosconfig_text(&loaded.site, &bundle, &roles, now, args.credentials.lifetime)?;
    let secrecy = Secrecy { what: "talosconfig", advice: "" };
    file::write(&args.out, text.reveal().as_bytes(), args.credentials.force, secrecy, progress)
}

/// The text of a talosconfig for a site.
pub(super) fn talosconfig_text(
    site: &Site,
    bundle: &Bundle,
    roles: &BTreeSet<Grant>,
    now: SystemTime,
    lifetime: Duration,
) -> Result<Secret, Failure> {
    let issued = issue::talos_client(bundle.os(), roles, now, lifetime);
    let credentials = issued.map_err(|error| Failure::of(Cause::World, "keys", &error))?;
    let of = |role: Option<Role>| -> Vec<String> {
        let nodes = site.nodes.iter().filter(|node| role.is_none_or(|role| node.role == role));
        nodes.filter_map(address).map(|address| address.to_string()).collect()
    };
    let endpoints = of(Some(Role::ControlPlane));
    let nodes = of(None);
    let (endpoints, nodes): (Vec<&str>, Vec<&str>) = (
        endpoints.iter().map(String::as_str).collect(),
        nodes.iter().map(String::as_str).collect(),
    );
    let name = site.cluster.name.as_str();
    Ok(client::talosconfig(name, &endpoints, &nodes, bundle.os().certificate(), &credentials))
}

/// A node's first fixed address.
pub(super) fn address(node: &Node) -> Option<IpAddr> {
    node.facts.as_ref()?.network.addresses().next()
}

/// Writes a kubeconfig.
///
/// # Errors
///
/// Where the site is wrong or tells no secrets, or the file is there already.
pub fn kubeconfig(args: &Kubeconfig, now: SystemTime, progress: &Progress) -> Result<(), Failure> {
    let loaded = load(&args.site, now, progress)?;
    let bundle = bundle(&loaded, now)?;
    let issued = issue::kubernetes_admin(bundle.k8s(), now, args.credentials.lifetime);
    let admin = issued.map_err(|error| Failure::of(Cause::World, "keys", &error))?;
    let cluster = &loaded.site.cluster;
    let ca = bundle.k8s().certificate();
    let text = client::kubeconfig(cluster.name.as_str(), cluster.endpoint.as_str(), ca, &admin);
    let secrecy = Secrecy { what: "kubeconfig", advice: "" };
    file::write(&args.out, text.reveal().as_bytes(), args.credentials.force, secrecy, progress)
}

/// The cluster's secrets: those that the site names, or what a control plane's config holds.
pub(super) fn bundle(loaded: &Loaded, now: SystemTime) -> Result<Bundle, Failure> {
    let files = |diagnostics| Failure { cause: Cause::Files, diagnostics };
    if loaded.site.cluster.secrets.is_none() {
        let configs = loaded.site.nodes.iter().zip(&loaded.rendered.nodes);
        let mut planes = configs.filter(|(node, _)| node.role == Role::ControlPlane);
        let documents = planes.find_map(|(_, config)| config.as_ref()?.documents.as_ref());
        if let Some(documents) = documents {
            return Ok(recover::bundle(documents, now).map_err(files)?.bundle);
        }
    }
    render::secrets(&loaded.site, now, &mut Vec::new()).map_err(files)
}
