//! Unified kernel images and addons, as systemd-stub takes them apart.
//!
//! In: the sections of an EFI program. Out: kernel, command line and initrds of each profile; what
//! an addon adds.
//!
//! Source: UAPI.5 "Unified Kernel Image (UKI)", <https://uapi-group.org/specifications/specs/unified_kernel_image/>;
//! systemd-stub(7).
//!
//! Not here: which files of a volume are UKIs and addons (`esp`), and what an initrd holds.

use super::damage::Damage;
use super::field;
use super::pe::{self, Pe, Section};
use crate::blob::{Blob, Builder};
use crate::talos::Arch;

/// The longest text section that is read.
const TEXT_LIMIT: u64 = 64 << 10;
/// The most profiles of a UKI.
const PROFILES_LIMIT: usize = 64;

/// A unified kernel image.
#[derive(Clone, Debug)]
pub struct Uki {
    /// What it is for.
    pub arch: Arch,
    /// The major version of its systemd-stub, where it says one.
    pub stub: Option<u32>,
    /// The name for the boot menu: `Talos (v1.13.9)`.
    pub title: String,
    /// The kernel's release, where it says one.
    pub uname: Option<String>,
    /// The release of the system that it boots, where it says one: `v1.13.9`.
    pub version: Option<String>,
    /// Whether it carries a signature.
    pub is_signed: bool,
    base: Vec<Section>,
    groups: Vec<Vec<Section>>,
}

/// One way to boot a UKI.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its id, where the UKI has profiles.
    pub id: Option<String>,
    /// Its own title.
    pub title: Option<String>,
    /// The kernel's command line.
    pub cmdline: String,
    /// Microcode, where there is some, and the initrd; not yet joined with addons'.
    pub initrds: Vec<Blob>,
}

/// An addon.
#[derive(Clone, Debug)]
pub struct Addon {
    /// What it appends to the command line.
    pub cmdline: Option<String>,
    /// Microcode that goes before all initrds.
    pub ucode: Option<Blob>,
    /// What it appends to the initrds.
    pub initrd: Option<Blob>,
}

impl Uki {
    /// Takes a UKI apart.
    ///
    /// # Errors
    ///
    /// [`Damage`] where it is no PE image of an architecture that Talos runs on, has no kernel that
    /// firmware can start, or a text section is longer than 64 KiB.
    pub fn read(file: &Blob) -> Result<Self, Damage> {
        let pe = Pe::read(file)?;
        let arch = pe.arch().ok_or_else(|| {
            Damage::new("pe header", 0, format!("its machine is {:#x}", pe.machine))
                .should("0x8664 or 0xaa64")
        })?;
        let stub = stub_version(&pe)?;
        let is_signed = pe.is_signed;
        let mut base = Vec::new();
        let mut groups: Vec<Vec<Section>> = Vec::new();
        for section in pe.sections {
            match groups.last_mut() {
                _ if section.name == ".profile" => groups.push(vec![section]),
                Some(group) => group.push(section),
                None => base.push(section),
            }
        }
        if groups.len() > PROFILES_LIMIT {
            return Err(Damage::new("uki", 0, format!("it has {} profiles", groups.len()))
                .should(format!("at most {PROFILES_LIMIT}")));
        }
        let (title, uname, version) = (String::new(), None, None);
        let mut uki = Self { arch, stub, title, uname, version, is_signed, base, groups };
        uki.check_kernel()?;
        uki.uname = uki.text(&[], ".uname")?;
        let release = uki.text(&[], ".osrel")?.ok_or_else(|| {
            Damage::new("uki", 0, "it has no section `.osrel`, so systemd-boot passes it over")
        })?;
        uki.title = value(&release, "PRETTY_NAME").unwrap_or_default();
        uki.version = value(&release, "VERSION_ID");
        Ok(uki)
    }

    /// The ways to boot it: its profiles, or the whole where it has none.
    ///
    /// # Errors
    ///
    /// [`Damage`] where a text section is longer than 64 KiB.
    pub fn profiles(&self) -> Result<Vec<Profile>, Damage> {
        if self.groups.is_empty() {
            return Ok(vec![self.profile(&[])?]);
        }
        self.groups.iter().map(|group| self.profile(group)).collect()
    }

    fn profile(&self, group: &[Section]) -> Result<Profile, Damage> {
        let text = self.text(group, ".profile")?.unwrap_or_default();
        let value = |key: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            let unquoted = |v: &str| v.trim_matches(['"', '\'']).to_owned();
            lines.find(|(k, _)| *k == key).map(|(_, v)| unquoted(v))
        };
        let section = |name: &str| self.section(group, name).map(|s| s.data.clone());
        Ok(Profile {
            id: value("ID"),
            title: value("TITLE"),
            cmdline: self.text(group, ".cmdline")?.unwrap_or_default(),
            initrds: [".ucode", ".initrd"].into_iter().filter_map(section).collect(),
        })
    }

    /// A profile's own section, or the base's.
    fn section<'a>(&'a self, group: &'a [Section], name: &str) -> Option<&'a Section> {
        let named = |s: &&Section| s.name == name && !s.data.is_empty();
        group.iter().find(named).or_else(|| self.base.iter().find(named))
    }

    fn text(&self, group: &[Section], name: &str) -> Result<Option<String>, Damage> {
        self.section(group, name).map(text).transpose()
    }

    fn check_kernel(&self) -> Result<(), Damage> {
        let kernel = self
            .section(&[], ".linux")
            .ok_or_else(|| Damage::new("uki", 0, "it has no kernel: no section `.linux`"))?;
        if pe::is_pe(&kernel.data) {
            return Ok(());
        }
        Err(Damage::new("pe section", kernel.offset.into(), "`.linux` is no EFI program"))
    }
}

impl Addon {
    /// Reads an addon for a UKI, or nothing where the stub passes it over: it is for another
    /// machine or kernel release, or holds a kernel itself. The reason is the error's counterpart.
    ///
    /// # Errors
    ///
    /// [`Damage`] where it is no PE image, or a text section is longer than 64 KiB.
    pub fn read(file: &Blob, uki: &Uki) -> Result<Result<Self, String>, Damage> {
        let pe = Pe::read(file)?;
        if pe.machine != pe::machine(uki.arch) {
            return Ok(Err(format!("it is for machine {:#x}", pe.machine)));
        }
        if pe.section(".linux").is_some() {
            return Ok(Err("it holds a kernel".into()));
        }
        let text = |name: &str| pe.section(name).map(text).transpose();
        let data = |name: &str| pe.section(name).map(|s| s.data.clone()).filter(|d| !d.is_empty());
        let uname = text(".uname")?;
        if let (Some(own), Some(theirs)) = (&uname, &uki.uname)
            && !theirs.starts_with(own.as_str())
        {
            // The stub compares as many bytes as the addon has.
            return Ok(Err(format!("it is for the kernel `{own}`")));
        }
        let (cmdline, ucode, initrd) = (text(".cmdline")?, data(".ucode"), data(".initrd"));
        Ok(Ok(Self { cmdline, ucode, initrd }))
    }
}

/// Initrds one after another, each at a multiple of four bytes, as the stub and GRUB hand them to
/// the kernel.
pub fn join(initrds: &[Blob]) -> Blob {
    let join = |b: Builder, initrd: &Blob| b.align(4).blob(initrd);
    initrds.iter().fold(Builder::default(), join).finish()
}

fn text(section: &Section) -> Result<String, Damage> {
    let len = section.data.len();
    field::bytes(&section.data, "pe section", 0..len, TEXT_LIMIT)
        .map(|bytes| field::text(&bytes))
        .map_err(|e| e.within(format!("`{}`", section.name)))
}

/// The `257` of `#### LoaderInfo: systemd-stub 257.13 ####`.
fn stub_version(pe: &Pe) -> Result<Option<u32>, Damage> {
    let magic = pe.section(".sdmagic").map(text).transpose()?.unwrap_or_default();
    let version = magic.split_once("systemd-stub ").map_or("", |(_, rest)| rest);
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    Ok(version[..digits].parse().ok())
}

/// A value of os-release(5).
fn value(release: &str, key: &str) -> Option<String> {
    let mut lines = release.lines().filter_map(|line| line.split_once('='));
    lines.find(|(k, _)| *k == key).map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initrds_are_joined_at_multiples_of_four() {
        let joined = join(&[Blob::from_bytes("a", [1; 5]), Blob::from_bytes("b", [2; 2])]);
        assert_eq!(joined.to_vec().unwrap(), [1, 1, 1, 1, 1, 0, 0, 0, 2, 2]);
    }

    #[test]
    fn the_menu_shows_the_pretty_name() {
        let release = "NAME=\"Talos\"\nPRETTY_NAME=\"Talos (v1.13.9)\"\n";
        assert_eq!(value(release, "PRETTY_NAME").as_deref(), Some("Talos (v1.13.9)"));
        assert_eq!(value(release, "VERSION_ID"), None);
    }
}
