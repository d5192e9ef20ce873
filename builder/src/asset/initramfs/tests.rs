//! A look at an initramfs from outside, held against unpacking it.

use std::collections::BTreeSet;

use super::{read, skim};
use crate::blob::{Blob, Builder};
use crate::format::cpio::{Entry, Kind, write};
use crate::inspect::memo::Memo;

/// An archive, of files in this order.
fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entry = |(path, bytes): &(&str, Vec<u8>)| Entry {
        path: (*path).to_owned(),
        permissions: 0o755,
        kind: Kind::File(Blob::from_bytes("file", bytes.clone())),
    };
    write(&files.iter().map(entry).collect::<Vec<_>>(), 0).unwrap().to_vec().unwrap()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..len).map(step).collect()
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut options = lzma_rust2::XzOptions::with_preset(0);
    options.set_check_sum_type(lzma_rust2::CheckType::Crc32);
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn names(initrd: &Blob) -> [(Option<Vec<u8>>, BTreeSet<String>); 2] {
    let whole = read(initrd, &mut Memo::default()).unwrap();
    let skimmed = skim(initrd, &mut Memo::default()).unwrap();
    [whole, skimmed].map(|it| (it.list, it.names))
}

/// Whatever an initramfs is made of, a look from outside tells what unpacking tells.
#[test]
fn a_look_from_outside_tells_the_same() {
    let list = || ("extensions.yaml", b"layers: [{image: 0.sqsh}]\n".to_vec());
    let (init, root) = (|| ("init", noise(100)), || ("rootfs.sqsh", noise(5 << 20)));
    let base = archive(&[init(), root()]);
    let small = archive(&[init(), ("rootfs.sqsh", noise(999))]);
    let extensions = archive(&[("0.sqsh", noise(9000)), list(), ("usr.img", vec![1; 99])]);
    let early = archive(&[("microcode.bin", noise(500))]);
    let unusual = archive(&[("0.sqsh", noise(9000)), list(), init(), root()]);
    let zeros = archive(&[init(), ("rootfs.sqsh", vec![0; 9 << 20])]);
    let shapes: Vec<Vec<Vec<u8>>> = vec![
        vec![frame(&base)],
        vec![frame(&small)],
        vec![frame(&base), frame(&extensions)],
        vec![frame(&base), extensions.clone()],
        vec![early.clone(), frame(&base), frame(&extensions)],
        vec![frame(&base), xz(&extensions)],
        vec![xz(&small), xz(&extensions)],
        vec![frame(&unusual)],
        vec![frame(&zeros), frame(&extensions)],
        vec![base.clone(), frame(&extensions)],
        vec![frame(&base), frame(&small), frame(&unusual)],
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        let join = |out: Builder, part: Vec<u8>| out.align(4).bytes("part", part);
        let initrd = shape.into_iter().fold(Builder::default(), join).finish();
        let [whole, skimmed] = names(&initrd);
        assert_eq!(whole, skimmed, "shape {number}");
    }
}

/// The base is passed over, not decoded: damage in its middle is not seen.
#[test]
fn the_base_is_not_decoded() {
    let mut bytes = frame(&archive(&[("init", noise(100)), ("rootfs.sqsh", noise(5 << 20))]));
    let zeros = vec![0; 64 << 10];
    let middle = bytes.len() / 2;
    // Inside of a block: its header stays, for a block of noise has 128 KiB.
    let block = bytes[..middle].windows(3).rposition(|w| w == [0, 0, 16]).unwrap() + 1000;
    bytes[block..block + zeros.len()].copy_from_slice(&zeros);
    bytes.extend(frame(&archive(&[("extensions.yaml", b"layers: []\n".to_vec())])));
    let initrd = Blob::from_bytes("initrd", bytes);
    let skimmed = skim(&initrd, &mut Memo::default()).unwrap();
    assert_eq!(skimmed.list.as_deref(), Some(&b"layers: []\n"[..]));
}
