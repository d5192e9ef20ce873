//! Lists of checksums, good and bad.

use proptest::prelude::*;

use super::*;

const ABC_256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/// FIPS 180-4's example "abc".
const ABC_512: &str = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                       2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

#[test]
fn a_list_is_read_as_sha256sum_writes_it() {
    let list = format!("{ABC_256}  vmlinuz-amd64\n\n{ABC_256} *./b c.iso\r\n");
    let sums = parse(list.as_bytes(), 64).unwrap();
    assert_eq!(sums.keys().collect::<Vec<_>>(), ["b c.iso", "vmlinuz-amd64"]);
    assert_eq!(sums["b c.iso"].to_string(), format!("sha256:{ABC_256}"));
}

#[test]
fn a_line_that_is_none_is_named() {
    let good = format!("{ABC_256}  a\n");
    let other = ABC_256.replace('a', "b");
    for bad in ["x", &ABC_256[1..], &format!("{ABC_256}  "), &format!("{other}  a"), "\u{e4}"] {
        let list = format!("{good}{good}{bad}\n");
        assert_eq!(parse(list.as_bytes(), 64), Err(3), "{bad}");
    }
    assert_eq!(parse(b"\n\xff", 64), Err(2));
}

#[test]
fn both_checksums_are_as_published() {
    let listed = Listed { list: "sha512sum.txt".into(), sum: Sum::Sha512(ABC_512.into()) };
    let mut both = Both::for_listed(std::slice::from_ref(&listed));
    both.update(b"a");
    both.update(b"bc");
    let sums = both.finish();
    assert_eq!(sums.digest.to_string(), ABC_256);
    assert_eq!(sums.like(&listed.sum), listed.sum);
}

proptest! {
    #[test]
    fn no_list_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), text in "([0-9a-f]{60,70}[ *]{0,3}.?\n){0,3}",
    ) {
        for digits in [64, 128] {
            let _ = parse(&bytes, digits);
            let _ = parse(text.as_bytes(), digits);
        }
    }
}
