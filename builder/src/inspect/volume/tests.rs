//! Volumes made here, by all names, and damaged.

use std::sync::OnceLock;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::format::fat::{self, Label, Place};
use crate::format::gpt::{self, Partition as Written, PartitionName};
use crate::format::iso9660::{self, Content, File, Image, VolumeId};
use crate::inspect::memo::Memo;
use crate::inspect::{Kind, Medium, open};
use crate::units::SectorSize;

const CONFIG: &[u8] = b"version: v1alpha1\nmachine: {type: worker}\n";

#[test]
fn a_command_line_says_who_looks() {
    let line = Seeker::of_line;
    assert_eq!(
        line("talos.platform=metal console=tty0 talos.config=metal-iso"),
        Some(Seeker::Metal)
    );
    assert_eq!(line("talos.platform=metal talos.config=http://a talos.config=metal-iso"), None);
    assert_eq!(line("talos.platform=metal"), None);
    assert_eq!(line("talos.platform=nocloud"), Some(Seeker::Nocloud));
    assert_eq!(line("talos.platform=aws talos.config=metal-iso"), None);
    assert_eq!(line(""), None);
}

/// A disk with one partition, a FAT volume with one file.
fn disk(partition: &str, label: &str, file: &str, content: &[u8]) -> Blob {
    let len = 36 * MIB;
    let volume = fat::write(&fat::Volume {
        len,
        sector: SectorSize::B512,
        label: Label::new(label).unwrap(),
        serial: 1,
        epoch: 0,
        hidden_sectors: 2048,
        files: vec![fat::File {
            path: file.to_owned(),
            content: Blob::from_bytes("config", content),
            read_only: false,
            place: Place::First,
        }],
    });
    let spans = gpt::place(SectorSize::B512, MIB, &[len]);
    let table = gpt::Table {
        disk: Uuid::from_u128(1),
        sector: SectorSize::B512,
        len: 38 * MIB,
        entries: gpt::entries_before(SectorSize::B512, MIB),
        partitions: vec![Written {
            kind: Uuid::from_u128(2),
            guid: Uuid::from_u128(3),
            name: PartitionName::new(partition).unwrap(),
            attributes: 0,
            span: spans[0],
        }],
        boot_code: Vec::new(),
    };
    gpt::assemble(&table, &[(0, volume.unwrap().blob)], &[]).unwrap()
}

fn seed(label: &str, file: &str, content: &[u8]) -> Blob {
    let content = Content::Own(Blob::from_bytes("config", content));
    let image = Image {
        volume_id: VolumeId::new(label).unwrap(),
        volume_set_id: String::new(),
        epoch: 0,
        files: vec![File { path: file.to_owned(), content }],
        boot: None,
    };
    iso9660::place(&image).unwrap().emit(&image, &[], &[])
}

fn read(medium: &Blob) -> Option<Medium> {
    open(medium, &mut Memo::default()).ok()
}

fn config(medium: &Blob) -> Option<Vec<u8>> {
    let medium = read(medium)?;
    Some(medium.volumes.first()?.config.as_ref()?.bytes.to_vec())
}

/// Names count byte by byte, but for a FAT volume's file.
#[test]
fn a_volume_is_found_by_its_name_or_its_partitions() {
    let found = |partition, label, file| config(&disk(partition, label, file, CONFIG)).is_some();
    assert!(found("metal-iso", "METAL-ISO", "config.yaml"));
    assert!(found("metal-iso", "OTHER", "config.yaml"));
    assert!(found("metal-iso", "OTHER", "CONFIG.YAML"));
    assert!(found("other", "CIDATA", "user-data"));
    assert!(found("cidata", "OTHER", "user-data"));
    assert!(!found("METAL-ISO", "METAL-ISO", "config.yaml"));
    assert!(!found("metal-iso", "METAL-ISO", "user-data"));
    assert!(!found("other", "OTHER", "config.yaml"));
    // The file system's name is asked first.
    assert!(found("metal-iso", "CIDATA", "user-data"));
}

#[test]
fn an_iso_is_found_by_its_volume_id() {
    let found = |label, file| config(&seed(label, file, CONFIG)).is_some();
    assert!(found("metal-iso", "config.yaml"));
    assert!(found("cidata", "user-data"));
    assert!(found("CIDATA", "user-data"));
    assert!(!found("METAL-ISO", "config.yaml"));
    assert!(!found("TALOS_V1_13_9", "config.yaml"));
    let medium = read(&seed("cidata", "user-data", CONFIG)).unwrap();
    assert_eq!((medium.kind, medium.is_seed()), (Kind::Iso, true));
    assert!(medium.notes.is_empty() && medium.doors.is_empty());
}

#[test]
fn what_nocloud_takes_for_something_else_is_no_config() {
    for first in ["#cloud-config", "  #include \r"] {
        let text = format!("{first}\nversion: v1alpha1\n");
        assert_eq!(config(&seed("cidata", "user-data", text.as_bytes())), None, "{first}");
    }
    assert!(config(&seed("metal-iso", "config.yaml", b"#cloud-config\n")).is_some());
}

#[test]
fn a_config_shows_by_its_length_and_digest_alone() {
    let medium = read(&seed("cidata", "user-data", b"token: secret\n")).unwrap();
    let shown = format!("{:?}", medium.volumes);
    assert!(shown.contains("14 bytes") && !shown.contains("secret"), "{shown}");
}

/// A medium's bytes, and where they are not zero.
type Sown = (Vec<u8>, Vec<usize>);

/// An ISO and a disk.
fn sown() -> &'static [Sown; 2] {
    static SOWN: OnceLock<[Sown; 2]> = OnceLock::new();
    SOWN.get_or_init(|| {
        let disk = disk("metal-iso", "METAL-ISO", "config.yaml", CONFIG);
        [seed("metal-iso", "config.yaml", CONFIG), disk].map(|medium| {
            let bytes = medium.to_vec().unwrap();
            let used = (0..bytes.len()).filter(|&at| bytes[at] != 0).collect();
            (bytes, used)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Damage where the reader looks: it ends, and what it gives is no longer than the medium.
    #[test]
    fn damaged_volumes_are_read_to_an_end(
        which in 0usize..2,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let (mut bytes, used) = sown()[which].clone();
        for (at, value) in changes {
            bytes[*at.get(&used)] = value;
        }
        let len = bytes.len();
        if let Some(config) = config(&Blob::from_bytes("medium", bytes)) {
            prop_assert!(config.len() <= len);
        }
    }
}
