//! Machines that say no: output folders that cannot be written to, and full disks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use lab::product::{self, Said};
use lab::tools;
use talforge::talos::Arch;

use crate::fixture::{self, Site};
use crate::refused_assets::refusal;

fn site() -> Result<Site> {
    let site = Site::new(Arch::Amd64)?;
    site.nodes(&["name: cp, role: controlplane, config: cp.yaml"])?;
    Ok(site)
}

#[test]
fn an_output_folder_that_is_a_file_is_refused() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    site.write("file", b"mine").unwrap();
    let mut said = refusal(&site, &["build", "--out", "file"]).unwrap();
    said += &refusal(&site, &["build", "--out", "file/deeper"]).unwrap();
    insta::assert_snapshot!(said, @r"
    exit code 3
    error: `file` is not a folder
    help: move it away, or choose another output folder
    exit code 3
    error: `file/deeper` is not a folder
    help: move it away, or choose another output folder
    ");
    assert_eq!(site.read("file").unwrap(), b"mine");
}

#[test]
fn a_folder_in_the_place_of_a_medium_is_kept() {
    if !fixture::have(&[]) {
        return;
    }
    let site = site().unwrap();
    site.write("out/cp.iso/file", b"mine").unwrap();
    let said = site.run(&["build"]).unwrap();
    assert_eq!(said.code, Some(3));
    insta::assert_snapshot!(said.err, @r"
    error: `out/cp.iso` is a folder, and a file is to be written there
    help: move it away, or choose another output folder
    ");
    assert_eq!(site.read("out/cp.iso/file").unwrap(), b"mine");
}

/// As root every folder can be written to, so the builder runs as nobody.
#[test]
fn an_output_folder_that_cannot_be_written_to_is_refused() {
    if !fixture::have(&["setpriv"]) {
        return;
    }
    let site = site().unwrap();
    fs::create_dir(site.path("out")).unwrap();
    fs::set_permissions(site.path("out"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(site.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let by = if fixture::is_root() { nobody.as_slice() } else { &[] };
    // The program itself may lie where nobody may look.
    let copy = site.path("talforge");
    fs::copy(product::program().unwrap(), &copy).unwrap();
    let mut command = product::command_of(&copy, by, site.folder(), &["build"]).unwrap();
    let said = Said::of(command.output().unwrap());
    assert_eq!(said.code, Some(3), "{}", said.err);
    insta::assert_snapshot!(said.err, @r"
    error: `out` is not writable: Permission denied (os error 13)
    help: choose another output folder, or mend its permissions
    ");
    assert_eq!(site.path("out").read_dir().unwrap().count(), 0);
}

/// A file system in memory that is unmounted when this is dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(folder: &'a Path, size: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let (options, folder_name) = (format!("size={size}"), folder.display().to_string());
        let args = ["-t", "tmpfs", "-o", &options, "talforge-test", &folder_name];
        tools::stdout("mount", &args, Path::new("/"))?;
        Ok(Self(folder))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        // A drop cannot fail; a mount that stays would show in the next run.
        let _ = tools::run("umount", &[&self.0.display().to_string()], Path::new("/"));
    }
}

/// The need of 0.6 MB is seen before a byte is written; what is there stays.
#[test]
fn a_full_disk_is_refused_before_anything_is_written() {
    if !fixture::have(&["mount"]) || !fixture::is_root() {
        return;
    }
    let site = site().unwrap();
    let out = site.path("small");
    let _small = Small::mount(&out, "400k").unwrap();
    fs::write(out.join("mine"), b"mine").unwrap();
    let said = site.run(&["build", "--out", "small"]).unwrap();
    assert_eq!(said.code, Some(3), "{}", said.err);
    let digits =
        |word: &str| if word.parse::<u64>().is_ok() { "N".to_owned() } else { word.to_owned() };
    let words: Vec<_> = said.err.split(' ').map(digits).collect();
    insta::assert_snapshot!(words.join(" "), @r"
    error: `small/cp.iso` needs N bytes, and N bytes are free there
    help: free some room, or choose another output folder
    ");
    let names: Vec<_> = out.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["mine"]);
}
