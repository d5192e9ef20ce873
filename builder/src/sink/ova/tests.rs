//! Appliances, read back member by member.

use std::io::Read;

use super::*;

fn appliance(vmdk: &Blob, disk_bytes: u64) -> Blob {
    let digest = Digest::of_blob(vmdk).unwrap();
    wrap(vmdk, digest, &Appliance { disk_bytes, epoch: 1_700_000_000 })
}

/// The members of an archive, by name.
fn members(blob: &Blob) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(blob.reader());
    let member = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (name, bytes)
    };
    archive.entries().unwrap().map(member).collect()
}

#[test]
fn an_appliance_has_description_manifest_and_disk_in_this_order() {
    let vmdk = Blob::from_bytes("vmdk", vec![7; 70_001]);
    let members = members(&appliance(&vmdk, 1246 * MIB));
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["disk.ovf", "disk.mf", "disk.vmdk"]);
    assert_eq!(members[2].1, vec![7; 70_001]);
    let digest = |at: usize| Digest::of(&members[at].1);
    let want = format!("SHA256(disk.vmdk)= {}\nSHA256(disk.ovf)= {}\n", digest(2), digest(0));
    assert_eq!(String::from_utf8_lossy(&members[1].1), want);
}

#[test]
fn only_the_disk_and_its_digest_are_a_nodes_own() {
    let node = |own: u8| {
        let own = Blob::from_bytes("own", vec![own; 100]).owned();
        let vmdk = Builder::default().bytes("shared", vec![7; 1000]).blob(&own).finish();
        appliance(&vmdk, MIB)
    };
    let (a, b) = (node(1), node(2));
    assert_eq!(a.base().to_vec().unwrap(), b.base().to_vec().unwrap());
    let lens: Vec<u64> = a.own().iter().map(|range| range.end - range.start).collect();
    assert_eq!(lens, [64, 100]);
}

#[test]
fn a_disk_of_odd_size_is_told_in_bytes() {
    assert!(
        description(1, MIB + 512)
            .contains(r#"capacity="1049088" ovf:capacityAllocationUnits="byte""#)
    );
    assert!(
        description(1, 3 * MIB)
            .contains(r#"capacity="3" ovf:capacityAllocationUnits="byte * 2^20""#)
    );
}

#[test]
fn a_machine_is_described() {
    insta::assert_snapshot!("machine", description(12_345, 1246 * MIB));
}
