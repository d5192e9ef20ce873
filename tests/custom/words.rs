//! What the verbs say: what they refuse and why, and what they tell programs.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use lab::product::{self, Said};
use lab::tools::{have, stdout};

use crate::media::{config, shelf};

/// What was said, without the folder's name.
fn refusal(folder: &Path, args: &[&str]) -> String {
    let said = product::run(folder, args).unwrap();
    assert!(said.out.is_empty(), "{}", said.text());
    format!("exit code {}\n{}", said.code.unwrap(), said.err)
}

fn packed_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("c.yaml"), config("one")).unwrap();
    for (name, mark) in [
        ("a.raw.zst", b"\x28\xb5\x2f\xfd".as_slice()),
        ("a.raw.xz", b"\xfd7zXZ\0"),
        ("a.raw.tar.gz", b"\x1f\x8b\x08"),
        ("a.qcow2", b"QFI\xfb\0\0\0\x03"),
        ("a.iso", b"nothing of this kind"),
    ] {
        let file = fs::File::create(path(name)).unwrap();
        file.write_all_at(mark, 0).unwrap();
        file.set_len(1 << 20).unwrap();
    }
    folder
}

#[test]
fn what_is_packed_is_refused_by_name() {
    let folder = packed_folder();
    let mut said = String::new();
    for name in ["a.raw.zst", "a.raw.xz", "a.raw.tar.gz", "a.qcow2", "a.iso"] {
        said += &refusal(folder.path(), &["config", "set", name, "c.yaml"]);
        let args = ["customize", name, "--config", "c.yaml", "-o", "b.iso"];
        assert!(said.ends_with(&refusal(folder.path(), &args)));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn wrong_usage_is_told() {
    let folder = packed_folder();
    for args in [
        &["customize", "a.iso"][..],
        &["customize", "a.iso", "-o", "b.iso"],
        &["customize", "a.iso", "--config", "c.yaml"],
        &["customize", "a.iso", "--config", "c.yaml", "-o", "b.iso", "--in-place"],
        &["customize", "--config", "c.yaml", "--in-place"],
        &["config", "set", "a.iso"],
        &["config"],
        &["inspect", "--config", "a.iso"],
    ] {
        assert_eq!(product::run(folder.path(), args).unwrap().code, Some(2), "{args:?}");
    }
}

#[test]
fn devices_folders_and_missing_files_are_refused() {
    let folder = packed_folder();
    let mut said = String::new();
    for medium in ["/dev/null", ".", "none.iso"] {
        said += &refusal(folder.path(), &["config", "remove", medium]);
        let args = ["customize", medium, "--config", "c.yaml", "-o", "b.iso"];
        said += &refusal(folder.path(), &args);
    }
    insta::assert_snapshot!(said);
}

/// The config is held to the rules of the release on the medium; nothing is changed by one that
/// Talos would refuse.
#[test]
fn a_config_that_talos_would_refuse_is_refused_with_its_place() {
    let Some(shelf) = shelf() else { return };
    let taken = shelf.take("uefi.iso").unwrap();
    let folder = taken.folder.path();
    let wrong = config("one").replace("machine:\n", "machine:\n    wrongKey: 1\n");
    fs::write(folder.join("wrong.yaml"), wrong).unwrap();
    fs::write(folder.join("none.yaml"), "a: [").unwrap();
    let bare = "version: v1alpha1\nmachine: {type: worker, token: a.b}\n";
    fs::write(folder.join("bare.yaml"), bare).unwrap();
    let mut said = String::new();
    for file in ["wrong.yaml", "none.yaml", "bare.yaml", "missing.yaml"] {
        said += &refusal(folder, &["config", "set", "uefi.iso", file]);
        assert!(taken.is_pristine().unwrap());
    }
    insta::assert_snapshot!(said);
}

#[test]
fn what_is_there_is_not_written_over() {
    let Some(shelf) = shelf() else { return };
    let taken = shelf.take("uefi.iso").unwrap();
    let folder = taken.folder.path();
    fs::create_dir(folder.join("folder")).unwrap();
    std::os::unix::fs::symlink("uefi.iso", folder.join("link.iso")).unwrap();
    let mut said = String::new();
    for out in ["two.yaml", "uefi.iso", "link.iso", "folder", "nowhere/b.iso"] {
        said += &refusal(folder, &["customize", "uefi.iso", "--config", "one.yaml", "-o", out]);
    }
    insta::assert_snapshot!(said);
    assert!(taken.is_pristine().unwrap());
    assert_eq!(fs::read_to_string(folder.join("two.yaml")).unwrap(), config("two"));
}

/// Encrypted configs are opened in memory; no part of the plain one is in any other file.
#[test]
fn an_encrypted_config_is_opened() {
    let Some(shelf) = shelf() else { return };
    if !have(&["age"]) {
        return;
    }
    let taken = shelf.take("uefi.iso").unwrap();
    let folder = taken.folder.path();
    let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("sops/ours.key");
    let key = key.display().to_string();
    stdout("age", &["-e", "-i", &key, "-o", "one.age", "one.yaml"], folder).unwrap();
    fs::remove_file(folder.join("one.yaml")).unwrap();
    let run = |with_key: bool| {
        let args = ["config", "set", "uefi.iso", "one.age"];
        let mut command = product::command(&[], folder, &args).unwrap();
        if with_key {
            command.env("SOPS_AGE_KEY_FILE", &key);
        }
        Said::of(command.output().unwrap())
    };
    assert_eq!(run(false).code, Some(1));
    assert!(taken.is_pristine().unwrap());
    run(true).well().unwrap();
    let shown = taken.run(&["config", "show", "uefi.iso"]).unwrap().well().unwrap();
    assert_eq!(shown.text(), config("one"));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 3);
}

/// Nothing of the config is said; programs are told what happened.
#[test]
fn what_happened_is_told_and_no_secret() {
    let Some(shelf) = shelf() else { return };
    let taken = shelf.take("uefi.iso").unwrap();
    fs::set_permissions(taken.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let run = |args: &[&str]| taken.run(args).unwrap().well().unwrap();
    let said = run(&["--json", "config", "set", "uefi.iso", "one.yaml"]);
    let events = said.events().unwrap();
    assert_eq!(events[0]["code"], "medium-readable");
    assert_eq!(events[1]["event"], "customized");
    assert_eq!(events[1]["path"], "uefi.iso");
    let digest = talforge::digest::Digest::of(config("one").as_bytes()).to_string();
    assert_eq!(events[1]["config_sha256"], digest);
    assert!(!said.text().contains("canary"));
    let said = run(&["config", "remove", "uefi.iso"]);
    assert_eq!(said.text(), "uefi.iso: nothing is added\n");
    let args = ["--quiet", "customize", "uefi.iso", "--karg", "a=b", "-o", "b.iso"];
    let said = run(&args);
    assert!(said.out.is_empty() && said.err.is_empty(), "{}", said.err);
}
