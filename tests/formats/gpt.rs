//! Partition tables, as `sgdisk`, `sfdisk` and `fdisk` read them.

use super::at_hand::save;
use lab::tools::{have, stdout};
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;
use talforge::blob::Blob;
use talforge::format::gpt::{
    ENTRIES, Partition, PartitionName, Span, Table, assemble, least_len, place,
};
use talforge::units::{Lba, MIB, SectorSize};
use uuid::Uuid;

const ESP: Uuid = Uuid::from_u128(0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b);
const LINUX: Uuid = Uuid::from_u128(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4);

fn table(sector: SectorSize, spans: &[Span]) -> Table {
    let partition = |(number, &span): (u128, &Span)| Partition {
        kind: if number == 1 { ESP } else { LINUX },
        guid: Uuid::from_u128(number << 64 | 0x8000_0000_0000_0000),
        name: PartitionName::new(&format!("PART-{number}")).unwrap(),
        attributes: if number == 2 { 4 } else { 0 },
        span,
    };
    let partitions = (1..).zip(spans).map(partition).collect();
    let disk = Uuid::from_u128(0xd92d_45b3_cde9_8760_be9f_a2a7_1fac_8d11);
    let (len, entries) = (least_len(sector, spans), ENTRIES);
    Table { disk, sector, len, entries, partitions, boot_code: Vec::new() }
}

fn disk(sector: SectorSize, dir: &Path) -> Table {
    let table = table(sector, &place(sector, MIB, &[100 * MIB, MIB, 7 * MIB + 1]));
    let content = Blob::from_bytes("content", vec![7; 5000]);
    save(&assemble(&table, &[(0, content)], &[]).unwrap(), &dir.join("disk"));
    table
}

#[test]
fn sgdisk_finds_no_problem() {
    if !have(&["sgdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    disk(SectorSize::B512, dir.path());
    let sgdisk = |args: &[&str]| stdout("sgdisk", args, dir.path()).unwrap();
    assert!(sgdisk(&["-v", "disk"]).contains("No problems found."));
    insta::assert_snapshot!(sgdisk(&["-p", "disk"]), @r"
    Disk disk: 227328 sectors, 111.0 MiB
    Sector size (logical): 512 bytes
    Disk identifier (GUID): D92D45B3-CDE9-8760-BE9F-A2A71FAC8D11
    Partition table holds up to 128 entries
    Main partition table begins at sector 2 and ends at sector 33
    First usable sector is 34, last usable sector is 227294
    Partitions will be aligned on 2048-sector boundaries
    Total free space is 4029 sectors (2.0 MiB)

    Number  Start (sector)    End (sector)  Size       Code  Name
       1            2048          206847   100.0 MiB   EF00  PART-1
       2          206848          208895   1024.0 KiB  8300  PART-2
       3          208896          225279   8.0 MiB     8300  PART-3
    ");
    assert!(sgdisk(&["-i", "2", "disk"]).contains("Attribute flags: 0000000000000004"));
}

#[test]
fn sfdisk_reads_what_was_written() {
    if !have(&["sfdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    disk(SectorSize::B512, dir.path());
    let sfdisk = |arg| stdout("sfdisk", &[arg, "disk"], dir.path()).unwrap();
    insta::assert_snapshot!(sfdisk("-V"), @r"
    disk:
    No errors detected.
    Header version: 1.0
    Using 3 out of 128 partitions.
    A total of 4029 free sectors is available in 2 segments (the largest is 1007.5 KiB).
    ");
    insta::assert_snapshot!(sfdisk("-J"), @r#"
    {
       "partitiontable": {
          "label": "gpt",
          "id": "D92D45B3-CDE9-8760-BE9F-A2A71FAC8D11",
          "device": "disk",
          "unit": "sectors",
          "firstlba": 34,
          "lastlba": 227294,
          "sectorsize": 512,
          "partitions": [
             {
                "node": "disk1",
                "start": 2048,
                "size": 204800,
                "type": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
                "uuid": "00000000-0000-0001-8000-000000000000",
                "name": "PART-1"
             },{
                "node": "disk2",
                "start": 206848,
                "size": 2048,
                "type": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
                "uuid": "00000000-0000-0002-8000-000000000000",
                "name": "PART-2",
                "attrs": "LegacyBIOSBootable"
             },{
                "node": "disk3",
                "start": 208896,
                "size": 16384,
                "type": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
                "uuid": "00000000-0000-0003-8000-000000000000",
                "name": "PART-3"
             }
          ]
       }
    }
    "#);
}

#[test]
fn fdisk_reads_a_disk_of_4096_byte_sectors() {
    if !have(&["fdisk"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    disk(SectorSize::B4096, dir.path());
    let args = ["-b", "4096", "-l", "-o", "Start,End,Sectors,Type,UUID,Name,Attrs", "disk"];
    insta::assert_snapshot!(stdout("fdisk", &args, dir.path()).unwrap(), @r"
    Disk disk: 111 MiB, 116391936 bytes, 28416 sectors
    Units: sectors of 1 * 4096 = 4096 bytes
    Sector size (logical/physical): 4096 bytes / 4096 bytes
    I/O size (minimum/optimal): 4096 bytes / 4096 bytes
    Disklabel type: gpt
    Disk identifier: D92D45B3-CDE9-8760-BE9F-A2A71FAC8D11

    Start   End Sectors Type             UUID                                 Name   Attrs
      256 25855   25600 EFI System       00000000-0000-0001-8000-000000000000 PART-1 
    25856 26111     256 Linux filesystem 00000000-0000-0002-8000-000000000000 PART-2 LegacyBIOSBootable
    26112 28159    2048 Linux filesystem 00000000-0000-0003-8000-000000000000 PART-3
    ");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Partitions anywhere, in any order, up to as many as there are entries.
    #[test]
    fn sfdisk_reads_random_tables(
        pieces in prop::collection::vec((0_u64..5000, 1_u64..100_000), 0..128),
        turn in 0_usize..128,
    ) {
        if !have(&["sfdisk", "sgdisk"]) {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        let mut next = 34;
        let span = |&(gap, len): &(u64, u64)| {
            let start = next + gap;
            next = start + len;
            Span { start: Lba(start), end: Lba(next) }
        };
        let mut spans: Vec<_> = pieces.iter().map(span).collect();
        let middle = turn.min(spans.len());
        spans.rotate_left(middle);
        let table = table(SectorSize::B512, &spans);
        save(&assemble(&table, &[], &[]).unwrap(), &dir.path().join("disk"));
        let verdict = stdout("sgdisk", &["-v", "disk"], dir.path()).unwrap();
        prop_assert!(verdict.contains("No problems found."), "{}", verdict);
        let text = stdout("sfdisk", &["-J", "disk"], dir.path()).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let none = Vec::new();
        let read = json["partitiontable"]["partitions"].as_array().unwrap_or(&none);
        prop_assert_eq!(read.len(), spans.len());
        for (read, partition) in read.iter().zip(&table.partitions) {
            let Span { start, end } = partition.span;
            prop_assert_eq!(read["start"].as_u64(), Some(start.0));
            prop_assert_eq!(read["size"].as_u64(), Some(end.0 - start.0));
            let guid = partition.guid.to_string().to_uppercase();
            prop_assert_eq!(read["uuid"].as_str(), Some(guid.as_str()));
        }
    }
}
