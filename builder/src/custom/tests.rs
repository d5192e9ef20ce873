//! Media that are made here, of a stand-in UKI; those of other tools are in the lab.

use proptest::prelude::*;
use uuid::uuid;

use super::*;
use crate::asset::initramfs;
use crate::blob::{Blob, Builder};
use crate::digest::Digest;
use crate::edit::Write;
use crate::format::cpio;
use crate::format::fat::{self, File, Label, Laid, Place, Volume};
use crate::format::gpt::{self, Partition, PartitionName, Table};
use crate::format::grub::{Entry, iso_cfg};
use crate::format::iso9660::{self, BiosBoot, Boot, Content, Image, VolumeId};
use crate::format::mbr;
use crate::format::pe::{self, Machine, SectionName};
use crate::inspect::memo::Memo;
use crate::payload::extension;
use crate::payload::uki::{self, AddonParts};
use crate::units::{MIB, SectorSize};

const UKI: &str = "EFI/Linux/Talos-v1.13.9.efi";
const LINE: &str = "talos.platform=metal console=tty0";

fn section(name: &str, bytes: &[u8]) -> (SectionName, Blob) {
    (SectionName::new(name), Blob::from_bytes("section", bytes))
}

fn base() -> Blob {
    let file = |path: &str| cpio::Entry {
        path: path.to_owned(),
        permissions: 0o755,
        kind: cpio::Kind::File(Blob::from_bytes("file", path.as_bytes())),
    };
    cpio::write(&[file("init"), file("rootfs.sqsh")], 0).unwrap()
}

fn uki(initrd: &Blob) -> Blob {
    let magic = section(".sdmagic", b"#### LoaderInfo: systemd-stub 257.9 ####");
    let stub = pe::addon(Machine::Amd64, &[magic], 0).unwrap();
    let release = b"ID=talos\nVERSION_ID=v1.13.9\nPRETTY_NAME=\"Talos (v1.13.9)\"\n";
    let sections = [
        section(".osrel", release),
        section(".cmdline", LINE.as_bytes()),
        section(".uname", b"6.18.0-talos"),
        (SectionName::new(".linux"), stub.clone()),
        (SectionName::new(".initrd"), initrd.clone()),
    ];
    pe::Image::read(&stub).unwrap().append(&sections, 0).unwrap()
}

fn segment(config: &[u8]) -> Blob {
    let base = initramfs::read(&base(), &mut Memo::default()).unwrap();
    extension::segment(config, &base, 0).unwrap()
}

/// The addon that a build puts beside the UKI.
fn addon(config: &[u8]) -> Blob {
    let segment = segment(config);
    let parts = AddonParts { uname: Some("6.18.0-talos"), cmdline: None, segment: Some(&segment) };
    uki::addon(Machine::Amd64, &parts, 0).unwrap()
}

fn esp_files(config: Option<&[u8]>) -> Vec<File> {
    let file =
        |path: &str, content, place| File { path: path.into(), content, read_only: false, place };
    let mut files = vec![
        file("EFI/BOOT/BOOTX64.EFI", Blob::from_bytes("loader", [1; 999]), Place::First),
        file(UKI, uki(&base()), Place::First),
    ];
    let path = format!("{UKI}.extra.d/talforge.addon.efi");
    files.extend(config.map(|config| file(&path, addon(config), Place::Last)));
    files
}

fn esp(files: Vec<File>, sector: SectorSize) -> Laid {
    let label = Label::new("EFI").unwrap();
    let len = fat::least_len(sector, &files).unwrap();
    let (serial, epoch, hidden_sectors) = (1, 1_700_000_000, 0);
    fat::write(&Volume { len, sector, label, serial, epoch, hidden_sectors, files }).unwrap()
}

/// A disk, with a config beside the UKI as a build puts it there, if any.
fn disk(config: Option<&[u8]>, sector: SectorSize) -> Blob {
    let esp = esp(esp_files(config), sector).blob;
    let span = gpt::place(sector, MIB, &[esp.len()])[0];
    let partition = Partition {
        kind: uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
        guid: uuid!("bca5174b-0118-8a6a-af0b-2c6e1585acae"),
        name: PartitionName::new("EFI").unwrap(),
        attributes: 0,
        span,
    };
    let table = Table {
        disk: uuid!("d92d45b3-cde9-8760-be9f-a2a71fac8d11"),
        sector,
        len: esp.len() + 2 * MIB,
        entries: gpt::entries_before(sector, MIB),
        partitions: vec![partition],
        boot_code: Vec::new(),
    };
    gpt::assemble(&table, &[(0, esp)], &[]).unwrap()
}

/// An ISO for BIOS and UEFI, as a build makes it.
fn iso(config: Option<&[u8]>) -> Blob {
    let files = esp_files(config);
    let laid = esp(files.clone(), SectorSize::B512);
    let own = |path: &str, blob| iso9660::File { path: path.into(), content: Content::Own(blob) };
    let mut tree: Vec<_> = files
        .iter()
        .map(|file| {
            let content =
                Content::InEsp { offset: laid.files[&file.path], len: file.content.len() };
            iso9660::File { path: file.path.clone(), content }
        })
        .collect();
    tree.push(own("boot/vmlinuz", Blob::from_bytes("kernel", [7; 3000])));
    tree.push(own("boot/initramfs.xz", base()));
    let mut initrds = vec!["/boot/initramfs.xz"];
    if let Some(config) = config {
        tree.push(own("boot/config.cpio", segment(config)));
        initrds.push("/boot/config.cpio");
    }
    let entry =
        Entry { title: "Talos ISO", kernel: "/boot/vmlinuz", cmdline: LINE, initrds: &initrds };
    let menu = iso_cfg(3, &[entry]);
    tree.push(own("boot/grub/grub.cfg", Blob::from_bytes("menu", menu.into_bytes())));
    let image = Image {
        volume_id: VolumeId::new("TALOS_V1_13_9").unwrap(),
        volume_set_id: "Talos-v1.13.9".into(),
        epoch: 1_700_000_000,
        files: tree,
        boot: Some(Boot {
            esp: laid.blob,
            bios: Some(BiosBoot { image: vec![3; 4096], path: "boot/grub/eltorito.img".into() }),
        }),
    };
    let placed = iso9660::place(&image).unwrap();
    let sectors = placed.esp.start.sector()..placed.esp.end.sector();
    let table = mbr::table(&[1; 440], &[mbr::Entry { kind: mbr::EFI_SYSTEM, sectors }]);
    placed.emit(&image, &table, &[])
}

fn change(config: &[u8], args: &[&str]) -> Change {
    let kernel_args = args.iter().map(|arg| (*arg).to_owned()).collect();
    Change { config: Some(config.into()), kernel_args, epoch: 1_700_000_000 }
}

fn read(medium: &Blob) -> Result<Custom, CustomError> {
    super::read(&Medium::open(medium)?)
}

fn set(medium: &Blob, change: &Change) -> Result<Plan, CustomError> {
    super::set(&Medium::open(medium)?, change)
}

fn remove(medium: &Blob) -> Result<Plan, CustomError> {
    super::remove(&Medium::open(medium)?)
}

fn check(medium: &Blob, change: &Change) -> Result<(), CustomError> {
    super::check(&Medium::open(medium)?, change)
}

fn digest(blob: &Blob) -> Digest {
    Digest::of_blob(blob).unwrap()
}

fn done(medium: &Blob, change: &Change) -> Blob {
    let before = Medium::open(medium).unwrap();
    let edit = super::set(&before, change).unwrap().edit;
    let after = edit.apply(medium);
    check(&after, change).unwrap();
    super::check(&before.after(&edit, &after).unwrap(), change).unwrap();
    after
}

/// Whether a text is anywhere on a medium. Configs here are not compressed: they are too short.
fn holds(medium: &Blob, text: &[u8]) -> bool {
    let ranges = medium.extents().iter().map(|extent| extent.start..extent.end());
    let parts: Vec<u8> = ranges
        .filter(|range| range.end - range.start < 8 * MIB)
        .flat_map(|range| medium.slice(range).to_vec().unwrap())
        .collect();
    parts.windows(text.len()).any(|part| part == text)
}

#[test]
fn a_pristine_medium_comes_back() {
    for medium in [iso(None), disk(None, SectorSize::B512), disk(None, SectorSize::B4096)] {
        let first = done(&medium, &change(b"a: 1\n", &["x=y"]));
        let second = done(&first, &change(b"b: 2\n", &[]));
        let read = read(&second).unwrap();
        assert_eq!(read.config.as_deref(), Some(&b"b: 2\n"[..]));
        assert!(read.kernel_args.is_empty() && read.is_ours);
        for changed in [first, second] {
            assert_eq!(digest(&done(&changed, &Change::default())), digest(&medium));
        }
    }
}

#[test]
fn a_built_medium_is_taken_to_one_form_whatever_its_config() {
    let (one, other) = (b"token: first-secret\n", b"token: other-secret\n");
    let make = |config: &[u8]| [iso(Some(config)), disk(Some(config), SectorSize::B512)];
    for (one, other) in make(one).into_iter().zip(make(other)) {
        assert!(holds(&one, b"first-secret"));
        let [bare, same] = [&one, &other].map(|medium| done(medium, &Change::default()));
        assert_eq!(digest(&bare), digest(&same));
        assert!(!holds(&bare, b"first-secret"));
        assert!(remove(&bare).unwrap().edit.is_empty());
        let new = change(b"token: new-secret\n", &["x=y"]);
        let changed = done(&one, &new);
        assert!(!holds(&changed, b"first-secret") && holds(&changed, b"new-secret"));
        assert_eq!(digest(&done(&changed, &Change::default())), digest(&bare));
        let read = read(&one).unwrap();
        assert_eq!(read.config.as_deref(), Some(&b"token: first-secret\n"[..]));
    }
}

/// The bytes of each write, step by step.
fn lens(edit: &Edit) -> Vec<Vec<usize>> {
    let step = |step: &Vec<Write>| step.iter().map(|write| write.bytes.len()).collect();
    edit.steps().iter().map(step).collect()
}

#[test]
fn a_change_is_written_in_this_order() {
    let medium = iso(None);
    let first = set(&medium, &change(b"a: 1\n", &[])).unwrap().edit;
    let [hidden, doors] = &lens(&first)[..] else { panic!("{first:?}") };
    // The folder, the menu, and three longer ones; each of the five in both tables; the count of
    // free clusters; the ISO's record.
    assert_eq!((hidden.len(), &doors[..]), (5 + 10 + 1 + 1, &[16, 96][..]));
    let changed = first.apply(&medium);
    let second = set(&changed, &change(b"a: 2\n", &[])).unwrap().edit;
    let [hidden, doors, old] = &lens(&second)[..] else { panic!("{second:?}") };
    // The ISO's record is a door now: the old menu leads to it.
    assert_eq!((hidden.len(), doors.len(), old.len()), (5 + 10, 1 + 2, 10 + 5));
    let back = remove(&changed).unwrap().edit;
    let [doors, old] = &lens(&back)[..] else { panic!("{back:?}") };
    assert_eq!((doors.len(), old.len()), (2, 1 + 11 + 5));
}

#[test]
fn a_config_inside_the_uki_is_refused() {
    let joined = Builder::default().blob(&base()).align(4).blob(&segment(b"a: 1\n")).finish();
    let mut files = esp_files(None);
    files[1].content = uki(&joined);
    let esp = esp(files, SectorSize::B512).blob;
    let sectors = 2048..2048 + u32::try_from(esp.len() / 512).unwrap();
    let table = mbr::table(&[], &[mbr::Entry { kind: mbr::EFI_SYSTEM, sectors }]);
    let medium = Builder::default().bytes("mbr", table).fill_to(MIB).blob(&esp).finish();
    assert!(matches!(set(&medium, &change(b"b: 2\n", &[])), Err(CustomError::Inside)));
    let read = read(&medium).unwrap();
    assert_eq!((read.config.as_deref(), read.is_ours), (Some(&b"a: 1\n"[..]), false));
}

#[test]
fn a_secret_shows_in_no_debug() {
    let change = change(b"token: abc-secret\n", &[]);
    let medium = disk(None, SectorSize::B512);
    let plan = set(&medium, &change).unwrap();
    let read = read(&plan.edit.apply(&medium)).unwrap();
    let secret: Vec<String> = b"abc-secret".iter().map(u8::to_string).collect();
    for text in [format!("{change:?}"), format!("{plan:?}"), format!("{read:?}")] {
        assert!(!text.contains("abc-secret") && !text.contains(&secret.join(", ")), "{text}");
    }
}

/// The places on a medium where a flipped bit is looked at: all that is no run of zeros.
fn flipped(medium: &Blob, flips: &[(u64, u8)]) -> Blob {
    let solid: Vec<_> = medium
        .extents()
        .iter()
        .filter(|extent| !matches!(extent.source, crate::blob::Source::Zeros))
        .map(|extent| extent.start..extent.end())
        .collect();
    let all: u64 = solid.iter().map(|range| range.end - range.start).sum();
    flips.iter().fold(medium.clone(), |medium, (at, bits)| {
        let mut at = at % all;
        let range = solid.iter().find(|range| {
            let len = range.end - range.start;
            let is_here = at < len;
            at -= if is_here { 0 } else { len };
            is_here
        });
        let at = range.unwrap().start + at;
        let mut byte = [0];
        medium.read_exact_at(&mut byte, at).unwrap();
        let mut edit = Edit::default();
        edit.push(vec![Write { at, bytes: [byte[0] ^ bits].as_slice().into() }]);
        edit.apply(&medium)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A damaged medium is refused or read, never a panic; and what is done to it can be undone.
    #[test]
    fn a_damaged_medium_does_no_harm(
        kind in 0usize..4, flips in prop::collection::vec((any::<u64>(), 1u8..), 1..6),
    ) {
        use std::sync::LazyLock;
        static MEDIA: LazyLock<[Blob; 4]> = LazyLock::new(|| {
            let (iso, disk) = (iso(None), disk(None, SectorSize::B512));
            let new = change(b"a: 1\n", &["x=y"]);
            let [first, second] = [&iso, &disk].map(|medium| done(medium, &new));
            [first, second, super::tests::iso(Some(b"b: 2\n")), disk]
        });
        let medium = flipped(&MEDIA[kind], &flips);
        let _ = read(&medium);
        let _ = remove(&medium).map(|plan| plan.edit.apply(&medium));
        let new = change(b"c: 3\n", &[]);
        let _ = check(&medium, &new);
        if let Ok(plan) = set(&medium, &new) {
            let changed = plan.edit.apply(&medium);
            if let Ok(back) = remove(&changed) {
                let _ = back.edit.apply(&changed);
            }
        }
    }
}
