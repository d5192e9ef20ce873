//! cpio archives, as `cpio` reads them.
//!
//! Not here: what the kernel makes of them, which only a boot shows.

use super::at_hand::{noise, save};
use lab::tools::{have, run, stdout};
use proptest::prelude::*;
use std::{fs, path::Path};
use talforge::blob::{Blob, Builder};
use talforge::format::cpio::{Entry, Kind, write};

fn entry(path: &str, permissions: u16, kind: Kind) -> Entry {
    Entry { path: path.into(), permissions, kind }
}

/// `cpio` reads its archive from standard input, so a shell has to hand it over.
fn cpio(args: &str, dir: &Path) -> String {
    let out = run("sh", &["-c", &format!("cpio {args} < archive.cpio")], dir).unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{errors}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn cpio_lists_what_was_written() {
    if !have(&["cpio", "sh"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |len| Kind::File(Blob::from_bytes("file", vec![1_u8; len]));
    let entries = [
        entry("kernel", 0o755, Kind::Dir),
        entry("kernel/x86", 0o700, Kind::Dir),
        entry("kernel/x86/config", 0o400, file(5)),
        entry("empty", 0o644, file(0)),
    ];
    save(&write(&entries, 1_700_000_000).unwrap(), &dir.path().join("archive.cpio"));
    insta::assert_snapshot!(cpio("-itvn --quiet", dir.path()), @r"
    drwxr-xr-x   2 0        0               0 Nov 14  2023 kernel
    drwx------   2 0        0               0 Nov 14  2023 kernel/x86
    -r--------   1 0        0               5 Nov 14  2023 kernel/x86/config
    -rw-r--r--   1 0        0               0 Nov 14  2023 empty
    ");
}

/// An early archive of microcode must be found by programs that read one archive after another.
#[test]
fn a_second_archive_may_follow() {
    if !have(&["cpio", "sh"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let one = |name| write(&[entry(name, 0o755, Kind::Dir)], 0).unwrap();
    let both = Builder::default().blob(&one("a")).blob(&one("b")).finish();
    save(&both, &dir.path().join("archive.cpio"));
    let script = "(cpio -it --quiet; cpio -it --quiet) < archive.cpio";
    assert_eq!(stdout("sh", &["-c", script], dir.path()).unwrap(), "a\nb\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn cpio_unpacks_what_was_packed(lens in prop::collection::vec(0_usize..5000, 0..9)) {
        if !have(&["cpio", "sh"]) {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        let contents: Vec<_> = (0..).zip(&lens).map(|(n, &len)| noise(n, len)).collect();
        // Names of different lengths, so that each padding occurs.
        let name = |n: usize| format!("f{}", "x".repeat(n));
        let file = |(n, bytes): (usize, &Vec<u8>)| {
            let content = Blob::from_bytes("file", bytes.clone());
            entry(&name(n), 0o644, Kind::File(content))
        };
        let entries: Vec<_> = contents.iter().enumerate().map(file).collect();
        save(&write(&entries, 0).unwrap(), &dir.path().join("archive.cpio"));
        cpio("-i --quiet", dir.path());
        for (n, bytes) in contents.iter().enumerate() {
            prop_assert_eq!(&fs::read(dir.path().join(name(n))).unwrap(), bytes);
        }
    }
}
