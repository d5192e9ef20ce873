//! Interfaces of the older style as documents of links.
//!
//! In: the list of interfaces. Out: documents of links, DHCP clients, shared addresses, aliases.
//!
//! Source: Talos `internal/app/machined/pkg/controllers/network/` `address_config.go`,
//! `link_config.go`, `operator_config.go`, `operator_vip_config.go`, `route_config.go` (what an
//! older interface becomes, defaults included), `network.go` (bonds and bridges),
//! `pkg/machinery/nethelpers/vlan.go` (names of VLANs), v1.14.1
//! `pkg/machinery/config/types/network/` (the documents).
//!
//! Not here: choosing links by their hardware (`selector`).

use std::net::{IpAddr, SocketAddr};

use super::output::{Fields, Output};
use super::selector;
use crate::config::MachineType;
use crate::config::tree::{Data, Tree};
use crate::digest::Digest;

/// The kinds of documents of which one at most has a link's name.
const LINKS: [&str; 6] = [
    "LinkConfig",
    "BondConfig",
    "BridgeConfig",
    "DummyLinkConfig",
    "VLANConfig",
    "WireguardConfig",
];

/// A link that is in a bridge by its own word.
struct Port {
    at: Tree,
    bridge: String,
    link: String,
}

/// Translates the list.
pub(super) fn translate(list: &Tree, output: &mut Output) {
    let mut ports = Vec::new();
    let mut ignored = Vec::new();
    for item in list.items() {
        let mut device = Fields::new("machine.network.interfaces", item.clone());
        let Some(name) = name(&mut device, item, output) else { continue };
        if let Some(value) = device.take("ignore").filter(|value| value.bool() == Some(true)) {
            // Nothing else that it says has ever counted.
            ignored.push(value);
            continue;
        }
        translate_device(&name, device, item, &mut ports, output);
    }
    for port in ports {
        match output.get_mut("BridgeConfig", &port.bridge) {
            Some(bridge) => bridge.open("links").items_mut().push(port.link.into()),
            None => {
                let message = "in documents a bridge names its links";
                let help = "name the link at its bridge:\nkind: BridgeConfig\nname: NAME\n\
                            links:\n  - ...";
                output.refuse(&port.at, message, help);
            }
        }
    }
    let described = LINKS.iter().any(|kind| output.has(kind));
    if let Some(value) = ignored.first().filter(|_| !described) {
        let message = "documents leave a link alone by describing others, never by its name";
        let help = "describe the links that are to be used:\nkind: DHCPv4Config\nname: NAME";
        output.refuse(value, message, help);
    }
    if described {
        let message = "Talos runs DHCP by default on no link once the config describes one, \
                       where it did so on all links that `interfaces` does not name";
        let help = "add a document for each further link that is to have it:\n\
                    kind: DHCPv4Config\nname: NAME";
        output.warn(list.warning("translate-default-dhcp", message).help(help));
    }
}

/// The name of the link that an entry is about.
fn name(device: &mut Fields, at: &Tree, output: &mut Output) -> Option<String> {
    let name = device.text("interface");
    let chosen = device.take("deviceSelector");
    let (name, chosen) = match (name, chosen) {
        (Some((_, name)), None) => return Some(name),
        (name, chosen) => (name, chosen),
    };
    let Some(chosen) = chosen.filter(|_| name.is_none()) else {
        let message = "an interface has either `interface` or `deviceSelector`";
        output.invalid(at, message, "write one of them");
        return None;
    };
    let path = "machine.network.interfaces.deviceSelector";
    let found = selector::link(Fields::new(path, chosen.clone()), false, output)?;
    if !found.sure {
        let message = "where this chooses several links, its alias stands for none of them, \
                       and `interfaces` configured all";
        let help = "name one link by `permanentAddr` or `busPath`";
        output.warn(chosen.warning("translate-selector", message).help(help));
    }
    Some(found.alias)
}

fn translate_device(
    name: &str,
    mut device: Fields,
    at: &Tree,
    ports: &mut Vec<Port>,
    output: &mut Output,
) {
    let mut kinds = Vec::new();
    for (key, kind) in
        [("bond", "BondConfig"), ("bridge", "BridgeConfig"), ("wireguard", "WireguardConfig")]
    {
        kinds.extend(device.take(key).map(|section| (kind, section)));
    }
    if let Some(dummy) = device.take("dummy").filter(|dummy| dummy.bool() == Some(true)) {
        kinds.push(("DummyLinkConfig", dummy));
    }
    let (kind, section) = kinds.pop().unwrap_or(("LinkConfig", Tree::empty()));
    if !kinds.is_empty() {
        let help = "keep one of `bond`, `bridge`, `wireguard` and `dummy`";
        output.invalid(at, "a link is of one kind", help);
        return;
    }
    let path = |key: &str| format!("machine.network.interfaces.{key}");
    let Some(mut document) = new_link(kind, name, at, output) else { return };
    match kind {
        "BondConfig" => bond(Fields::new(path("bond"), section), &mut document, output),
        "BridgeConfig" => bridge(Fields::new(path("bridge"), section), &mut document, output),
        "WireguardConfig" => {
            wireguard(Fields::new(path("wireguard"), section), &mut document, output);
        }
        _ => {}
    }
    common(name, &mut device, true, &mut document, output);
    *output.open(kind, Some(name), at) = document;
    let mut port = device.section("bridgePort");
    if let Some((value, bridge)) = port.text("master") {
        ports.push(Port { at: value, bridge, link: name.to_owned() });
    }
    port.finish(output);
    for vlan in device.items("vlans") {
        translate_vlan(name, &vlan, output);
    }
    device.finish(output);
}

/// The document of a link as far as there is one. Two kinds of one name are refused.
fn new_link(kind: &'static str, name: &str, at: &Tree, output: &mut Output) -> Option<Tree> {
    if let Some(other) = output.kind_of(&LINKS, name).filter(|other| *other != kind) {
        let message = format!("the link is both in a {kind} and in a {other}");
        output.invalid(at, message, "write all of a link into one entry");
        return None;
    }
    Some(output.open(kind, Some(name), at).clone())
}

fn translate_vlan(parent: &str, item: &Tree, output: &mut Output) {
    let mut vlan = Fields::new("machine.network.interfaces.vlans", item.clone());
    let Some(id) = vlan.take("vlanId").and_then(|id| id.int()) else {
        output.invalid(item, "this VLAN has no number", "write its `vlanId`");
        return;
    };
    let name = vlan_name(parent, id);
    let Some(mut document) = new_link("VLANConfig", &name, item, output) else { return };
    document.set("vlanID", Tree::from(Data::Int(id)));
    document.set("parent", parent);
    common(&name, &mut vlan, false, &mut document, output);
    *output.open("VLANConfig", Some(&name), item) = document;
    vlan.finish(output);
}

/// The name that Talos gives to a VLAN: `eth0.10`. A long name of the parent is cut, and told
/// apart by its digest, as names of links have 15 bytes at most.
fn vlan_name(parent: &str, id: i128) -> String {
    if parent.len() + 5 <= 15 {
        return format!("{parent}.{id}");
    }
    let digest = Digest::of(parent.as_bytes()).to_string();
    let cut: String = parent.chars().take(4).collect();
    format!("{cut}{digest:.6}.{id}")
}

/// What every link may have. `bare` addresses without a length are hosts, but not on a VLAN.
fn common(name: &str, link: &mut Fields, bare: bool, document: &mut Tree, output: &mut Output) {
    if let Some(mtu) = link.take("mtu") {
        document.set("mtu", mtu);
    }
    let single = link.take("cidr");
    let mut addresses = link.items("addresses");
    if addresses.is_empty() {
        addresses.extend(single);
    }
    for address in addresses {
        match prefix(&address, bare) {
            Some(prefix) => {
                let item = Tree::map([("address", Tree::from(prefix))]);
                document.open("addresses").items_mut().push(item);
            }
            None => {
                let help = "write an address and its length, `192.0.2.1/24`";
                output.invalid(&address, "this is no address that Talos sets on the link", help);
            }
        }
    }
    for item in link.items("routes") {
        let route = Fields::new(format!("{}.routes", link.path), item.clone());
        if let Some(route) = translate_route(route, &item, output) {
            document.open("routes").items_mut().push(route);
        }
    }
    dhcp(name, link, output);
    shared_address(name, link, output);
}

/// An address and its length.
fn prefix(value: &Tree, bare: bool) -> Option<String> {
    let text = value.text()?;
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse::<u8>().ok().filter(|length| *length <= most)?,
        None => Some(most).filter(|_| bare)?,
    };
    (!address.is_unspecified()).then(|| format!("{address}/{length}"))
}

fn translate_route(mut route: Fields, at: &Tree, output: &mut Output) -> Option<Tree> {
    let mut item = Tree::empty();
    let mut address = |key, output: &mut Output| match route.text(key) {
        None => Some(None),
        Some((value, text)) => match text.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() => Some(Some(address)),
            _ => {
                output.invalid(&value, "this is no host's address", "write one, or drop it");
                None
            }
        },
    };
    let (gateway, source) = (address("gateway", output)?, address("source", output)?);
    if let Some((value, text)) = route.text("network") {
        let parsed = text.split_once('/').and_then(|(address, length)| {
            Some((address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?))
        });
        let most = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        match parsed.filter(|(address, length)| *length <= most(*address)) {
            // A route without a destination is the default one, of the gateway's family, or else
            // of IPv4.
            Some((address, 0)) if address.is_unspecified() => {
                if address.is_ipv6() && !gateway.is_some_and(|gateway| gateway.is_ipv6()) {
                    let message = "in documents a default route has the family of its gateway";
                    output.refuse(&value, message, "write the `gateway`, an IPv6 address");
                    return None;
                }
            }
            Some((address, length)) if !address.is_unspecified() => {
                item.set("destination", format!("{address}/{length}"));
            }
            _ => {
                output.invalid(&value, "this is no network", "write a network, `192.0.2.0/24`");
                return None;
            }
        }
    } else if gateway.is_none() {
        output.invalid(at, "the route leads nowhere", "write its `network` or its `gateway`");
        return None;
    }
    for (key, value) in [("gateway", gateway), ("source", source)] {
        if let Some(value) = value {
            item.set(key, value.to_string());
        }
    }
    for key in ["metric", "mtu"] {
        if let Some(value) = route.take(key) {
            item.set(key, value);
        }
    }
    route.finish(output);
    Some(item)
}

fn dhcp(name: &str, link: &mut Fields, output: &mut Output) {
    let dhcp = link.take("dhcp");
    let has_options = link.rest.get("dhcpOptions").is_some();
    let mut options = link.section("dhcpOptions");
    let at = options.rest.clone();
    let enabled = dhcp.as_ref().and_then(Tree::bool);
    let metric = options.take("routeMetric");
    let (v4, v6) = (options.bool("ipv4"), options.bool("ipv6"));
    let identifier = options.text("duidv6");
    options.finish(output);
    if enabled.is_none() && has_options {
        let help = "write `dhcp: true` beside";
        output.refuse(&at, "options of DHCP mean nothing without it", help);
        return;
    }
    let Some(at) = dhcp else { return };
    for (kind, wanted) in
        [("DHCPv4Config", v4.unwrap_or(true)), ("DHCPv6Config", v6.unwrap_or(false))]
    {
        if enabled != Some(true) || !wanted {
            output.delete(kind, Some(name), &[]);
            continue;
        }
        let document = output.open(kind, Some(name), &at);
        if let Some(metric) = &metric {
            document.set("routeMetric", metric.clone());
        }
        // Older interfaces send none; the document alone would send the link's address.
        document.set("clientIdentifier", "none");
        let Some((value, text)) = identifier.as_ref().filter(|_| kind == "DHCPv6Config") else {
            continue;
        };
        let digits: String = text.chars().filter(|&c| c != ':').collect();
        if !digits.len().is_multiple_of(2) || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            output.invalid(value, "this is no DUID", "write it in hexadecimal digits");
            continue;
        }
        let digits = digits.to_ascii_lowercase();
        let pairs: Vec<&str> =
            (0..digits.len()).step_by(2).filter_map(|at| digits.get(at..at + 2)).collect();
        document.set("clientIdentifier", "duid");
        document.set("duidRaw", pairs.join(":"));
    }
}

fn shared_address(name: &str, link: &mut Fields, output: &mut Output) {
    let Some(at) = link.take("vip") else { return };
    let mut vip = Fields::new(format!("{}.vip", link.path), at.clone());
    let ip = vip.text("ip").and_then(|(_, text)| text.parse::<IpAddr>().ok());
    let metal = vip.take("equinixMetal");
    let hcloud = vip.take("hcloud");
    vip.finish(output);
    if output.role != MachineType::ControlPlane {
        let help = "put it into a patch for control planes";
        output.refuse(&at, "Talos takes a shared address on control planes alone", help);
        return;
    }
    if let Some(value) = metal {
        let message = "there is no document for shared addresses of Equinix Metal";
        output.refuse(&value, message, "use a load balancer or BGP: `kind: BGPInstanceConfig`");
        return;
    }
    let Some(ip) = ip.map(|ip| ip.to_string()) else {
        output.invalid(&at, "the shared address is none", "write its `ip`");
        return;
    };
    let Some(hcloud) = hcloud else {
        output.open("Layer2VIPConfig", Some(&ip), &at).set("link", name);
        return;
    };
    let mut hcloud = Fields::new(format!("{}.vip.hcloud", link.path), hcloud);
    let document = output.open("HCloudVIPConfig", Some(&ip), &at);
    document.set("link", name);
    if let Some(token) = hcloud.take("apiToken") {
        document.set("apiToken", token);
    }
    hcloud.finish(output);
}

/// The keys of a bond, older and new.
const BOND: [(&str, &str); 23] = [
    ("mode", "bondMode"),
    ("miimon", "miimon"),
    ("updelay", "updelay"),
    ("downdelay", "downdelay"),
    ("useCarrier", "useCarrier"),
    ("xmitHashPolicy", "xmitHashPolicy"),
    ("arpInterval", "arpInterval"),
    ("arpValidate", "arpValidate"),
    ("arpAllTargets", "arpAllTargets"),
    ("lacpRate", "lacpRate"),
    ("failOverMac", "failOverMac"),
    ("adSelect", "adSelect"),
    ("adActorSysPrio", "adActorSysPrio"),
    ("adUserPortKey", "adUserPortKey"),
    ("primaryReselect", "primaryReselect"),
    ("resendIgmp", "resendIGMP"),
    ("minLinks", "minLinks"),
    ("lpInterval", "lpInterval"),
    ("packetsPerSlave", "packetsPerSlave"),
    ("numPeerNotif", "numPeerNotif"),
    ("tlbDynamicLb", "tlbLogicalLb"),
    ("allSlavesActive", "allSlavesActive"),
    ("peerNotifyDelay", "peerNotifDelay"),
];

fn bond(mut bond: Fields, document: &mut Tree, output: &mut Output) {
    let mut links = bond.items("interfaces");
    for item in bond.items("deviceSelectors") {
        let fields = Fields::new(format!("{}.deviceSelectors", bond.path), item.clone());
        let Some(found) = selector::link(fields, true, output) else { continue };
        if !found.sure {
            let message = "in documents a bond names each of its links, and this may be several";
            let help = "write one selector for each link, by `permanentAddr` or `busPath`";
            output.refuse(&item, message, help);
        }
        links.push(found.alias.into());
    }
    document.open("links").items_mut().extend(links);
    output.beneath("BondConfig", document.text_at(&["name"]), &["bondMode"], "balance-rr");
    for (from, to) in BOND {
        if let Some(value) = bond.take(from) {
            document.set(to, value);
        }
    }
    if let Some(primary) = bond.take("primary") {
        // Since the Talos after 1.14; an earlier one's schema refuses it.
        document.set("primary", primary);
    }
    for (key, help) in [
        (
            "arpIPTarget",
            "write the addresses:\nkind: BondConfig\nname: NAME\narpIpTargets:\n  - ...",
        ),
        ("adActorSystem", "drop it"),
    ] {
        if let Some(value) = bond.take(key) {
            let message = format!("Talos has never taken `{key}` of a bond");
            output.refuse(&value, message, help);
        }
    }
    bond.finish(output);
}

fn bridge(mut bridge: Fields, document: &mut Tree, output: &mut Output) {
    document.open("links").items_mut().extend(bridge.items("interfaces"));
    let mut stp = bridge.section("stp");
    // A bridge spanned a tree unless told otherwise; the document's does not.
    match stp.bool("enabled") {
        Some(spans) => document.set_at(&["stp", "enabled"], spans),
        None => {
            let name = document.text_at(&["name"]);
            output.beneath("BridgeConfig", name, &["stp", "enabled"], true);
        }
    }
    let mut vlan = bridge.section("vlan");
    if let Some(value) = vlan.take("vlanFiltering") {
        document.set_at(&["vlan", "filtering"], value);
    }
    for fields in [stp, vlan, bridge] {
        fields.finish(output);
    }
}

fn wireguard(mut wireguard: Fields, document: &mut Tree, output: &mut Output) {
    for key in ["privateKey", "listenPort", "firewallMark"] {
        if let Some(value) = wireguard.take(key) {
            document.set(key, value);
        }
    }
    for item in wireguard.items("peers") {
        let mut peer = Fields::new(format!("{}.peers", wireguard.path), item);
        let mut to = Tree::empty();
        if let Some((value, text)) = peer.text("endpoint") {
            match text.parse::<SocketAddr>() {
                Ok(_) => to.set("endpoint", text),
                Err(_) => {
                    let message = "in documents a peer's endpoint is an address, no name";
                    output.refuse(
                        &value,
                        message,
                        "write an address and a port, `192.0.2.1:51820`",
                    );
                }
            }
        }
        for key in ["publicKey", "persistentKeepaliveInterval", "allowedIPs"] {
            if let Some(value) = peer.take(key) {
                to.set(key, value);
            }
        }
        peer.finish(output);
        document.open("peers").items_mut().push(to);
    }
    wireguard.finish(output);
}
