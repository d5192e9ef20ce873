//! `network`, and what links have of their own.
//!
//! In: mappings of the site file. Out: [`Common`] and [`Own`], as they are written.
//!
//! Source: none, the file is ours.
//!
//! Not here: which link is which (`link`), and addresses that are not written (`address`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::field::{Fields, Form, NUMBER, Written, open};
use super::key::network::{ROUTE, TIME};
use crate::config::facts::network::{Dynamic, Route, Time};
use crate::config::facts::prefix::{Family, Mac, Prefix};
use crate::report::Diagnostic;

/// An address.
pub(super) const ADDRESS: Form<IpAddr> =
    Form { what: "no IP address", example: "192.0.2.1` or `2001:db8::1", parse: address };

/// A network: no bit behind its length is set.
pub(super) const PREFIX: Form<Prefix> = Form {
    what: "no network",
    example: "192.0.2.0/24` or `2001:db8::/64",
    parse: |text| Prefix::parse(text).filter(|net| net.address() == net.nth(0)),
};

/// An address of a node.
pub(super) const HOST: Form<Host> = Form {
    what: "no address of a node",
    example: "192.0.2.11/24` or `2001:db8::11/64",
    parse: Host::parse,
};

/// The address of a card.
pub(super) const MAC: Form<Mac> =
    Form { what: "no MAC address of a card", example: "52:54:00:12:34:56", parse: Mac::parse };

/// An IPv4 address in IPv6's clothes is none.
fn address(text: &str) -> Option<IpAddr> {
    let mapped = |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    text.parse().ok().filter(|address| !mapped(address))
}

/// An address of a node, perhaps with the length of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// Both.
    Whole(Prefix),
    /// The address alone.
    Bare(IpAddr),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        match text.contains('/') {
            true => Prefix::parse(text).map(Self::Whole),
            false => address(text).map(Self::Bare),
        }
    }
}

/// Where addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    /// From the site file.
    Static,
    /// From others.
    Dynamic(Dynamic),
}

const WORDS: [(&str, Word); 4] = [
    ("static", Word::Static),
    ("slaac", Word::Dynamic(Dynamic::Slaac)),
    ("dhcpv4", Word::Dynamic(Dynamic::Dhcp4)),
    ("dhcpv6", Word::Dynamic(Dynamic::Dhcp6)),
];

/// What a link or a VLAN says, and a network of them: each key for itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    pub(super) addressing: Option<BTreeSet<Word>>,
    pub(super) addresses: Option<Vec<Written<Host>>>,
    pub(super) gateways: Option<Vec<Written<IpAddr>>>,
    pub(super) routes: Option<Vec<Route>>,
    pub(super) mtu: Option<u32>,
    pub(super) vips: Option<Vec<Written<IpAddr>>>,
}

impl Own {
    /// Reads what links, VLANs and networks have alike; their addresses are not among it.
    pub(super) fn read(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Self {
        let addressing = fields.get("addressing").map(|_| addressing(fields, problems));
        let gateways = fields.get("gateway").map(|_| {
            let gateways = fields.values("gateway", &ADDRESS, problems);
            one_each(gateways, "gateway", |&address| Family::of(address), problems)
        });
        Self {
            addressing: addressing.filter(|words| !words.is_empty()),
            addresses: None,
            gateways,
            routes: fields.get("routes").map(|_| routes(fields, problems)),
            mtu: fields.value("mtu", &NUMBER, problems).map(|mtu| mtu.value),
            vips: fields.get("vip").map(|_| fields.values("vip", &ADDRESS, problems)),
        }
    }

    /// Reads addresses.
    pub(super) fn addresses(
        fields: &Fields<'_>,
        key: &str,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Vec<Written<Host>>> {
        fields.get(key).map(|_| fields.values(key, &HOST, problems))
    }

    /// The same, and what another says where it says nothing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            addressing: self.addressing.or(other.addressing),
            addresses: self.addresses.or(other.addresses),
            gateways: self.gateways.or(other.gateways),
            routes: self.routes.or(other.routes),
            mtu: self.mtu.or(other.mtu),
            vips: self.vips.or(other.vips),
        }
    }
}

/// `network`: what it says of the main link, and of the node as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) own: Own,
    pub(super) prefixes: Vec<Written<Prefix>>,
    pub(super) nameservers: Vec<IpAddr>,
    pub(super) search_domains: Vec<String>,
    pub(super) time: Option<Time>,
}

impl Common {
    /// Reads it.
    pub(super) fn read(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Self {
        let prefixes = fields.values("prefix", &PREFIX, problems);
        let nameservers = fields.texts("nameservers", problems);
        let nameservers = nameservers
            .iter()
            .filter_map(|text| super::field::value(text, &ADDRESS, problems))
            .map(|address| address.value)
            .collect();
        Self {
            own: Own::read(fields, problems),
            prefixes: one_each(prefixes, "prefix", |prefix| prefix.family(), problems),
            nameservers,
            search_domains: fields.strings("search_domains", problems),
            time: time(fields, problems),
        }
    }
}

fn addressing(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> BTreeSet<Word> {
    let texts = match fields.get("addressing") {
        Some(node) if node.items().is_none() => {
            fields.text("addressing", problems).into_iter().collect()
        }
        _ => fields.texts("addressing", problems),
    };
    let word = |text| super::field::choose("addressing", text, &WORDS, problems);
    texts.iter().filter_map(word).collect()
}

/// Leaves one of each family.
fn one_each<T>(
    all: Vec<Written<T>>,
    key: &str,
    family: impl Fn(&T) -> Family,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Written<T>> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for one in all {
        let family = family(&one.value);
        if seen.insert(family) {
            kept.push(one);
        } else {
            let message = format!("`{key}` has a second one of {}", family.name());
            let problem = Diagnostic::error("family-twice", message).at(one.place);
            problems.push(problem.help("keep one of each family"));
        }
    }
    kept
}

/// Reads networks, at most one of each family.
pub(super) fn subnets(
    fields: &Fields<'_>,
    key: &str,
    problems: &mut Vec<Diagnostic>,
) -> Vec<Written<Prefix>> {
    let texts = fields.texts(key, problems);
    let values = texts.iter().filter_map(|text| super::field::value(text, &PREFIX, problems));
    let values = values.collect();
    one_each(values, key, |prefix| prefix.family(), problems)
}

fn routes(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Vec<Route> {
    let parts = fields.parts("routes", &ROUTE, problems);
    let route = |fields: &Fields<'_>| {
        let before = problems.len();
        let number = |key: &str, problems: &mut Vec<Diagnostic>| {
            fields.value(key, &NUMBER, problems).map(|number| number.value)
        };
        let route = Route {
            destination: fields.value("to", &PREFIX, problems).map(|to| to.value),
            gateway: fields.value("via", &ADDRESS, problems).map(|via| via.value),
            source: fields.value("source", &ADDRESS, problems).map(|source| source.value),
            metric: number("metric", problems),
            mtu: number("mtu", problems),
        };
        if problems.len() == before && route.destination.is_none() && route.gateway.is_none() {
            let message = "the route says neither where it goes nor by whom";
            let problem = Diagnostic::error("route", message).at(fields.place());
            problems.push(problem.help("write `{to: 198.51.100.0/24, via: 192.0.2.1}`"));
        }
        (problems.len() == before).then_some(route)
    };
    parts.iter().filter_map(route).collect()
}

fn time(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Time> {
    let node = fields.get("time")?;
    if node.text() == Some("off") && node.tag().is_none() {
        return Some(Time::Off);
    }
    if node.entries().is_none() {
        let problem =
            Diagnostic::error("value", "`time` says nothing of where the time comes from");
        let help = "write `{servers: [time.example.com]}`, `{ptp: [/dev/ptp0]}` or `off`";
        problems.push(problem.at(node.place()).help(help));
        return None;
    }
    let fields = open(node, &TIME, problems)?;
    let (key, _) = fields.choice(&["servers", "ptp"], problems).or_else(|| {
        fields.need("servers", "[time.example.com]", problems);
        None
    })?;
    let sources = fields.strings(key, problems);
    if sources.is_empty() && fields.get(key).is_some_and(|node| node.items().is_some()) {
        let problem = Diagnostic::error("value", format!("`{key}` names none")).at(node.place());
        problems.push(problem.help("name one at least, or write `time: off`"));
    }
    Some(if key == "ptp" { Time::Ptp(sources) } else { Time::Servers(sources) })
}
