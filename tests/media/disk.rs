//! Raw disks, judged by partition tools.

use std::path::Path;

use anyhow::Result;
use lab::tools;
use serde_json::Value;
use talforge::talos::Arch;
use talforge::units::MIB;

use crate::fixture::{self, Site};
use crate::kinds::{Kind, build};
use crate::oracle::{self, Volume};

/// What `sgdisk` says of a disk with sectors of 512 bytes.
fn sgdisk(disk: &Path) -> Result<String> {
    tools::stdout("sgdisk", &["-v", "-p", &disk.display().to_string()], Path::new("/"))
}

/// What `sfdisk` says of it, without its path.
fn sfdisk(disk: &Path) -> Result<Value> {
    let text = tools::stdout("sfdisk", &["-J", &disk.display().to_string()], Path::new("/"))?;
    let mut table: Value = serde_json::from_str(&text)?;
    let table = &mut table["partitiontable"];
    table["device"] = Value::Null;
    table["partitions"].as_array_mut().into_iter().flatten().for_each(|p| p["node"] = Value::Null);
    Ok(table.take())
}

#[test]
fn sgdisk_and_sfdisk_agree_on_a_disk() {
    if !fixture::have(&["sgdisk", "sfdisk"]) {
        return;
    }
    for arch in Arch::ALL {
        let (_site, media) = build(arch, &[Kind::Disk512]).unwrap();
        for medium in media {
            let text = sgdisk(&medium.path).unwrap();
            insta::allow_duplicates! {
                insta::assert_snapshot!(text.replace(&medium.path.display().to_string(), "disk"), @r"
                No problems found. 4029 free sectors (2.0 MiB) available in 2
                segments, the largest of which is 2015 (1007.5 KiB) in size.
                Disk disk: 79872 sectors, 39.0 MiB
                Sector size (logical): 512 bytes
                Disk identifier (GUID): D92D45B3-CDE9-8760-BE9F-A2A71FAC8D11
                Partition table holds up to 128 entries
                Main partition table begins at sector 2 and ends at sector 33
                First usable sector is 34, last usable sector is 79838
                Partitions will be aligned on 2048-sector boundaries
                Total free space is 4029 sectors (2.0 MiB)

                Number  Start (sector)    End (sector)  Size       Code  Name
                   1            2048           75775   36.0 MiB    EF00  EFI
                   2           75776           77823   1024.0 KiB  8300  META
                ");
                insta::assert_snapshot!(sfdisk(&medium.path).unwrap(), @r#"{"device":null,"firstlba":34,"id":"D92D45B3-CDE9-8760-BE9F-A2A71FAC8D11","label":"gpt","lastlba":79838,"partitions":[{"name":"EFI","node":null,"size":73728,"start":2048,"type":"C12A7328-F81F-11D2-BA4B-00A0C93EC93B","uuid":"BCA5174B-0118-8A6A-AF0B-2C6E1585ACAE"},{"name":"META","node":null,"size":2048,"start":75776,"type":"0FC63DAF-8483-4772-8E79-3D69D8477DE4","uuid":"CF04F137-101E-8EC6-9627-FA3F51CDABB8"}],"sectorsize":512,"unit":"sectors"}"#);
            }
        }
    }
}

#[test]
fn fdisk_reads_a_disk_of_large_sectors() {
    if !fixture::have(&["fdisk"]) {
        return;
    }
    for arch in Arch::ALL {
        let (_site, media) = build(arch, &[Kind::Disk4096]).unwrap();
        for medium in media {
            let partitions = oracle::partitions(&medium.path, 4096).unwrap();
            insta::allow_duplicates! {
                insta::assert_debug_snapshot!(partitions, @r#"
                [
                    Partition {
                        start: 1048576,
                        len: 277872640,
                        kind: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
                    },
                    Partition {
                        start: 278921216,
                        len: 1048576,
                        kind: "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
                    },
                ]
                "#);
            }
            // Read with small sectors there is a protective MBR and no table.
            let wrong = oracle::partitions(&medium.path, 512).unwrap();
            assert_eq!(wrong.iter().map(|p| p.kind.as_str()).collect::<Vec<_>>(), ["ee"]);
        }
    }
}

/// The stock profiles have the sizes of Talos' own images: an EFI partition of 2101 MiB, META of
/// 1 MiB, and room for the others.
#[test]
fn stock_disks_have_the_partitions_of_talos_own() {
    if !fixture::have(&["fdisk", "mdir"]) {
        return;
    }
    let stock = |arch: Arch, profiles: &[(&str, u64)]| {
        let site = Site::new(arch).unwrap();
        let node = |(profile, _): &(&str, u64)| {
            format!("name: {profile}, role: worker, config: w.yaml, profile: {profile}")
        };
        let nodes: Vec<_> = profiles.iter().map(node).collect();
        site.nodes(&nodes.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        site.build().unwrap();
        for (profile, sector) in profiles {
            let disk = site.path(&format!("out/{profile}.raw"));
            let found = oracle::partitions(&disk, *sector).unwrap();
            let places: Vec<_> = found.iter().map(|p| (p.start / MIB, p.len / MIB)).collect();
            assert_eq!(places, [(1, 2101), (2102, 1)], "{profile}");
            assert!(Volume::of(&disk, *sector).unwrap().names().unwrap().len() == 4, "{profile}");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| stock(Arch::Amd64, &[("metal-disk", 512), ("metal-disk-4k", 4096)]));
        stock(Arch::Arm64, &[("vm", 512), ("nocloud-disk", 512)]);
    });
}
