//! The list `SHA256SUMS`: one line a file, as `sha256sum --check` reads it.
//!
//! In: digests of files, an earlier list. Out: a list sorted by name.
//!
//! Source: GNU coreutils manual, "sha2 utilities" and "md5sum invocation".
//!
//! Not here: which earlier files still exist (`file`).

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::digest::Digest;
use crate::sink::name::Name;

/// The most of an earlier list that is read, in bytes: some 200,000 files.
const LONGEST: u64 = 16 << 20;

/// The files of a list and their digests.
pub(super) type Sums = BTreeMap<Name, Digest>;

/// Takes a list's bytes.
pub(super) fn bytes(list: impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    list.take(LONGEST).read_to_end(bytes)?;
    Ok(())
}

/// Reads a list. Lines that are not of our form are left out, as are files that we could not have
/// written.
pub(super) fn read(bytes: &[u8]) -> Sums {
    let text = String::from_utf8_lossy(bytes);
    text.split_inclusive('\n').filter_map(line).collect()
}

/// Writes a list.
pub(super) fn render(sums: &Sums) -> String {
    sums.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect()
}

/// 64 digits, a blank, a blank or `*` (binary mode, the same on our systems), a name.
fn line(line: &str) -> Option<(Name, Digest)> {
    let (digest, name) = line.strip_suffix('\n')?.split_once(' ')?;
    let name = name.strip_prefix([' ', '*'])?;
    Some((Name::parse(name).ok()?, hex(digest)?))
}

fn hex(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != digest.len() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let value = nibble(*high)? << 4 | nibble(*low)?;
        *byte = value;
    }
    Some(Digest(digest))
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_is_sorted_by_name() {
        let sums = ["w-1/vmlinuz", "cp-1.iso"]
            .map(|name| (Name::parse(name).unwrap(), Digest::of(name.as_bytes())));
        insta::assert_snapshot!(render(&sums.into()), @r"
        845886dcc03ffa614fa63a9d2f255a0ac6250b7753c4ccaf50f5883ce54463e8  cp-1.iso
        bc83726e41c69d80207dbfd020e59ad6d899f7f71da1a7b559316d3c95ab5e28  w-1/vmlinuz
        ");
    }

    #[test]
    fn foreign_lines_are_left_out() {
        let good = format!("{}  a\n", Digest::of(b"a"));
        let long = good.repeat(2).replace("\n", "");
        for bad in [
            "\n".to_owned(),
            "# comment\n".to_owned(),
            good.replace("  a", "  ../a"),
            good.replace("  a", " a"),
            good.to_uppercase(),
            format!("0{good}"),
            format!("00{good}"),
            good[2..].to_owned(),
            long,
        ] {
            assert_eq!(read(bad.as_bytes()), Sums::new(), "{bad:?}");
        }
        assert_eq!(read(good.replace("  a", " *a").as_bytes()).len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            read(&bytes);
        }

        #[test]
        fn a_list_reads_as_itself(names in prop::collection::btree_set("[a-z /*é]{1,9}", 0..9)) {
            let names = names.iter().filter_map(|n| Name::parse(n).ok());
            let sums: Sums = names.map(|n| (n.clone(), Digest::of(n.as_str().as_bytes()))).collect();
            prop_assert_eq!(read(render(&sums).as_bytes()), sums);
        }
    }
}
