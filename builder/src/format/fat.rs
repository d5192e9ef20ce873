//! FAT32 volumes, written whole, on the crate `fatfs`.
//!
//! In: files with their contents. Out: a volume as a [`Blob`], and where in it each content lies.
//!
//! Where everything goes is decided here before a byte is written: directories first, then the files
//! in their order, each in one piece and at a multiple of 4096 bytes; files that differ from volume
//! to volume may be put at the end. `fatfs` then writes directory entries and cluster chains to a
//! [`Recorder`], which takes contents by their place only. A last pass mends what `fatfs` 0.3 writes
//! amiss, and sets times and attributes, for which it has no call.
//!
//! Source: Microsoft, "FAT File System Specification", version 1.03.
//!
//! Not here: FAT12 and FAT16, empty directories, names outside ASCII, volumes of others (`edit`).

pub mod edit;
mod entry;
mod geometry;
mod table;
mod mend;
mod names;

use std::collections::BTreeMap;
use std::io::{self, Seek, Write};

use fatfs::{Dir, FileSystem, FsOptions};

use self::geometry::Geometry;
use self::names::{Entry, Tree};
use super::recorder::{Recorder, payload};
use crate::blob::{Blob, Builder};
use crate::units::{KIB, MIB, PAYLOAD_ALIGN, SectorSize, Size, align_up};

/// A volume to be written.
#[derive(Clone, Debug)]
pub struct Volume {
    /// The length in bytes, that of the partition it is meant for.
    pub len: u64,
    /// The logical sectors of the disk it is meant for.
    pub sector: SectorSize,
    /// The name.
    pub label: Label,
    /// The serial number.
    pub serial: u32,
    /// When everything was created and changed, in seconds since 1970. FAT holds 1980 to 2107; other
    /// times become the nearest of these.
    pub epoch: u64,
    /// The sectors before the volume: its partition's first LBA.
    pub hidden_sectors: u32,
    /// The files. Directories are made as their paths demand.
    pub files: Vec<File>,
}

/// A volume's name: 1 to 11 of the characters `A` to `Z`, `0` to `9`, `-` and `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label([u8; 11]);

impl Label {
    /// Takes the name, or nothing where it is too long or has other characters.
    pub fn new(name: &str) -> Option<Self> {
        let is_fine = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || b"-_".contains(&c);
        if name.is_empty() || !name.bytes().all(is_fine) {
            return None;
        }
        let mut label = [b' '; 11];
        label.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(Self(label))
    }
}

/// A file of a volume.
#[derive(Clone, Debug)]
pub struct File {
    /// The path from the root, as Linux is to show it: `EFI/Linux/Talos-v1.13.9.efi`.
    pub path: String,
    /// Its bytes.
    pub content: Blob,
    /// Whether it has the attribute "read-only".
    pub read_only: bool,
    /// Where its content goes.
    pub place: Place,
}

/// Where a file's content goes in a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the front, after the files before it.
    First,
    /// At the end, before the files after it. All before it is the same for any content of its
    /// length, so that volumes that differ in it share the rest.
    Last,
}

/// A volume, and where in it the contents lie.
#[derive(Clone, Debug)]
pub struct Laid {
    /// The volume.
    pub blob: Blob,
    /// The offset in bytes of each file's content, by path. An empty file has none.
    pub files: BTreeMap<String, u64>,
}

impl Laid {
    /// The same volume with another content for a file, which must be of the length of the one that
    /// is there; nothing where there is no such file. It costs nothing but a look at the extents: no
    /// table or directory says anything of a content but its length and place.
    pub fn with(&self, path: &str, content: &Blob) -> Option<Self> {
        let at = *self.files.get(path)?;
        let image = Builder::default().blob(&self.blob.get(0..at)?).blob(content);
        let image = image.blob(&self.blob.get(at + content.len()..self.blob.len())?);
        Some(Self { blob: image.finish(), files: self.files.clone() })
    }
}

/// Why files make no volume.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// The path is longer than 255 bytes, or a part of it is empty, has characters that FAT or we do
    /// not store, or starts or ends in a dot or a space.
    #[error("`{0}` is no path that a FAT volume can hold")]
    Path(String),
    /// Two paths are one where case does not count, or one's directory is the other's file; or the
    /// name is the short name that another one has.
    #[error("`{0}` is in the volume twice, for FAT does not tell upper from lower case")]
    Duplicate(String),
    /// The format has 32 bits for a file's length.
    #[error("`{path}` has {len}; a FAT volume holds files below 4GiB")]
    FileTooLong {
        /// The file.
        path: String,
        /// Its length.
        len: Size,
    },
    /// The files do not fit.
    #[error("the files need {needed}; the volume has room for {there}")]
    Full {
        /// What files and directories take.
        needed: Size,
        /// What the volume has for them.
        there: Size,
    },
    /// Firmware takes a volume of fewer clusters for FAT16.
    #[error("a FAT32 volume needs at least {least}, and is to have {len}")]
    TooShort {
        /// The length asked for.
        len: Size,
        /// The least length.
        least: Size,
    },
    /// The format has 32 bits for the number of sectors, and 28 for that of clusters.
    #[error("a FAT32 volume cannot have {0}")]
    TooLong(Size),
    /// `fatfs` refused.
    #[error("the volume could not be written")]
    Refused(#[from] io::Error),
}

/// Writes a volume.
///
/// # Errors
///
/// Where a path is not one or comes twice, a file is too long, or the files do not fit.
pub fn write(volume: &Volume) -> Result<Laid, FatError> {
    let Volume { files, sector, .. } = volume;
    let tree = Tree::of(files)?;
    let geometry = Geometry::of(volume.len, *sector)?;
    let placement = place(&geometry, files, &tree)?;
    let mut device = Recorder::new(volume.len);
    geometry.format(&mut device, volume);
    geometry.set_free(&mut device, geometry.clusters - 1, 1);
    mounted(&mut device, |root| make_entries(&root, &tree))?;
    for (file, &start) in placement.contents(files) {
        // `fatfs` takes the free clusters from here on.
        geometry.set_free(&mut device, geometry.clusters, start);
        mounted(&mut device, |root| write_payload(&root, file))?;
        let offset = geometry.offset(start);
        let want = offset..offset + file.content.len();
        assert!(device.take_payload() == [want], "`fatfs` takes the clusters that it is told to");
    }
    geometry.set_free(&mut device, placement.free, placement.next);
    geometry.back_up(&mut device);
    mend::mend(&mut device, &geometry, &tree, volume);
    Ok(lay_out(device, &geometry, files, &placement))
}

/// The least length, in whole MiB, of a volume that holds `files`. It may be none.
///
/// # Errors
///
/// Where a path is not one or comes twice, or files are too long.
pub fn least_len(sector: SectorSize, files: &[File]) -> Result<u64, FatError> {
    let tree = Tree::of(files)?;
    let contents: u64 = files.iter().map(|file| file.content.len()).sum();
    let mut len = align_up(contents, MIB).max(Geometry::least_len(sector));
    loop {
        let fits = Geometry::of(len, sector).and_then(|geometry| place(&geometry, files, &tree));
        match fits {
            Ok(_) => return Ok(len),
            Err(FatError::Full { .. }) => len += MIB,
            Err(other) => return Err(other),
        }
    }
}

/// Where contents go, in clusters counted from the first one of the data area.
#[derive(Debug)]
struct Placement {
    /// The first cluster of each file.
    starts: Vec<u64>,
    /// Clusters that stay free.
    free: u64,
    /// The first cluster after the files at the front.
    next: u64,
}

impl Placement {
    /// The files that have content, each with its first cluster.
    fn contents<'a>(&'a self, files: &'a [File]) -> impl Iterator<Item = (&'a File, &'a u64)> {
        files.iter().zip(&self.starts).filter(|(file, _)| !file.content.is_empty())
    }
}

fn place(geometry: &Geometry, files: &[File], tree: &Tree) -> Result<Placement, FatError> {
    let unit = PAYLOAD_ALIGN / geometry.cluster;
    let clusters = |file: &File| file.content.len().div_ceil(geometry.cluster);
    let dirs = tree.clusters(geometry.cluster);
    let used = dirs + files.iter().map(clusters).sum::<u64>();
    let size = |clusters: u64| Size(align_up(clusters * geometry.cluster, KIB));
    let full = || FatError::Full { needed: size(used), there: size(geometry.clusters) };

    let mut starts = vec![0; files.len()];
    let (mut front, mut back) = (dirs, geometry.clusters);
    let is_at = |place| move |(_, file): &(&mut u64, &File)| file.place == place;
    for (start, file) in starts.iter_mut().zip(files).filter(is_at(Place::First)) {
        *start = align_up(front, unit);
        front = *start + clusters(file);
    }
    for (start, file) in starts.iter_mut().zip(files).rev().filter(is_at(Place::Last)) {
        back = back.checked_sub(clusters(file)).ok_or_else(full)? / unit * unit;
        *start = back;
    }
    if back < front {
        return Err(full());
    }
    let next = if front < geometry.clusters { front } else { 0 };
    Ok(Placement { starts, free: geometry.clusters - used, next })
}

/// Runs `act` on the root of the volume as `fatfs` shows it.
fn mounted<T>(
    device: &mut Recorder,
    act: impl FnOnce(Dir<'_, &mut Recorder>) -> Result<T, FatError>,
) -> Result<T, FatError> {
    device.rewind()?;
    let volume = FileSystem::new(device, FsOptions::new())?;
    let done = act(volume.root_dir())?;
    volume.unmount()?;
    Ok(done)
}

/// Makes all directories, and all files without contents: so directories lie before contents.
fn make_entries(dir: &Dir<'_, &mut Recorder>, tree: &Tree<'_>) -> Result<(), FatError> {
    for (name, entry) in tree.entries() {
        // Only a short name that `fatfs` gave to another file can be there already.
        if dir.open_file(name).is_ok() || dir.open_dir(name).is_ok() {
            return Err(FatError::Duplicate(name.to_owned()));
        }
        match entry {
            Entry::Dir(inner) => make_entries(&dir.create_dir(name)?, inner)?,
            Entry::File(_) => drop(dir.create_file(name)?),
        }
    }
    Ok(())
}

fn write_payload(root: &Dir<'_, &mut Recorder>, file: &File) -> Result<(), FatError> {
    let mut out = root.open_file(&file.path)?;
    let mut left = file.content.len();
    while left > 0 {
        let now = usize::try_from(left).map_or(payload().len(), |left| left.min(payload().len()));
        out.write_all(&payload()[..now])?;
        left -= now as u64;
    }
    Ok(())
}

fn lay_out(device: Recorder, geometry: &Geometry, files: &[File], placement: &Placement) -> Laid {
    let placed = || placement.contents(files).map(|(file, &at)| (file, geometry.offset(at)));
    let contents = placed().map(|(file, offset)| (offset, file.content.clone()));
    let blob = device.into_blob(|at| geometry.region(at), contents);
    Laid { blob, files: placed().map(|(file, offset)| (file.path.clone(), offset)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Builder;

    fn file(path: &str, len: u64, place: Place) -> File {
        let content = Builder::default().zeros(path, len).finish();
        File { path: path.into(), content, read_only: false, place }
    }

    fn volume(mib: u64, files: Vec<File>) -> Volume {
        Volume {
            len: mib * MIB,
            sector: SectorSize::B512,
            label: Label::new("EFI").unwrap(),
            serial: 0x1234_abcd,
            epoch: 1_700_000_000,
            hidden_sectors: 2048,
            files,
        }
    }

    fn esp(mib: u64, config: &[u8]) -> Volume {
        let mut files = vec![
            file("EFI/boot/BOOTX64.efi", 100_000, Place::First),
            file("EFI/Linux/Talos-v1.13.9.efi", 20 * MIB + 1, Place::First),
            file("EFI/Linux/Talos-v1.13.9.efi.extra.d/node.addon.efi", 0, Place::Last),
            file("loader/loader.conf", 30, Place::First),
        ];
        files[2].content = Blob::from_bytes("addon", config);
        volume(mib, files)
    }

    #[test]
    fn a_volume_is_laid_out_so() {
        let small = write(&esp(51, &[7; 5000])).unwrap();
        insta::assert_snapshot!(format!("{:?}", small.blob), @r"
        0x0000000000       4096 bytes fat boot sector
        0x0000001000      12288 zeros gap
        0x0000004000     167936 bytes fat
        0x000002d000     241664 zeros gap
        0x0000068000     167936 bytes fat
        0x0000091000     241664 zeros gap
        0x00000cc000       4096 bytes fat
        0x00000cd000       4096 bytes fat directories
        0x00000ce000     100000 zeros EFI/boot/BOOTX64.efi
        0x00000e66a0       2400 zeros gap
        0x00000e7000   20971521 zeros EFI/Linux/Talos-v1.13.9.efi
        0x00014e7001       4095 zeros gap
        0x00014e8000         30 zeros loader/loader.conf
        0x00014e801e   31547362 zeros gap
        0x00032fe000       5000 bytes addon
        0x00032ff388       3192 zeros gap
        ");
        insta::assert_snapshot!(format!("{:#x?}", small.files), @r#"
        {
            "EFI/Linux/Talos-v1.13.9.efi": 0xe7000,
            "EFI/Linux/Talos-v1.13.9.efi.extra.d/node.addon.efi": 0x32fe000,
            "EFI/boot/BOOTX64.efi": 0xce000,
            "loader/loader.conf": 0x14e8000,
        }
        "#);
        insta::assert_snapshot!(format!("{:?}", write(&esp(2101, &[7; 5000])).unwrap().blob), @r"
        0x0000000000       4096 bytes fat boot sector
        0x0000001000      12288 zeros gap
        0x0000004000      24576 bytes fat
        0x000000a000    2121728 zeros gap
        0x0000210000      24576 bytes fat
        0x0000216000    2121728 zeros gap
        0x000041c000       4096 bytes fat
        0x000041d000      24576 bytes fat directories
        0x0000423000     100000 zeros EFI/boot/BOOTX64.efi
        0x000043b6a0       2400 zeros gap
        0x000043c000   20971521 zeros EFI/Linux/Talos-v1.13.9.efi
        0x000183c001       4095 zeros gap
        0x000183d000         30 zeros loader/loader.conf
        0x000183d01e 2177634274 zeros gap
        0x00834fe000       5000 bytes addon
        0x00834ff388       3192 zeros gap
        ");
    }

    /// Two nodes' volumes differ in nothing but the node's own file.
    #[test]
    fn a_file_at_the_end_changes_nothing_else() {
        let [one, other] = [[1; 9000], [2; 9000]].map(|config| write(&esp(51, &config)).unwrap());
        let pairs = one.blob.extents().iter().zip(other.blob.extents());
        let differ: Vec<_> = pairs.filter(|(a, b)| !a.is_same_run(b)).map(|(a, _)| a).collect();
        assert_eq!(differ.len(), 1);
        assert_eq!(
            differ[0].start,
            one.files["EFI/Linux/Talos-v1.13.9.efi.extra.d/node.addon.efi"]
        );
        assert!(one.blob.len() - differ[0].end() < 3 * PAYLOAD_ALIGN);
    }

    #[test]
    fn the_same_volume_has_the_same_bytes() {
        let [one, other] = [(); 2].map(|()| write(&esp(51, &[1; 9000])).unwrap().blob);
        let digest = |blob| crate::digest::Digest::of_blob(blob).unwrap();
        assert_eq!(digest(&one), digest(&other));
    }

    #[test]
    fn the_least_length_is_the_least() {
        let files = [file("a", 90 * MIB, Place::First), file("b", MIB, Place::Last)];
        let least = least_len(SectorSize::B512, &files).unwrap();
        assert_eq!(least, 92 * MIB);
        assert!(write(&volume(least / MIB, files.to_vec())).is_ok());
        let error = write(&volume(least / MIB - 1, files.to_vec())).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"the files need 93185KiB; the volume has room for 92444KiB");
    }

    /// `fatfs` finds files by their short names, too.
    #[test]
    fn a_name_that_is_anothers_short_name_is_refused() {
        let files = ["a-long-name.efi", "A-LONG~1.EFI"].map(|path| file(path, 0, Place::First));
        let error = write(&volume(40, files.to_vec())).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"`A-LONG~1.EFI` is in the volume twice, for FAT does not tell upper from lower case");
    }

    #[test]
    fn labels_are_short_and_in_upper_case() {
        assert_eq!(Label::new("CIDATA"), Some(Label(*b"CIDATA     ")));
        for name in ["", "cidata", "TWELVE-CHARS", "A B"] {
            assert_eq!(Label::new(name), None);
        }
    }
}
