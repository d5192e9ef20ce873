//! Whole media: every door, every step, and back.

use std::path::Path;
use std::sync::Arc;

use lab::tools::{have, run};
use talforge::blob::Blob;
use talforge::custom::error::CustomError;
use talforge::custom::medium::Medium;
use talforge::custom::{self, Change, Custom, Note, Plan};
use talforge::digest::Digest;
use talforge::edit::{Edit, Write};
use talforge::inspect::memo::Memo;
use talforge::inspect::partitions;
use talforge::inspect::{self, Boot, Door, Firmware};

use crate::rig::{MEDIA, PROGRAMS, blob, folder, rig, save, shell};

/// A config of some KiB that does not compress well.
fn config(seed: u8) -> Arc<[u8]> {
    let digests = (0..100u8).map(|n| Digest::of(&[seed, n]).to_string());
    let text: String = digests.map(|digest| format!("# {digest}\n")).collect();
    format!("version: v1alpha1\nmachine: {{type: worker}}\n{text}").into_bytes().into()
}

fn change(seed: u8, args: &[&str]) -> Change {
    let kernel_args = args.iter().map(|arg| (*arg).to_owned()).collect();
    Change { config: Some(config(seed)), kernel_args, epoch: 1_700_000_000 }
}

fn boots(medium: &Blob) -> Vec<Boot> {
    inspect::open(medium, &mut Memo::default()).unwrap().boots
}

/// What a boot finds, and whether the arguments are at the end of its command line.
fn finds(boot: &Boot, change: &Change) -> bool {
    let found = boot.found.as_ref().map(|found| found.bytes.clone());
    let args: String = change.kernel_args.iter().map(|arg| format!(" {arg}")).collect();
    found == change.config && boot.cmdline.ends_with(&args)
}

fn esp(medium: &Blob) -> Blob {
    let table = partitions::read(medium).unwrap().unwrap();
    let range = table.esps().next().unwrap().range.clone();
    medium.slice(range)
}

/// `fsck.fat` finds not the least fault in the EFI partition.
fn assert_clean(medium: &Blob, dir: &Path) {
    save(&esp(medium), &dir.join("image"));
    let out = run("fsck.fat", &["-n", "image"], dir).unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.lines().count() == 2, "{text}");
}

fn read(medium: &Blob) -> Result<Custom, CustomError> {
    custom::read(&Medium::open(medium)?)
}

fn set(medium: &Blob, change: &Change) -> Result<Plan, CustomError> {
    custom::set(&Medium::open(medium)?, change)
}

fn remove(medium: &Blob) -> Result<Plan, CustomError> {
    custom::remove(&Medium::open(medium)?)
}

fn check(medium: &Blob, change: &Change) -> Result<(), CustomError> {
    custom::check(&Medium::open(medium)?, change)
}

fn same(a: &Blob, b: &Blob) -> bool {
    Digest::of_blob(a).unwrap() == Digest::of_blob(b).unwrap()
}

#[test]
fn every_door_finds_the_config_and_the_medium_comes_back() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("doors");
    for name in MEDIA {
        let pristine = blob(&rig().join(name));
        assert!(remove(&pristine).unwrap().edit.is_empty());
        let first = change(1, &["a=b", "c=$'#{x}"]);
        let plan = set(&pristine, &first).unwrap();
        let is_hybrid = name == "hybrid.iso";
        assert_eq!(plan.doors.contains(&Door::BiosCd), is_hybrid);
        assert!(plan.notes.is_empty(), "{:?}", plan.notes);
        let changed = plan.edit.apply(&pristine);
        check(&changed, &first).unwrap();
        assert!(check(&changed, &change(2, &["a=b", "c=$'#{x}"])).is_err());
        assert!(check(&changed, &change(1, &["a=b"])).is_err());
        assert!(check(&pristine, &first).is_err());
        let boots = boots(&changed);
        assert_eq!(boots.len(), if is_hybrid { 4 } else { 2 });
        for boot in &boots {
            assert!(finds(boot, &first), "{name}: {boot:?}");
            let layers: Vec<_> = boot.layers.iter().map(|layer| layer.image.as_str()).collect();
            assert_eq!(layers, ["0.sqsh", "1.sqsh"]);
        }
        let now = read(&changed).unwrap();
        assert_eq!((now.config, now.kernel_args), (first.config.clone(), first.kernel_args));
        assert_eq!(now.talos.unwrap().to_string(), "v1.13.9");
        assert!(now.is_ours && !read(&pristine).unwrap().is_ours);
        assert_clean(&changed, &dir);
        let listed = shell(&dir, "mdir -/ -b -i image ::");
        assert!(listed.contains("Talos-v1.13.9.efi.extra.d/talforge.addon.efi"), "{listed}");

        let second = change(2, &[]);
        let again = set(&changed, &second).unwrap().edit.apply(&changed);
        check(&again, &second).unwrap();
        assert_clean(&again, &dir);
        for medium in [&changed, &again] {
            let back = remove(medium).unwrap().edit.apply(medium);
            assert!(same(&back, &pristine), "{name}");
            check(&back, &Change::default()).unwrap();
        }
    }
}

/// What stays of an old config is nothing: two of one length leave the same medium.
#[test]
fn no_byte_of_an_old_config_is_left() {
    if !have(PROGRAMS) {
        return;
    }
    for name in MEDIA {
        let pristine = blob(&rig().join(name));
        let [one, other] = [3, 4].map(|seed| {
            let first = set(&pristine, &change(seed, &["a=b"])).unwrap().edit;
            let first = first.apply(&pristine);
            set(&first, &change(5, &["c=d"])).unwrap().edit.apply(&first)
        });
        assert!(same(&one, &other), "{name}");
    }
}

/// Every state in which a medium may be left: all steps before, and any of the writes of one.
fn states(medium: &Blob, edit: &Edit) -> Vec<Blob> {
    let mut states = Vec::new();
    let mut before = Edit::default();
    for step in edit.steps() {
        let base = before.apply(medium);
        let count = 1u32 << step.len().min(4);
        for subset in 0..count {
            // Of a step of many writes, each is in or out with others.
            let chosen = |index: usize| subset >> (index % 4) & 1 == 1;
            let writes = step.iter().enumerate().filter(|(i, _)| chosen(*i));
            let writes: Vec<Write> = writes.map(|(_, write)| write.clone()).collect();
            let mut part = Edit::default();
            part.push(writes);
            states.push(part.apply(&base));
        }
        before.push(step.clone());
    }
    states.push(before.apply(medium));
    states
}

#[test]
fn every_state_on_the_way_boots_the_old_or_the_new() {
    if !have(PROGRAMS) {
        return;
    }
    for name in ["hybrid.iso", "disk.raw"] {
        let pristine = blob(&rig().join(name));
        let (none, one, two) = (Change::default(), change(1, &["a=b"]), change(2, &["c=d"]));
        let args = Change { config: None, ..change(0, &["e=f"]) };
        let ways = [(&none, &one), (&one, &two), (&two, &args), (&args, &one), (&one, &none)];
        let mut here = pristine.clone();
        for (old, new) in ways {
            let edit = set(&here, new).unwrap().edit;
            for state in states(&here, &edit) {
                for boot in boots(&state) {
                    let found = boot.found.as_ref().map(|found| found.bytes.clone());
                    let is_known = found == old.config || found == new.config;
                    assert!(is_known, "{name}: {boot:?}");
                    if matches!(boot.firmware, Firmware::Uefi { .. }) {
                        assert!(finds(&boot, old) || finds(&boot, new), "{name}: {boot:?}");
                    }
                }
            }
            here = edit.apply(&here);
        }
        assert!(same(&here, &pristine), "{name}");
    }
}

/// The places that a file takes are in `xorriso`'s list, and it reads what was written there.
#[test]
fn xorriso_reads_the_isos_new_files() {
    if !have(PROGRAMS) {
        return;
    }
    let dir = folder("xorriso");
    let pristine = blob(&rig().join("hybrid.iso"));
    let changed = set(&pristine, &change(1, &["a=b"])).unwrap().edit.apply(&pristine);
    save(&changed, &dir.join("changed.iso"));
    let script =
        "xorriso -indev changed.iso -osirrox on -extract boot out -lsl boot 2>log; cat log >&2";
    let listed = shell(&dir, script);
    for name in ["'grub'", "'initramfs.xz'", "'talforge.cpi'", "'vmlinuz'"] {
        assert!(listed.contains(name), "{listed}");
    }
    let log = std::fs::read_to_string(dir.join("log")).unwrap();
    assert!(!log.contains("FAILURE") && !log.contains("SORRY"), "{log}");
    let menu = std::fs::read_to_string(dir.join("out/grub/grub.cfg")).unwrap();
    assert!(menu.contains("initrd /boot/initramfs.xz /boot/talforge.cpi\n"), "{menu}");
    let segment = std::fs::read(dir.join("out/talforge.cpi")).unwrap();
    assert!(segment.starts_with(b"070701"));
}

#[test]
fn what_would_be_passed_over_is_refused() {
    if !have(PROGRAMS) {
        return;
    }
    let raw = |name: &str| blob(&rig().join(name));
    let code = |medium: &Blob, change: &Change| {
        let error = set(medium, change).map(drop).unwrap_err();
        assert!(!error.help().is_empty());
        error.code()
    };
    let args = |args: &[&str]| Change { config: None, ..change(0, args) };
    assert_eq!(code(&raw("stub254.raw"), &change(1, &[])), "old-stub");
    assert!(set(&raw("stub254.raw"), &args(&["a=b"])).is_ok());
    assert_eq!(code(&raw("talos11.raw"), &change(1, &[])), "old-talos");
    let disk = raw("disk.raw");
    for arg in ["-console", "", "a b", "talos.platform=nocloud", "ä=1"] {
        assert_eq!(code(&disk, &args(&[arg])), "kernel-arg", "{arg}");
    }
    assert_eq!(code(&disk, &args(&[&"x".repeat(2000)])), "cmdline-length");
    let notes = set(&disk, &args(&["url=x", "console=ttyS0"])).unwrap().notes;
    assert_eq!(notes, [Note::Repeated { arg: "url=x".into() }]);
    assert_eq!(code(&raw("talos.efi"), &change(1, &[])), "medium-kind");
    // Somebody else wrote to a directory since.
    let changed = set(&disk, &change(1, &[])).unwrap().edit;
    let door = changed.steps()[1][0].range().end;
    let changed = changed.apply(&disk);
    let mut edit = Edit::default();
    edit.push(vec![Write { at: door - 10, bytes: [9].as_slice().into() }]);
    assert!(matches!(remove(&edit.apply(&changed)), Err(CustomError::Changed)));
}

/// GRUB itself, started by SeaBIOS from a CD and from a stick, takes menu and segment from where the
/// ISO's folders point now.
#[test]
fn grub_reads_the_new_files_from_cd_and_stick() {
    if !have(PROGRAMS) || !have(&["qemu-system-x86_64"]) {
        return;
    }
    let dir = folder("grub");
    let lines = "serial --unit=0 --speed=115200\nterminal_output serial\necho \"root=$root\"\n\
                 cat /boot/grub/grub.cfg\nhexdump -n 16 /boot/talforge.cpi\nhalt\n";
    let menu = std::fs::read_to_string(rig().join("grub.cfg")).unwrap();
    std::fs::write(dir.join("grub.cfg"), format!("{lines}{menu}")).unwrap();
    let script = format!(
        "rig={}; mkdir -p t/boot/grub; cp $rig/kernel t/boot/vmlinuz; cp $rig/initramfs.xz t/boot/
        cp grub.cfg t/boot/grub/
        grub-mkrescue --compress=xz --output=probe.iso --directory=/usr/lib/grub/i386-pc t -iso-level 3 \
          -eltorito-alt-boot -e --interval:appended_partition_2:all:: -append_partition 2 0xef $rig/esp2.img \
          -partition_cyl_align all -partition_offset 16 -iso_mbr_part_type 0x83 -no-emul-boot \
          -appended_part_as_gpt 2>/dev/null",
        rig().display()
    );
    shell(&dir, &script);
    let pristine = blob(&dir.join("probe.iso"));
    let changed = set(&pristine, &change(1, &["a=b"])).unwrap().edit.apply(&pristine);
    save(&changed, &dir.join("changed.iso"));
    for drive in ["-cdrom", "-hda"] {
        let machine = "timeout 90 qemu-system-x86_64 -display none -serial stdio -monitor none -m 128 \
                       -net none -no-reboot";
        let text = shell(&dir, &format!("{machine} {drive} changed.iso 2>/dev/null"));
        // Not a partition: from there the ISO's folders would lead elsewhere.
        let root = text.lines().find_map(|line| line.split_once("root=")).unwrap().1;
        assert!(root.starts_with("hd") && !root.contains(','), "{root}");
        // The screen has 80 columns.
        let text = text.replace(['\r', '\n'], "");
        for wanted in ["url=\\$\\{uuid\\} a=b", "/boot/talforge.cpi", "|070701"] {
            assert!(text.contains(wanted), "{drive}: no `{wanted}` in\n{text}");
        }
    }
}
