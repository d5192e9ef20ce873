//! What foreign programs find: partitions, files of a FAT volume, sections of an EFI program, files
//! of an archive.
//!
//! In: paths of media and files. Out: what the programs say, read.
//!
//! Source: the manual pages sfdisk(8), fdisk(8), mtools(1), objdump(1), cpio(1), unsquashfs(1).
//!
//! Not here: what should be found. Nothing of our own readers is used.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab::tools;
use talforge::talos::Arch;

/// GUIDs and MBR types of EFI system partitions.
const EFI_SYSTEM: [&str; 2] = ["C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "ef"];

/// The programs that are asked here.
pub(crate) const TOOLS: [&str; 8] =
    ["fdisk", "mdir", "mcopy", "mattrib", "fsck.fat", "cpio", "unsquashfs", dumper(Arch::Arm64)];

/// The `objdump` that reads programs of an architecture.
pub(crate) const fn dumper(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "objdump",
        Arch::Arm64 => "aarch64-linux-gnu-objdump",
    }
}

/// The `objcopy` that reads programs of an architecture.
pub(crate) const fn copier(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "objcopy",
        Arch::Arm64 => "aarch64-linux-gnu-objcopy",
    }
}

/// A partition as `fdisk` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its first byte.
    pub(crate) start: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// The type's GUID or, in an MBR, its number.
    pub(crate) kind: String,
}

/// The partitions of an image with sectors of a size.
///
/// # Errors
///
/// Where `fdisk` fails, or lists something else than partitions.
pub(crate) fn partitions(image: &Path, sector: u64) -> Result<Vec<Partition>> {
    let (path, size) = (image.display().to_string(), sector.to_string());
    let head = tools::stdout("fdisk", &["-b", &size, "-l", &path], Path::new("/"))?;
    let kind = if head.contains("Disklabel type: gpt") { "type-uuid" } else { "id" };
    let columns = format!("start,sectors,{kind}");
    let text = tools::stdout("fdisk", &["-b", &size, "-l", "-o", &columns, &path], Path::new("/"))?;
    let lines = text.lines().skip_while(|line| !line.trim_start().starts_with("Start"));
    let partition = |line: &str| {
        let mut fields = line.split_whitespace();
        let start: u64 = fields.next()?.parse().ok()?;
        let sectors: u64 = fields.next()?.parse().ok()?;
        let kind = fields.next()?.to_owned();
        Some(Partition { start: start * sector, len: sectors * sector, kind })
    };
    let listed = lines.skip(1).filter(|line| !line.is_empty());
    listed.map(|line| partition(line).with_context(|| line.to_owned())).collect()
}

/// A FAT volume in an image, read by mtools.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    image: PathBuf,
    /// Where it lies.
    pub(crate) place: Partition,
}

impl Volume {
    /// The one EFI system partition of an image.
    ///
    /// # Errors
    ///
    /// Where there is none, or more than one.
    pub(crate) fn of(image: &Path, sector: u64) -> Result<Self> {
        let mut all = partitions(image, sector)?;
        all.retain(|partition| EFI_SYSTEM.contains(&partition.kind.as_str()));
        ensure!(all.len() == 1, "{} has {all:?}", image.display());
        Ok(Self { image: image.to_owned(), place: all.remove(0) })
    }

    fn mtool(&self, program: &str, args: &[&str]) -> Result<Vec<u8>> {
        let drive = format!("{}@@{}", self.image.display(), self.place.start);
        let args = [["-i", drive.as_str()].as_slice(), args].concat();
        let out = tools::run(program, &args, Path::new("/"))?;
        ensure!(
            out.status.success(),
            "{program} {args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        Ok(out.stdout)
    }

    /// The paths of all files, as they are spelled, sorted.
    ///
    /// # Errors
    ///
    /// Where `mdir` fails.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let text = String::from_utf8(self.mtool("mdir", &["-/", "-b", "::"])?)?;
        let files = text.lines().filter(|line| !line.ends_with('/'));
        let mut names: Vec<_> = files.map(|line| line.replacen("::/", "", 1)).collect();
        names.sort();
        Ok(names)
    }

    /// The files that are marked read-only.
    ///
    /// # Errors
    ///
    /// Where `mattrib` fails.
    pub(crate) fn read_only(&self) -> Result<Vec<String>> {
        let text = String::from_utf8(self.mtool("mattrib", &["-/", "::"])?)?;
        let marked = text.lines().filter_map(|line| line.split_once("::/"));
        let marked = marked.filter(|(marks, _)| marks.contains('R'));
        Ok(marked.map(|(_, name)| name.to_owned()).collect())
    }

    /// A file's bytes.
    ///
    /// # Errors
    ///
    /// Where `mcopy` fails.
    pub(crate) fn content(&self, name: &str) -> Result<Vec<u8>> {
        self.mtool("mcopy", &["-n", &format!("::{name}"), "-"])
    }

    /// What `fsck.fat` says of the volume, cut out.
    ///
    /// # Errors
    ///
    /// Where it finds anything to mend.
    pub(crate) fn check(&self) -> Result<String> {
        let file = tempfile::NamedTempFile::new()?;
        cut(&self.image, &self.place, file.as_file())?;
        tools::stdout("fsck.fat", &["-n", &file.path().display().to_string()], Path::new("/"))
    }
}

/// Copies a range of an image; zeros are left out.
fn cut(image: &Path, place: &Partition, to: &File) -> Result<()> {
    const STEP: u64 = 1 << 20;
    let image = File::open(image)?;
    to.set_len(place.len)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < place.len {
        let len = usize::try_from(STEP.min(place.len - at))?;
        image.read_exact_at(&mut buffer[..len], place.start + at)?;
        if buffer[..len].iter().any(|byte| *byte != 0) {
            to.write_all_at(&buffer[..len], at)?;
        }
        at += len as u64;
    }
    Ok(())
}

/// A section of an EFI program, as `objdump` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) name: String,
    /// Its bytes in memory.
    pub(crate) bytes: Vec<u8>,
    /// Its address in memory.
    pub(crate) address: u64,
}

/// The sections of a program for an architecture, in the order of its table.
///
/// # Errors
///
/// Where `objdump` does not read it, or takes it for a program of another architecture.
pub(crate) fn sections(arch: Arch, program: &[u8]) -> Result<Vec<Section>> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), program)?;
    let path = file.path().display().to_string();
    let text = tools::stdout(dumper(arch), &["-f", "-h", &path], Path::new("/"))?;
    let format = match arch {
        Arch::Amd64 => "file format pei-x86-64",
        Arch::Arm64 => "file format pei-aarch64-little",
    };
    ensure!(text.contains(format), "{text}");
    let section = |line: &str| {
        let mut fields = line.split_whitespace();
        fields.next()?.parse::<u32>().ok()?;
        let name = fields.next()?.to_owned();
        let number = |text: &str| usize::from_str_radix(text, 16).ok();
        let (size, address) = (number(fields.next()?)?, number(fields.next()?)?);
        let at = number(fields.nth(1)?)?;
        let bytes = program.get(at..at + size)?.to_vec();
        Some(Section { name, bytes, address: address as u64 })
    };
    Ok(text.lines().filter_map(section).collect())
}

/// The bytes of the one section of that name.
///
/// # Errors
///
/// Where there is none, or more than one.
pub(crate) fn section(arch: Arch, program: &[u8], name: &str) -> Result<Vec<u8>> {
    let mut all = sections(arch, program)?;
    all.retain(|section| section.name == name);
    ensure!(all.len() == 1, "{} sections `{name}`", all.len());
    Ok(all.remove(0).bytes)
}

/// A segment of an initramfs, unpacked by `cpio` into a folder.
#[derive(Debug)]
pub(crate) struct Segment {
    folder: tempfile::TempDir,
    /// The names in it, in order.
    pub(crate) names: Vec<String>,
}

impl Segment {
    /// Unpacks a segment that is not compressed.
    ///
    /// # Errors
    ///
    /// Where `cpio` fails.
    pub(crate) fn unpack(segment: &[u8]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("segment"), segment)?;
        let list = |options| {
            tools::stdout(
                "sh",
                &["-ec", &format!("cpio --quiet {options} < segment")],
                folder.path(),
            )
        };
        let names = list("-t")?.lines().map(str::to_owned).collect();
        list("-id")?;
        Ok(Self { folder, names })
    }

    /// A file's path.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What `unsquashfs` lists of a layer, without the times.
    ///
    /// # Errors
    ///
    /// Where it fails.
    pub(crate) fn list(&self, layer: &str) -> Result<String> {
        let text = tools::stdout("unsquashfs", &["-lls", "-d", "", layer], self.folder.path())?;
        let squeezed =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        Ok(squeezed.collect::<Vec<_>>().join("\n"))
    }

    /// A file of a layer.
    ///
    /// # Errors
    ///
    /// Where `unsquashfs` fails.
    pub(crate) fn content(&self, layer: &str, path: &str) -> Result<Vec<u8>> {
        let out = tools::run("unsquashfs", &["-cat", layer, path], self.folder.path())?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Ok(out.stdout)
    }
}
