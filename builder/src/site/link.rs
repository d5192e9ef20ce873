//! The links of a node, in the short form and in the long one.
//!
//! In: a node's mapping. Out: [`Links`], as they are written, and which of them is the main one.
//!
//! Source: none, the file is ours.
//!
//! Not here: what links have (`network`), and what cannot work (`config::facts`).
//!
//! # The main link
//!
//! It is the one to which `address`, `mtu` and `network` apply, key by key where it says nothing of
//! its own: the link or VLAN with `main: true`. Where no one says so, it is the first link, or, if
//! that has VLANs, the only one of them; with several VLANs one must say so. All others have what
//! they say themselves, and nothing else.

use super::field::{Fields, Form, NUMBER, Written, whole};
use super::key::network::{BOND, LINK, MEMBER, VLAN};
use super::network::{MAC, Own};
use crate::config::facts::network::{
    Bond, BondMode, HashPolicy, Kind, LacpRate, Monitor, Port, Selector,
};
use crate::config::facts::prefix::Mac;
use crate::report::{Diagnostic, Place};

/// The number of a VLAN. Which there are, `config::facts` knows.
const VLAN_ID: Form<u16> = Form { what: "no number of a VLAN", example: "100", parse: whole };

/// The links of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Links {
    pub(super) links: Vec<Link>,
    /// Whether the node says which link it has, rightly or not, or was told that it does not.
    pub(super) is_said: bool,
    /// Nothing, where there is no link.
    pub(super) main: Option<Main>,
    /// The cards that are named by their addresses.
    pub(super) macs: Vec<Written<Mac>>,
}

/// A link as it is written.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) kind: Kind,
    pub(super) own: Own,
    pub(super) vlans: Vec<Vlan>,
    pub(super) place: Place,
    is_main: bool,
}

/// A VLAN as it is written.
#[derive(Clone, Debug)]
pub(super) struct Vlan {
    pub(super) id: u16,
    pub(super) own: Own,
    pub(super) place: Place,
    is_main: bool,
}

/// Which link is the main one, and which VLAN on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Main {
    pub(super) link: usize,
    pub(super) vlan: Option<usize>,
}

/// Reads the links of a node.
pub(super) fn read(node: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Links {
    let mut links = Links::default();
    if node.own("links").is_none() {
        links.short(node, problems);
        return links;
    }
    for key in ["mac", "interface", "mtu"] {
        if let Some(beside) = node.own(key) {
            let message = format!("the node has both `links` and `{key}`");
            let problem = Diagnostic::error("one-of", message).at(beside.place());
            problems.push(problem.help(format!("write `{key}` in an item of `links`")));
        }
    }
    for fields in node.parts("links", &LINK, problems) {
        links.is_said = true;
        let link = links.link(&fields, problems);
        links.links.extend(link);
    }
    links.main = main(&links.links, problems);
    // `address` beside `links` is the main link's.
    if let (Some(main), Some(addresses)) = (links.main, Own::addresses(node, "address", problems)) {
        let own = links.own_mut(main);
        if own.addresses.is_some() {
            let message = "the node has an `address`, and its main link has `addresses`";
            let place = node.own("address").map_or_else(|| node.place(), |node| node.place());
            let problem = Diagnostic::error("one-of", message).at(place);
            problems.push(problem.help("keep one of them"));
        }
        own.addresses = Some(addresses);
    }
    links
}

impl Links {
    /// One physical link, by keys of the node itself.
    fn short(&mut self, node: &Fields<'_>, problems: &mut Vec<Diagnostic>) {
        let own = Own {
            addresses: Own::addresses(node, "address", problems),
            mtu: node.value("mtu", &NUMBER, problems).map(|mtu| mtu.value),
            ..Own::default()
        };
        let choice = node.choice(&["mac", "interface"], problems);
        self.is_said = choice.is_some() || own.addresses.is_some() || own.mtu.is_some();
        let port = match choice {
            Some(("mac", _)) => self.mac(node, problems).map(|mac| Port::Select {
                selector: Selector { mac: Some(mac), ..Selector::default() },
                alias: None,
            }),
            Some(_) => node.string("interface", problems).map(Port::Name),
            None => {
                if self.is_said {
                    let message = "nothing says which link the node's `address` or `mtu` is for";
                    problems.push(no_link(message, node.place()));
                }
                None
            }
        };
        let Some(port) = port else { return };
        let (kind, place) = (Kind::Physical(port), node.place());
        self.links.push(Link { kind, own, vlans: Vec::new(), place, is_main: true });
        self.main = Some(Main { link: 0, vlan: None });
    }

    /// What the main link has of its own.
    fn own_mut(&mut self, main: Main) -> &mut Own {
        let link = &mut self.links[main.link];
        match main.vlan {
            None => &mut link.own,
            Some(vlan) => &mut link.vlans[vlan].own,
        }
    }

    fn mac(&mut self, fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Mac> {
        let mac = fields.value("mac", &MAC, problems)?;
        self.macs.push(mac.clone());
        Some(mac.value)
    }

    fn link(&mut self, fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Link> {
        let kind = match fields.part("bond", &BOND, problems) {
            Some(bond) => {
                for key in ["mac", "driver", "bus_path", "pci_id", "interface", "alias"] {
                    if let Some(beside) = fields.own(key) {
                        let message = format!("the link has both `bond` and `{key}`");
                        let problem = Diagnostic::error("one-of", message).at(beside.place());
                        problems.push(problem.help("name ports in the bond's `members`"));
                    }
                }
                self.bond(&bond, problems).map(Kind::Bond)
            }
            None if fields.own("bond").is_some() => None,
            None => self.port(fields, problems).map(Kind::Physical),
        };
        let own = self::own(fields, problems);
        let is_main = fields.flag("main", problems);
        let vlans = fields.parts("vlans", &VLAN, problems);
        let vlans = vlans.iter().filter_map(|fields| vlan(fields, problems)).collect();
        Some(Link { kind: kind?, own, vlans, place: fields.place(), is_main })
    }

    /// A port of a card: by its name, or by what it is.
    fn port(&mut self, fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Port> {
        const SELECTORS: [&str; 5] = ["mac", "driver", "bus_path", "pci_id", "alias"];
        let beside = SELECTORS.iter().find_map(|key| Some((key, fields.own(key)?)));
        if fields.own("interface").is_some() {
            if let Some((key, beside)) = beside {
                let message = format!("the link has both `interface` and `{key}`");
                let problem = Diagnostic::error("one-of", message).at(beside.place());
                problems.push(problem.help("name it by the kernel's name or by what it is"));
            }
            return fields.string("interface", problems).map(Port::Name);
        }
        if SELECTORS[..4].iter().all(|key| fields.own(key).is_none()) {
            problems.push(no_link("nothing says which link this is", fields.place()));
            return None;
        }
        let selector = Selector {
            mac: self.mac(fields, problems),
            driver: fields.string("driver", problems),
            bus_path: fields.string("bus_path", problems),
            pci_id: fields.string("pci_id", problems),
        };
        let wrong = selector == Selector::default();
        let alias = fields.string("alias", problems);
        (!wrong).then_some(Port::Select { selector, alias })
    }

    fn bond(&mut self, fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Bond> {
        let usual = Monitor::default();
        let mut number = |key: &str, or: u32| {
            fields.value(key, &NUMBER, problems).map_or(or, |number| number.value)
        };
        let monitor = Monitor {
            miimon: number("miimon", usual.miimon),
            updelay: number("updelay", usual.updelay),
            downdelay: number("downdelay", usual.downdelay),
        };
        let name = fields.need_text("name", "bond0", problems);
        let modes = BondMode::ALL.map(|mode| (mode.name(), mode));
        let mode = fields.need("mode", "802.3ad", problems);
        let mode = mode.and_then(|_| fields.word("mode", &modes, problems));
        let rates = LacpRate::ALL.map(|rate| (rate.name(), rate));
        let policies = HashPolicy::ALL.map(|policy| (policy.name(), policy));
        fields.need("members", "[{mac: \"52:54:00:12:34:56\"}]", problems);
        let members = fields.parts("members", &MEMBER, problems);
        Some(Bond {
            members: members.iter().filter_map(|port| self.port(port, problems)).collect(),
            monitor,
            lacp_rate: fields.word("lacp_rate", &rates, problems),
            xmit_hash_policy: fields.word("xmit_hash_policy", &policies, problems),
            name: name?.value.to_owned(),
            mode: mode?,
        })
    }
}

fn own(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Own {
    let addresses = Own::addresses(fields, "addresses", problems);
    Own { addresses, ..Own::read(fields, problems) }
}

fn vlan(fields: &Fields<'_>, problems: &mut Vec<Diagnostic>) -> Option<Vlan> {
    let id = fields.need("id", "100", problems);
    let id = id.and_then(|_| fields.value("id", &VLAN_ID, problems));
    let own = self::own(fields, problems);
    let is_main = fields.flag("main", problems);
    Some(Vlan { id: id?.value, own, place: fields.place(), is_main })
}

fn main(links: &[Link], problems: &mut Vec<Diagnostic>) -> Option<Main> {
    let mut said = links.iter().enumerate().flat_map(|(link, written)| {
        let own = written.is_main.then_some((Main { link, vlan: None }, &written.place));
        let vlans = written.vlans.iter().enumerate().filter(|(_, vlan)| vlan.is_main);
        own.into_iter()
            .chain(vlans.map(move |(vlan, at)| (Main { link, vlan: Some(vlan) }, &at.place)))
    });
    if let Some((main, _)) = said.next() {
        for (_, place) in said {
            let message = "a second link says that it is the main one";
            let problem = Diagnostic::error("main-link", message).at(place.clone());
            problems.push(problem.help("keep one `main: true`"));
        }
        return Some(main);
    }
    let first = links.first()?;
    if first.vlans.len() > 1 {
        let message = "nothing says which of the VLANs is the node's main network";
        let problem = Diagnostic::error("main-link", message).at(first.place.clone());
        problems.push(problem.help("write `main: true` in one of them, or in the link itself"));
    }
    Some(Main { link: 0, vlan: (!first.vlans.is_empty()).then_some(0) })
}

/// Says that a link is not named.
pub(super) fn no_link(message: &str, place: Place) -> Diagnostic {
    let help = "name it: `mac: \"52:54:00:12:34:56\"` or `interface: enp1s0`";
    Diagnostic::error("missing-link", message).at(place).help(help)
}

/// Says that a worker shares no address.
pub(super) fn no_vip(place: Place) -> Diagnostic {
    let problem = Diagnostic::error("vip-worker", "a worker cannot have a shared address");
    problem.at(place).help("drop `vip`: the control planes share it")
}
