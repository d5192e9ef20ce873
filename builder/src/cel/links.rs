//! Links as selectors see them.
//!
//! In: what a caller knows of a link. Out: the value of `link`.
//!
//! Source: Talos `pkg/machinery/resources/network/link_status.go#LinkStatusSpec` of v1.12.7,
//! v1.13.9 and v1.14.1. Only physical links can get an alias
//! (`internal/app/machined/pkg/controllers/network/link_alias_config.go`), so what belongs to
//! VLANs, bridges, bonds and tunnels is not set.
//!
//! Not here: where such facts come from.

use std::sync::Arc;

use super::schema::LINK;
use super::value::Value;

/// A network link. What is not known is empty or zero, as in Talos.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// The kernel's `ARPHRD_…` type: 1 is Ethernet.
    pub link_type: i64,
    /// The number of the link that it lies on.
    pub link_index: u32,
    /// The kernel's `IFF_…` flags.
    pub flags: u32,
    /// Its address now.
    pub hardware_addr: Vec<u8>,
    /// Its broadcast address.
    pub broadcast_addr: Vec<u8>,
    /// The most bytes of a packet.
    pub mtu: u32,
    /// Its queueing discipline.
    pub queue_disc: String,
    /// The number of its bridge or bond.
    pub master_index: u32,
    /// The kernel's `IF_OPER_…` state: 6 is up.
    pub operational_state: i64,
    /// The kind of a virtual link; of a physical one empty.
    pub kind: String,
    /// The kind of its bridge or bond.
    pub slave_kind: String,
    /// Its address on the bus, such as `0000:01:00.0`.
    pub bus_path: String,
    /// Its vendor and product, such as `8086:1533`.
    pub pciid: String,
    /// Its driver.
    pub driver: String,
    /// The driver's version.
    pub driver_version: String,
    /// The firmware's version.
    pub firmware_version: String,
    /// The product's number.
    pub product_id: String,
    /// The vendor's number.
    pub vendor_id: String,
    /// The product's name.
    pub product: String,
    /// The vendor's name.
    pub vendor: String,
    /// Whether there is a carrier.
    pub link_state: bool,
    /// Megabits a second.
    pub speed_megabits: i64,
    /// The kind of connector, by ethtool's number.
    pub port: i64,
    /// Half 0, full 1, unknown 255.
    pub duplex: i64,
    /// The address that the hardware was made with.
    pub permanent_addr: Vec<u8>,
    /// Its alias.
    pub alias: String,
    /// Its other names.
    pub alt_names: Vec<String>,
}

impl Link {
    /// The value of `link`.
    pub(super) fn value(&self) -> Value {
        let uint = |n: u32| Value::Uint(n.into());
        let text = |text: &str| Value::String(text.into());
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.into());
        Value::Message(
            &LINK,
            Arc::new(vec![
                ("index", uint(self.index)),
                ("type", Value::Int(self.link_type)),
                ("link_index", uint(self.link_index)),
                ("flags", uint(self.flags)),
                ("hardware_addr", bytes(&self.hardware_addr)),
                ("broadcast_addr", bytes(&self.broadcast_addr)),
                ("mtu", uint(self.mtu)),
                ("queue_disc", text(&self.queue_disc)),
                ("master_index", uint(self.master_index)),
                ("operational_state", Value::Int(self.operational_state)),
                ("kind", text(&self.kind)),
                ("slave_kind", text(&self.slave_kind)),
                ("bus_path", text(&self.bus_path)),
                ("pciid", text(&self.pciid)),
                ("driver", text(&self.driver)),
                ("driver_version", text(&self.driver_version)),
                ("firmware_version", text(&self.firmware_version)),
                ("product_id", text(&self.product_id)),
                ("vendor_id", text(&self.vendor_id)),
                ("product", text(&self.product)),
                ("vendor", text(&self.vendor)),
                ("link_state", Value::Bool(self.link_state)),
                ("speed_megabits", Value::Int(self.speed_megabits)),
                ("port", Value::Int(self.port)),
                ("duplex", Value::Int(self.duplex)),
                ("permanent_addr", bytes(&self.permanent_addr)),
                ("alias", text(&self.alias)),
                ("alt_names", Value::texts(&self.alt_names)),
            ]),
        )
    }
}
