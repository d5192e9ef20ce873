//! Pristine media, as Talos' imager lays them out, made by foreign tools.
//!
//! In: nothing. Out: a folder with ISOs and disks of a stand-in Talos without a config, made once a
//! run.
//!
//! Not here: what is changed on them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lab::tools;
use talforge::blob::{Blob, Source};

/// The programs that make and judge the media.
pub(crate) const PROGRAMS: &[&str] = &[
    "as",
    "cpio",
    "fdisk",
    "fsck.fat",
    "grub-mkrescue",
    "ld",
    "mcopy",
    "mdir",
    "mkfs.vfat",
    "mksquashfs",
    "objcopy",
    "sgdisk",
    "xorriso",
    "xorrisofs",
    "zstd",
];

/// The media.
pub(crate) const MEDIA: [&str; 4] = ["uefi.iso", "hybrid.iso", "disk.raw", "disk4k.raw"];

/// Runs a shell script in a folder, and gives what it prints.
pub(crate) fn shell(dir: &Path, script: &str) -> String {
    let prelude = "set -e; PATH=$PATH:/usr/sbin:/sbin; export SOURCE_DATE_EPOCH=1700000000";
    tools::stdout("sh", &["-c", &format!("{prelude}\n{script}")], dir).unwrap()
}

/// A file as a blob.
pub(crate) fn blob(path: &Path) -> Blob {
    Blob::from_file("sample", std::fs::File::open(path).unwrap()).unwrap()
}

/// Writes a blob as a sparse file.
pub(crate) fn save(blob: &Blob, path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(blob.len()).unwrap();
    for extent in blob.extents().iter().filter(|e| !matches!(e.source, Source::Zeros)) {
        for start in (extent.start..extent.end()).step_by(1 << 20) {
            let bytes = blob.slice(start..extent.end().min(start + (1 << 20))).to_vec().unwrap();
            if bytes.iter().any(|b| *b != 0) {
                file.write_all_at(&bytes, start).unwrap();
            }
        }
    }
}

/// A fresh folder.
pub(crate) fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("edit").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The folder with the media.
pub(crate) fn rig() -> &'static Path {
    static RIG: OnceLock<PathBuf> = OnceLock::new();
    RIG.get_or_init(|| {
        let dir = folder("rig");
        std::fs::write(dir.join("kernel"), kernel()).unwrap();
        std::fs::write(dir.join("stub.s"), STUB).unwrap();
        std::fs::write(dir.join("grub.cfg"), MENU).unwrap();
        for part in [INITRAMFS, UKIS, VOLUMES] {
            shell(&dir, part);
        }
        dir
    })
}

/// An x86 kernel's header with a version, and an EFI program's, as far as GRUB and the stub look.
fn kernel() -> Vec<u8> {
    let mut out = vec![0; 0x1000];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 0x40;
    out[0x40..0x44].copy_from_slice(b"PE\0\0");
    out[0x1f1] = 4;
    out[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    out[0x202..0x206].copy_from_slice(b"HdrS");
    out[0x20e..0x210].copy_from_slice(&0x400u16.to_le_bytes());
    out[0x600..0x613].copy_from_slice(b"6.18.45-talos (x) y");
    out
}

const STUB: &str = "
.section .text
.globl _start
_start: ret
.section .sdmagic,\"a\"
.ascii \"#### LoaderInfo: systemd-stub VERSION ####\"
";

const MENU: &str = "set default=0
set timeout=3

insmod all_video

terminal_input console
terminal_output console

menuentry \"Talos ISO\" {
\tset gfxmode=auto
\tset gfxpayload=text
\tlinux /boot/vmlinuz talos.platform=metal console=tty0 url=\\$\\{uuid\\}
\tinitrd /boot/initramfs.xz
}

menuentry \"Reset Talos installation\" {
\tset gfxmode=auto
\tset gfxpayload=text
\tlinux /boot/vmlinuz talos.platform=metal console=tty0 url=\\$\\{uuid\\} talos.experimental.wipe=system
\tinitrd /boot/initramfs.xz
}
";

/// `initramfs.xz`: the base and a segment with an extension, in zstd.
const INITRAMFS: &str = r#"
newc() { find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible -R 0:0; }
squash() { mksquashfs "$@" -all-root -noappend -no-progress -quiet >/dev/null; }
mkdir -p rootfs/etc base ext/usr/local/bin seg
echo talos > rootfs/etc/os; squash rootfs base/rootfs.sqsh -comp zstd
printf '#!/bin/sh\n' > base/init; chmod 755 base/init
(cd base; newc) | zstd -q -18 > base.zst
echo tool > ext/usr/local/bin/tool; squash ext seg/0.sqsh -comp zstd
cat > seg/extensions.yaml <<Y
layers:
  - image: 0.sqsh
    metadata: {name: tools, version: "1.20", author: x, compatibility: {talos: {version: '>= 1.0.0'}}}
Y
(cat base.zst; cd seg; newc | zstd -q -18) > initramfs.xz
"#;

/// `loader.efi`, `talos.efi`, `talos-254.efi` with an older stub, `talos-11.efi` of an older Talos.
const UKIS: &str = r#"
program() { sed "s/VERSION/$1/" stub.s | as -o stub.o -; ld -m i386pep --subsystem 10 -e _start -o "$2" stub.o; }
program 257.13 stub.efi; program 254 stub254.efi; program 257.13 loader.efi
osrel() { printf 'ID=talos\nVERSION_ID=%s\nPRETTY_NAME="Talos (%s)"\n' $1 $1; }
osrel v1.13.9 > osrel; osrel v1.11.6 > osrel11
printf 6.18.45-talos > uname; printf 'ID=main' > main; printf 'ID=reset\nTITLE=Reset system disk' > reset
printf 'talos.platform=metal console=tty0 url=${uuid}' > cmdline
printf 'talos.platform=metal console=tty0 url=${uuid} talos.experimental.wipe=system' > cmdline2
at() { printf -- '--add-section %s=%s --change-section-vma %s=0x%x' "$1" "$2" "$1" "$3"; }
# objcopy takes a name once: the second ones are renamed in place.
uki() { objcopy $(at .osrel $2 0x140010000) $(at .cmdline cmdline 0x140011000) $(at .uname uname 0x140012000) \
  $(at .linux kernel 0x140013000) $(at .initrd initramfs.xz 0x140020000) $(at .profile main 0x144000000) \
  $(at .profil2 reset 0x144001000) $(at .cmdlin2 cmdline2 0x144002000) "$1" "$3"
  sed -i 's/\.profil2/.profile/; s/\.cmdlin2/.cmdline/' "$3"; }
uki stub.efi osrel talos.efi; uki stub254.efi osrel talos-254.efi; uki stub.efi osrel11 talos-11.efi
"#;

/// The media.
const VOLUMES: &str = r#"
esp() { rm -f "$2"; truncate -s "$4" "$2"; mkfs.vfat -F 32 -n EFI --invariant $3 "$2" >/dev/null
  rm -rf t; mkdir -p t/EFI/boot t/EFI/Linux t/loader
  cp loader.efi t/EFI/boot/BOOTX64.efi; cp "$1" t/EFI/Linux/Talos-v1.13.9.efi
  printf 'timeout 0\n' > t/loader/loader.conf
  mcopy -s -p -Q -m -i "$2" t/EFI t/loader ::; }
esp talos.efi esp.img '' 36M; esp talos.efi esp2.img '-s 2' 72M; esp talos.efi esp4k.img '-s 1 -S 4096' 264M
disk() { truncate -s 40M $2; sgdisk -a 2048 -n 1:2048:+36M -t 1:EF00 -c 1:EFI -n 2:0:+1M -t 2:8300 -c 2:META $2 >/dev/null
  dd if=$1 of=$2 bs=1M seek=1 conv=notrunc,sparse status=none; }
disk esp.img disk.raw
esp talos-254.efi t.img '' 36M; disk t.img stub254.raw; esp talos-11.efi t.img '' 36M; disk t.img talos11.raw
truncate -s 268M disk4k.raw
printf 'g\nn\n1\n\n+264M\nt\n1\nn\n2\n\n+1M\nx\nn\n2\nMETA\nr\nw\n' | fdisk -b 4096 disk4k.raw >/dev/null
dd if=esp4k.img of=disk4k.raw bs=1M seek=1 conv=notrunc,sparse status=none
D="-volume_date all_file_dates =1700000000 -volume_date uuid 2023111422132000 -volid TALOS_V1_13_9"
A="-partition_cyl_align all -partition_offset 16 -iso_mbr_part_type 0x83 -no-emul-boot"
rm -rf t; mkdir -p t/boot/grub t/EFI/Linux; cp loader.efi t/; cp talos.efi t/EFI/Linux/Talos-v1.13.9.efi
xorrisofs -quiet -e --interval:appended_partition_2:all:: -append_partition 2 0xef esp.img $A -iso-level 3 -o uefi.iso t -- $D 2>/dev/null
cp kernel t/boot/vmlinuz; cp initramfs.xz t/boot/; cp grub.cfg t/boot/grub/
grub-mkrescue --compress=xz --output=hybrid.iso --directory=/usr/lib/grub/i386-pc t -iso-level 3 \
  -eltorito-alt-boot -e --interval:appended_partition_2:all:: -append_partition 2 0xef esp2.img $A -appended_part_as_gpt -- $D 2>/dev/null
rm -rf t
"#;
