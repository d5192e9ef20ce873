//! ISO 9660 images with Rock Ridge, El Torito and an appended EFI system partition.
//!
//! In: files, an EFI system partition (ESP) where firmware is to start the image, perhaps a BIOS boot
//! image. Out: first where all of it
//! lies ([`place`]), then the image as a [`Blob`] ([`Placed::emit`]).
//!
//! ```text
//! block  0   system area: the caller's, for it may point anywhere in the image
//!       16   volume descriptors
//!       32   volume descriptors of the same files, counted from block 16
//!       34   directories and path tables, for the second volume and for the first
//!            boot catalog
//!            contents, each at a multiple of 4096 bytes
//!            ESP, at a multiple of 1 MiB; nothing where firmware does not start the image
//!            300 KiB of zeros, for readers that read ahead and for a backup partition table
//! ```
//!
//! The second volume is for the image on a USB stick, where a partition that starts at block 16
//! (and leaves the first 32 KiB to partition tables) can be mounted. It ends with the contents, so
//! files that lie in the ESP are not listed in it.
//!
//! Source: ECMA-119, 2nd edition (ISO 9660:1988),
//! <https://ecma-international.org/publications-and-standards/standards/ecma-119/>; Rock Ridge
//! Interchange Protocol (IEEE P1282) 1.12; El Torito Bootable CD-ROM Format Specification 1.0; UEFI
//! Specification 2.10, 13.3.2; for the places of both volumes and the ESP the manual page of
//! `xorrisofs`, options `-partition_offset` and `-append_partition`.
//!
//! Not here: what the system area holds (`mbr`, `gpt`), Joliet, directories deeper than 8 levels.

use std::ops::Range;

use crate::blob::{Blob, Builder};
use crate::units::{KIB, MIB, PAYLOAD_ALIGN, align_up};

use date::Stamp;
use directory::{Directories, Order, View};
use tree::Tree;
use volume::Volume;

mod date;
pub mod edit;
mod name;
mod tree;
mod record;
mod directory;
mod volume;
mod eltorito;

/// The bytes of a logical block.
pub const BLOCK_BYTES: u64 = 2048;
/// The bytes of the system area.
pub const SYSTEM_AREA_BYTES: u64 = 32 * KIB;
/// The bytes after the ESP.
pub const TAIL_BYTES: u64 = 300 * KIB;

/// The block at which the second volume starts, and so must a partition that shows it.
pub const SECOND_VOLUME: Block = Block(16);

/// Where the first volume's descriptors lie.
const PRIMARY: Block = Block(16);
/// Where the second volume's descriptors lie: as far into it as the first one's into the image.
const SECOND_PRIMARY: Block = Block(SECOND_VOLUME.0 + PRIMARY.0);
/// The block after all descriptors.
const DIRECTORIES: Block = Block(SECOND_PRIMARY.0 + 2);

/// The most bytes of an image: partition tables of the older kind count sectors in 32 bits.
const MOST_BYTES: u64 = 512 * (1 << 32) - 512;

/// The boot catalog's path.
const CATALOG: &str = "boot.catalog";

/// A logical block of 2048 bytes, counted from the image's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block(pub u32);

impl Block {
    /// The byte at which it starts.
    pub fn offset(self) -> u64 {
        u64::from(self.0) * BLOCK_BYTES
    }

    /// The sector of 512 bytes at which it starts.
    ///
    /// # Panics
    ///
    /// Past 2 TiB, where no image has a block.
    pub fn sector(self) -> u32 {
        self.0.checked_mul(4).expect("an image ends below 2 TiB")
    }
}

/// A volume's name: 1 to 32 characters of `A` to `Z`, `0` to `9` and `_`, which are ECMA-119's
/// d-characters, or of `a` to `z` and `-`, which Linux shows as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeId(String);

impl VolumeId {
    /// Takes a name, or nothing where it is empty, too long, or has other characters in it.
    pub fn new(name: &str) -> Option<Self> {
        let is_fine = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
        let fits = (1..=32).contains(&name.len()) && name.bytes().all(is_fine);
        fits.then(|| Self(name.to_owned()))
    }
}

/// What an image is to hold.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name, which systems show and search for.
    pub volume_id: VolumeId,
    /// The name of the set that it belongs to: at most 128 characters of printable ASCII.
    pub volume_set_id: String,
    /// The date of everything, in seconds since 1970. GRUB takes it for the volume's UUID.
    pub epoch: u64,
    /// The files. Their contents lie in this order.
    pub files: Vec<File>,
    /// What firmware starts; nothing on an image that only holds files.
    pub boot: Option<Boot>,
}

/// What firmware starts.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The EFI system partition: a FAT volume, appended to the files.
    pub esp: Blob,
    /// What machines boot that have a BIOS.
    pub bios: Option<BiosBoot>,
}

impl Image {
    /// The length of the EFI system partition; 0 where there is none.
    fn esp_len(&self) -> u64 {
        self.boot.as_ref().map_or(0, |boot| boot.esp.len())
    }

    fn bios(&self) -> Option<&BiosBoot> {
        self.boot.as_ref()?.bios.as_ref()
    }
}

/// A file in an image.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path, with `/` between names and none before: `boot/grub/grub.cfg`.
    pub path: String,
    /// Its bytes.
    pub content: Content,
}

/// Where a file's bytes come from.
#[derive(Clone, Debug)]
pub enum Content {
    /// They lie among the image's contents.
    Own(Blob),
    /// The same, with room behind them: another content of at most `room` bytes may take their place.
    Slot {
        /// The bytes.
        content: Blob,
        /// The bytes that are theirs alone, at least as many as there are now.
        room: u64,
    },
    /// They lie in the ESP, in one run, and are not there twice.
    InEsp {
        /// The first one's offset in the ESP, a multiple of 2048.
        offset: u64,
        /// How many they are.
        len: u64,
    },
}

/// GRUB's boot image for El Torito, as `grub-mkimage` makes it.
#[derive(Clone, Debug)]
pub struct BiosBoot {
    /// Its bytes. In the image they differ in two places, which say where they lie.
    pub image: Vec<u8>,
    /// Its path: `boot/grub/i386-pc/eltorito.img`.
    pub path: String,
}

/// Why there is no such image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsoError {
    /// A path that cannot be.
    #[error("`{path}` {problem}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong, to be read after it.
        problem: &'static str,
    },
    /// A date after the year 2155.
    #[error("the date {epoch} s after 1970 is past the year 2155, the last one of ISO 9660")]
    Epoch {
        /// The date.
        epoch: u64,
    },
    /// A name of the volume set that is too long or not printable.
    #[error("the volume set's name `{name}` is not of at most 128 printable ASCII characters")]
    VolumeSetId {
        /// The name.
        name: String,
    },
    /// A file that lies in the ESP where it cannot.
    #[error("`{path}` cannot lie at byte {offset} of the ESP, {len} bytes long")]
    InEsp {
        /// The file's path.
        path: String,
        /// Where it was to lie.
        offset: u64,
        /// How long it is.
        len: u64,
    },
    /// A slot that is smaller than what lies in it.
    #[error("`{path}` has {len} bytes, and room for {room}")]
    Slot {
        /// The file's path.
        path: String,
        /// How long it is.
        len: u64,
        /// How much room it has.
        room: u64,
    },
    /// An empty EFI system partition.
    #[error("the ESP is empty")]
    NoEsp,
    /// A BIOS boot image without the places that tell it where it lies.
    #[error("the BIOS boot image `{path}` has {len} bytes; one by grub-mkimage has 2556 and more")]
    BiosBoot {
        /// The image's path.
        path: String,
        /// How long it is.
        len: usize,
    },
    /// More directories than can be numbered.
    #[error("{count} directories are more than ISO 9660 can number")]
    TooManyDirectories {
        /// How many they are.
        count: usize,
    },
    /// An image of 2 TiB or more, or directories of 4 GiB.
    #[error("the image is larger than 2 TiB, or its directories than 4 GiB")]
    TooLarge,
}

/// Where everything lies in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The files: the boot catalog and the BIOS boot image where there are such, then the image's
    /// files.
    pub files: Vec<PlacedFile>,
    /// The boot catalog, where firmware starts the image.
    pub catalog: Option<Block>,
    /// The BIOS boot image.
    pub eltorito: Option<Block>,
    /// The ESP, rounded up to whole MiB; empty where there is none.
    pub esp: Range<Block>,
    /// The block after the image.
    pub end: Block,
    /// The files of the second volume: those that do not lie in the ESP.
    second_files: Vec<PlacedFile>,
    /// Of the first and of the second volume.
    directories: [Directories; 2],
    /// Of the first and of the second volume.
    metadata: [Metadata; 2],
    stamp: Stamp,
}

/// Where a file lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedFile {
    /// Its path.
    pub path: String,
    /// Its first block. An empty file has no block, and block 0 here.
    pub start: Block,
    /// Its length in bytes.
    pub len: u64,
}

/// Where a volume's directories and path tables lie, counted from the image's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Metadata {
    directories: Block,
    /// Of type L and M.
    tables: [Block; 2],
}

/// Places everything that an image is to hold. Contents count by their lengths only.
///
/// # Errors
///
/// Where the image cannot be, as [`IsoError`] says.
pub fn place(image: &Image) -> Result<Placed, IsoError> {
    let stamp = check(image)?;
    let mut files = unplaced(image);
    let directories = directories(&files, stamp)?;
    let second_directories = directories_of_second(image, &files, stamp)?;
    let mut cursor = Cursor { next: DIRECTORIES.offset() };
    let second = cursor.metadata(&second_directories)?;
    let first = cursor.metadata(&directories)?;

    let extra = files.len() - image.files.len();
    let (own, in_image) = files.split_at_mut(extra);
    for file in own.iter_mut() {
        file.start = cursor.take(file.len, PAYLOAD_ALIGN)?;
    }
    for (file, placed) in image.files.iter().zip(in_image.iter_mut()) {
        if let (Some(room), 1..) = (file.content.room(), placed.len) {
            placed.start = cursor.take(room, PAYLOAD_ALIGN)?;
        }
    }
    let start = cursor.take(image.esp_len(), MIB)?;
    let end = cursor.take(TAIL_BYTES, MIB)?;
    for (file, placed) in image.files.iter().zip(in_image) {
        if let (Content::InEsp { offset, .. }, 1..) = (&file.content, placed.len) {
            placed.start = block_at(start.offset() + offset)?;
        }
    }
    Ok(Placed {
        catalog: image.boot.as_ref().map(|_| files[0].start),
        eltorito: image.bios().map(|_| files[1].start),
        second_files: outside_esp(image, &files),
        files,
        esp: start..end,
        end: block_at(cursor.next)?,
        directories: [directories, second_directories],
        metadata: [first, second],
        stamp,
    })
}

fn directories(files: &[PlacedFile], stamp: Stamp) -> Result<Directories, IsoError> {
    let tree = Tree::grow(files.iter().map(|file| file.path.as_str()))?;
    Directories::place(tree, files, stamp)
}

fn directories_of_second(
    image: &Image,
    files: &[PlacedFile],
    stamp: Stamp,
) -> Result<Directories, IsoError> {
    directories(&outside_esp(image, files), stamp)
}

/// The files whose bytes a partition holds that ends before the ESP.
fn outside_esp(image: &Image, files: &[PlacedFile]) -> Vec<PlacedFile> {
    let own = files.len() - image.files.len();
    let is_inside = |at: usize| {
        let file = at.checked_sub(own).map(|at| &image.files[at]);
        file.is_some_and(|file| matches!(file.content, Content::InEsp { .. }))
    };
    let outside = files.iter().enumerate().filter(|(at, _)| !is_inside(*at));
    outside.map(|(_, file)| file.clone()).collect()
}

/// Looks at all that does not depend on places.
fn check(image: &Image) -> Result<Stamp, IsoError> {
    let name = &image.volume_set_id;
    if name.len() > 128 || !name.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err(IsoError::VolumeSetId { name: name.clone() });
    }
    match (&image.boot, image.esp_len()) {
        (Some(_), 0) => return Err(IsoError::NoEsp),
        (_, 0..=MOST_BYTES) => {}
        _ => return Err(IsoError::TooLarge),
    }
    if let Some(BiosBoot { image, path }) = image.bios()
        && (image.len() < eltorito::LEAST_IMAGE_BYTES || u32::try_from(image.len()).is_err())
    {
        return Err(IsoError::BiosBoot { path: path.clone(), len: image.len() });
    }
    for file in &image.files {
        // Placing looks at each section of a file, so their number is bounded first.
        if file.content.room().is_some_and(|room| room > MOST_BYTES) {
            return Err(IsoError::TooLarge);
        }
        if let Content::Slot { content, room } = &file.content
            && content.len() > *room
        {
            let (path, len) = (file.path.clone(), content.len());
            return Err(IsoError::Slot { path, len, room: *room });
        }
        if let Content::InEsp { offset, len } = file.content
            && (!offset.is_multiple_of(BLOCK_BYTES)
                || offset.checked_add(len).is_none_or(|end| end > image.esp_len()))
        {
            return Err(IsoError::InEsp { path: file.path.clone(), offset, len });
        }
    }
    Stamp::new(image.epoch).ok_or(IsoError::Epoch { epoch: image.epoch })
}

/// All files of an image, none of them placed.
fn unplaced(image: &Image) -> Vec<PlacedFile> {
    let file = |path: &str, len| PlacedFile { path: path.to_owned(), start: Block(0), len };
    let catalog = image.boot.iter().map(|_| file(CATALOG, BLOCK_BYTES));
    let bios = image.bios().into_iter().map(|bios| file(&bios.path, bios.image.len() as u64));
    let files = image.files.iter().map(|entry| file(&entry.path, entry.content.len()));
    catalog.chain(bios).chain(files).collect()
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Self::Own(content) | Self::Slot { content, .. } => content.len(),
            Self::InEsp { len, .. } => *len,
        }
    }

    /// The bytes that it takes of the image's contents, if it lies there.
    fn room(&self) -> Option<u64> {
        match self {
            Self::Own(content) => Some(content.len()),
            Self::Slot { room, .. } => Some(*room),
            Self::InEsp { .. } => None,
        }
    }
}

/// The end of what is placed so far, in bytes.
#[derive(Debug)]
struct Cursor {
    next: u64,
}

impl Cursor {
    /// Places `len` bytes at the next multiple of `step`.
    fn take(&mut self, len: u64, step: u64) -> Result<Block, IsoError> {
        let start = align_up(self.next, step);
        let end = start.checked_add(len).filter(|end| *end <= MOST_BYTES - MIB);
        self.next = align_up(end.ok_or(IsoError::TooLarge)?, BLOCK_BYTES);
        block_at(start)
    }

    fn metadata(&mut self, directories: &Directories) -> Result<Metadata, IsoError> {
        let table = u64::from(directories.table_bytes);
        Ok(Metadata {
            directories: self.take(Block(directories.blocks).offset(), BLOCK_BYTES)?,
            tables: [self.take(table, BLOCK_BYTES)?, self.take(table, BLOCK_BYTES)?],
        })
    }
}

fn block_at(offset: u64) -> Result<Block, IsoError> {
    u32::try_from(offset / BLOCK_BYTES).map(Block).map_err(|_| IsoError::TooLarge)
}

impl Placed {
    /// The length of the image in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.end.offset()
    }

    /// Writes the image. `system_area` goes to its start, `backup` to its very end.
    ///
    /// # Panics
    ///
    /// If `image` is not the one that was placed, the system area is longer than
    /// [`SYSTEM_AREA_BYTES`], or the backup is longer than [`TAIL_BYTES`].
    pub fn emit(&self, image: &Image, system_area: &[u8], backup: &[u8]) -> Blob {
        assert!(backup.len() as u64 <= TAIL_BYTES, "the backup lies after the ESP");
        let backup_at = self.end.offset() - backup.len() as u64;
        let out = Builder::default()
            .bytes("system area", system_area)
            .fill_to(PRIMARY.offset())
            .bytes("volume descriptors", self.descriptors(image))
            .fill_to(SECOND_PRIMARY.offset())
            .bytes("second volume descriptors", self.second_descriptors(image));
        let out = self.second().metadata(out);
        let out = self.first().metadata(out);
        let out = self.contents(out, image).fill_to(self.esp.start.offset());
        let out = match &image.boot {
            Some(boot) => out.blob(&boot.esp),
            None => out,
        };
        out.fill_to(backup_at).bytes("backup partition table", backup).finish()
    }

    fn first(&self) -> Shown<'_> {
        Shown {
            directories: &self.directories[0],
            metadata: self.metadata[0],
            files: &self.files,
            blocks: Block(0)..self.end,
            stamp: self.stamp,
        }
    }

    fn second(&self) -> Shown<'_> {
        Shown {
            directories: &self.directories[1],
            metadata: self.metadata[1],
            files: &self.second_files,
            blocks: SECOND_VOLUME..self.esp.start,
            stamp: self.stamp,
        }
    }

    fn descriptors(&self, image: &Image) -> Vec<u8> {
        let primary = self.first().primary(image);
        let boot_record = self.catalog.map(volume::boot_record).unwrap_or_default();
        [primary, boot_record, volume::terminator()].concat()
    }

    fn second_descriptors(&self, image: &Image) -> Vec<u8> {
        [self.second().primary(image), volume::terminator()].concat()
    }

    fn contents(&self, out: Builder, image: &Image) -> Builder {
        let mut out = out;
        if let Some(at) = self.catalog {
            let catalog = eltorito::catalog(self.eltorito, &self.esp);
            out = out.fill_to(at.offset()).bytes("boot catalog", catalog);
        }
        if let (Some(start), Some(bios)) = (self.eltorito, image.bios()) {
            let patched = eltorito::patched(&bios.image, start);
            out = out.fill_to(start.offset()).bytes("bios boot image", patched);
        }
        let first = self.files.len() - image.files.len();
        for (file, placed) in image.files.iter().zip(&self.files[first..]) {
            if let (Content::Own(blob) | Content::Slot { content: blob, .. }, 1..) =
                (&file.content, placed.len)
            {
                out = out.fill_to(placed.start.offset()).blob(blob);
            }
        }
        out
    }
}

/// One of an image's two volumes.
struct Shown<'a> {
    directories: &'a Directories,
    metadata: Metadata,
    files: &'a [PlacedFile],
    blocks: Range<Block>,
    stamp: Stamp,
}

impl Shown<'_> {
    fn view(&self) -> View<'_> {
        let base = self.metadata.directories;
        View { base, volume: self.blocks.start, files: self.files, stamp: self.stamp }
    }

    fn primary(&self, image: &Image) -> Vec<u8> {
        let start = self.blocks.start.0;
        volume::primary(&Volume {
            id: &image.volume_id.0,
            set_id: &image.volume_set_id,
            blocks: self.blocks.end.0 - start,
            table_bytes: self.directories.table_bytes,
            tables: self.metadata.tables.map(|table| Block(table.0 - start)),
            root: record::root(self.directories.root(self.view()), self.stamp),
            stamp: self.stamp,
        })
    }

    fn metadata(&self, out: Builder) -> Builder {
        let [little, big] = self.metadata.tables;
        out.fill_to(self.metadata.directories.offset())
            .bytes("directories", self.directories.bytes(self.view()))
            .fill_to(little.offset())
            .bytes("path table", self.directories.path_table(self.view(), Order::Little))
            .fill_to(big.offset())
            .bytes("path table, big-endian", self.directories.path_table(self.view(), Order::Big))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(label: &'static str, len: usize) -> Blob {
        Blob::from_bytes(label, vec![0xa5; len])
    }

    fn image() -> Image {
        let own = |path: &str, len| File {
            path: path.to_owned(),
            content: Content::Own(blob("content", len)),
        };
        let in_esp = Content::InEsp { offset: 4096, len: 5000 };
        Image {
            volume_id: VolumeId::new("TEST_1").unwrap(),
            volume_set_id: "Test-1".to_owned(),
            epoch: 1_700_000_000,
            files: vec![
                own("boot/vmlinuz", 5000),
                own("boot/grub/grub.cfg", 0),
                File { path: "EFI/Linux/Test-1.efi".to_owned(), content: in_esp },
                own("loader/loader.conf", 1),
            ],
            boot: Some(Boot {
                esp: blob("esp", 3 << 20),
                bios: Some(BiosBoot {
                    image: vec![0x5a; 3000],
                    path: "boot/grub/i386-pc/eltorito.img".to_owned(),
                }),
            }),
        }
    }

    #[test]
    fn an_image_is_laid_out_so() {
        let image = image();
        let placed = place(&image).unwrap();
        insta::assert_snapshot!(format!("{:?}", placed.emit(&image, &[1; 512], &[2; 1024])), @r"
        0x0000000000        512 bytes system area
        0x0000000200      32256 zeros gap
        0x0000008000       6144 bytes volume descriptors
        0x0000009800      26624 zeros gap
        0x0000010000       4096 bytes second volume descriptors
        0x0000011000      10240 bytes directories
        0x0000013800         64 bytes path table
        0x0000013840       1984 zeros gap
        0x0000014000         64 bytes path table, big-endian
        0x0000014040       1984 zeros gap
        0x0000014800      14336 bytes directories
        0x0000018000         90 bytes path table
        0x000001805a       1958 zeros gap
        0x0000018800         90 bytes path table, big-endian
        0x000001885a       1958 zeros gap
        0x0000019000       2048 bytes boot catalog
        0x0000019800       2048 zeros gap
        0x000001a000       3000 bytes bios boot image
        0x000001abb8       1096 zeros gap
        0x000001b000       5000 bytes content
        0x000001c388       3192 zeros gap
        0x000001d000          1 bytes content
        0x000001d001     929791 zeros gap
        0x0000100000    3145728 bytes esp
        0x0000400000     306176 zeros gap
        0x000044ac00       1024 bytes backup partition table
        ");
        let lines: Vec<_> = placed
            .files
            .iter()
            .map(|f| format!("{:>5} {:>5} {}", f.start.0, f.len, f.path))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
         50  2048 boot.catalog
         52  3000 boot/grub/i386-pc/eltorito.img
         54  5000 boot/vmlinuz
          0     0 boot/grub/grub.cfg
        514  5000 EFI/Linux/Test-1.efi
         58     1 loader/loader.conf
        ");
        assert_eq!(placed.eltorito, Some(placed.files[1].start));
        assert_eq!(placed.esp, Block(512)..Block(2048));
        assert_eq!(placed.len_bytes(), (4 << 20) + TAIL_BYTES);
    }

    /// As xorriso writes it: the first volume is the whole image, the second ends at the ESP.
    #[test]
    fn each_volume_knows_its_size() {
        let image = image();
        let placed = place(&image).unwrap();
        let out = placed.emit(&image, &[], &[]);
        for (descriptor, want) in [(PRIMARY, placed.end.0), (SECOND_PRIMARY, 512 - 16)] {
            let mut size = [0xa5; 8];
            out.read_exact_at(&mut size, descriptor.offset() + 80).unwrap();
            assert_eq!(size[..4], want.to_le_bytes());
            assert_eq!(size[4..], want.to_be_bytes());
        }
    }

    #[test]
    fn places_depend_on_lengths_only() {
        let image = image();
        let mut other = image.clone();
        other.files[0].content = Content::Own(Builder::default().zeros("other", 5000).finish());
        other.boot.as_mut().unwrap().esp = Builder::default().zeros("other esp", 3 << 20).finish();
        assert_eq!(place(&image), place(&other));
    }

    #[test]
    fn contents_are_extents_of_their_sources() {
        let image = image();
        let Content::Own(kernel) = &image.files[0].content else { panic!("its own") };
        let placed = place(&image).unwrap();
        let at = placed.files[2].start.offset();
        let out = placed.emit(&image, &[], &[]);
        let extent = out.extents().iter().find(|extent| extent.start == at).unwrap();
        let mut want = kernel.extents()[0].clone();
        want.start = at;
        assert!(extent.is_same_run(&want));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refusal = |change: &dyn Fn(&mut Image)| {
            let mut image = image();
            change(&mut image);
            place(&image).unwrap_err()
        };
        let in_esp = |offset, len| {
            let change = move |image: &mut Image| {
                image.files[2].content = Content::InEsp { offset, len };
            };
            let path = "EFI/Linux/Test-1.efi".to_owned();
            assert_eq!(refusal(&change), IsoError::InEsp { path, offset, len });
        };
        in_esp(2047, 1);
        in_esp(2048, (3 << 20) - 2047);
        in_esp(!2047, 1 << 11);
        let zeros = |len| Builder::default().zeros("zeros", len).finish();
        assert_eq!(refusal(&|image| image.boot.as_mut().unwrap().esp = zeros(0)), IsoError::NoEsp);
        for len in [u64::MAX, MOST_BYTES - MIB] {
            let large = |image: &mut Image| image.files[0].content = Content::Own(zeros(len));
            assert_eq!(refusal(&large), IsoError::TooLarge);
            assert_eq!(
                refusal(&|image| image.boot.as_mut().unwrap().esp = zeros(len)),
                IsoError::TooLarge
            );
        }
        let epoch = u64::MAX;
        assert_eq!(refusal(&|image| image.epoch = epoch), IsoError::Epoch { epoch });
        let name = "é".to_owned();
        let set = |image: &mut Image| image.volume_set_id = "é".to_owned();
        assert_eq!(refusal(&set), IsoError::VolumeSetId { name });
        let short = |image: &mut Image| {
            image.boot.as_mut().unwrap().bios.as_mut().unwrap().image.truncate(2555)
        };
        let path = "boot/grub/i386-pc/eltorito.img".to_owned();
        assert_eq!(refusal(&short), IsoError::BiosBoot { path, len: 2555 });
        assert!(matches!(
            refusal(&|i| i.files[0].path = CATALOG.to_owned()),
            IsoError::Path { .. }
        ));
    }

    #[test]
    fn volume_names_are_d_characters_or_what_talos_looks_for() {
        for name in ["TALOS_V1_13_9", "metal-iso", "cidata"] {
            assert!(VolumeId::new(name).is_some(), "{name}");
        }
        for name in ["", "a b", "A.B", "É", &"X".repeat(33)] {
            assert_eq!(VolumeId::new(name), None, "{name}");
        }
    }

    /// Another content of a slot changes its bytes and its length, and the place of nothing.
    #[test]
    fn a_slot_keeps_its_room() {
        let with = |len: usize, boot: Option<Boot>| {
            let content = Content::Slot { content: blob("slot", len), room: 8192 };
            let slot = File { path: "config.yaml".to_owned(), content };
            let after = File { path: "z".to_owned(), content: Content::Own(blob("z", 1)) };
            Image { files: vec![slot, after], boot, ..image() }
        };
        for boot in [None, image().boot] {
            let (short, long) = (with(1, boot.clone()), with(8192, boot.clone()));
            let (a, b) = (place(&short).unwrap(), place(&long).unwrap());
            let starts = |placed: &Placed| placed.files.iter().map(|f| f.start).collect::<Vec<_>>();
            assert_eq!((starts(&a), a.end), (starts(&b), b.end));
            assert_eq!(a.catalog.is_some(), boot.is_some());
            let refused = place(&with(8193, boot)).unwrap_err();
            assert!(matches!(refused, IsoError::Slot { len: 8193, room: 8192, .. }), "{refused}");
        }
    }

    /// Without anything to start there is no boot record and no catalog.
    #[test]
    fn an_image_that_boots_nothing_is_laid_out_so() {
        let files = vec![File {
            path: "config.yaml".to_owned(),
            content: Content::Slot { content: blob("config", 100), room: 4096 },
        }];
        let image = Image { files, boot: None, ..image() };
        let placed = place(&image).unwrap();
        insta::assert_snapshot!(format!("{:?}", placed.emit(&image, &[], &[])), @r"
        0x0000000000      32768 zeros gap
        0x0000008000       4096 bytes volume descriptors
        0x0000009000      28672 zeros gap
        0x0000010000       4096 bytes second volume descriptors
        0x0000011000       2048 bytes directories
        0x0000011800         10 bytes path table
        0x000001180a       2038 zeros gap
        0x0000012000         10 bytes path table, big-endian
        0x000001200a       2038 zeros gap
        0x0000012800       2048 bytes directories
        0x0000013000         10 bytes path table
        0x000001300a       2038 zeros gap
        0x0000013800         10 bytes path table, big-endian
        0x000001380a       2038 zeros gap
        0x0000014000        100 bytes config
        0x0000014064     966556 zeros gap
        0x0000100000     307200 zeros gap
        ");
        assert!(placed.esp.is_empty());
    }

    /// The largest file of one section, and the smallest of two: the second volume sees the same.
    #[test]
    fn a_file_of_4_gib_has_two_sections() {
        for (len, sections) in [(0xffff_f800u64, 1), (0xffff_f801, 2), (3 * 0xffff_f800 + 1, 4)] {
            let mut image = image();
            image.files.truncate(1);
            image.files[0].path = "big".to_owned();
            image.files[0].content = Content::Own(Builder::default().zeros("big", len).finish());
            let placed = place(&image).unwrap();
            let out = placed.emit(&image, &[], &[]);
            let directories = out.extents().iter().filter(|e| &*e.label == "directories");
            for directory in directories {
                let bytes = out.slice(directory.start..directory.end()).to_vec().unwrap();
                let found = bytes.windows(6).filter(|w| *w == b"BIG.;1").count();
                assert_eq!(found, sections, "{len}");
            }
        }
    }
}
