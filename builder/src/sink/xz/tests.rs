//! The numbers of the format, and the smallest file.

use super::*;

/// Section 1.2 of the specification: seven bits a byte, the lowest first.
#[test]
fn numbers_are_stored_seven_bits_a_byte() {
    for (value, bytes) in [
        (0, &[0][..]),
        (0x7f, &[0x7f]),
        (0x80, &[0x80, 1]),
        (u64::MAX >> 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
    ] {
        let mut out = Vec::new();
        number(&mut out, value);
        assert_eq!(out, bytes);
    }
}

/// The bytes that `xz --check=crc32` makes of nothing.
#[test]
fn an_empty_file_is_what_xz_makes_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let packed = Packer::new(folder.path()).pack(&Blob::default(), &|_| Ok(())).unwrap();
    let want = b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36\0\0\0\0\x1c\xdf\x44\x21\x90\x42\x99\x0d\x01\0\0\0\0\x01YZ";
    assert_eq!(packed.to_vec().unwrap(), want);
}
