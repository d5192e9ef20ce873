//! What a site asks of signatures: `boot.signed_by`.
//!
//! In: a release's files, signed by OpenSSL with keys of the test's own. Out: verdicts.
//!
//! Source: cosign, "Signature Specification" (the bundle of a blob signed with a key).
//!
//! Not here: certificates, logs and images, which the target `signature` proves.

use std::fs;

use lab::standin::Standin;
use lab::tools;

use crate::world::{Site, world};

const NODES: &[(&str, &str, &str)] = &[("pxe", "metal-pxe", "")];

/// Writes a file's bundle.
fn sign(site: &Site, key: &str, file: &str) {
    let script = format!(
        "printf '{{\"base64Signature\": \"%s\"}}' \
         \"$(openssl dgst -sha256 -sign {key} {file} | base64 -w0)\" > {file}.bundle"
    );
    tools::stdout("sh", &["-ec", &script], &site.path("")).unwrap();
}

#[test]
fn files_that_nobody_signed_are_not_used() {
    let Some(world) = world() else { return };
    if !tools::have(&["openssl"]) {
        return;
    }
    let boot = "assets: dir:loose\nsigned_by: {key: ours.pub}\n";
    let site = Site::new(boot, NODES).unwrap();
    fs::create_dir(site.path("loose")).unwrap();
    for name in Standin::FILES {
        fs::copy(world.standin.file(name), site.path("loose").join(name)).unwrap();
    }
    let script = "for key in ours theirs; do \
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $key 2>/dev/null; \
        openssl pkey -in $key -pubout -out $key.pub; done; \
        cd loose && sha256sum * > sha256sum.txt";
    tools::stdout("sh", &["-ec", script], &site.path("")).unwrap();
    let mut told = site.refusal(&["build"]);

    // A signed list vouches for all that it has.
    sign(&site, "ours", "loose/sha256sum.txt");
    site.run(&["build"]).unwrap().well().unwrap();
    sign(&site, "theirs", "loose/sha256sum.txt");
    told += &site.refusal(&["build"]);

    // So do the files' own signatures, and then the list need have none.
    fs::remove_file(site.path("loose/sha256sum.txt.bundle")).unwrap();
    Standin::FILES.iter().for_each(|name| sign(&site, "ours", &format!("loose/{name}")));
    site.run(&["build"]).unwrap().well().unwrap();
    fs::remove_file(site.path("loose/sha256sum.txt")).unwrap();
    site.run(&["build"]).unwrap().well().unwrap();
    sign(&site, "theirs", "loose/initramfs.xz");
    told += &site.refusal(&["build"]);
    fs::remove_file(site.path("loose/initramfs.xz.bundle")).unwrap();
    told += &site.refusal(&["build"]);
    insta::assert_snapshot!(told);
}
