//! Small made-up containers: what is in them is known, and where a change makes them bad.

use proptest::prelude::*;

use super::*;
use crate::blob::Builder;
use crate::units::MIB;

const CLUSTER: usize = 512;
/// The clusters that a second-level table has entries for.
const SPAN: usize = 64;

/// What a made-up qcow2 has in a cluster of its disk.
#[derive(Clone, Debug)]
enum Made {
    Hole,
    Zeros,
    Data(u8),
    Packed(u8),
}

/// A made-up qcow2, and where its parts lie.
struct Image {
    bytes: Vec<u8>,
    disk: Vec<u8>,
    /// Where the entries of the second-level tables lie that are not zero, with their place.
    entries: Vec<(usize, Made)>,
    counts: usize,
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes[at..at + part.len()].copy_from_slice(part);
}

/// Header, refcount table, refcount blocks, first-level table, second-level tables, then clusters in
/// the order that `keys` gives.
fn image(made: &[Made], keys: &[u16], disk_len: usize) -> Image {
    let tables = made.len().div_ceil(SPAN);
    // A block counts 256 clusters; compressed clusters take two at most.
    let blocks = (2 * made.len() + tables + 8) / 200 + 1;
    let (counts, l1) = (2, 2 + blocks);
    let first = l1 + 1 + tables;
    let mut bytes = vec![0; (first + 2 * made.len()) * CLUSTER];
    let mut next = first;
    let mut used: Vec<u16> = vec![1; first];
    let mut disk = Vec::new();
    let mut entries = Vec::new();
    let mut order: Vec<_> = (0..made.len()).collect();
    order.sort_by_key(|index| keys[index % keys.len()]);
    let mut places = vec![0u64; made.len()];
    for index in order {
        let place = (next * CLUSTER) as u64;
        places[index] = match &made[index] {
            Made::Hole => 0,
            Made::Zeros => 1,
            Made::Data(seed) => {
                put(&mut bytes, next * CLUSTER, &[*seed; CLUSTER]);
                next += 1;
                used.push(1);
                place | 1 << 63
            }
            Made::Packed(seed) => {
                // Two stored blocks of deflate, ends of 100 and 412 bytes: no shorter than the cluster.
                let mut packed = vec![0, 100, 0, 155, 255];
                packed.extend([*seed; 100]);
                packed.extend([1, 0x9c, 1, 0x63, 0xfe]);
                packed.extend([*seed ^ 1; 412]);
                // It starts within a sector, and so takes two.
                put(&mut bytes, next * CLUSTER + 7, &packed);
                next += 2;
                used.extend([1, 1]);
                1 << 62 | 1 << 61 | (place + 7)
            }
        };
    }
    for (index, cluster) in made.iter().enumerate() {
        let at = (l1 + 1) * CLUSTER + index * 8;
        put(&mut bytes, at, &places[index].to_be_bytes());
        entries.push((at, cluster.clone()));
        match cluster {
            Made::Hole | Made::Zeros => disk.extend([0; CLUSTER]),
            Made::Data(seed) => disk.extend([*seed; CLUSTER]),
            Made::Packed(seed) => {
                disk.extend([*seed; 100]);
                disk.extend([*seed ^ 1; 412]);
            }
        }
    }
    for table in 0..tables {
        let entry = ((l1 + 1 + table) * CLUSTER) as u64 | 1 << 63;
        put(&mut bytes, l1 * CLUSTER + table * 8, &entry.to_be_bytes());
    }
    for block in 0..blocks {
        let entry = ((counts + block) * CLUSTER) as u64;
        put(&mut bytes, CLUSTER + block * 8, &entry.to_be_bytes());
    }
    for (cluster, count) in used.iter().enumerate() {
        put(&mut bytes, counts * CLUSTER + cluster * 2, &count.to_be_bytes());
    }
    put(&mut bytes, 0, b"QFI\xfb\0\0\0\x03");
    put(&mut bytes, 20, &9u32.to_be_bytes());
    put(&mut bytes, 24, &(disk_len as u64).to_be_bytes());
    put(&mut bytes, 36, &u32::try_from(tables).unwrap().to_be_bytes());
    put(&mut bytes, 40, &((l1 * CLUSTER) as u64).to_be_bytes());
    put(&mut bytes, 48, &(CLUSTER as u64).to_be_bytes());
    put(&mut bytes, 56, &1u32.to_be_bytes());
    put(&mut bytes, 96, &4u32.to_be_bytes());
    put(&mut bytes, 100, &104u32.to_be_bytes());
    disk.truncate(disk_len);
    Image { bytes, disk, entries, counts: counts * CLUSTER }
}

/// What a container holds.
fn held(bytes: &[u8]) -> Result<Vec<u8>, Damage> {
    let file = Blob::from_bytes("file", bytes);
    match open(&file, &|_| None)?.expect("it is a container").content {
        Content::Mapped(blob) => Ok(blob.to_vec().unwrap()),
        Content::Packed(packed) => {
            let out = tempfile::tempfile().unwrap();
            match packed.unpack(&out, 64 * MIB, &mut |_| ()) {
                Err(packed::UnpackError::Damage(damage)) => Err(damage),
                other => {
                    other.unwrap();
                    Ok(Blob::from_file("out", out).unwrap().to_vec().unwrap())
                }
            }
        }
    }
}

fn made() -> impl Strategy<Value = Vec<Made>> {
    let one = prop_oneof![
        Just(Made::Hole),
        Just(Made::Zeros),
        any::<u8>().prop_map(Made::Data),
        any::<u8>().prop_map(Made::Data),
        any::<u8>().prop_map(Made::Packed),
    ];
    prop::collection::vec(one, 1..150)
}

proptest! {
    /// Wherever clusters lie in the file, the disk has them where they belong.
    #[test]
    fn a_made_qcow2_holds_its_disk(
        made in made(), keys in prop::collection::vec(any::<u16>(), 1..150), cut in 0usize..512,
    ) {
        let image = image(&made, &keys, made.len() * CLUSTER - cut);
        prop_assert_eq!(held(&image.bytes).unwrap(), image.disk);
    }

    /// A cluster that lies over a table, or where another lies, is found: it is not counted.
    #[test]
    fn a_cluster_in_a_wrong_place_is_found(
        made in made(), keys in prop::collection::vec(any::<u16>(), 1..150), pick in any::<usize>(),
        place in 0u64..400,
    ) {
        let mut image = image(&made, &keys, made.len() * CLUSTER);
        let (at, old) = image.entries[pick % image.entries.len()].clone();
        // Its own first cluster would be a right place.
        prop_assume!(!matches!(old, Made::Packed(_)));
        let entry = (place * CLUSTER as u64) | (1 << 63);
        prop_assume!(image.bytes[at..at + 8] != entry.to_be_bytes());
        put(&mut image.bytes, at, &entry.to_be_bytes());
        prop_assert!(held(&image.bytes).is_err());
    }

    /// A count that is too small for its cluster is found.
    #[test]
    fn a_wrong_count_is_found(
        made in made(), keys in prop::collection::vec(any::<u16>(), 1..150), pick in any::<usize>(),
    ) {
        let mut image = image(&made, &keys, made.len() * CLUSTER);
        let counted = image.bytes[image.counts..].as_chunks::<2>().0;
        let counted = counted.iter().take_while(|count| **count == [0, 1]).count();
        let at = image.counts + pick % counted * 2;
        put(&mut image.bytes, at, &[0, 0]);
        prop_assert!(held(&image.bytes).is_err());
    }

    /// Any first bytes end in a container, in none or in a damage.
    #[test]
    fn random_bytes_do_no_harm(
        head in prop::sample::select(vec![
            &b"QFI\xfb\0\0\0\x03"[..], b"vhdxfile", b"KDMV\x01\0\0\0", b"conectix", b"\x1f\x8b\x08",
            b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"",
        ]),
        rest in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let bytes = [head, &rest].concat();
        let file = Blob::from_bytes("file", bytes);
        if let Ok(Some(Container { content: Content::Packed(packed), .. })) = open(&file, &|_| None) {
            let _ = packed.unpack(&tempfile::tempfile().unwrap(), MIB, &mut |_| ());
        }
    }
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => crc >> 1 ^ 0x82f6_3b78,
        })
    })
}

fn guid(text: &str) -> Vec<u8> {
    let guid = uuid::Uuid::parse_str(text).unwrap();
    guid.to_bytes_le().to_vec()
}

/// A VHDX of 5 GiB with blocks of 1 MiB, of which these are in the file. `headers` are the sequence
/// number and the first byte of the log's GUID, of both.
fn vhdx(headers: [(u64, u8); 2], blocks: &[u64]) -> Blob {
    let mut bytes = vec![0; 5 << 20];
    put(&mut bytes, 0, b"vhdxfile");
    for (at, (sequence, log)) in [0x1_0000, 0x2_0000].into_iter().zip(headers) {
        put(&mut bytes, at, b"head");
        put(&mut bytes, at + 8, &sequence.to_le_bytes());
        put(&mut bytes, at + 48, &[log]);
        put(&mut bytes, at + 66, &[1]);
        put(&mut bytes, at + 68, &(1u32 << 20).to_le_bytes());
        put(&mut bytes, at + 72, &(1u64 << 20).to_le_bytes());
        let sum = crc32c(&bytes[at..at + 4096]);
        put(&mut bytes, at + 4, &sum.to_le_bytes());
    }
    for at in [0x3_0000, 0x4_0000] {
        put(&mut bytes, at, b"regi\0\0\0\0\x02");
        let regions = [
            ("2dc27766-f623-4200-9d64-115e9bfd4a08", 2),
            ("8b7ca206-4790-4b9a-b8fe-575f050f886e", 3),
        ];
        for (index, (id, mib)) in regions.into_iter().enumerate() {
            let entry = at + 16 + 32 * index;
            put(&mut bytes, entry, &guid(id));
            put(&mut bytes, entry + 16, &(mib * MIB).to_le_bytes());
            put(&mut bytes, entry + 24, &[0, 0, 16, 0, 1]);
        }
        let sum = crc32c(&bytes[at..at + 0x1_0000]);
        put(&mut bytes, at + 4, &sum.to_le_bytes());
    }
    let metadata = 3 << 20;
    put(&mut bytes, metadata, b"metadata\0\0\x03");
    let items = [
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", MIB, 8u8),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", 5 << 30, 8),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", 512, 4),
    ];
    for (index, (id, value, len)) in items.into_iter().enumerate() {
        let (entry, at) = (metadata + 32 + 32 * index, 0x1_0000 + 16 * index);
        put(&mut bytes, entry, &guid(id));
        put(&mut bytes, entry + 16, &u32::try_from(at).unwrap().to_le_bytes());
        put(&mut bytes, entry + 20, &[len, 0, 0, 0, 4]);
        put(&mut bytes, metadata + at, &value.to_le_bytes());
    }
    let mut file = Builder::default();
    for (index, block) in blocks.iter().enumerate() {
        // After every 4096 blocks comes an entry for a bitmap of sectors.
        let at = (2 << 20) + usize::try_from(block + block / 4096).unwrap() * 8;
        put(&mut bytes, at, &(((5 + index as u64) * MIB) | 6).to_le_bytes());
    }
    file = file.bytes("head", bytes);
    for block in blocks {
        file = file.bytes("block", vec![u8::try_from(block % 251).unwrap() + 1; 1 << 20]);
    }
    file.finish()
}

/// The blocks of a VHDX that are not zeros.
fn blocks(file: &Blob) -> Result<Vec<u64>, Damage> {
    let opened = open(file, &|_| None)?.unwrap();
    assert_eq!((opened.format, opened.disk_len), ("vhdx", Some(5 << 30)));
    let Content::Mapped(disk) = opened.content else { panic!("it is plain") };
    let mut found = Vec::new();
    for block in 0..5 << 10 {
        let mut byte = [0];
        disk.read_exact_at(&mut byte, block * MIB + 77).unwrap();
        if byte != [0] {
            assert_eq!(u64::from(byte[0]), block % 251 + 1);
            found.push(block);
        }
    }
    Ok(found)
}

#[test]
fn blocks_behind_a_bitmaps_entry_are_found() {
    let file = vhdx([(1, 0), (2, 0)], &[0, 4095, 4096, 5119, 17]);
    assert_eq!(blocks(&file).unwrap(), [0, 17, 4095, 4096, 5119]);
}

#[test]
fn the_newer_intact_header_of_a_vhdx_counts() {
    let replay = |headers| blocks(&vhdx(headers, &[3])).err().map(|damage| damage.to_string());
    assert_eq!(replay([(1, 9), (2, 0)]), None);
    assert!(replay([(1, 0), (2, 9)]).unwrap().contains("its log is to be replayed"));
    let damage = |file: &Blob, at: u64| {
        let tail = file.slice(at + 1..file.len());
        Builder::default().blob(&file.slice(0..at)).bytes("bad", [0xa5]).blob(&tail).finish()
    };
    let file = damage(&vhdx([(1, 0), (2, 9)], &[3]), 0x2_0100);
    assert_eq!(blocks(&file).unwrap(), [3]);
    let file = damage(&file, 0x1_0100);
    assert!(blocks(&file).unwrap_err().to_string().contains("checksum"));
}

#[test]
fn blocks_of_a_vhdx_that_lie_over_one_another_are_refused() {
    let file = vhdx([(1, 0), (2, 0)], &[0, 1]);
    let entry = 2 * MIB + 8;
    let tail = file.slice(entry + 8..file.len());
    for (place, is_good) in [(5, false), (6, true), (3, false), (7, false), (0, false)] {
        let bytes = ((place * MIB) | 6u64).to_le_bytes();
        let head = Builder::default().blob(&file.slice(0..entry));
        let changed = head.bytes("entry", bytes).blob(&tail).finish();
        assert_eq!(open(&changed, &|_| None).is_ok(), is_good, "{place}");
    }
}

/// A dynamic VHD of one block of 2 MiB, with this bitmap.
fn vhd(bitmap: [u8; 512]) -> Vec<u8> {
    let sum = |bytes: &[u8]| !bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let mut footer = vec![0; 512];
    put(&mut footer, 0, b"conectix\0\0\0\x02\0\x01\0\0\0\0\0\0\0\0\x02\0");
    put(&mut footer, 48, &(2 * MIB).to_be_bytes());
    put(&mut footer, 63, &[3]);
    let total = sum(&footer);
    put(&mut footer, 64, &total.to_be_bytes());
    let mut header = vec![0; 1024];
    put(
        &mut header,
        0,
        b"cxsparse\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\x06\0\0\x01\0\0\0\0\0\x01\0\x20",
    );
    let total = sum(&header);
    put(&mut header, 36, &total.to_be_bytes());
    let mut table = vec![0xff; 512];
    put(&mut table, 0, &[0, 0, 0, 4]);
    [footer.clone(), header, table, bitmap.to_vec(), vec![7; 2 << 20], footer].concat()
}

#[test]
fn sectors_that_were_never_written_are_zeros() {
    let mut bitmap = [0xff; 512];
    bitmap[0] = 0b1010_0000;
    bitmap[511] = 0xfe;
    let disk = held(&vhd(bitmap)).unwrap();
    let is_written = |sector: usize| disk[sector * 512] == 7;
    assert_eq!(disk.len(), 2 << 20);
    assert_eq!(
        [0, 1, 2, 3, 7, 8, 4094, 4095].map(is_written),
        [true, false, true, false, false, true, true, false]
    );
}

#[test]
fn a_vhd_with_a_wrong_checksum_is_refused() {
    for at in [100, 512 + 600, 2048 + 512 + (2 << 20) + 100] {
        let mut bytes = vhd([0xff; 512]);
        assert!(held(&bytes).is_ok());
        bytes[at] ^= 1;
        assert!(held(&bytes).is_err(), "{at}");
    }
}
