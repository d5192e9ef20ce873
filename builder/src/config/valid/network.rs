//! The documents of the network that are no links: DHCP, shared addresses, names, time, rules.
//!
//! In: one document. Out: findings.
//!
//! Source: Talos `pkg/machinery/config/types/network`: `dhcp4.go`, `dhcp6.go`, `ethernet.go`,
//! `hcloud_vip.go`, `layer2_vip.go`, `hostname.go`, `resolver.go`, `time_sync.go`,
//! `static_host.go`, `blackhole_route.go`, `routing_rule.go`, `rule_config.go`, `port_range.go`,
//! `kubespan.go`, `tcp_probe.go`, `http_probe.go`.
//!
//! Not here: links (`link`), BGP (`bgp`).

use super::found::Found;
use super::url::Url;
use super::{Context, Rule, go, name, view};
use crate::config::tree::{Data, Tree};

pub(super) const RULES: &[(&str, Rule)] = &[
    ("DHCPv4Config", dhcp),
    ("DHCPv6Config", dhcp),
    ("EthernetConfig", |doc, _, found| {
        name::required(doc, "Ethernet link", found);
    }),
    ("Layer2VIPConfig", shared_address),
    ("HCloudVIPConfig", hcloud_address),
    ("HostnameConfig", hostname),
    ("ResolverConfig", resolver),
    ("TimeSyncConfig", time_sync),
    ("StaticHostConfig", static_host),
    ("BlackholeRouteConfig", blackhole_route),
    ("RoutingRuleConfig", routing_rule),
    ("NetworkRuleConfig", ingress_rule),
    ("KubeSpanConfig", kubespan),
    ("TCPProbeConfig", tcp_probe),
    ("HTTPProbeConfig", http_probe),
];

fn dhcp(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "DHCP client", found);
    let raw = !view::text(doc, &["duidRaw"]).replace(':', "").is_empty();
    if raw != view::is_word(doc, &["clientIdentifier"], "duid") {
        let at = view::place(doc, &["duidRaw"]);
        let message = "`duidRaw` and `clientIdentifier: duid` are of no use without each other";
        found.refuse(at, "talos-dhcp-duid", message, "write both or neither");
    }
}

fn shared_address(doc: &Tree, _: Context, found: &mut Found) {
    let address = view::text(doc, &["name"]);
    if name::required(doc, "shared address", found) && go::parse_address(address).is_none() {
        let at = view::place(doc, &["name"]);
        let message = format!("the name `{address}` is no address");
        found.refuse(at, "talos-vip-address", message, "name the document by the address itself");
    }
    if view::text(doc, &["link"]).is_empty() {
        let message = "the shared address has no link";
        found.refuse(doc, "talos-vip-link", message, "name the link that carries it in `link`");
    }
}

fn hcloud_address(doc: &Tree, context: Context, found: &mut Found) {
    shared_address(doc, context, found);
    if view::text(doc, &["apiToken"]).is_empty() {
        let message = "the shared address has no token for the API of Hetzner Cloud";
        found.refuse(doc, "talos-vip-token", message, "add `apiToken`");
    }
}

fn hostname(doc: &Tree, context: Context, found: &mut Found) {
    let hostname = view::text(doc, &["hostname"]);
    let auto = view::pointer(doc, &["auto"]);
    let off = auto.is_none() || view::is_word(doc, &["auto"], "off");
    let none = if context.minor == 12 { off } else { auto.is_none() };
    let help = "write `auto: stable`, or `hostname` with a name";
    if none && hostname.is_empty() {
        found.refuse(doc, "talos-hostname", "neither `auto` nor `hostname` is set", help);
    }
    if !off && !hostname.is_empty() {
        let at = view::place(doc, &["hostname"]);
        let message = "`hostname` is set, and `auto` too";
        found.refuse(at, "talos-hostname-auto", message, "drop `auto`, or write `auto: \"off\"`");
    }
    if !off && !view::is_word(doc, &["auto"], "stable") {
        let at = view::place(doc, &["auto"]);
        let message = "`auto` is neither `stable` nor `off`";
        found.refuse(at, "talos-hostname-kind", message, "write `auto: stable`");
    }
    if hostname.is_empty() {
        return;
    }
    let first = hostname.split('.').next().unwrap_or_default();
    if hostname.len() > 253 || first.is_empty() || first.len() > 63 {
        let at = view::place(doc, &["hostname"]);
        let message = "the host name is too long, or nothing stands before its first dot";
        let help = "keep the part before the first dot to 63 characters, and all to 253";
        found.refuse(at, "talos-hostname-length", message, help);
    }
}

fn resolver(doc: &Tree, context: Context, found: &mut Found) {
    if context.minor < 14 {
        return;
    }
    if !view::is_on(doc, &["hostDNS", "enabled"]) {
        for key in ["forwardKubeDNSToHost", "resolveMemberNames"] {
            if view::is_on(doc, &["hostDNS", key]) {
                let at = view::place(doc, &["hostDNS", key]);
                let message = format!("`hostDNS.{key}` is on, and `hostDNS.enabled` is not");
                found.refuse(at, "talos-host-dns", message, "write `enabled: true` beside it");
            }
        }
    }
    let servers = view::items(doc, &["nameservers"]);
    for server in servers {
        let plain = is_plain_dns(server);
        let named = !view::text(server, &["tlsServerName"]).is_empty();
        if plain == named {
            let at = view::place(server, &["tlsServerName"]);
            let message =
                "a name server has a `tlsServerName` if, and only if, it speaks DoT or DoH";
            let help = "add the name on the server's certificate, or drop it for `Do53`";
            found.refuse(at, "talos-nameserver-tls", message, help);
        }
        if go::parse_address(view::text(server, &["address"])).is_none() {
            let message = "the name server has no address";
            found.refuse(server, "talos-nameserver-address", message, "add `address`");
        }
    }
    if !servers.is_empty() && !servers.iter().any(is_plain_dns) {
        let at = view::place(doc, &["nameservers"]);
        let message =
            "all name servers are encrypted, which wants a clock that is set, which may want names";
        let help = "add a plain one, or give time servers by address";
        found.warn(at, "talos-nameserver-encrypted", message, help);
    }
}

/// Whether a name server is asked in the clear.
pub(super) fn is_plain_dns(server: &Tree) -> bool {
    let protocol = view::text(server, &["protocol"]);
    protocol.is_empty() || protocol.eq_ignore_ascii_case("Do53")
}

fn time_sync(doc: &Tree, context: Context, found: &mut Found) {
    not_negative(doc, &["bootTimeout"], found);
    if view::pointer(doc, &["ntp"]).is_some() && view::pointer(doc, &["ptp"]).is_some() {
        let at = view::place(doc, &["ptp"]);
        found.refuse(at, "talos-time-source", "both `ntp` and `ptp` are set", "keep one of them");
    }
    if context.minor >= 14 && view::is_on(doc, &["ntp", "useNTS"]) {
        for server in view::items(doc, &["ntp", "servers"]) {
            if server.text().is_some_and(go::is_ip) {
                let message = "a time server that speaks NTS is given by its address";
                let help = "write its name: the certificate is for that";
                found.refuse(server, "talos-time-nts", message, help);
            }
        }
    }
}

/// Says so where a length of time or a number is below zero.
pub(super) fn not_negative(doc: &Tree, path: &[&str], found: &mut Found) {
    if view::duration(doc, path) < 0 {
        let at = view::place(doc, path);
        let message = format!("`{}` is below zero", path.join("."));
        found.refuse(at, "talos-negative", message, "drop the sign, or the line");
    }
}

fn static_host(doc: &Tree, _: Context, found: &mut Found) {
    let address = view::text(doc, &["name"]);
    if go::parse_address(address).is_none() {
        let at = view::place(doc, &["name"]);
        let message = "the name of the static host is no address";
        found.refuse(at, "talos-static-host-address", message, "name it by the host's address");
    }
    if view::items(doc, &["hostnames"]).is_empty() {
        let message = "the static host has no names";
        found.refuse(doc, "talos-static-host-names", message, "add them under `hostnames`");
    }
}

fn blackhole_route(doc: &Tree, _: Context, found: &mut Found) {
    if go::Prefix::parse(view::text(doc, &["name"])).is_none() {
        let at = view::place(doc, &["name"]);
        let message = "the name of the blackhole route is no network";
        found.refuse(
            at,
            "talos-blackhole-network",
            message,
            "name it by the network: `10.0.0.0/8`",
        );
    }
}

/// The priorities of the kernel's own rules and of KubeSpan's.
const RESERVED_PRIORITIES: [u32; 4] = [0, 32500, 32766, 32767];

fn routing_rule(doc: &Tree, _: Context, found: &mut Found) {
    let priority = view::text(doc, &["name"]);
    let digits = priority.bytes().all(|b| b.is_ascii_digit());
    let priority = if digits { priority.parse::<u32>().ok() } else { None };
    if priority.is_none_or(|priority| RESERVED_PRIORITIES.contains(&priority)) {
        let at = view::place(doc, &["name"]);
        let message = "the name of the routing rule is no priority, or one that is taken";
        let help = "name it by a number from 1 to 32765 other than 32500: `name: \"1000\"`";
        found.refuse(at, "talos-routing-rule-priority", message, help);
    }
    let table = view::text(doc, &["table"]);
    let no_table = (table.is_empty() && view::number(doc, &["table"]) == 0)
        || matches!(table.to_lowercase().as_str(), "0" | "unspec");
    let action = view::text(doc, &["action"]).to_lowercase();
    if no_table && matches!(action.as_str(), "" | "unspec" | "unicast") {
        let message = "the routing rule names no table, and does nothing else";
        let help = "add `table`, or an `action` such as `blackhole`";
        found.refuse(doc, "talos-routing-rule-action", message, help);
    }
    if view::number(doc, &["fwMask"]) != 0 && view::number(doc, &["fwMark"]) == 0 {
        let at = view::place(doc, &["fwMask"]);
        let message = "`fwMask` is set, and `fwMark` is not";
        found.refuse(at, "talos-routing-rule-mask", message, "add `fwMark`, or drop the mask");
    }
}

/// The first and the last port of a range.
fn port_range(range: &Tree) -> Option<(u16, u16)> {
    match range.data() {
        Data::Int(port) => u16::try_from(*port).ok().map(|port| (port, port)),
        Data::Text(text) => match text.split_once('-') {
            Some((low, high)) => Some((low.parse().ok()?, high.parse().ok()?)),
            None => text.parse().ok().map(|port| (port, port)),
        },
        _ => None,
    }
}

fn ingress_rule(doc: &Tree, _: Context, found: &mut Found) {
    name::required(doc, "rule", found);
    let ports = view::place(doc, &["portSelector", "ports"]);
    let mut ranges: Vec<(u16, u16)> = ports.items().iter().filter_map(port_range).collect();
    ranges.sort_unstable();
    if ranges.is_empty() {
        let message = "the rule has no ports";
        found.refuse(ports, "talos-rule-ports", message, "add them under `portSelector.ports`");
    }
    let backward = ranges.iter().any(|(low, high)| low > high);
    if backward || ranges.windows(2).any(|pair| pair[1].0 <= pair[0].1) {
        let message = "a range of ports ends before it starts, or shares ports with another";
        found.refuse(
            ports,
            "talos-rule-port-range",
            message,
            "write each port once: `80`, `8000-8080`",
        );
    }
    for rule in view::items(doc, &["ingress"]) {
        if go::Prefix::parse(view::text(rule, &["subnet"])).is_none() {
            let message = "the rule allows a network that it does not name";
            found.refuse(
                rule,
                "talos-rule-subnet",
                message,
                "add `subnet`: `0.0.0.0/0` is all of IPv4",
            );
        }
    }
}

fn kubespan(doc: &Tree, _: Context, found: &mut Found) {
    if view::pointer(doc, &["mtu"]).is_some() {
        kubespan_mtu(doc, &["mtu"], found);
    }
    subnets(doc, &["filters", "endpoints"], "filter of KubeSpan", found);
}

/// Says so where the MTU of KubeSpan's link is too small for IPv6.
pub(super) fn kubespan_mtu(doc: &Tree, path: &[&str], found: &mut Found) {
    if view::number(doc, path) < 1280 {
        let at = view::place(doc, path);
        let message = "the MTU of KubeSpan is below 1280, which IPv6 needs";
        found.refuse(at, "talos-kubespan-mtu", message, "write `1420`, or drop the line");
    }
}

/// Says what is no network and no address in a list in which `!` may stand before either.
pub(super) fn subnets(doc: &Tree, path: &[&str], what: &str, found: &mut Found) {
    for item in view::items(doc, path) {
        subnet(item, what, found);
    }
}

/// Says so where one is none.
pub(super) fn subnet(item: &Tree, what: &str, found: &mut Found) {
    let text = item.text().unwrap_or_default();
    let network = text.strip_prefix('!').unwrap_or(text);
    if go::Prefix::parse_subnet_or_address(network).is_none() {
        let message = format!("the {what} `{text}` is no network");
        let help = "write `10.0.0.0/8`, or `!10.0.0.0/8` for all but it";
        found.refuse(item, "talos-subnet", message, help);
    }
}

fn probe(doc: &Tree, found: &mut Found) {
    name::required(doc, "probe", found);
    for key in ["timeout", "interval", "failureThreshold"] {
        not_negative(doc, &[key], found);
    }
}

fn tcp_probe(doc: &Tree, _: Context, found: &mut Found) {
    probe(doc, found);
    if view::text(doc, &["endpoint"]).is_empty() {
        let message = "the probe has no endpoint";
        found.refuse(doc, "talos-probe-endpoint", message, "add `endpoint: host:port`");
    }
}

fn http_probe(doc: &Tree, _: Context, found: &mut Found) {
    probe(doc, found);
    let url = Url::parse(view::text(doc, &["url"])).unwrap_or_default();
    let known = matches!(url.scheme.to_lowercase().as_str(), "http" | "https");
    if !known || url.is_opaque || url.hostname().is_empty() {
        let at = view::place(doc, &["url"]);
        let message = "the probe has no URL of `http` or `https` with a host";
        found.refuse(at, "talos-probe-url", message, "write `url: https://host.example/healthz`");
    }
}
