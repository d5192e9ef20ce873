//! An archive of random bytes, read twice: as it is, and as it was kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use talforge::blob::Blob;
use talforge::oci::unpack;
use talforge::store::Store;
use talforge::tree::Kind;

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let store = Store::at(folder.path());
    let blob = Blob::from_bytes("input", data);
    // What is wanted comes by other names, too: hard links, and links on the way.
    let wanted = |path: &str| path.len() % 2 == 1;
    let Ok(tree) = unpack::tarball("input", &blob, &wanted, &store, &|_| {}) else { return };
    let again = unpack::tarball("input", &blob, &wanted, &store, &|_| {});
    let again = again.expect("what was read once is read again");
    let paths = |tree: &talforge::tree::Tree| {
        let line = |(path, entry): (&str, &talforge::tree::Entry)| match &entry.kind {
            Kind::File(blob, digest) => format!("{path} {} {digest}", blob.len()),
            other => format!("{path} {other:?}"),
        };
        tree.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(paths(&tree), paths(&again));
    for (path, _) in tree.iter() {
        let _ = tree.follow(path);
    }
});
