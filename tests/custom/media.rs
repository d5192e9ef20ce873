//! Media in Talos' own layouts and our own: changed, booted by every door, taken back.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use lab::foreign::release::{self, Release};
use lab::foreign::{iso, raw};
use lab::product::{self, Said};
use lab::qemu::{Bus, Firmware, Machine, Medium, Start, Verdict};
use lab::standin::{self, Options};
use lab::{parts, tools};
use talforge::digest::Digest;
use talforge::talos::Arch;
use talforge::units::SectorSize;

const DISK: Medium = Medium::Disk(Bus::Virtio, SectorSize::B512);
const DISK_4K: Medium = Medium::Disk(Bus::Virtio, SectorSize::B4096);

/// Media that no test changes, and two configs.
pub(crate) struct Shelf {
    folder: tempfile::TempDir,
}

/// Makes the media once for all tests; nothing where this machine cannot.
pub(crate) fn shelf() -> Option<&'static Shelf> {
    static SHELF: OnceLock<Option<Shelf>> = OnceLock::new();
    SHELF.get_or_init(|| make().expect("the media can be made")).as_ref()
}

fn make() -> Result<Option<Shelf>> {
    let arch = Arch::Amd64;
    let programs = [
        &standin::tools(arch)[..],
        &release::tools(arch),
        &iso::TOOLS,
        &raw::TOOLS,
        &["grub-mkimage", "cp"],
    ];
    let parts = parts::ready(arch);
    let (Some(parts), true) = (parts, tools::have(&programs.concat())) else { return Ok(None) };
    let standin = standin::build(&parts, Options::default())?;
    let shelf = Shelf { folder: tempfile::tempdir()? };
    let release = Release::plain(&standin);
    iso::hybrid(&release, &shelf.path("hybrid.iso"))?;
    iso::uefi(&release, &shelf.path("uefi.iso"))?;
    raw::dual(&release, &shelf.path("dual.raw"))?;
    raw::sdboot(&release, SectorSize::B512, &shelf.path("sdboot.raw"))?;
    raw::sdboot(&release, SectorSize::B4096, &shelf.path("sdboot-4k.raw"))?;
    for name in ["one", "two"] {
        fs::write(shelf.path(&format!("{name}.yaml")), config(name))?;
    }
    fs::create_dir(shelf.path("assets"))?;
    for entry in fs::read_dir(&standin.folder)? {
        let entry = entry?;
        fs::copy(entry.path(), shelf.path("assets").join(entry.file_name()))?;
    }
    let site = "version: 1\n\
        cluster: {name: fabric, endpoint: \"https://[2001:db8:0:1::10]:6443\", talos: v1.13.9}\n\
        boot: {assets: \"dir:assets\"}\nnodes:\n\
        \x20 - {name: own-hybrid, role: worker, profile: metal-iso-hybrid, config: one.yaml}\n\
        \x20 - {name: own-disk, role: worker, profile: metal-disk, config: one.yaml}\n\
        \x20 - {name: two-hybrid, role: worker, profile: metal-iso-hybrid, config: two.yaml}\n\
        \x20 - {name: two-disk, role: worker, profile: metal-disk, config: two.yaml}\n";
    fs::write(shelf.path("site.yaml"), site)?;
    product::run(shelf.folder.path(), &["build", "--out", "."])?.well()?;
    Ok(Some(shelf))
}

/// A config that Talos takes, another for each name, with the name in it.
pub(crate) fn config(name: &str) -> String {
    let text = include_str!("../talos-gen/talos-1.13/worker.yaml");
    format!("# canary-{name}-7f3e9d\n{text}# {}\n", format!("{name} ").repeat(2000))
}

impl Shelf {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A copy to change, in a folder of its own with the configs.
    pub(crate) fn take(&self, name: &str) -> Result<Taken> {
        let folder = tempfile::tempdir()?;
        for name in ["one", "two"] {
            let file = format!("{name}.yaml");
            fs::copy(self.path(&file), folder.path().join(&file))?;
        }
        let from = self.path(name).display().to_string();
        tools::stdout("cp", &["--sparse=always", &from, name], folder.path())?;
        Ok(Taken { folder, name: name.to_owned(), pristine: self.path(name) })
    }
}

/// A medium to change.
pub(crate) struct Taken {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) name: String,
    pristine: PathBuf,
}

impl Taken {
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// The same once more, as it is now.
    pub(crate) fn copy(&self) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (from, to) = (format!("{}/.", self.folder.path().display()), folder.path());
        tools::stdout("cp", &["-r", "--sparse=always", &from, "."], to)?;
        Ok(Self { folder, name: self.name.clone(), pristine: self.pristine.clone() })
    }

    pub(crate) fn run(&self, args: &[&str]) -> Result<Said> {
        product::run(self.folder.path(), args)
    }

    /// Whether the medium is, bit for bit, another.
    pub(crate) fn is_like(&self, other: &Path) -> Result<bool> {
        let (one, other) = (self.path().display().to_string(), other.display().to_string());
        Ok(tools::run("cmp", &["-s", &one, &other], self.folder.path())?.status.success())
    }

    pub(crate) fn is_pristine(&self) -> Result<bool> {
        self.is_like(&self.pristine)
    }

    #[track_caller]
    fn boot(&self, firmware: Firmware, medium: Medium) -> Verdict {
        boot(&self.path(), firmware, medium)
    }
}

fn boot(image: &Path, firmware: Firmware, medium: Medium) -> Verdict {
    let name = image.file_stem().unwrap_or_default().to_string_lossy();
    let label = format!("custom-{name}-{firmware:?}-{medium:?}");
    Machine::new(&label, Start::Medium(firmware, medium, image.to_owned())).boot().unwrap()
}

#[track_caller]
fn assert_finds(verdict: &Verdict, name: &str, args: &[&str]) {
    let log = verdict.log.display();
    assert_eq!(verdict.expect_config(Digest::of(config(name).as_bytes())), Ok(()), "{log}");
    let cmdline = verdict.report.get("cmdline").unwrap_or_default();
    for arg in args {
        assert!(cmdline.split(' ').any(|word| word == *arg), "{cmdline}: {log}");
    }
}

/// Ways by which a medium is started.
type Doors = &'static [(Firmware, Medium)];

/// All media, the doors by which they find a config, and what is said besides.
const MEDIA: [(&str, Doors, &[&str]); 5] = [
    (
        "hybrid.iso",
        &[
            (Firmware::Ovmf, Medium::Cd),
            (Firmware::Ovmf, Medium::Usb),
            (Firmware::SeaBios, Medium::Cd),
            (Firmware::SeaBios, Medium::Usb),
        ],
        &[],
    ),
    ("uefi.iso", &[(Firmware::Ovmf, Medium::Cd), (Firmware::Ovmf, Medium::Usb)], &[]),
    ("dual.raw", &[(Firmware::Ovmf, DISK)], &["bios-unchanged"]),
    ("sdboot.raw", &[(Firmware::Ovmf, DISK)], &[]),
    ("sdboot-4k.raw", &[(Firmware::Ovmf, DISK_4K)], &[]),
];

/// The codes of what was said.
fn codes(said: &Said) -> Vec<String> {
    let events = said.events().unwrap();
    let codes = events.iter().filter_map(|event| event["code"].as_str());
    codes.map(str::to_owned).collect()
}

/// A copy with a config and an argument: it boots by every door with both.
#[test]
fn a_customized_copy_boots_by_every_door() {
    let Some(shelf) = shelf() else { return };
    for (name, doors, notes) in MEDIA {
        let taken = shelf.take(name).unwrap();
        let args = ["customize", name, "--config", "one.yaml", "--karg", "talforge.test=1"];
        let args = [&args[..], &["-o", "out.img", "--json"]].concat();
        let said = taken.run(&args).unwrap().well().unwrap();
        assert_eq!(codes(&said), notes, "{name}");
        assert!(taken.is_pristine().unwrap(), "{name}");
        let out = taken.folder.path().join("out.img");
        assert_eq!(fs::metadata(&out).unwrap().mode() & 0o7777, 0o600);
        let shown = taken.run(&["config", "show", "out.img"]).unwrap().well().unwrap();
        assert_eq!(shown.text(), config("one"), "{name}");
        for (firmware, medium) in doors {
            assert_finds(&boot(&out, *firmware, *medium), "one", &["talforge.test=1"]);
        }
    }
}

/// One config after another, then none: bit for bit what it was, and nothing left of either.
#[test]
fn a_medium_that_was_changed_in_place_is_taken_back_bit_for_bit() {
    let Some(shelf) = shelf() else { return };
    for (name, _, _) in MEDIA {
        let taken = shelf.take(name).unwrap();
        let inode = fs::metadata(taken.path()).unwrap().ino();
        let run = |args: &[&str]| taken.run(args).unwrap().well().unwrap();
        run(&["config", "set", name, "one.yaml"]);
        assert!(!taken.is_pristine().unwrap(), "{name}");
        run(&["customize", name, "--karg", "talforge.test=1", "--in-place"]);
        assert_eq!(run(&["config", "show", name]).text(), config("one"), "{name}");
        run(&["config", "set", name, "two.yaml"]);
        assert_eq!(run(&["config", "show", name]).text(), config("two"), "{name}");
        let inspected = run(&["inspect", name]).text();
        assert!(inspected.contains("talforge.test=1"), "{name}: {inspected}");
        run(&["config", "set", name, "two.yaml"]);
        run(&["config", "remove", name]);
        assert!(taken.is_pristine().unwrap(), "{name}");
        assert_eq!(fs::metadata(taken.path()).unwrap().ino(), inode);
        let shown = taken.run(&["config", "show", name]).unwrap();
        assert!(shown.code == Some(5) && shown.err.contains("holds no machine config"));
        run(&["config", "remove", name]);
        assert!(taken.is_pristine().unwrap(), "{name}");
    }
}

/// What was replaced in place boots by every door.
#[test]
fn a_config_that_was_replaced_in_place_boots() {
    let Some(shelf) = shelf() else { return };
    let doors = [(Firmware::Ovmf, Medium::Cd), (Firmware::SeaBios, Medium::Usb)];
    for (name, doors) in [("hybrid.iso", &doors[..]), ("sdboot.raw", MEDIA[3].1)] {
        let taken = shelf.take(name).unwrap();
        for config in ["one.yaml", "two.yaml"] {
            taken.run(&["config", "set", name, config]).unwrap().well().unwrap();
        }
        for (firmware, medium) in doors {
            assert_finds(&taken.boot(*firmware, *medium), "two", &[]);
        }
    }
}

/// What talforge built takes another config by every door; without one, nothing tells which it had.
#[test]
fn own_media_take_another_config_and_forget_the_first() {
    let Some(shelf) = shelf() else { return };
    let media: [(&str, &str, Doors); 2] = [
        (
            "own-hybrid.iso",
            "two-hybrid.iso",
            &[(Firmware::Ovmf, Medium::Usb), (Firmware::SeaBios, Medium::Cd)],
        ),
        ("own-disk.raw", "two-disk.raw", &[(Firmware::Ovmf, DISK)]),
    ];
    for (name, other, doors) in media {
        let taken = shelf.take(name).unwrap();
        taken.run(&["config", "set", name, "two.yaml"]).unwrap().well().unwrap();
        let shown = taken.run(&["config", "show", name]).unwrap().well().unwrap();
        assert_eq!(shown.text(), config("two"), "{name}");
        for (firmware, medium) in doors {
            assert_finds(&taken.boot(*firmware, *medium), "two", &[]);
        }
        taken.run(&["config", "remove", name]).unwrap().well().unwrap();
        let verdict = taken.boot(doors[0].0, doors[0].1);
        assert!(verdict.is_ok(), "{}", verdict.log.display());
        assert_eq!(verdict.expect_config(Digest::of(b"")), Err("no config was found".into()));
        let twin = shelf.take(other).unwrap();
        twin.run(&["config", "remove", other]).unwrap().well().unwrap();
        assert!(taken.is_like(&twin.path()).unwrap(), "{name}");
    }
}

/// With a byte of the config's layer changed, what boots is not the config: so what the others find
/// is what was put on.
#[test]
fn a_changed_byte_in_the_layer_is_not_read_as_the_config() {
    let Some(shelf) = shelf() else { return };
    let taken = shelf.take("sdboot.raw").unwrap();
    taken.run(&["config", "set", "sdboot.raw", "one.yaml"]).unwrap().well().unwrap();
    let at = place_of_layer(&taken.path(), &shelf.path("sdboot.raw")).unwrap();
    let file = File::options().read(true).write(true).open(taken.path()).unwrap();
    // Past the superblock, whose 96 bytes the kernel checks, and the options of its compressor.
    let mut byte = [0];
    file.read_exact_at(&mut byte, at + 96 + 8 + 40).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at + 96 + 8 + 40).unwrap();
    let verdict = taken.boot(Firmware::Ovmf, DISK);
    assert!(verdict.expect_config(Digest::of(config("one").as_bytes())).is_err());
    taken.run(&["config", "remove", "sdboot.raw"]).unwrap().well().unwrap();
    assert!(taken.is_pristine().unwrap());
}

/// Where the squashfs that a change added begins.
fn place_of_layer(changed: &Path, pristine: &Path) -> Result<u64> {
    const PIECE: usize = 1 << 20;
    let (changed, pristine) = (File::open(changed)?, File::open(pristine)?);
    let len = changed.metadata()?.len();
    let (mut one, mut other) = (vec![0; PIECE + 4], vec![0; PIECE + 4]);
    for at in (0..len).step_by(PIECE) {
        let count = usize::try_from((len - at).min(PIECE as u64 + 4))?;
        changed.read_exact_at(&mut one[..count], at)?;
        pristine.read_exact_at(&mut other[..count], at)?;
        let is_new = |i: &usize| one[*i..].starts_with(b"hsqs") && other[*i..*i + 4] != *b"hsqs";
        if let Some(place) = (0..count.saturating_sub(4)).find(is_new) {
            return Ok(at + place as u64);
        }
    }
    ensure!(false, "no squashfs was added");
    None.context("unreachable")
}
