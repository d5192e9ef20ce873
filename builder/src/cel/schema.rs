//! The messages that selectors look at: which fields they have, of what type, since when.
//!
//! In: nothing. Out: tables.
//!
//! Source: Talos `api/resource/definitions/block/block.proto`, `…/network/network.proto`,
//! `api/common/common.proto` of v1.12.7, v1.13.9 and v1.14.1. CEL reads an enumeration as an int,
//! and an unset field as its type's zero.
//!
//! Not here: values (`disks`, `links`).

use super::types::{Head, Type};

/// A message of protobuf.
#[derive(Debug)]
pub(super) struct Message {
    /// Its full name.
    pub(super) name: &'static str,
    /// Its fields, in the order of their numbers.
    pub(super) fields: &'static [Field],
}

/// There is one table a message.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Message {}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// The minor version of Talos 1 that has it first; 12 stands for all that are older, too.
    pub(super) since: u32,
    /// Its name.
    pub(super) name: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Bool,
    Bytes,
    Duration,
    Int,
    String,
    Strings,
    Uint,
    Message(&'static Message),
    Messages(&'static Message),
}

impl Kind {
    /// Its type in CEL.
    pub(super) fn of(self) -> Type {
        let list = |item| Type::made(Head::List, vec![item]).unwrap_or(Type::Dyn);
        match self {
            Self::Bool => Type::Bool,
            Self::Bytes => Type::Bytes,
            Self::Duration => Type::Duration,
            Self::Int => Type::Int,
            Self::String => Type::String,
            Self::Strings => list(Type::String),
            Self::Uint => Type::Uint,
            Self::Message(message) => Type::Message(message),
            Self::Messages(message) => list(Type::Message(message)),
        }
    }
}

impl Message {
    /// Its fields in a release.
    pub(super) fn fields(&self, minor: u32) -> impl Iterator<Item = &'static Field> {
        self.fields.iter().filter(move |field| field.since <= minor)
    }
}

const fn field(since: u32, name: &'static str, kind: Kind) -> Field {
    Field { since, name, kind }
}

/// `talos.resource.definitions.block.DiskSpec`.
pub(super) static DISK: Message = Message {
    name: "talos.resource.definitions.block.DiskSpec",
    fields: &[
        field(12, "size", Kind::Uint),
        field(12, "io_size", Kind::Uint),
        field(12, "sector_size", Kind::Uint),
        field(12, "readonly", Kind::Bool),
        field(12, "model", Kind::String),
        field(12, "serial", Kind::String),
        field(12, "modalias", Kind::String),
        field(12, "wwid", Kind::String),
        field(12, "bus_path", Kind::String),
        field(12, "sub_system", Kind::String),
        field(12, "transport", Kind::String),
        field(12, "rotational", Kind::Bool),
        field(12, "cdrom", Kind::Bool),
        field(12, "dev_path", Kind::String),
        field(12, "pretty_size", Kind::String),
        field(12, "secondary_disks", Kind::Strings),
        field(12, "uuid", Kind::String),
        field(12, "symlinks", Kind::Strings),
        field(14, "firmware_version", Kind::String),
    ],
};

/// `talos.resource.definitions.block.DiscoveredVolumeSpec`.
pub(super) static VOLUME: Message = Message {
    name: "talos.resource.definitions.block.DiscoveredVolumeSpec",
    fields: &[
        field(12, "size", Kind::Uint),
        field(12, "sector_size", Kind::Uint),
        field(12, "io_size", Kind::Uint),
        field(12, "name", Kind::String),
        field(12, "uuid", Kind::String),
        field(12, "label", Kind::String),
        field(12, "block_size", Kind::Uint),
        field(12, "filesystem_block_size", Kind::Uint),
        field(12, "probed_size", Kind::Uint),
        field(12, "partition_uuid", Kind::String),
        field(12, "partition_type", Kind::String),
        field(12, "partition_label", Kind::String),
        field(12, "partition_index", Kind::Uint),
        field(12, "type", Kind::String),
        field(12, "device_path", Kind::String),
        field(12, "parent", Kind::String),
        field(12, "dev_path", Kind::String),
        field(12, "parent_dev_path", Kind::String),
        field(12, "pretty_size", Kind::String),
        field(12, "offset", Kind::Uint),
    ],
};

/// `talos.resource.definitions.network.LinkStatusSpec`.
pub(super) static LINK: Message = Message {
    name: "talos.resource.definitions.network.LinkStatusSpec",
    fields: &[
        field(12, "index", Kind::Uint),
        field(12, "type", Kind::Int),
        field(12, "link_index", Kind::Uint),
        field(12, "flags", Kind::Uint),
        field(12, "hardware_addr", Kind::Bytes),
        field(12, "broadcast_addr", Kind::Bytes),
        field(12, "mtu", Kind::Uint),
        field(12, "queue_disc", Kind::String),
        field(12, "master_index", Kind::Uint),
        field(12, "operational_state", Kind::Int),
        field(12, "kind", Kind::String),
        field(12, "slave_kind", Kind::String),
        field(12, "bus_path", Kind::String),
        field(12, "pciid", Kind::String),
        field(12, "driver", Kind::String),
        field(12, "driver_version", Kind::String),
        field(12, "firmware_version", Kind::String),
        field(12, "product_id", Kind::String),
        field(12, "vendor_id", Kind::String),
        field(12, "product", Kind::String),
        field(12, "vendor", Kind::String),
        field(12, "link_state", Kind::Bool),
        field(12, "speed_megabits", Kind::Int),
        field(12, "port", Kind::Int),
        field(12, "duplex", Kind::Int),
        field(12, "vlan", Kind::Message(&VLAN)),
        field(12, "bridge_master", Kind::Message(&BRIDGE_MASTER)),
        field(12, "bond_master", Kind::Message(&BOND_MASTER)),
        field(12, "wireguard", Kind::Message(&WIREGUARD)),
        field(12, "permanent_addr", Kind::Bytes),
        field(12, "alias", Kind::String),
        field(12, "alt_names", Kind::Strings),
        field(13, "vrf_master", Kind::Message(&VRF_MASTER)),
        field(14, "veth", Kind::Message(&VETH)),
    ],
};

/// `talos.resource.definitions.network.VLANSpec`.
pub(super) static VLAN: Message = Message {
    name: "talos.resource.definitions.network.VLANSpec",
    fields: &[field(12, "vid", Kind::Uint), field(12, "protocol", Kind::Int)],
};

/// `talos.resource.definitions.network.BridgeMasterSpec`.
pub(super) static BRIDGE_MASTER: Message = Message {
    name: "talos.resource.definitions.network.BridgeMasterSpec",
    fields: &[
        field(12, "stp", Kind::Message(&STP)),
        field(12, "vlan", Kind::Message(&BRIDGE_VLAN)),
    ],
};

/// `talos.resource.definitions.network.STPSpec`.
pub(super) static STP: Message = Message {
    name: "talos.resource.definitions.network.STPSpec",
    fields: &[field(12, "enabled", Kind::Bool)],
};

/// `talos.resource.definitions.network.BridgeVLANSpec`.
pub(super) static BRIDGE_VLAN: Message = Message {
    name: "talos.resource.definitions.network.BridgeVLANSpec",
    fields: &[field(12, "filtering_enabled", Kind::Bool)],
};

/// `talos.resource.definitions.network.BondMasterSpec`.
pub(super) static BOND_MASTER: Message = Message {
    name: "talos.resource.definitions.network.BondMasterSpec",
    fields: &[
        field(12, "mode", Kind::Int),
        field(12, "hash_policy", Kind::Int),
        field(12, "lacp_rate", Kind::Int),
        field(12, "arp_validate", Kind::Int),
        field(12, "arp_all_targets", Kind::Int),
        field(12, "primary_index", Kind::Uint),
        field(12, "primary_reselect", Kind::Int),
        field(12, "fail_over_mac", Kind::Int),
        field(12, "ad_select", Kind::Int),
        field(12, "mii_mon", Kind::Uint),
        field(12, "up_delay", Kind::Uint),
        field(12, "down_delay", Kind::Uint),
        field(12, "arp_interval", Kind::Uint),
        field(12, "resend_igmp", Kind::Uint),
        field(12, "min_links", Kind::Uint),
        field(12, "lp_interval", Kind::Uint),
        field(12, "packets_per_slave", Kind::Uint),
        field(12, "num_peer_notif", Kind::Uint),
        field(12, "tlb_dynamic_lb", Kind::Uint),
        field(12, "all_slaves_active", Kind::Uint),
        field(12, "use_carrier", Kind::Bool),
        field(12, "ad_actor_sys_prio", Kind::Uint),
        field(12, "ad_user_port_key", Kind::Uint),
        field(12, "peer_notify_delay", Kind::Uint),
        field(12, "arpip_targets", Kind::Messages(&NET_IP)),
        field(12, "nsip6_targets", Kind::Messages(&NET_IP)),
        field(12, "adlacp_active", Kind::Int),
        field(12, "missed_max", Kind::Uint),
    ],
};

/// `common.NetIP`.
pub(super) static NET_IP: Message =
    Message { name: "common.NetIP", fields: &[field(12, "ip", Kind::Bytes)] };

/// `talos.resource.definitions.network.WireguardSpec`.
pub(super) static WIREGUARD: Message = Message {
    name: "talos.resource.definitions.network.WireguardSpec",
    fields: &[
        field(12, "private_key", Kind::String),
        field(12, "public_key", Kind::String),
        field(12, "listen_port", Kind::Int),
        field(12, "firewall_mark", Kind::Int),
        field(12, "peers", Kind::Messages(&WIREGUARD_PEER)),
    ],
};

/// `talos.resource.definitions.network.WireguardPeer`.
pub(super) static WIREGUARD_PEER: Message = Message {
    name: "talos.resource.definitions.network.WireguardPeer",
    fields: &[
        field(12, "public_key", Kind::String),
        field(12, "preshared_key", Kind::String),
        field(12, "endpoint", Kind::String),
        field(12, "persistent_keepalive_interval", Kind::Duration),
        field(12, "allowed_ips", Kind::Messages(&NET_IP_PREFIX)),
    ],
};

/// `common.NetIPPrefix`.
pub(super) static NET_IP_PREFIX: Message = Message {
    name: "common.NetIPPrefix",
    fields: &[field(12, "ip", Kind::Bytes), field(12, "prefix_length", Kind::Int)],
};

/// `talos.resource.definitions.network.VRFMasterSpec`.
pub(super) static VRF_MASTER: Message = Message {
    name: "talos.resource.definitions.network.VRFMasterSpec",
    fields: &[field(12, "table", Kind::Int)],
};

/// `talos.resource.definitions.network.VethSpec`.
pub(super) static VETH: Message = Message {
    name: "talos.resource.definitions.network.VethSpec",
    fields: &[field(12, "peer_name", Kind::String)],
};

/// The messages that a link is made of, itself first.
pub(super) static LINK_PARTS: [&Message; 12] = [
    &LINK,
    &VLAN,
    &BRIDGE_MASTER,
    &STP,
    &BRIDGE_VLAN,
    &BOND_MASTER,
    &NET_IP,
    &WIREGUARD,
    &WIREGUARD_PEER,
    &NET_IP_PREFIX,
    &VRF_MASTER,
    &VETH,
];
