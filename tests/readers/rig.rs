//! Media made by foreign tools only: the readers' samples.
//!
//! In: nothing. Out: a folder with an initramfs, UKIs, an addon, volumes, disks and ISOs of a
//! stand-in Talos, made once a run.
//!
//! Not here: what the readers must say of them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lab::tools;
use talforge::blob::Blob;

/// The programs that make the samples.
pub(crate) const PROGRAMS: &[&str] = &[
    "as",
    "cpio",
    "fdisk",
    "fsck.fat",
    "gzip",
    "ld",
    "mcopy",
    "mkfs.vfat",
    "mksquashfs",
    "objcopy",
    "setfattr",
    "sgdisk",
    "xorriso",
    "xorrisofs",
    "grub-mkrescue",
    "xz",
    "zstd",
];

/// The machine config in the samples.
pub(crate) const CONFIG: &str = "version: v1alpha1\nmachine: {type: controlplane}\n";
/// The SELinux label of its file, where the samples' maker may give one: it takes root.
const LABEL: &str = "system_u:object_r:system_state_t:s0";

/// The label that files have which a script gave to `label`.
pub(crate) fn label() -> Option<&'static str> {
    static ROOT: OnceLock<bool> = OnceLock::new();
    let is_root = || tools::stdout("id", &["-u"], Path::new("/")).unwrap().trim() == "0";
    ROOT.get_or_init(is_root).then_some(LABEL)
}

/// Runs a shell script in a folder, and gives what it prints.
pub(crate) fn shell(dir: &Path, script: &str) -> String {
    let prelude = format!(
        "set -e
        PATH=$PATH:/usr/sbin:/sbin
        export SOURCE_DATE_EPOCH=1700000000
        label() {{ [ $(id -u) != 0 ] || setfattr -n security.selinux -v {LABEL} \"$1\"; }}"
    );
    tools::stdout("sh", &["-c", &format!("{prelude}\n{script}")], dir).unwrap()
}

/// A file as a blob.
pub(crate) fn blob(path: &Path) -> Blob {
    Blob::from_file("sample", std::fs::File::open(path).unwrap()).unwrap()
}

/// A fresh folder.
pub(crate) fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).unwrap();
    }
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The folder with the samples.
pub(crate) fn rig() -> &'static Path {
    static RIG: OnceLock<PathBuf> = OnceLock::new();
    RIG.get_or_init(|| {
        let dir = folder("rig");
        std::fs::write(dir.join("config.yaml"), CONFIG).unwrap();
        std::fs::write(dir.join("kernel"), kernel()).unwrap();
        std::fs::write(dir.join("stub.s"), STUB).unwrap();
        std::fs::write(dir.join("grub.cfg"), MENU).unwrap();
        for part in [INITRAMFS, PROGRAMS_SCRIPT, VOLUMES] {
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

const MENU: &str = "set timeout=0
menuentry \"Talos ISO\" {
\tset gfxpayload=text
\tlinux /boot/vmlinuz talos.platform=metal a=\\$\\{b\\}
\tinitrd /boot/initramfs.xz /boot/config.cpio
}
menuentry \"Reset Talos installation\" {
\tlinux /boot/vmlinuz talos.platform=metal talos.experimental.wipe=system
\tinitrd /boot/initramfs.xz
}
";

/// `initramfs.xz`: the base in zstd. `config.cpio`: the segment with the machine config.
const INITRAMFS: &str = r#"
newc() { find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible -R 0:0; }
squash() { mksquashfs "$@" -all-root -noappend -no-progress -quiet >/dev/null; }
mkdir -p rootfs/etc base ext/usr/local/etc/talos seg
echo talos > rootfs/etc/os; squash rootfs base/rootfs.sqsh -comp zstd
printf '#!/bin/sh\n' > base/init; chmod 755 base/init
(cd base; newc) | zstd -q -18 > initramfs.xz
install -m 400 config.yaml ext/usr/local/etc/talos/config.yaml
label ext/usr/local/etc/talos/config.yaml
squash ext seg/0.sqsh -comp zstd
sum=$(sha256sum config.yaml | cut -c1-64)
cat > seg/extensions.yaml <<Y
layers:
  - image: 0.sqsh
    metadata: {name: embedded-config, version: $sum, author: x, compatibility: {talos: {version: '>= 1.0.0'}}}
Y
(cd seg; newc) > config.cpio
cat initramfs.xz > padded.xz; truncate -s %4 padded.xz
cat padded.xz config.cpio > both.xz
(cat initramfs.xz; zstd -q < config.cpio) > zstd.xz
(cat initramfs.xz; xz -q -C crc32 < config.cpio) > xz.xz
"#;

/// `loader.efi`, `talos.efi` (a UKI without a config), `addon.efi`, `whole.efi` (a UKI with one).
const PROGRAMS_SCRIPT: &str = r#"
program() { sed "s/VERSION/$1/" stub.s | as -o stub.o -; ld -m i386pep --subsystem 10 -e _start -o "$2" stub.o; }
program 257.13 stub.efi; program 254 stub254.efi; program 257.13 loader.efi; program 0 plain.efi
printf 'ID=talos\nPRETTY_NAME="Talos (v1.13.9)"\n' > osrel
printf 6.18.45-talos > uname; printf 'ID=main' > main; printf 'ID=reset\nTITLE=Reset system disk' > reset
printf 'talos.platform=metal console=tty0' > cmdline; printf 'talos.platform=metal wipe' > cmdline2
printf extra=1 > extra
at() { printf -- '--add-section %s=%s --change-section-vma %s=0x%x' "$1" "$2" "$1" "$3"; }
# objcopy takes a name once: the second ones are renamed in place.
uki() { objcopy $(at .osrel osrel 0x140010000) $(at .cmdline cmdline 0x140011000) $(at .uname uname 0x140012000) \
  $(at .linux kernel 0x140013000) $(at .initrd "$2" 0x140020000) $(at .profile main 0x144000000) \
  $(at .profil2 reset 0x144001000) $(at .cmdlin2 cmdline2 0x144002000) "$1" "$3"
  sed -i 's/\.profil2/.profile/; s/\.cmdlin2/.cmdline/' "$3"; }
uki stub.efi initramfs.xz talos.efi; uki stub254.efi initramfs.xz talos254.efi; uki stub.efi both.xz whole.efi
objcopy $(at .cmdline extra 0x140010000) $(at .uname uname 0x140011000) $(at .initrd config.cpio 0x140020000) plain.efi addon.efi
printf 6.12.1-talos > uname2
objcopy $(at .uname uname2 0x140011000) $(at .initrd config.cpio 0x140020000) plain.efi other.addon.efi
"#;

/// `esp.img`, `esp254.img`, `disk.raw`, `disk4k.raw`, `uefi.iso`, `hybrid.iso`.
const VOLUMES: &str = r#"
esp() { rm -f "$2"; truncate -s "$4" "$2"; mkfs.vfat -F 32 -n EFI --invariant $3 "$2" >/dev/null
  rm -rf t; mkdir -p t/EFI/boot "t/EFI/Linux/Talos-v1.13.9.efi.extra.d" t/loader
  cp loader.efi t/EFI/boot/BOOTX64.efi; cp "$1" t/EFI/Linux/Talos-v1.13.9.efi
  cp addon.efi t/EFI/Linux/Talos-v1.13.9.efi.extra.d/talforge.addon.efi
  cp other.addon.efi t/EFI/Linux/Talos-v1.13.9.efi.extra.d/
  printf 'timeout 0\n' > t/loader/loader.conf
  mcopy -s -Q -m -i "$2" t/EFI t/loader ::; }
esp talos.efi esp.img '-s 1' 36M; esp talos254.efi esp254.img '-s 1' 36M; esp talos.efi esp4k.img '-s 1 -S 4096' 264M
truncate -s 40M disk.raw
sgdisk -a 2048 -n 1:2048:+36M -t 1:EF00 -c 1:EFI -n 2:0:+1M -t 2:8300 -c 2:META disk.raw >/dev/null
dd if=esp.img of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
truncate -s 268M disk4k.raw
printf 'g\nn\n1\n\n+264M\nt\n1\nn\n2\n\n+1M\nx\nn\n2\nMETA\nr\nw\n' | fdisk -b 4096 disk4k.raw >/dev/null
dd if=esp4k.img of=disk4k.raw bs=1M seek=1 conv=notrunc,sparse status=none
D="-volume_date all_file_dates =1700000000 -volume_date uuid 2023111422132000 -volid TALOS_V1_13_9"
A="-append_partition 2 0xef esp.img -partition_cyl_align all -partition_offset 16 -iso_mbr_part_type 0x83 -no-emul-boot"
rm -rf t; mkdir -p t/boot/grub; cp loader.efi t/
xorrisofs -quiet -e --interval:appended_partition_2:all:: $A -iso-level 3 -o uefi.iso t -- $D 2>/dev/null
cp kernel t/boot/vmlinuz; cp initramfs.xz config.cpio t/boot/; cp grub.cfg t/boot/grub/
grub-mkrescue --compress=xz --output=hybrid.iso --directory=/usr/lib/grub/i386-pc t -iso-level 3 \
  -eltorito-alt-boot -e --interval:appended_partition_2:all:: $A -appended_part_as_gpt -- $D 2>/dev/null
rm -rf t
"#;
