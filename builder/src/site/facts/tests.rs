//! Proofs of what a site says of machines whose configs are made of it: each key, and what goes
//! before what.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::documents::Documents;
use crate::config::facts::apply;
use crate::config::facts::disk::Disk;
use crate::config::facts::network::{Dynamic, Kind, Link, Port, Settings, Time};
use crate::config::facts::prefix::Prefix;
use crate::config::facts::registry::Auth;
use crate::config::facts::volume::{Backing, KeySource, SystemVolume};
use crate::config::schema::{MAIN, Schema};
use crate::site::tests::{PEM, files, read, told, with};
use crate::site::{Embed, Node, Source, Text, World, load_text};
use crate::talos::Version;

/// A site with secrets, of which the nodes are given.
fn site(rest: &str, nodes: &str) -> String {
    format!(
        "version: 1
cluster: {{name: home, endpoint: \"https://192.0.2.10:6443\", talos: v1.13.9, secrets: secrets.yaml}}
boot: {{assets: \"dir:assets\"}}
{rest}
nodes:
{nodes}
"
    )
}

/// A site of one network and one node, which installs.
fn with_network(network: &str, node: &str) -> String {
    let node = format!("  - {{name: n-1, install: {{disk: /dev/vda}}, {node}}}");
    site(&format!("network: {{{network}}}"), &node)
}

fn facts_of(text: &str) -> Facts {
    let site = read(text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    assert_eq!(site.warnings, []);
    site.nodes.into_iter().next_back().unwrap().facts.unwrap()
}

fn facts(network: &str, node: &str) -> Facts {
    facts_of(&with_network(network, node))
}

/// The facts of a node with defaults.
fn merged(defaults: &str, node: &str) -> Facts {
    let node = format!("  - {{name: n-1, role: worker, {node}}}");
    facts_of(&site(&format!("defaults: {{{defaults}}}"), &node))
}

fn only(facts: &Facts) -> &Link {
    let [link] = facts.network.links.as_slice() else { panic!("{:?}", facts.network) };
    link
}

fn shown(settings: &Settings) -> String {
    let addresses = settings.addresses.iter().map(Prefix::to_string);
    let dynamic = settings.dynamic.iter().map(|dynamic| format!("{dynamic:?}"));
    let routes = settings.routes.iter().map(|route| {
        let to = route.destination.map_or("*".to_owned(), |to| to.to_string());
        format!("{to}>{}", route.gateway.map_or("-".to_owned(), |by| by.to_string()))
    });
    let vips = settings.vips.iter().map(|vip| format!("vip {vip}"));
    let mtu = settings.mtu.map(|mtu| format!("mtu {mtu}"));
    let all: Vec<_> = addresses.chain(dynamic).chain(routes).chain(vips).chain(mtu).collect();
    all.join(" ")
}

const MAC: &str = "mac: \"52:54:00:00:00:01\"";
const CP: &str = "role: controlplane, mac: \"52:54:00:00:00:01\"";
const WORKER_1: &str = "role: worker, mac: \"52:54:00:00:00:01\"";

fn addresses(text: &str) -> Vec<IpAddr> {
    text.split(' ').map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_cluster_says_all_that_its_configs_share() {
    let text = "version: 1
cluster:
  name: home
  endpoint: https://192.0.2.10:6443
  talos: v1.13.9
  kubernetes: v1.36.1
  secrets: secrets.yaml
  patches: [patches/all.yaml, {machine: {sysctls: {a: b}}}, [{op: remove, path: /machine/install}]]
  controlplane: {patches: [patches/all.yaml]}
  worker: {patches: [{machine: {}}]}
  cert_sans: [api.home.example, 192.0.2.11, \"2001:db8::11\"]
  dns_domain: home.internal
  pod_subnets: [\"fd00:1::/56\", 10.1.0.0/16]
  service_subnets: [\"fd00:2::/112\", 10.2.0.0/16]
  installer: registry.home.example/installer:v1.13.9
  discovery: false
  kubespan: true
boot: {assets: \"dir:assets\"}
silence: [missing-install]
nodes: [{name: n-1, role: worker, config: w.yaml}]
";
    let site = read(text).unwrap();
    let cluster = site.cluster;
    assert_eq!(cluster.kubernetes.unwrap().to_string(), "v1.36.1");
    let secrets = cluster.secrets.unwrap();
    assert_eq!((secrets.file.as_str(), secrets.place.line), ("d/secrets.yaml", 7));
    assert!(matches!(secrets.text, Text::Bytes(bytes) if bytes.starts_with(b"cluster: {}")));
    let kinds = cluster.patches.iter().map(|patch| match &patch.text {
        Text::Bytes(_) => format!("file {}", patch.file),
        Text::Tree(node) => format!("{} in {}:{}", node.kind(), patch.file, patch.place.line),
    });
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(
        kinds,
        ["file d/patches/all.yaml", "a mapping in d/site.yaml:8", "a list in d/site.yaml:8"]
    );
    assert_eq!((cluster.controlplane.len(), cluster.worker.len()), (1, 1));
    assert_eq!(cluster.cert_sans, ["api.home.example", "192.0.2.11", "2001:db8::11"]);
    assert_eq!(cluster.dns_domain.as_deref(), Some("home.internal"));
    let shown = |all: &[Prefix]| all.iter().map(Prefix::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(shown(&cluster.pod_subnets), "fd00:1::/56 10.1.0.0/16");
    assert_eq!(shown(&cluster.service_subnets), "fd00:2::/112 10.2.0.0/16");
    assert_eq!(cluster.installer.as_deref(), Some("registry.home.example/installer:v1.13.9"));
    assert!(!cluster.discovery && cluster.kubespan);
    assert_eq!(cluster.silence, ["missing-install"]);
}

#[test]
fn what_a_cluster_does_not_say_is_left_open() {
    let cluster = read(&site("", "  - {name: n-1, role: worker, install: {disk: /dev/vda}}"));
    let cluster = cluster.unwrap().cluster;
    assert!(cluster.discovery && !cluster.kubespan && cluster.installer.is_none());
    assert!(cluster.pod_subnets.is_empty() && cluster.service_subnets.is_empty());
    assert!(cluster.patches.is_empty() && cluster.dns_domain.is_none());
}

#[test]
fn a_node_that_says_nothing_of_its_network_is_left_to_talos() {
    let facts = facts("", "role: worker");
    assert_eq!((facts.network.links.len(), facts.hostname.as_str()), (0, "n-1"));
    // As soon as a link is named, it must be told to ask.
    assert_eq!(shown(&only(&self::facts("", WORKER_1)).settings), "Dhcp4");
    let node = "role: worker, interface: eth0, hostname: n-1.home.example";
    let facts = self::facts("addressing: [slaac, dhcpv6]", node);
    assert_eq!(only(&facts).kind, Kind::Physical(Port::Name("eth0".into())));
    assert_eq!(shown(&only(&facts).settings), "Slaac Dhcp6");
    assert_eq!(facts.hostname, "n-1.home.example");
}

#[test]
fn the_network_goes_to_the_one_link() {
    let network = "prefix: 192.0.2.0/24, gateway: 192.0.2.1, nameservers: [192.0.2.1, \"2001:db8::1\"], \
         search_domains: [home.example], time: {servers: [ntp.example]}, vip: 192.0.2.10, mtu: 9000, \
         routes: [{to: 198.51.100.0/24, via: 192.0.2.2, source: 192.0.2.11, metric: 5, mtu: 1400}]";
    let facts = facts(network, &format!("{CP}, address: 192.0.2.11"));
    let settings = &only(&facts).settings;
    assert_eq!(
        shown(settings),
        "192.0.2.11/24 *>192.0.2.1 198.51.100.0/24>192.0.2.2 vip 192.0.2.10 mtu 9000"
    );
    let route = &settings.routes[1];
    assert_eq!((route.metric, route.mtu), (Some(5), Some(1400)));
    assert_eq!(route.source, Some("192.0.2.11".parse().unwrap()));
    assert_eq!(facts.network.nameservers, addresses("192.0.2.1 2001:db8::1"));
    assert_eq!(facts.network.search_domains, ["home.example"]);
    assert_eq!(facts.network.time, Some(Time::Servers(vec!["ntp.example".into()])));
    // Workers share no address.
    let worker = self::facts(network, &format!("{WORKER_1}, address: 192.0.2.21, mtu: 1500"));
    assert_eq!(
        shown(&only(&worker).settings),
        "192.0.2.21/24 *>192.0.2.1 198.51.100.0/24>192.0.2.2 mtu 1500"
    );
}

#[test]
fn a_nodes_network_goes_before_the_sites_key_by_key() {
    let site = "prefix: 192.0.2.0/24, gateway: 192.0.2.1, nameservers: [192.0.2.1], time: off";
    let node = format!("{WORKER_1}, network: {{addressing: dhcpv4, time: {{ptp: [/dev/ptp0]}}}}");
    let facts = facts(site, &node);
    // A gateway is for the static.
    assert_eq!(shown(&only(&facts).settings), "Dhcp4");
    assert_eq!(facts.network.nameservers, addresses("192.0.2.1"));
    assert_eq!(facts.network.time, Some(Time::Ptp(vec!["/dev/ptp0".into()])));
    let node = format!(
        "{WORKER_1}, address: 198.51.100.7, network: {{prefix: 198.51.100.0/25, gateway: 198.51.100.1}}"
    );
    let facts = self::facts(site, &node);
    assert_eq!(shown(&only(&facts).settings), "198.51.100.7/25 *>198.51.100.1");
    assert_eq!(facts.network.time, Some(Time::Off));
}

#[test]
fn a_static_node_gets_an_address_of_each_prefix_that_it_has_none_of() {
    let network =
        "prefix: [\"2001:db8::/64\", 192.0.2.0/24], gateway: [\"2001:db8::1\", 192.0.2.1]";
    let both = facts(network, WORKER_1);
    let settings = &only(&both).settings;
    let [six, four] = settings.addresses[..] else { panic!("{settings:?}") };
    assert!(six.address().is_ipv6() && six.length() == 64, "{settings:?}");
    assert!(four.address().is_ipv4() && four.length() == 24, "{settings:?}");
    assert_eq!(settings.routes.len(), 2);
    // In the order of the prefixes, whichever is written.
    let one = facts(network, &format!("{WORKER_1}, address: 192.0.2.77/25"));
    assert_eq!(only(&one).settings.addresses[0], six);
    assert_eq!(only(&one).settings.addresses[1].to_string(), "192.0.2.77/25");
    let slaac = facts("addressing: [static, slaac], prefix: \"2001:db8::/64\"", WORKER_1);
    assert_eq!(only(&slaac).settings.addresses, [six]);
    assert_eq!(only(&slaac).settings.dynamic, BTreeSet::from([Dynamic::Slaac]));
}

#[test]
fn no_address_is_given_that_another_has() {
    let free = only(&facts("prefix: 192.0.2.0/24", WORKER_1)).settings.addresses[0].address();
    let told = |network: &str, other: &str| {
        let text = with_network(&format!("prefix: 192.0.2.0/24, {network}"), WORKER_1);
        told(&format!("{}{other}", text.trim_end_matches('\n').to_owned() + "\n"))
    };
    assert_eq!(told("", ""), [""; 0]);
    assert_eq!(told(&format!("gateway: {free}"), ""), ["address-taken 6:5"]);
    assert_eq!(told(&format!("vip: {free}"), ""), ["address-taken 6:5"]);
    assert_eq!(told(&format!("nameservers: [{free}]"), ""), ["address-taken 6:5"]);
    // Also one that is written further down.
    let other = format!(
        "  - {{name: n-2, role: worker, install: {{disk: /dev/vda}}, interface: eth0, address: {free}}}\n"
    );
    assert_eq!(told("", &other), ["address-taken 6:5"]);
    let text = with_network("prefix: 192.0.2.0/24", WORKER_1);
    let text = text.replace("https://192.0.2.10:6443", &format!("https://{free}:6443"));
    assert_eq!(self::told(&text), ["address-taken 6:5"]);
    // A node may well have the endpoint's address, if it says so.
    let text = with_network("prefix: 192.0.2.0/24", &format!("{WORKER_1}, address: 192.0.2.10"));
    assert_eq!(self::told(&text), [""; 0]);
}

#[test]
fn link_local_addresses_may_repeat() {
    let node = |n: u32| {
        format!(
            "  - {{name: n-{n}, role: worker, install: {{disk: /dev/vda}}, interface: eth0, address: [\"fe80::1/64\", 192.0.2.{n}/24]}}"
        )
    };
    assert_eq!(told(&site("", &[node(1), node(2)].join("\n"))), [""; 0]);
}

#[test]
fn a_tagged_vlan_may_be_the_only_network() {
    let network = "prefix: 192.0.2.0/24, gateway: 192.0.2.1, mtu: 9000";
    let node =
        format!("role: worker, address: 192.0.2.21, links: [{{{MAC}, vlans: [{{id: 100}}]}}]");
    let facts = facts(network, &node);
    let link = only(&facts);
    // What passes the VLAN passes its link.
    assert_eq!(shown(&link.settings), "mtu 9000");
    assert_eq!(link.vlans[0].id, 100);
    assert_eq!(shown(&link.vlans[0].settings), "192.0.2.21/24 *>192.0.2.1 mtu 9000");
}

#[test]
fn links_beside_the_main_one_have_what_they_say_and_no_more() {
    let network = "prefix: 192.0.2.0/24, gateway: 192.0.2.1, vip: 192.0.2.10, mtu: 1400";
    let links = "links: [{interface: eth0}, {driver: mlx5_core, bus_path: \"0000:*\", pci_id: \"15B3:1017\", \
         alias: store, addresses: 198.51.100.11/24, mtu: 9000, routes: [{to: 203.0.113.0/24, via: 198.51.100.1}]}, \
         {interface: eth2, addressing: dhcpv4}, {interface: eth3}]";
    let facts = facts(network, &format!("role: controlplane, address: 192.0.2.11, {links}"));
    let all: Vec<_> = facts.network.links.iter().map(|link| shown(&link.settings)).collect();
    assert_eq!(
        all,
        [
            "192.0.2.11/24 *>192.0.2.1 vip 192.0.2.10 mtu 1400",
            "198.51.100.11/24 203.0.113.0/24>198.51.100.1 mtu 9000",
            "Dhcp4",
            "",
        ]
    );
    let Kind::Physical(Port::Select { selector, alias }) = &facts.network.links[1].kind else {
        panic!("{:?}", facts.network.links[1])
    };
    assert_eq!(alias.as_deref(), Some("store"));
    assert_eq!(selector.driver.as_deref(), Some("mlx5_core"));
    assert_eq!(selector.bus_path.as_deref(), Some("0000:*"));
    assert_eq!(selector.pci_id.as_deref(), Some("15B3:1017"));
}

#[test]
fn a_bond_with_vlans_says_which_is_the_main_network() {
    let node = "role: controlplane, links: [{bond: {name: bond0, mode: 802.3ad, \
         members: [{mac: \"52:54:00:00:00:01\"}, {interface: eth1}], lacp_rate: fast, xmit_hash_policy: layer3+4, \
         miimon: 50, updelay: 100, downdelay: 150}, addressing: dhcpv4, \
         vlans: [{id: 10, addresses: 198.51.100.11/24}, {id: 20, main: true, vip: 192.0.2.9}]}]";
    let facts = facts("prefix: 192.0.2.0/24, gateway: 192.0.2.1, vip: 192.0.2.10", node);
    let link = only(&facts);
    let Kind::Bond(bond) = &link.kind else { panic!("{link:?}") };
    assert_eq!((bond.name.as_str(), bond.mode.name(), bond.members.len()), ("bond0", "802.3ad", 2));
    let monitor = bond.monitor;
    assert_eq!((monitor.miimon, monitor.updelay, monitor.downdelay), (50, 100, 150));
    assert_eq!(bond.lacp_rate.unwrap().name(), "fast");
    assert_eq!(bond.xmit_hash_policy.unwrap().name(), "layer3+4");
    assert_eq!(shown(&link.settings), "Dhcp4");
    assert_eq!(shown(&link.vlans[0].settings), "198.51.100.11/24");
    let main = &link.vlans[1].settings;
    assert_eq!((main.addresses.len(), main.routes.len()), (1, 1));
    // Its own key goes before the network's.
    assert_eq!(main.vips, addresses("192.0.2.9"));
}

#[test]
fn one_main_link_is_enough() {
    let told = |links: &str| {
        told(&with_network("addressing: dhcpv4", &format!("role: worker, links: {links}")))
    };
    assert_eq!(told("[{interface: a, vlans: [{id: 1}, {id: 2}]}]"), ["main-link 6:66"]);
    assert_eq!(told("[{interface: a, main: true, vlans: [{id: 1}, {id: 2}]}]"), [""; 0]);
    assert_eq!(
        told("[{interface: a, main: true}, {interface: b, main: true}]"),
        ["main-link 6:94"]
    );
    let links = "links: [{interface: a}, {interface: b, main: true}]";
    let facts = facts("addressing: dhcpv4", &format!("role: worker, {links}"));
    assert_eq!(shown(&facts.network.links[0].settings), "");
    assert_eq!(shown(&facts.network.links[1].settings), "Dhcp4");
}

#[test]
fn a_gateway_of_a_link_holds_however_it_gets_its_address() {
    let links = "links: [{interface: a, addressing: slaac, gateway: \"fe80::1\"}]";
    let facts = facts("gateway: 192.0.2.1", &format!("role: worker, {links}"));
    assert_eq!(shown(&only(&facts).settings), "Slaac *>fe80::1");
}

/// What is read here, Talos' documents can hold, in each release.
#[test]
fn what_is_read_can_be_written() {
    let network = "prefix: [\"2001:db8::/64\", 192.0.2.0/24], gateway: [\"2001:db8::1\", 192.0.2.1], \
         nameservers: [192.0.2.1], vip: 192.0.2.10, mtu: 9000, time: {servers: [ntp.example]}";
    let node = "role: controlplane, hostname: n-1.home.example, links: [{bond: {name: bond0, mode: 802.3ad, \
         members: [{mac: \"52:54:00:00:00:01\"}, {driver: mlx5_core}]}, vlans: [{id: 10}]}, \
         {interface: eth7, addresses: 198.51.100.11/24}], \
         volumes: [{name: data, selector: {type: ssd}, min_size: 1GiB}], \
         encryption: {ephemeral: [{static: hunter2}]}, trusted_roots: {own: ca.pem}, \
         registries: {mirrors: {docker.io: {endpoints: [\"https://a\"]}}, tls: {a: {ca: ca.pem}}}";
    let facts = facts(network, node);
    for talos in ["v1.12.7", "v1.13.9", "v1.14.1"] {
        let mut documents = Documents::new(Schema::of(&Version::parse(talos).unwrap()));
        documents.open(MAIN, None).open("machine").set("type", "controlplane");
        apply(&mut documents, &facts).unwrap_or_else(|problems| panic!("{talos}: {problems:?}"));
        let vlan = documents.get("VLANConfig", Some("bond0.10")).unwrap();
        assert_eq!(vlan.at(&["addresses"]).map(|all| all.items().len()), Some(2), "{talos}");
        assert!(documents.get("Layer2VIPConfig", Some("192.0.2.10")).is_some(), "{talos}");
    }
}

#[test]
fn disks_are_named_in_three_ways() {
    let disk = |install: &str| merged("", &format!("install: {{{install}}}")).install.unwrap();
    let path = disk("disk: /dev/vda, wipe: true, image: installer:v1");
    assert_eq!((path.disk, path.wipe), (Disk::Path("/dev/vda".into()), true));
    assert_eq!(path.image.as_deref(), Some("installer:v1"));
    assert_eq!(disk("match: disk.rotational").disk, Disk::Match("disk.rotational".into()));
    let selector = "selector: {size: \"> 1TB\", model: M*, serial: S, modalias: m, uuid: u, wwid: w, \
         type: nvme, bus_path: /pci*}";
    let Disk::Selector(selector) = disk(selector).disk else { panic!() };
    assert_eq!(selector.size.unwrap().to_string(), "> 1TB");
    assert_eq!(selector.kind.unwrap().name(), "nvme");
    let texts = [
        selector.model,
        selector.serial,
        selector.modalias,
        selector.uuid,
        selector.wwid,
        selector.bus_path,
    ];
    assert_eq!(texts.map(Option::unwrap), ["M*", "S", "m", "u", "w", "/pci*"]);
}

#[test]
fn a_nodes_disk_goes_before_the_defaults_however_it_is_named() {
    let defaults = "install: {selector: {type: nvme}, wipe: true, image: i}";
    let install = merged(defaults, "install: {disk: /dev/vda, wipe: false}").install.unwrap();
    assert_eq!((install.disk, install.wipe), (Disk::Path("/dev/vda".into()), false));
    assert_eq!(install.image.as_deref(), Some("i"));
    let install = merged(defaults, "install: {image: j}").install.unwrap();
    assert!(matches!(install.disk, Disk::Selector(_)) && install.wipe);
}

#[test]
fn a_disk_may_come_by_patches_and_is_asked_for_otherwise() {
    let told = |talos: &str, rest: &str, node: &str| {
        let text = site(rest, &format!("  - {{name: n-1, role: worker{node}}}"));
        told(&text.replace("v1.13.9", talos))
    };
    assert_eq!(told("v1.13.9", "", ""), ["missing-install 6:5"]);
    assert_eq!(told("v1.13.9", "", ", patches: [{machine: {}}]"), [""; 0]);
    assert_eq!(told("v1.13.9", "defaults: {patches: [patches/all.yaml]}", ""), [""; 0]);
    assert_eq!(told("v1.13.9", "", ", profile: nocloud-disk"), [""; 0]);
    assert_eq!(told("v1.14.1", "", ""), ["missing-install 6:5"]);
    assert_eq!(told("v1.14.1", "silence: [missing-install]", ""), [""; 0]);
    assert_eq!(told("v1.14.1", "", ", profile: metal-disk"), [""; 0]);
    assert_eq!(told("v1.13.9", "", ", install: {wipe: true}"), ["missing-install 6:5"]);
    assert_eq!(
        told("v1.11.0", "", ", embed: none, mtu: 1400, interface: a"),
        ["made-too-old 2:67"]
    );
}

#[test]
fn mappings_are_joined_key_by_key() {
    let facts = merged(
        "install: {disk: /dev/vda}, labels: {a: 1, b: 2}, annotations: {a: x}, taints: {t: NoSchedule}, \
         env: {A: x, B: y}, proxy: {http: \"http://p\", no_proxy: [a]}, trusted_roots: {site: ca.pem}, \
         registries: {mirrors: {docker.io: {endpoints: [\"https://a\"]}, ghcr.io: {skip_fallback: true}}}, \
         encryption: {state: [{node_id: true}], ephemeral: [{tpm: true}]}",
        "labels: {b: 3, c: true}, annotations: {b: y}, taints: {t: \"v:NoExecute\", u: NoSchedule}, env: {B: z}, \
         proxy: {https: \"http://q\", no_proxy: [b]}, trusted_roots: {own: ca.pem}, \
         registries: {mirrors: {docker.io: {endpoints: [{url: \"https://b/v2\", override_path: true}, \"https://c\"]}}, \
         auth: {a: {username: u, password: hunter2}, b: {auth: hunter2}, c: {identity_token: hunter2}}, \
         tls: {a: {ca: ca.pem, cert: ca.pem, key: key.pem}, b: {insecure: true}}}, \
         encryption: {ephemeral: [{static: hunter2, lock_to_state: true}, {kms: \"https://k\"}, \
         {tpm: {pcrs: [0, 7], check_secure_boot: true}}]}",
    );
    let pairs = |map: &BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(pairs(&facts.labels), "a=1 b=3 c=true");
    assert_eq!(pairs(&facts.annotations), "a=x b=y");
    assert_eq!(pairs(&facts.taints), "t=v:NoExecute u=NoSchedule");
    let env = facts.environment.iter().map(|(key, value)| (key.as_str(), value.reveal()));
    let env: Vec<_> = env.collect();
    assert_eq!(env, [("A", "x"), ("B", "z")]);
    assert_eq!(facts.proxy.http.as_ref().unwrap().reveal(), "http://p");
    assert_eq!(facts.proxy.https.as_ref().unwrap().reveal(), "http://q");
    assert_eq!(facts.proxy.no_proxy, ["b"]);
    assert_eq!(facts.trusted_roots.keys().collect::<Vec<_>>(), ["own", "site"]);
    assert_eq!(facts.trusted_roots["own"], PEM);

    let registries = &facts.registries;
    let docker = &registries.mirrors["docker.io"];
    let urls: Vec<_> =
        docker.endpoints.iter().map(|to| (to.url.reveal(), to.override_path)).collect();
    assert_eq!(urls, [("https://b/v2", true), ("https://c", false)]);
    assert!(!docker.skip_fallback && registries.mirrors["ghcr.io"].skip_fallback);
    assert!(matches!(&registries.auth["a"], Auth::Password { username, .. } if username == "u"));
    assert!(matches!(registries.auth["b"], Auth::Basic(_)));
    assert!(matches!(registries.auth["c"], Auth::IdentityToken(_)));
    assert_eq!(registries.tls["a"].ca.as_deref(), Some(PEM));
    assert!(registries.tls["a"].client.is_some() && registries.tls["b"].insecure_skip_verify);

    let keys = |volume| facts.encryption[&volume].keys.as_slice();
    assert!(matches!(keys(SystemVolume::State), [key] if key.source == KeySource::NodeId));
    let [passphrase, kms, tpm] = keys(SystemVolume::Ephemeral) else { panic!() };
    assert!(matches!(passphrase.source, KeySource::Static(_)) && passphrase.lock_to_state);
    assert_eq!(kms.source, KeySource::Kms { endpoint: "https://k".into() });
    assert_eq!(tpm.source, KeySource::Tpm { pcrs: vec![0, 7], check_secure_boot: true });
    assert!(!format!("{facts:?}").contains("hunter2"));
}

#[test]
fn volumes_are_joined_by_name() {
    let facts = merged(
        "install: {disk: /dev/vda}, volumes: [{name: a, type: directory}, {name: b, type: directory}]",
        "volumes: [{name: b, selector: {type: ssd}, min_size: 1GiB, max_size: 50%, grow: true, \
         filesystem: ext4, encryption: [{node_id: true}]}, {name: c, type: disk, match: \"true\"}]",
    );
    let names: Vec<_> = facts.user_volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let Backing::Partition { on, min_size, max_size, grow } = &facts.user_volumes[1].backing else {
        panic!("{facts:?}")
    };
    assert_eq!(
        (min_size.as_deref(), max_size.as_deref(), *grow),
        (Some("1GiB"), Some("50%"), true)
    );
    assert_eq!(on.filesystem.unwrap().name(), "ext4");
    assert_eq!(on.encryption.as_ref().unwrap().keys.len(), 1);
    assert_eq!(facts.user_volumes[0].backing, Backing::Directory);
    let Backing::Disk(on) = &facts.user_volumes[2].backing else { panic!("{facts:?}") };
    assert_eq!(on.disk, Disk::Match("true".into()));
}

#[test]
fn patches_and_values_of_a_node_come_after_the_defaults() {
    let text = with(
        "v1.13.9",
        "",
        "patches: [{a: 1}, patches/all.yaml], values: {tree: 1, list: [x]}, overlays: [./mine.yaml]",
        ", role: worker, config: w.yaml, patches: [{b: 2}], values: {tree: {deep: 1.20}, text: ca.pem}",
    );
    let mut site = read(&text).unwrap();
    let node = site.nodes.remove(0);
    assert_eq!(site.values.keys().collect::<Vec<_>>(), ["list", "tree"]);
    assert_eq!(site.values["tree"].text(), Some("1"));
    let columns: Vec<_> = node.patches.iter().map(|patch| patch.place.line).collect();
    assert_eq!(columns, [4, 4, 6]);
    assert_eq!(node.values.keys().collect::<Vec<_>>(), ["list", "text", "tree"]);
    assert_eq!(node.values["tree"].get("deep").unwrap().text(), Some("1.20"));
    // Of a file it is the text, and not the path.
    assert_eq!(node.values["text"].text(), Some(PEM));
    assert!(node.facts.is_none() && node.config.is_some());
}

#[test]
fn values_that_no_overlay_takes_are_refused() {
    let told = |defaults: &str, node: &str| {
        told(&with("v1.13.9", "", defaults, &format!(", role: worker, config: w.yaml{node}")))
    };
    assert_eq!(told("values: {tree: 1}", ""), ["unknown-value 4:27"]);
    assert_eq!(told("values: {tree: 1}", ", overlays: [./mine.yaml]"), [""; 0]);
    let node = ", overlays: [./mine.yaml], values: {tre: 1, text: none.pem}";
    assert_eq!(told("", node), ["unknown-value 6:86", "no-file 6:95"]);
}

#[test]
fn a_node_without_a_config_on_its_medium_may_say_nothing() {
    let node = |rest: &str| {
        let network = "network: {addressing: static, prefix: 192.0.2.0/24}";
        read(&site(network, &format!("  - {{name: n-1, role: worker, embed: none{rest}}}")))
            .map(|site| site.nodes.into_iter().next().unwrap().facts.is_some())
            .map_err(|problems| problems.iter().map(|problem| problem.code).collect::<Vec<_>>())
    };
    assert_eq!(node(""), Ok(false));
    // One that says something is asked for the rest.
    assert_eq!(node(", labels: {a: b}"), Err(vec!["missing-link", "missing-install"]));
    assert_eq!(node(", interface: eth0, install: {disk: /dev/vda}"), Ok(true));
}

#[test]
fn encrypted_files_are_opened_in_memory() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/sops");
    let fixture = |path: &Path| std::fs::read(folder.join(path.file_name().unwrap()));
    let variable = |name: &str| (name == "SOPS_AGE_KEY_FILE").then(|| OsString::from("ours.key"));
    let text = site("", "  - {name: n-1, role: worker, patches: [armored.age]}")
        .replace("secrets.yaml", "types.sops.yaml");
    let world = World { read: &|path, _| fixture(path), variable: &variable };
    let site = load_text(Path::new("d/site.yaml"), text.as_bytes(), world).unwrap();
    let plain = |source: &Source| match &source.text {
        Text::Bytes(bytes) => bytes.to_vec(),
        Text::Tree(_) => panic!("{source:?}"),
    };
    let secrets = plain(site.cluster.secrets.as_ref().unwrap());
    assert!(!secrets.is_empty() && !String::from_utf8_lossy(&secrets).contains("ENC["));
    assert!(!plain(&site.nodes[0].patches[0]).starts_with(b"-----BEGIN AGE"));
    // The environment is not asked where nothing is encrypted.
    let ask = |name: &str| -> Option<OsString> { panic!("asked for {name}") };
    let world = World { read: &files, variable: &ask };
    let text = with("v1.13.9", "", "", ", role: worker, config: w.yaml");
    assert!(load_text(Path::new("d/site.yaml"), text.as_bytes(), world).is_ok());
}

#[test]
fn what_is_wrong_with_the_network_of_all_is_told_once() {
    let nodes: Vec<_> =
        (0..50).map(|n| format!("  - {{name: n-{n}, role: worker, interface: eth0}}")).collect();
    let rest = "network: {gateway: here}\ndefaults: {install: {disk: /dev/vda}, labels: {a: [b]}}";
    assert_eq!(told(&site(rest, &nodes.join("\n"))), ["value 4:20", "wrong-type 5:51"]);
}

#[test]
fn a_site_cannot_grow_by_repeating_itself() {
    let long = "x".repeat(200_000);
    let nodes: Vec<_> = (0..2_000).map(|n| format!("  - {{name: n-{n}, role: worker}}")).collect();
    let rest = format!("defaults: {{install: {{disk: /dev/vda}}, labels: {{a: {long}}}}}");
    assert_eq!(told(&site(&rest, &nodes.join("\n"))), ["site-too-large 1:1"]);
    let nodes: Vec<_> = (0..200)
        .map(|n| match n {
            0 => format!("  - {{name: n-0, role: worker, labels: &l {{a: {long}}}}}"),
            _ => format!("  - {{name: n-{n}, role: worker, labels: *l}}"),
        })
        .collect();
    assert_eq!(told(&site("", &nodes.join("\n"))), ["site-too-large 1:1"]);
}

/// Pieces of networks, links and disks, right and wrong.
fn piece() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "static",
        "[static, slaac]",
        "dhcpv4",
        "192.0.2.0/24",
        "192.0.2.1",
        "[192.0.2.1, \"::1\"]",
        "\"2001:db8::/64\"",
        "\"52:54:00:00:00:01\"",
        "eth0",
        "[{interface: a}]",
        "[]",
        "{}",
        "~",
        "1500",
        "[{id: 1}]",
        "[{id: 1, main: true}, {}]",
        "{name: b, mode: 802.3ad, members: [{interface: a}]}",
        "{disk: /dev/vda}",
        "{selector: {size: 1GB}}",
        "off",
        "{servers: [a]}",
        "true",
        "[{to: 10.0.0.0/8}]",
        "{state: [{tpm: true}]}",
        "[{name: a, type: disk, disk: b}]",
        "{mirrors: {a: {endpoints: [b]}}}",
        "ca.pem",
        "{a: ca.pem}",
        "{a: b}",
        "worker",
        "controlplane",
        "none",
        "w.yaml",
        "!x y",
        "&a [*a]",
    ])
    .prop_map(str::to_owned)
}

prop_compose! {
    fn odd_nodes()(
        network in prop::collection::btree_map(prop::sample::select(vec![
            "addressing", "prefix", "gateway", "nameservers", "time", "vip", "mtu", "routes",
        ]), piece(), 0..5),
        nodes in prop::collection::vec(prop::collection::btree_map(prop::sample::select(vec![
            "mac", "interface", "address", "mtu", "links", "network", "install", "labels", "taints",
            "env", "proxy", "trusted_roots", "registries", "encryption", "volumes", "config",
            "patches", "values", "hostname", "embed", "role",
        ]), piece(), 0..6), 1..4),
    ) -> String {
        let flow = |map: &BTreeMap<&str, String>| {
            map.iter().map(|(key, value)| format!("{key}: {value}")).collect::<Vec<_>>().join(", ")
        };
        let nodes: Vec<_> = nodes.iter().enumerate().map(|(n, map)| {
            let role = if map.contains_key("role") { "" } else { "role: worker, " };
            format!("  - {{name: n-{n}, {role}{}}}", flow(map))
        }).collect();
        site(&format!("network: {{{}}}", flow(&network)), &nodes.join("\n"))
    }
}

proptest! {
    #[test]
    fn odd_nodes_are_read_or_refused_with_places(text in odd_nodes()) {
        match read(&text) {
            Ok(site) => {
                let whole = |node: &Node| {
                    node.facts.is_some() || node.config.is_some() || node.embed == Embed::None
                };
                prop_assert!(site.nodes.iter().all(whole));
            }
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                prop_assert!(problems.iter().all(|problem| problem.place.is_some()), "{problems:?}");
            }
        }
    }
}
