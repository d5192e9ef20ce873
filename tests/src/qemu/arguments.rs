//! The emulator's command line for a machine.
//!
//! In: a machine, its flash chips, the folder of its logs, its number. Out: arguments.
//!
//! Source: `qemu-system(1)`.
//!
//! Not here: starting the emulator (`guest`).

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use talforge::talos::Arch;
use talforge::units::SectorSize;

use super::{Bus, Files, Firmware, Flash, Machine, Medium, Start, guest};

/// All arguments.
pub(super) fn all(
    machine: &Machine,
    flash: Option<&Flash>,
    folder: &Path,
    number: &str,
) -> Result<Vec<String>> {
    let mut out = board(machine.arch(), machine.memory_mib, number);
    out.extend(ports(machine.arch(), folder));
    if let Some(flash) = flash {
        out.extend(pflash(flash));
    }
    match &machine.start {
        Start::Medium(firmware, medium, image) => {
            ensure!(image.is_file(), "{} is no file", image.display());
            out.extend(drive("medium", *medium, image));
            out.extend(device(*firmware, *medium));
        }
        Start::Files(files) => out.extend(loose(files)),
    }
    if let Some((medium, image)) = &machine.beside {
        ensure!(image.is_file(), "{} is no file", image.display());
        out.extend(drive("beside", *medium, image));
        let device = match medium {
            Medium::ScsiCd => {
                "-device virtio-scsi-pci,id=beside-bus -device scsi-cd,bus=beside-bus.0"
            }
            _ => "-device virtio-blk-pci",
        };
        out.extend(words(&format!("{device},drive=beside")));
    }
    Ok(out)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A path within a list of options, where a comma ends a value unless it is doubled.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The board. It emulates every instruction: a machine that offers hardware virtualisation does not
/// always have it. It starts stopped, so that the monitor hears all of its events.
fn board(arch: Arch, memory_mib: u32, number: &str) -> Vec<String> {
    let board = match arch {
        // `graphics=off` sends what BIOS programs show to the serial port.
        Arch::Amd64 => "-machine q35,graphics=off -cpu max -boot strict=on,reboot-timeout=0",
        // `max` has pointer authentication, which takes the emulator three times as long; a splash
        // time of none spares the firmware's wait for a key.
        Arch::Arm64 => "-machine virt -cpu cortex-a72 -boot menu=on,splash-time=0",
    };
    words(&format!(
        "{board} -accel tcg -smp 1 -m {memory_mib} -nodefaults -no-user-config -display none \
         -no-reboot -S -smbios type=1,serial={number}"
    ))
}

fn ports(arch: Arch, folder: &Path) -> Vec<String> {
    let mut out = words("-chardev stdio,id=qmp,signal=off -mon chardev=qmp,mode=control");
    let mut port = |id: &str, file: &str| {
        let file = quoted(&folder.join(file));
        out.extend(["-chardev".into(), format!("file,id={id},path={file}")]);
        out.extend(["-serial".into(), format!("chardev:{id}")]);
    };
    port("console", guest::CONSOLE);
    if arch == Arch::Amd64 {
        port("report", guest::REPORT);
    }
    out
}

fn pflash(flash: &Flash) -> Vec<String> {
    let chip = |unit: u8, options: &str, file: &PathBuf| {
        let file = quoted(file);
        ["-drive".into(), format!("if=pflash,format=raw,unit={unit}{options},file={file}")]
    };
    let [code, vars] = [chip(0, ",readonly=on", &flash.code), chip(1, "", &flash.vars)];
    code.into_iter().chain(vars).collect()
}

fn drive(id: &str, medium: Medium, image: &Path) -> Vec<String> {
    let options = match medium {
        Medium::Cd | Medium::ScsiCd => "readonly=on,media=cdrom",
        // What the guest writes goes into a file of the emulator's own, and away.
        Medium::Disk(..) | Medium::Usb => "snapshot=on",
    };
    let (file, format) = (quoted(image), format_of(image));
    vec!["-drive".into(), format!("if=none,id={id},format={format},{options},file={file}")]
}

/// QEMU's name of an image's format, which is not left to its guess: a guest may write what looks
/// like another.
fn format_of(image: &Path) -> &str {
    match image.extension().and_then(|end| end.to_str()) {
        Some(format @ ("qcow2" | "vhdx" | "vmdk")) => format,
        Some("vhd") => "vpc",
        _ => "raw",
    }
}

fn device(firmware: Firmware, medium: Medium) -> Vec<String> {
    let controller = match (medium, firmware.arch()) {
        (Medium::Usb, _) => "-device qemu-xhci",
        // arm64's board has no SATA of its own.
        (Medium::Cd, Arch::Arm64) | (Medium::ScsiCd, _) => "-device virtio-scsi-pci",
        (Medium::Disk(Bus::Ahci, _), Arch::Arm64) => "-device ahci,id=ide",
        _ => "",
    };
    let device = match (medium, firmware.arch()) {
        (Medium::Disk(Bus::Virtio, _), _) => "virtio-blk-pci",
        (Medium::Disk(Bus::Nvme, _), _) => "nvme,serial=medium",
        (Medium::Disk(Bus::Ahci, _), Arch::Amd64) => "ide-hd",
        (Medium::Disk(Bus::Ahci, _), Arch::Arm64) => "ide-hd,bus=ide.0",
        (Medium::Usb, _) => "usb-storage",
        (Medium::Cd, Arch::Amd64) => "ide-cd",
        (Medium::Cd, Arch::Arm64) | (Medium::ScsiCd, _) => "scsi-cd",
    };
    let sector = match medium {
        Medium::Disk(_, SectorSize::B4096) => ",logical_block_size=4096,physical_block_size=4096",
        _ => "",
    };
    words(&format!("{controller} -device {device},drive=medium,bootindex=0{sector}"))
}

fn loose(files: &Files) -> Vec<String> {
    let path = |path: &Path| path.display().to_string();
    let [kernel, initrd] = [path(&files.kernel), path(&files.initramfs)];
    let pairs = [("-kernel", kernel), ("-initrd", initrd), ("-append", files.cmdline.clone())];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(firmware: Firmware, medium: Medium) -> String {
        let image = tempfile::Builder::new().prefix("a,b").tempfile().unwrap();
        let start = Start::Medium(firmware, medium, image.path().to_owned());
        let machine = Machine::new("test", start);
        let flash = Flash { code: "/code".into(), vars: "/vars".into() };
        let flash = (firmware != Firmware::SeaBios).then_some(&flash);
        let all = all(&machine, flash, Path::new("/logs"), "7-0").unwrap().join(" ");
        all.replace(&quoted(image.path()), "IMAGE").replace(" -", "\n-")
    }

    #[test]
    fn a_disk_of_large_sectors_is_seen_so_under_uefi() {
        let disk = Medium::Disk(Bus::Nvme, SectorSize::B4096);
        insta::assert_snapshot!(line(Firmware::Ovmf, disk), @r"
        -machine q35,graphics=off
        -cpu max
        -boot strict=on,reboot-timeout=0
        -accel tcg
        -smp 1
        -m 1024
        -nodefaults
        -no-user-config
        -display none
        -no-reboot
        -S
        -smbios type=1,serial=7-0
        -chardev stdio,id=qmp,signal=off
        -mon chardev=qmp,mode=control
        -chardev file,id=console,path=/logs/console.log
        -serial chardev:console
        -chardev file,id=report,path=/logs/report.txt
        -serial chardev:report
        -drive if=pflash,format=raw,unit=0,readonly=on,file=/code
        -drive if=pflash,format=raw,unit=1,file=/vars
        -drive if=none,id=medium,format=raw,snapshot=on,file=IMAGE
        -device nvme,serial=medium,drive=medium,bootindex=0,logical_block_size=4096,physical_block_size=4096
        ");
    }

    #[test]
    fn a_cd_is_seen_so_under_bios() {
        insta::assert_snapshot!(line(Firmware::SeaBios, Medium::Cd), @r"
        -machine q35,graphics=off
        -cpu max
        -boot strict=on,reboot-timeout=0
        -accel tcg
        -smp 1
        -m 1024
        -nodefaults
        -no-user-config
        -display none
        -no-reboot
        -S
        -smbios type=1,serial=7-0
        -chardev stdio,id=qmp,signal=off
        -mon chardev=qmp,mode=control
        -chardev file,id=console,path=/logs/console.log
        -serial chardev:console
        -chardev file,id=report,path=/logs/report.txt
        -serial chardev:report
        -drive if=none,id=medium,format=raw,readonly=on,media=cdrom,file=IMAGE
        -device ide-cd,drive=medium,bootindex=0
        ");
    }

    #[test]
    fn a_stick_is_seen_so_on_arm64() {
        insta::assert_snapshot!(line(Firmware::Aavmf, Medium::Usb), @r"
        -machine virt
        -cpu cortex-a72
        -boot menu=on,splash-time=0
        -accel tcg
        -smp 1
        -m 1024
        -nodefaults
        -no-user-config
        -display none
        -no-reboot
        -S
        -smbios type=1,serial=7-0
        -chardev stdio,id=qmp,signal=off
        -mon chardev=qmp,mode=control
        -chardev file,id=console,path=/logs/console.log
        -serial chardev:console
        -drive if=pflash,format=raw,unit=0,readonly=on,file=/code
        -drive if=pflash,format=raw,unit=1,file=/vars
        -drive if=none,id=medium,format=raw,snapshot=on,file=IMAGE
        -device qemu-xhci
        -device usb-storage,drive=medium,bootindex=0
        ");
    }
}
