//! Appliances for VMware: a disk with a description of its machine.
//!
//! In: a disk for transport ([`crate::sink::vmdk::Packer`]) and its digest. Out: an archive's blob.
//!
//! The machine is the one of Talos' own appliances, but for its firmware: UEFI, since our disks
//! start by nothing else. The property `talos.config` is empty, as theirs is: who imports the
//! appliance may put a machine config there, and a node that has its own on its disk needs none.
//! Only the digest of the disk in the manifest, and the disk itself, are a node's own.
//!
//! Source: DMTF, DSP0243 (OVF 1.1); Talos `pkg/imager/ova/ova.go` for the machine; POSIX.1-2017,
//! "pax", "ustar Interchange Format".
//!
//! Not here: how files are written (`file`); the disk's digest, which whoever writes many of them
//! has from states that they share (`digests`).

use std::fmt::Write as _;

use crate::blob::{Blob, Builder};
use crate::digest::Digest;
use crate::units::MIB;

/// What is said of a machine beside its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// The length of its disk in bytes, as the machine sees it.
    pub disk_bytes: u64,
    /// The time of the archive's members, in seconds since 1970.
    pub epoch: u32,
}

/// An archive's block, and what its members fill up.
const BLOCK: u64 = 512;
/// The operating system: "Linux 3.x or newer, 64 bit", by the number that CIM has for it.
const SYSTEM: (u8, &str) = (101, "other3xLinux64Guest");
/// The generation of VMware's virtual hardware: ESXi 6.7 U2 and newer.
const HARDWARE: &str = "vmx-15";

/// A part of the machine: what CIM says of it, by name and in the order of its schema, and whether
/// there is no machine without it.
type Item = (bool, &'static [(&'static str, &'static str)]);

/// DSP0243, section 9; the numbers of types are those of `CIM_ResourceAllocationSettingData`.
const ITEMS: [Item; 7] = [
    (
        true,
        &[
            ("AllocationUnits", "hertz * 10^6"),
            ("Description", "Number of Virtual CPUs"),
            ("ElementName", "2 virtual CPUs"),
            ("InstanceID", "1"),
            ("ResourceType", "3"),
            ("VirtualQuantity", "2"),
        ],
    ),
    (
        true,
        &[
            ("AllocationUnits", "byte * 2^20"),
            ("Description", "Memory Size"),
            ("ElementName", "2048 MiB of memory"),
            ("InstanceID", "2"),
            ("ResourceType", "4"),
            ("VirtualQuantity", "2048"),
        ],
    ),
    (
        true,
        &[
            ("Address", "0"),
            ("Description", "SCSI Controller"),
            ("ElementName", "scsiController0"),
            ("InstanceID", "3"),
            ("ResourceSubType", "VirtualSCSI"),
            ("ResourceType", "6"),
        ],
    ),
    (
        true,
        &[
            ("AddressOnParent", "0"),
            ("ElementName", "disk0"),
            ("HostResource", "ovf:/disk/vmdisk1"),
            ("InstanceID", "4"),
            ("Parent", "3"),
            ("ResourceType", "17"),
        ],
    ),
    (
        true,
        &[
            ("AddressOnParent", "2"),
            ("AutomaticAllocation", "true"),
            ("Connection", "VM Network"),
            ("Description", "VmxNet3 adapter on VM Network"),
            ("ElementName", "ethernet0"),
            ("InstanceID", "5"),
            ("ResourceSubType", "VmxNet3"),
            ("ResourceType", "10"),
        ],
    ),
    (
        false,
        &[
            ("AutomaticAllocation", "false"),
            ("ElementName", "video"),
            ("InstanceID", "6"),
            ("ResourceType", "24"),
        ],
    ),
    (
        false,
        &[
            ("AutomaticAllocation", "false"),
            ("ElementName", "vmci"),
            ("InstanceID", "7"),
            ("ResourceSubType", "vmware.vmci"),
            ("ResourceType", "1"),
        ],
    ),
];

/// VMware's own settings: the element that holds each, its key and value.
const SETTINGS: [(&str, &str, &str); 10] = [
    ("Config", "firmware", "efi"),
    ("Config", "tools.syncTimeWithHost", "false"),
    ("Config", "tools.afterPowerOn", "true"),
    ("Config", "tools.afterResume", "true"),
    ("Config", "tools.beforeGuestShutdown", "true"),
    ("Config", "tools.beforeGuestStandby", "true"),
    ("Config", "tools.toolsUpgradePolicy", "manual"),
    ("Config", "powerOpInfo.suspendType", "soft"),
    ("ExtraConfig", "nvram", "talos.nvram"),
    // Talos tells disks by their identifiers.
    ("ExtraConfig", "disk.EnableUUID", "true"),
];

/// An appliance: description, manifest and disk, in this order, so that it can be imported while it
/// arrives.
///
/// `digest` is that of all bytes of `vmdk`.
pub fn wrap(vmdk: &Blob, digest: Digest, appliance: &Appliance) -> Blob {
    let ovf = description(vmdk.len(), appliance.disk_bytes);
    let manifest = Builder::default()
        .bytes("ova manifest", &b"SHA256(disk.vmdk)= "[..])
        .blob(&Blob::from_bytes("ova manifest", digest.to_string().into_bytes()).owned())
        .bytes(
            "ova manifest",
            format!("\nSHA256(disk.ovf)= {}\n", Digest::of(ovf.as_bytes())).into_bytes(),
        )
        .finish();
    let ovf = Blob::from_bytes("ova description", ovf.into_bytes());
    let members = [("disk.ovf", &ovf), ("disk.mf", &manifest), ("disk.vmdk", vmdk)];
    let add = |out: Builder, (name, content): (&str, &Blob)| {
        let header = member(name, content.len(), appliance.epoch);
        out.bytes("ova header", header).blob(content).align(BLOCK)
    };
    members.into_iter().fold(Builder::default(), add).zeros("ova end", 2 * BLOCK).finish()
}

fn member(name: &str, len: u64, epoch: u32) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).expect("the members' names are short");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(len);
    header.set_mtime(epoch.into());
    header.set_cksum();
    *header.as_bytes()
}

/// The description, of a disk's file and of the disk in it, in bytes each.
fn description(file_bytes: u64, disk_bytes: u64) -> String {
    let (capacity, units) = match disk_bytes % MIB {
        0 => (disk_bytes / MIB, "byte * 2^20"),
        _ => (disk_bytes, "byte"),
    };
    let (system, guest) = SYSTEM;
    let (items, settings) = (items(), settings());
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
    <File ovf:href="disk.vmdk" ovf:id="file1" ovf:size="{file_bytes}"/>
  </References>
  <DiskSection>
    <Info>The disk</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="{units}" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The network</Info>
    <Network ovf:name="VM Network">
      <Description>The network of the machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="vm">
    <Info>A node of a Talos Linux cluster</Info>
    <Name>talos</Name>
    <OperatingSystemSection ovf:id="{system}" vmw:osType="{guest}">
      <Info>The operating system</Info>
    </OperatingSystemSection>
    <VirtualHardwareSection ovf:transport="com.vmware.guestInfo">
      <Info>The hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>talos</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{HARDWARE}</vssd:VirtualSystemType>
      </System>
{items}{settings}    </VirtualHardwareSection>
    <ProductSection ovf:required="false">
      <Info>Talos Linux</Info>
      <Product>Talos Linux</Product>
      <Property ovf:key="talos.config" ovf:type="string" ovf:userConfigurable="true" ovf:value="">
        <Label>Machine config</Label>
        <Description>A Talos machine config, as Base64; empty where the disk has one</Description>
      </Property>
    </ProductSection>
  </VirtualSystem>
</Envelope>
"#
    )
}

fn items() -> String {
    let mut out = String::new();
    for (is_required, fields) in ITEMS {
        let attribute = if is_required { "" } else { r#" ovf:required="false""# };
        let _ = writeln!(out, "      <Item{attribute}>");
        for (name, value) in fields {
            let _ = writeln!(out, "        <rasd:{name}>{value}</rasd:{name}>");
        }
        out += "      </Item>\n";
    }
    out
}

fn settings() -> String {
    let line = |(element, key, value)| {
        let attributes = format!(r#"ovf:required="false" vmw:key="{key}" vmw:value="{value}""#);
        format!("      <vmw:{element} {attributes}/>\n")
    };
    SETTINGS.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests;
