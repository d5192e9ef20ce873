//! A node's links.
//!
//! In: `networkInterfaces`. Out: `links` of a site where that renders the same config, or else the
//! documents that talhelper makes of them.
//!
//! Source: talhelper `pkg/talos/networkconfig.go` (the documents, and how selected links and bonds'
//! ports are called: `ethSel0`, `bond0-m0`).
//!
//! Not here: what the documents say of a link (`config::translate`).
//!
//! A site pins the addresses of kubelet and etcd where a node could have several: in IPv6 always,
//! and in IPv4 with more than one address. talhelper does not, so such networks stay documents.

use std::collections::BTreeSet;

use super::value::{Data, Value};
use crate::config::MachineType;
use crate::config::documents::Documents;
use crate::config::facts::network::BondMode;
use crate::config::facts::prefix::{Family, Mac, Prefix};
use crate::config::patch::Patch;
use crate::config::schema::Schema;
use crate::config::translate;
use crate::report::Diagnostic;

/// What becomes of a node's links.
pub(super) enum Network {
    /// A value for `links`.
    Links(Value),
    /// A patch.
    Patch(String),
}

/// A device under the name that talhelper gives it.
struct Device<'v> {
    name: String,
    at: &'v Value,
    selector: Option<&'v Value>,
}

/// Carries over a list of devices.
pub(super) fn carry(
    schema: &'static Schema,
    list: &Value,
    role: MachineType,
    notes: &mut Vec<Diagnostic>,
) -> Option<Network> {
    let devices = named(list);
    if let Some(links) = links(list, &devices, role) {
        tell_of_bonds(&devices, notes);
        return Some(Network::Links(links));
    }
    match documents(schema, list, &devices, role) {
        Ok(text) => Some(Network::Patch(text)),
        Err(problems) => {
            notes.extend(problems.into_iter().map(|problem| {
                let message = format!("these links are not carried over: {}", problem.message);
                let note = Diagnostic::warning("import-network", message).at(list.place());
                note.help(problem.help.unwrap_or_else(|| "describe them in a patch".to_owned()))
            }));
            None
        }
    }
}

fn named(list: &Value) -> Vec<Device<'_>> {
    let given = list.items().iter().filter_map(|device| device.text_at("interface"));
    let mut used: BTreeSet<String> = given.map(str::to_owned).collect();
    let mut next = |stem: &str| {
        let free = (0_u32..).map(|n| format!("{stem}{n}")).find(|name| used.insert(name.clone()));
        free.unwrap_or_default()
    };
    let device = |at| {
        let has = |key| Value::get(at, key).is_some();
        let name = match at.text_at("interface") {
            Some(name) => name.to_owned(),
            None if has("bond") => next("bond"),
            None if has("bridge") => next("br"),
            None if has("wireguard") => next("wg"),
            None => next("ethSel"),
        };
        Device { name, at, selector: at.get("deviceSelector") }
    };
    list.items().iter().map(device).collect()
}

/// The devices as a site says them, where it can.
fn links(list: &Value, devices: &[Device<'_>], role: MachineType) -> Option<Value> {
    let links: Option<Vec<Value>> = devices.iter().map(link).collect();
    let all = || {
        devices.iter().map(|device| device.at).flat_map(|at| {
            let vlans = at.get("vlans").map_or(&[][..], Value::items);
            vlans.iter().chain([at])
        })
    };
    let addresses = all().filter_map(|at| at.get("addresses")).map(|list| list.items().len());
    let fixed: usize = addresses.sum();
    let gets = all().any(|at| at.flag("dhcp"));
    // A site gives shared addresses to control planes only.
    let shares = role != MachineType::ControlPlane && all().any(|at| at.get("vip").is_some());
    let is_sure = (fixed == 0 || (fixed == 1 && !gets)) && !shares;
    let links = links.filter(|links| is_sure && !links.is_empty())?;
    Some(list.list_here(links))
}

fn link(device: &Device<'_>) -> Option<Value> {
    let at = device.at;
    only(
        at,
        &[
            "interface",
            "deviceSelector",
            "bond",
            "addresses",
            "routes",
            "dhcp",
            "mtu",
            "vip",
            "vlans",
        ],
    )?;
    let mut entries = Vec::new();
    match (at.get("bond"), device.selector) {
        (Some(bond), None) => entries.push(("bond", self::bond(&device.name, bond)?)),
        (Some(_), Some(_)) => return None,
        (None, None) => entries.push(("interface", at.word_here(&device.name))),
        (None, Some(selector)) => {
            entries.extend(self::selector(selector)?);
            entries.push(("alias", at.word_here(&device.name)));
        }
    }
    let vlans = at.get("vlans").map_or(&[][..], Value::items);
    let own = settings(at)?;
    if own.is_empty() && vlans.is_empty() {
        return None;
    }
    entries.extend(own);
    if !vlans.is_empty() {
        let vlans: Option<Vec<Value>> = vlans.iter().map(vlan).collect();
        entries.push(("vlans", at.list_here(vlans?)));
    }
    Some(at.map_here(entries))
}

fn vlan(at: &Value) -> Option<Value> {
    only(at, &["vlanId", "addresses", "routes", "dhcp", "mtu", "vip"])?;
    let id = number(at, "vlanId").filter(|id| (1..=4094).contains(id))?;
    let mut entries = vec![("id", at.plain_here(&id.to_string()))];
    let own = settings(at)?;
    if own.is_empty() {
        return None;
    }
    entries.extend(own);
    Some(at.map_here(entries))
}

/// What links and VLANs have alike.
fn settings(at: &Value) -> Option<Vec<(&'static str, Value)>> {
    let mut entries = Vec::new();
    let addresses = at.get("addresses").map_or(&[][..], Value::items).iter();
    let addresses: Option<Vec<Prefix>> =
        addresses.map(|address| Prefix::parse(address.text()?)).collect();
    let addresses = addresses?;
    if addresses.iter().any(|address| address.family() == Family::V6 || address.is_reserved()) {
        return None;
    }
    if at.flag("dhcp") {
        entries.push(("addressing", at.plain_here("dhcpv4")));
    }
    if !addresses.is_empty() {
        let texts = addresses.iter().map(|address| at.word_here(&address.to_string()));
        entries.push(("addresses", at.list_here(texts)));
    }
    routes(at, &addresses, &mut entries)?;
    if let Some(mtu) = at.get("mtu") {
        let mtu = mtu.text()?.parse::<u32>().ok()?;
        if mtu > 0 {
            entries.push(("mtu", at.plain_here(&mtu.to_string())));
        }
    }
    if let Some(vip) = at.get("vip") {
        only(vip, &["ip"])?;
        entries.push(("vip", at.word_here(vip.text_at("ip")?)));
    }
    Some(entries)
}

/// The routes: one by default without more to say is the link's gateway.
fn routes(
    at: &Value,
    addresses: &[Prefix],
    entries: &mut Vec<(&'static str, Value)>,
) -> Option<()> {
    let mut further = Vec::new();
    let mut has_gateway = false;
    for route in at.get("routes").map_or(&[][..], Value::items) {
        only(route, &["network", "gateway", "source", "metric", "mtu"])?;
        let to = route.text_at("network").filter(|to| *to != "0.0.0.0/0");
        let gateway = route.text_at("gateway");
        if let Some(gateway) = gateway {
            let gateway = gateway.parse().ok()?;
            if !at.flag("dhcp") && !addresses.iter().any(|own| own.contains(gateway)) {
                return None;
            }
        }
        let more = ["source", "metric", "mtu"].iter().any(|key| route.get(key).is_some());
        match gateway {
            Some(gateway) if to.is_none() && !more && !has_gateway => {
                has_gateway = true;
                entries.push(("gateway", route.word_here(gateway)));
                continue;
            }
            None if to.is_none() => return None,
            _ => {}
        }
        let to = to.map(|to| Prefix::parse(to).map(|_| ("to", route.word_here(to))));
        let mut item: Vec<(&str, Value)> = match to {
            Some(to) => vec![to?],
            None => Vec::new(),
        };
        item.extend(gateway.map(|gateway| ("via", route.word_here(gateway))));
        item.extend(route.text_at("source").map(|source| ("source", route.word_here(source))));
        for key in ["metric", "mtu"] {
            if route.get(key).is_some() {
                let number = number(route, key)?;
                item.push((key, route.plain_here(&number.to_string())));
            }
        }
        further.push(route.map_here(item));
    }
    if !further.is_empty() {
        entries.push(("routes", at.list_here(further)));
    }
    Some(())
}

fn bond(name: &str, bond: &Value) -> Option<Value> {
    let numbers = ["miimon", "updelay", "downdelay"];
    only(
        bond,
        &[
            "mode",
            "interfaces",
            "deviceSelectors",
            "lacpRate",
            "xmitHashPolicy",
            "miimon",
            "updelay",
            "downdelay",
        ],
    )?;
    let mode = bond.text_at("mode")?;
    let mode = BondMode::ALL.into_iter().find(|known| known.name() == mode)?;
    let mut members: Vec<Value> = Vec::new();
    for port in bond.get("interfaces").map_or(&[][..], Value::items) {
        members.push(port.map_here([("interface", port.word_here(port.text()?))]));
    }
    let selectors = bond.get("deviceSelectors").map_or(&[][..], Value::items);
    for (at, chosen) in selectors.iter().enumerate() {
        let mut port = self::selector(chosen)?;
        port.push(("alias", chosen.word_here(&format!("{name}-m{at}"))));
        members.push(chosen.map_here(port));
    }
    let mut entries = vec![
        ("name", bond.word_here(name)),
        ("mode", bond.word_here(mode.name())),
        ("members", bond.list_here(members)),
    ];
    if let Some(rate) = bond.text_at("lacpRate") {
        (mode == BondMode::Lacp).then_some(())?;
        entries.push(("lacp_rate", bond.word_here(rate)));
    }
    if let Some(policy) = bond.text_at("xmitHashPolicy") {
        mode.hashes().then_some(())?;
        entries.push(("xmit_hash_policy", bond.text_here(policy)));
    }
    let [watch, up, down] = numbers.map(|key| number(bond, key).unwrap_or(0));
    if [up, down].iter().any(|delay| delay.checked_rem(watch).unwrap_or(*delay) != 0) {
        return None;
    }
    for (key, number) in numbers.into_iter().zip([watch, up, down]) {
        entries.push((key, bond.plain_here(&number.to_string())));
    }
    Some(bond.map_here(entries))
}

/// Tells of bonds that never notice a dead port.
fn tell_of_bonds(devices: &[Device<'_>], notes: &mut Vec<Diagnostic>) {
    for bond in devices.iter().filter_map(|device| device.at.get("bond")) {
        if number(bond, "miimon").is_none_or(|watch| watch == 0) {
            let message = "this bond never notices a dead port; the site says so with `miimon: 0`";
            let note = Diagnostic::warning("import-bond", message).at(bond.place());
            notes.push(note.help("drop `miimon`, `updelay` and `downdelay` from the site's bond"));
        }
    }
}

/// A selector as a site says it, where it can.
fn selector(selector: &Value) -> Option<Vec<(&'static str, Value)>> {
    only(selector, &["hardwareAddr", "permanentAddr", "busPath", "driver", "pciID"])?;
    let macs = ["permanentAddr", "hardwareAddr"].map(|key| selector.text_at(key));
    let mac = match macs {
        [Some(_), Some(_)] => return None,
        [mac, other] => mac.or(other),
    };
    let mut entries = Vec::new();
    if let Some(mac) = mac {
        // Talos compares letter for letter, and has lower case.
        let mac = Mac::parse(mac).filter(|parsed| parsed.to_string() == mac)?;
        entries.push(("mac", selector.text_here(mac.to_string())));
    }
    for (key, ours) in [("busPath", "bus_path"), ("driver", "driver"), ("pciID", "pci_id")] {
        entries.extend(selector.text_at(key).map(|text| (ours, selector.text_here(text))));
    }
    (!entries.is_empty()).then_some(entries)
}

/// Nothing, where other keys than these say something.
fn only(value: &Value, keys: &[&str]) -> Option<()> {
    let is_off = |inner: &Value| inner.is_null() || inner.text() == Some("false");
    let is_fine = |(key, inner): &(String, Value)| keys.contains(&key.as_str()) || is_off(inner);
    value.entries().iter().all(is_fine).then_some(())
}

fn number(value: &Value, key: &str) -> Option<u32> {
    value.get(key)?.text()?.parse().ok()
}

/// The documents that talhelper makes of devices.
fn documents(
    schema: &'static Schema,
    list: &Value,
    devices: &[Device<'_>],
    role: MachineType,
) -> Result<String, Vec<Diagnostic>> {
    let mut documents = Documents::new(schema);
    let mut alias = |name: &str, selector: &Value| {
        if let Some(expression) = expression(selector) {
            let alias = documents.open("LinkAliasConfig", Some(name));
            alias.set_at(&["selector", "match"], expression.as_str());
        }
    };
    let mut plain = Vec::new();
    for device in devices {
        device.selector.iter().for_each(|selector| alias(&device.name, selector));
        plain.push(by_name(device, &mut alias));
    }
    let fragment = list.map_here([("interfaces", list.list_here(plain))]);
    let fragment = list.map_here([("machine", list.map_here([("network", fragment)]))]);
    let text = super::emit::document(&fragment);
    let patch = Patch::read(schema, &list.place().file, text.as_bytes())?;
    let mut fragment = Documents::new(schema);
    fragment.apply(&patch)?;
    let interfaces =
        fragment.main().and_then(|main| main.at(&["machine", "network", "interfaces"]));
    let Some(interfaces) = interfaces else { return Ok(documents.encode()) };
    let translated = translate::interfaces(schema, interfaces, role)?;
    for document in translated.beneath.iter().chain(&translated.documents) {
        documents.merge(document).map_err(|problem| vec![problem])?;
    }
    // The older form sends no identifier; talhelper leaves it to the documents' own default.
    for document in documents.list_mut() {
        let is_dhcp = ["DHCPv4Config", "DHCPv6Config"].contains(&document.kind());
        if is_dhcp && document.tree().text_at(&["clientIdentifier"]) == Some("none") {
            document.tree_mut().remove("clientIdentifier");
        }
    }
    // talhelper writes none for a link that has no more than DHCP.
    let head = ["apiVersion", "kind", "name"];
    documents.list_mut().retain(|document| {
        let mut keys = document.tree().entries().iter().map(|(key, _)| key.as_str());
        document.kind() != "LinkConfig" || keys.any(|key| !head.contains(&key))
    });
    Ok(documents.encode())
}

/// A device that names its link, and a bond that names its ports.
fn by_name(device: &Device<'_>, alias: &mut dyn FnMut(&str, &Value)) -> Value {
    let at = device.at;
    let mut entries = vec![("interface".to_owned(), at.text_here(&*device.name))];
    for (key, value) in at.entries() {
        match key.as_str() {
            "interface" | "deviceSelector" => {}
            "bond" => {
                let selectors = value.get("deviceSelectors").map_or(&[][..], Value::items);
                let named = value.get("interfaces").map_or(&[][..], Value::items);
                let mut ports = named.to_vec();
                for (n, selector) in selectors.iter().enumerate() {
                    let name = format!("{}-m{n}", device.name);
                    alias(&name, selector);
                    ports.push(selector.text_here(name));
                }
                let rest = value.entries().iter();
                let rest = rest.filter(|(key, _)| key != "deviceSelectors" && key != "interfaces");
                let mut bond: Vec<_> = rest.cloned().collect();
                bond.push(("interfaces".to_owned(), value.list_here(ports)));
                entries.push((key.clone(), value.made(Data::Map(bond))));
            }
            _ => entries.push((key.clone(), value.clone())),
        }
    }
    at.made(Data::Map(entries))
}

/// What is true of a selected link, in talhelper's words.
fn expression(selector: &Value) -> Option<String> {
    let keys = [
        ("hardwareAddr", "mac(link.hardware_addr)"),
        ("permanentAddr", "mac(link.permanent_addr)"),
        ("busPath", "link.bus_path"),
        ("driver", "link.driver"),
        ("pciID", "link.pciid"),
    ];
    let glob = |(key, value): (&str, &str)| {
        let pattern = selector.text_at(key)?.replace('\\', "\\\\").replace('"', "\\\"");
        Some(format!("glob(\"{pattern}\", {value})"))
    };
    let mut terms: Vec<String> = keys.into_iter().filter_map(glob).collect();
    if let Some(physical) = selector.get("physical") {
        terms.push(if physical.is_on() { "link.type == 1" } else { "link.type != 1" }.to_owned());
    }
    (!terms.is_empty()).then(|| terms.join(" && "))
}
