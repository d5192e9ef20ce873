//! A board's disk, started as boards start it: by U-Boot's EFI loader.
//!
//! In: the stand-in, Debian's U-Boot for QEMU's arm64 machine. Out: what the boot reports.
//!
//! Source: U-Boot `doc/board/emulation/qemu-arm.rst`.
//!
//! Not here: the boards' own U-Boots, which start nothing but their boards.

use std::fs;
use std::path::Path;

use lab::noise::noise;
use lab::report::{Port, Report};
use lab::standin::{self, Options};
use lab::{foreign, parts, tools};
use talforge::digest::Digest;
use talforge::talos::Arch;

use super::{Site, write_site};

/// U-Boot of the package `u-boot-qemu`.
const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// Debian's U-Boot reads the moved table, finds systemd-boot on the first partition and starts it;
/// the stub takes the config beside the UKI, and a device tree that is no EFI firmware's.
#[test]
fn u_boot_starts_a_boards_disk_with_its_config() {
    let programs = [&standin::tools(Arch::Arm64)[..], &foreign::tools(Arch::Arm64)].concat();
    if !tools::have(&programs) || !tools::have(&["timeout", "qemu-system-aarch64"]) {
        return;
    }
    if !Path::new(U_BOOT).is_file() {
        assert!(std::env::var_os("CI").is_none(), "the package `u-boot-qemu` is not installed");
        return;
    }
    let Some(parts) = parts::ready(Arch::Arm64) else { return };
    let made = standin::build(&parts, Options::default()).unwrap();
    let site = Site(tempfile::tempdir().unwrap());
    for entry in fs::read_dir(&made.folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        site.write(&format!("assets/{name}"), &fs::read(entry.path()).unwrap()).unwrap();
    }
    let config = include_str!("../talos-gen/talos-1.13/worker.yaml");
    site.write("w.yaml", config.as_bytes()).unwrap();
    let artifacts = "boards/artifacts/arm64";
    site.write(&format!("{artifacts}/u-boot/rock64/u-boot-rockchip.bin"), &noise(1, 9_000_000))
        .unwrap();
    let dtb = format!("{artifacts}/dtb/rockchip/rk3328-rock64.dtb");
    site.write(&dtb, &noise(2, 40_000)).unwrap();
    // The machine's serial port is another than the board's.
    let node = "  - {name: w, role: worker, profile: metal-disk, embed: addon, config: w.yaml, \
                overlays: [rock64], kernel_args: [console=ttyAMA0]}\n";
    write_site(&site, node).unwrap();
    site.build().well().unwrap();

    let console = site.0.path().join("console.log");
    let drive = format!(
        "if=none,id=medium,format=raw,snapshot=on,file={}",
        site.0.path().join("out/w.raw").display()
    );
    let serial = format!("file:{}", console.display());
    let line = "400 qemu-system-aarch64 -machine virt -cpu cortex-a72 -accel tcg -smp 1 -m 1024 \
                -nodefaults -no-user-config -display none -no-reboot \
                -device virtio-blk-pci,drive=medium";
    let mut args: Vec<&str> = line.split_whitespace().collect();
    args.extend(["-bios", U_BOOT, "-drive", &drive, "-serial", &serial]);
    let out = tools::run("timeout", &args, site.0.path()).unwrap();
    let said = fs::read(&console).unwrap();
    let text = String::from_utf8_lossy(&said);
    let start = said.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let report = Report::read(&said[start..], Port::Shared);
    let found = (report.get("config"), report.get("config.sha256").map(str::to_owned));
    let want = (Some("present"), Some(Digest::of(config.as_bytes()).to_string()));
    assert_eq!(found, want, "{} {:?}\n{text}", out.status, report.problem);
    assert_eq!(report.problem, None, "{text}");
    assert!(text.contains("U-Boot 20"), "{text}");
}
