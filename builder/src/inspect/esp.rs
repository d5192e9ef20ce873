//! An EFI system partition, followed as firmware, systemd-boot and systemd-stub do.
//!
//! In: a FAT volume. Out: the boots that its menu offers.
//!
//! Source: UEFI Specification 2.10, 3.5 ("Boot Mechanisms": removable media); systemd-boot(7);
//! systemd-stub(7); UAPI.1 "Boot Loader Specification".
//!
//! Not here: where the volume lies (`media`), type #1 entries, Secure Boot.

use super::damage::Damage;
use super::fat::{Fat, File};
use super::init::{self, System};
use super::initrd;
use super::memo::Memo;
use super::pe::{self, Pe};
use super::uki::{self, Addon, Profile, Uki};
use super::{Boot, Firmware};
use crate::blob::Blob;
use crate::talos::Arch;

/// The folder that systemd-boot looks for UKIs in.
const UKIS: &str = "EFI/Linux";
/// The folder whose addons every stub takes.
const GLOBAL_ADDONS: &str = "loader/addons";
/// The section that GRUB's image for UEFI has its modules in (`util/mkimage.c`).
const GRUB_MODULES: &str = "mods";
/// The first systemd-stub that takes an addon's command line, and the first that takes its initrd.
const STUB_CMDLINE: u32 = 254;
const STUB_INITRD: u32 = 257;
/// The most UKIs, and the most addons of one folder, of a volume.
const FILES_LIMIT: usize = 16;

/// What a volume offers.
pub(super) struct Esp {
    /// The entries of the boot menu.
    pub(super) boots: Vec<Boot>,
    /// What is odd but stops nothing.
    pub(super) notes: Vec<String>,
}

/// A volume under reading.
struct Reader<'a> {
    fat: &'a Fat,
    /// Where the volume starts on the medium.
    start: u64,
    memo: &'a mut Memo,
    notes: Vec<String>,
}

/// Follows the boot from a volume that starts at `start` of the medium.
///
/// # Errors
///
/// [`Damage`] where there is no boot loader or no UKI, or one of them would not start.
pub(super) fn read(fat: &Fat, start: u64, memo: &mut Memo) -> Result<Esp, Damage> {
    let mut reader = Reader { fat, start, memo, notes: Vec::new() };
    let loaders = reader.loaders()?;
    let ukis = reader.ukis()?;
    let mut boots = Vec::new();
    for file in &ukis {
        let found = reader.boots(file, &loaders);
        boots.extend(found.map_err(|e| e.within(format!("`{UKIS}/{}`", file.name)))?);
    }
    Ok(Esp { boots, notes: reader.notes })
}

/// Whether GRUB starts from a volume, by the menu of the medium around it: the boot loader is an image
/// with GRUB's modules, and there are no UKIs.
///
/// # Errors
///
/// [`Damage`] where the volume or a boot loader cannot be read.
pub(super) fn is_grub(fat: &Fat) -> Result<bool, Damage> {
    if fat.find(UKIS)?.is_some() {
        return Ok(false);
    }
    for path in Arch::ALL.map(loader_name) {
        let Some(file) = fat.find(path)?.filter(|f| !f.is_dir()) else { continue };
        let program = fat.content(&file).and_then(|blob| Pe::read(&blob));
        if program.map_err(|e| e.within(format!("`{path}`")))?.section(GRUB_MODULES).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The name of the boot loader that firmware starts from a medium without an entry of its own.
fn loader_name(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "EFI/BOOT/BOOTX64.EFI",
        Arch::Arm64 => "EFI/BOOT/BOOTAA64.EFI",
    }
}

impl Reader<'_> {
    /// The architectures that there is a boot loader for.
    fn loaders(&self) -> Result<Vec<Arch>, Damage> {
        let mut found = Vec::new();
        for arch in Arch::ALL {
            let path = loader_name(arch);
            let Some(file) = self.fat.find(path)?.filter(|f| !f.is_dir()) else { continue };
            let program = self.fat.content(&file).and_then(|blob| Pe::read(&blob));
            let program = program.map_err(|e| e.within(format!("`{path}`")))?;
            if program.machine != pe::machine(arch) {
                let wrong = format!("its machine is {:#x}", program.machine);
                return Err(Damage::new("pe header", 0, wrong)
                    .should(format!("{:#x}", pe::machine(arch)))
                    .within(format!("`{path}`")));
            }
            found.push(arch);
        }
        if found.is_empty() {
            return Err(Damage::new("efi partition", self.start, "it has no boot loader")
                .should(Arch::ALL.map(loader_name).join(" or ")));
        }
        Ok(found)
    }

    /// The UKIs, by name.
    fn ukis(&self) -> Result<Vec<File>, Damage> {
        let is_uki = |name: &str| ends_with(name, ".efi") && !starts_with(name, "auto-");
        let files = self.files(UKIS, is_uki)?;
        if files.is_empty() {
            return Err(Damage::new("efi partition", self.start, "systemd-boot finds no UKI")
                .should(format!("one in `{UKIS}`")));
        }
        Ok(files)
    }

    /// The files of a folder by name, or none where there is no folder.
    fn files(&self, folder: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<File>, Damage> {
        let Some(dir) = self.fat.find(folder)?.filter(File::is_dir) else {
            return Ok(Vec::new());
        };
        let mut files = self.fat.list(Some(&dir))?;
        files.retain(|f| !f.is_dir() && f.name.is_ascii() && wanted(&f.name));
        files.sort_by(|a, b| a.name.cmp(&b.name));
        if files.len() > FILES_LIMIT {
            let wrong = format!("`{folder}` has {} programs", files.len());
            return Err(Damage::new("efi partition", self.start, wrong)
                .should(format!("at most {FILES_LIMIT}")));
        }
        Ok(files)
    }

    /// The boots of a UKI: one a profile.
    fn boots(&mut self, file: &File, loaders: &[Arch]) -> Result<Vec<Boot>, Damage> {
        let image = Uki::read(&self.fat.content(file)?)?;
        if !loaders.contains(&image.arch) {
            let wrong = format!("it is for {}, and there is no boot loader for that", image.arch);
            return Err(Damage::new("pe header", 0, wrong));
        }
        let addons = self.addons(file, &image)?;
        let path = format!("{UKIS}/{}", file.name);
        let names = addons.iter().map(|(name, _)| name.clone()).collect();
        let firmware = Firmware::Uefi { esp: self.start, uki: path, addons: names };
        let addons: Vec<_> = addons.into_iter().map(|(_, addon)| addon).collect();
        let (boots, notes) = boots(&image, &addons, &firmware, self.memo)?;
        self.notes.extend(notes);
        Ok(boots)
    }

    /// The addons that the stub of a UKI takes, with their paths: first those for all UKIs.
    fn addons(&mut self, file: &File, image: &Uki) -> Result<Vec<(String, Addon)>, Damage> {
        let own = format!("{UKIS}/{}.extra.d", file.name);
        let mut taken = Vec::new();
        for folder in [GLOBAL_ADDONS, &own] {
            for addon in self.files(folder, |name| ends_with(name, ".addon.efi"))? {
                let path = format!("{folder}/{}", addon.name);
                let blob = self.fat.content(&addon)?;
                let read = Addon::read(&blob, image).map_err(|e| e.within(format!("`{path}`")))?;
                match read.and_then(|addon| heed(addon, image.stub)) {
                    Ok(addon) => taken.push((path, addon)),
                    Err(why) => self.notes.push(format!("addon `{path}` is passed over: {why}")),
                }
            }
        }
        Ok(taken)
    }
}

/// What a stub takes of an addon, or why it takes nothing.
fn heed(addon: Addon, stub: Option<u32>) -> Result<Addon, String> {
    match stub {
        Some(STUB_INITRD..) => Ok(addon),
        Some(version @ STUB_CMDLINE..) if addon.initrd.is_some() => {
            Err(format!("systemd-stub {version} takes no initrd of it, only 257 and later do"))
        }
        Some(STUB_CMDLINE..) => Ok(Addon { ucode: None, ..addon }),
        Some(version) => Err(format!("systemd-stub {version} takes none, only 254 and later do")),
        None => Err("the UKI's stub is not systemd's, or says no version".into()),
    }
}

/// The boots of a UKI with its addons, and notes.
///
/// # Errors
///
/// [`Damage`] where an initrd cannot be unpacked, or Talos would not start with it.
pub(super) fn boots(
    image: &Uki,
    addons: &[Addon],
    firmware: &Firmware,
    memo: &mut Memo,
) -> Result<(Vec<Boot>, Vec<String>), Damage> {
    let mut known: Vec<(Vec<Blob>, System)> = Vec::new();
    let mut boots = Vec::new();
    for profile in image.profiles()? {
        let Profile { id, title, mut cmdline, initrds } = profile;
        let same = |(parts, _): &&(Vec<Blob>, System)| are_same(parts, &initrds);
        let system = match known.iter().find(same) {
            Some((_, system)) => system.clone(),
            None => {
                let system = system(&initrds, addons, memo)?;
                known.push((initrds, system.clone()));
                system
            }
        };
        for extra in addons.iter().filter_map(|a| a.cmdline.as_deref()).filter(|c| !c.is_empty()) {
            cmdline = format!("{cmdline} {extra}").trim_start().to_owned();
        }
        let title = match title {
            Some(own) => format!("{} ({own})", image.title),
            None => image.title.clone(),
        };
        boots.push(Boot {
            firmware: firmware.clone(),
            title,
            profile: id,
            cmdline,
            kernel: image.uname.clone(),
            stub: image.stub,
            layers: system.layers,
            found: system.found,
        });
    }
    Ok((boots, known.into_iter().flat_map(|(_, system)| system.notes).collect()))
}

/// What Talos makes of a UKI's initrds and the addons': microcode first, addons last.
fn system(initrds: &[Blob], addons: &[Addon], memo: &mut Memo) -> Result<System, Damage> {
    let mut parts: Vec<Blob> = addons.iter().rev().filter_map(|a| a.ucode.clone()).collect();
    parts.extend_from_slice(initrds);
    parts.extend(addons.iter().filter_map(|a| a.initrd.clone()));
    let tree = initrd::unpack(&uki::join(&parts), memo).map_err(|e| e.within("initrd"))?;
    init::start(&tree, memo)
}

/// Whether the blobs are the same runs, so that what they hold need not be read again.
fn are_same(a: &[Blob], b: &[Blob]) -> bool {
    let same = |(a, b): (&Blob, &Blob)| {
        let (a, b) = (a.extents(), b.extents());
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_same_run(b))
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

fn ends_with(name: &str, end: &str) -> bool {
    let at = name.len().checked_sub(end.len());
    at.and_then(|at| name.get(at..)).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

fn starts_with(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_takes_what_its_version_knows() {
        let addon = || Addon {
            cmdline: Some("a".into()),
            ucode: None,
            initrd: Some(Blob::from_bytes("i", [1])),
        };
        assert!(heed(addon(), Some(257)).unwrap().initrd.is_some());
        assert!(heed(addon(), Some(256)).is_err());
        assert!(heed(Addon { initrd: None, ..addon() }, Some(254)).is_ok());
        assert!(heed(Addon { initrd: None, ..addon() }, Some(252)).is_err());
        assert!(heed(addon(), None).is_err());
    }

    #[test]
    fn names_end_without_regard_to_case() {
        assert!(ends_with("Talos-v1.13.9.EFI", ".efi"));
        assert!(!ends_with("efi", ".efi"));
        assert!(starts_with("AUTO-x", "auto-"));
    }
}
