//! PE images: a stub taken apart, sections appended to it, and addons.
//!
//! In: a stub or a unified kernel image (UKI), and the contents of new sections. Out: the image as a
//! [`Blob`], byte for byte what Talos' own assembler writes.
//!
//! Source: Microsoft "PE Format", <https://learn.microsoft.com/windows/win32/debug/pe-format>; the
//! placement is that of Talos `internal/pkg/uki/internal/pe/native.go#AssembleNative`.
//!
//! Not here: what sections mean, and signatures.

use std::fmt;

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::{Blob, Builder};
use crate::units::align_up;

/// Where the `PE` signature of an assembled image stands: the DOS header and as many zeros again.
const PE_OFFSET: u32 = 0x80;
/// "Section Flags": initialised data | may be read.
const DATA_READ: u32 = 0x4000_0040;
/// "Section Flags": initialised data.
const INITIALIZED_DATA: u32 = 0x40;
/// "Section Flags": code | may be executed | may be read.
const CODE: u32 = 0x6000_0020;
/// The index of the certificate table among the data directories.
const CERTIFICATES: usize = 4;
/// A bound against hostile headers; stubs have a dozen sections, UKIs two.
const MAX_SECTIONS: u16 = 96;

/// The processor that an image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl Machine {
    /// "Machine Types".
    const fn code(self) -> u16 {
        match self {
            Self::Amd64 => 0x8664,
            Self::Arm64 => 0xaa64,
        }
    }

    /// A function that returns `EFI_UNSUPPORTED`: the program of an image that is never run.
    const fn refusal(self) -> &'static [u8] {
        match self {
            // mov rax, 0x8000000000000003; ret
            Self::Amd64 => &[0x48, 0xb8, 3, 0, 0, 0, 0, 0, 0, 0x80, 0xc3],
            // mov x0, #3; movk x0, #0x8000, lsl #48; ret
            Self::Arm64 => &[0x60, 0, 0x80, 0xd2, 0, 0, 0xf0, 0xf2, 0xc0, 3, 0x5f, 0xd6],
        }
    }
}

/// Why bytes are not the image that they should be.
#[derive(Debug, Error)]
pub enum PeError {
    /// Not a PE32+ program.
    #[error("not a PE32+ image: {0}")]
    Foreign(&'static str),
    /// A machine other than the two that Talos runs on.
    #[error("the image is for machine {0:#06x}; amd64 is 0x8664, arm64 is 0xaa64")]
    Machine(u16),
    /// A section that does not lie in the file.
    #[error("section `{0}` ends past the end of the file: the file is cut short")]
    Truncated(SectionName),
    /// The header has no room, or the image would pass 4 GiB.
    #[error("the image would be larger than the 4 GiB that its format can hold")]
    TooLarge,
    /// The file cannot be read.
    #[error("cannot be read")]
    Io(#[from] std::io::Error),
}

/// A section's name: at most eight bytes, padded with NULs.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct SectionName([u8; 8]);

impl SectionName {
    /// Takes the name.
    ///
    /// # Panics
    ///
    /// If it is longer than eight bytes: names are constants of the caller.
    pub const fn new(name: &str) -> Self {
        let name = name.as_bytes();
        assert!(name.len() <= 8, "a section's name has at most eight bytes");
        let mut bytes = [0; 8];
        let mut i = 0;
        while i < name.len() {
            bytes[i] = name[i];
            i += 1;
        }
        Self(bytes)
    }
}

impl fmt::Display for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(8);
        write!(f, "{}", self.0[..end].escape_ascii())
    }
}

impl fmt::Debug for SectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The names of sections in The Unified Kernel Image Specification.
pub mod section {
    use super::SectionName;

    /// What the image boots, for boot menus. The first section after the stub's own.
    pub const OSREL: SectionName = SectionName::new(".osrel");
    /// The kernel command line.
    pub const CMDLINE: SectionName = SectionName::new(".cmdline");
    /// The kernel's release. A stub ignores an addon whose release is another.
    pub const UNAME: SectionName = SectionName::new(".uname");
    /// The picture shown while the kernel starts.
    pub const SPLASH: SectionName = SectionName::new(".splash");
    /// The kernel.
    pub const LINUX: SectionName = SectionName::new(".linux");
    /// The initramfs.
    pub const INITRD: SectionName = SectionName::new(".initrd");
    /// A boot menu entry; the sections that follow are its own.
    pub const PROFILE: SectionName = SectionName::new(".profile");
    /// Generations of components, for shim's revocation.
    pub const SBAT: SectionName = SectionName::new(".sbat");
    /// What systemd's EFI programs say of themselves.
    pub const SDMAGIC: SectionName = SectionName::new(".sdmagic");
}

/// "COFF File Header".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FileHeader {
    machine: U16,
    number_of_sections: U16,
    time_date_stamp: U32,
    pointer_to_symbol_table: U32,
    number_of_symbols: U32,
    size_of_optional_header: U16,
    characteristics: U16,
}
const _: () = assert!(size_of::<FileHeader>() == 20);

/// "Optional Header", PE32+, with all sixteen data directories.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct OptionalHeader {
    magic: U16,
    major_linker_version: u8,
    minor_linker_version: u8,
    size_of_code: U32,
    size_of_initialized_data: U32,
    size_of_uninitialized_data: U32,
    address_of_entry_point: U32,
    base_of_code: U32,
    image_base: U64,
    section_alignment: U32,
    file_alignment: U32,
    versions: [U16; 6],
    win32_version_value: U32,
    size_of_image: U32,
    size_of_headers: U32,
    check_sum: U32,
    subsystem: U16,
    dll_characteristics: U16,
    stack_and_heap: [U64; 4],
    loader_flags: U32,
    number_of_rva_and_sizes: U32,
    data_directories: [[U32; 2]; 16],
}
const _: () = assert!(size_of::<OptionalHeader>() == 240);

/// "Section Table (Section Headers)".
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SectionHeader {
    name: SectionName,
    virtual_size: U32,
    virtual_address: U32,
    size_of_raw_data: U32,
    pointer_to_raw_data: U32,
    relocations_and_lines: [U32; 2],
    number_of_relocations_and_lines: [U16; 2],
    characteristics: U32,
}
const _: () = assert!(size_of::<SectionHeader>() == 40);

/// A PE image taken apart.
#[derive(Clone, Debug)]
pub struct Image {
    /// The processor that it runs on.
    pub machine: Machine,
    /// Its sections, in the order of their addresses.
    pub sections: Vec<Section>,
    dos_header: [u8; 0x40],
    file_header: FileHeader,
    optional_header: OptionalHeader,
}

/// A section of an image.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name.
    pub name: SectionName,
    /// Its length in memory, in bytes. For data it is the exact length.
    pub virtual_size: u32,
    /// Its address in memory, from the start of the image.
    pub virtual_address: u32,
    /// Its bytes in the file, padded to the file alignment.
    pub raw: Blob,
    characteristics: u32,
}

impl Section {
    /// Its data: the bytes in the file without their padding.
    pub fn data(&self) -> Blob {
        self.raw.slice(0..self.raw.len().min(self.virtual_size.into()))
    }
}

impl Image {
    /// Takes an image apart. No section's contents are read.
    ///
    /// # Errors
    ///
    /// Where the bytes are no PE32+ image for a known machine, or are cut short.
    pub fn read(file: &Blob) -> Result<Self, PeError> {
        let dos_header: [u8; 0x40] = read(file, 0, "no DOS header")?;
        if !dos_header.starts_with(b"MZ") {
            return Err(PeError::Foreign("it does not start with `MZ`"));
        }
        let [a, b, c, d] = *dos_header.last_chunk().expect("the header has 64 bytes");
        let at = u64::from(u32::from_le_bytes([a, b, c, d]));
        if read::<[u8; 4]>(file, at, "no PE header")? != *b"PE\0\0" {
            return Err(PeError::Foreign("it has no `PE` signature"));
        }
        let file_header: FileHeader = read(file, at + 4, "no COFF header")?;
        let machine = [Machine::Amd64, Machine::Arm64]
            .into_iter()
            .find(|m| m.code() == file_header.machine.get())
            .ok_or(PeError::Machine(file_header.machine.get()))?;
        check_file_header(&file_header)?;
        let optional_header: OptionalHeader = read(file, at + 24, "no optional header")?;
        check_optional_header(&optional_header)?;
        let sections = (0..u64::from(file_header.number_of_sections.get()))
            .map(|i| section(file, at + 24 + 240 + 40 * i))
            .collect::<Result<_, _>>()?;
        Ok(Self { machine, sections, dos_header, file_header, optional_header })
    }

    /// The first section of that name.
    pub fn section(&self, name: SectionName) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name)
    }

    /// The image without the section `first` and all that follow it: a UKI's stub, where `first` is
    /// the first section that was appended.
    pub fn before(&self, first: SectionName) -> Self {
        let end = self.sections.iter().position(|s| s.name == first);
        let mut stub = self.clone();
        stub.sections.truncate(end.unwrap_or(self.sections.len()));
        stub
    }

    /// Whether the image carries an Authenticode signature.
    pub fn is_signed(&self) -> bool {
        self.optional_header.data_directories[CERTIFICATES][1].get() != 0
    }

    /// Writes the image with sections appended, as readable data, in order. A signature is left
    /// out: it would not be true of the new image. `epoch` is seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`PeError::TooLarge`] where the image would pass 4 GiB.
    pub fn append(&self, new: &[(SectionName, Blob)], epoch: u32) -> Result<Blob, PeError> {
        let placed = self.place(new)?;
        let headers = self.headers(&placed, epoch)?;
        let size_of_headers = u64::from(headers.size_of_headers);
        let mut image = Builder::default().bytes("pe headers", headers.bytes);
        image = image.fill_to(size_of_headers);
        for section in &placed {
            image = image.blob(&section.raw).align(self.file_alignment());
        }
        Ok(image.finish())
    }

    fn file_alignment(&self) -> u64 {
        self.optional_header.file_alignment.get().into()
    }

    fn section_alignment(&self) -> u64 {
        self.optional_header.section_alignment.get().into()
    }

    /// All sections, old and new, at their addresses in memory.
    fn place(&self, new: &[(SectionName, Blob)]) -> Result<Vec<Section>, PeError> {
        let mut sections = self.sections.clone();
        for (name, content) in new {
            let end = sections
                .last()
                .map_or(0, |last| u64::from(last.virtual_address) + u64::from(last.virtual_size));
            let label = format!("{name}");
            sections.push(Section {
                name: *name,
                virtual_size: narrow(content.len())?,
                virtual_address: narrow(align_up(end, self.section_alignment()))?,
                raw: if content.extents().len() > 1 {
                    content.clone()
                } else {
                    content.labelled(label)
                },
                characteristics: DATA_READ,
            });
        }
        Ok(sections)
    }

    fn headers(&self, sections: &[Section], epoch: u32) -> Result<Headers, PeError> {
        let count = sections.len() as u64;
        // Talos leaves out the four bytes of the signature here; rounding up covers them.
        let size_of_headers =
            align_up(u64::from(PE_OFFSET) + 20 + 240 + 40 * count, self.file_alignment());
        let mut at = size_of_headers;
        let (mut code, mut data) = (0, 0);
        let mut table = Vec::new();
        for section in sections {
            let raw = align_up(section.raw.len(), self.file_alignment());
            let is_data = section.characteristics & INITIALIZED_DATA != 0;
            *(if is_data { &mut data } else { &mut code }) += raw;
            table.push(SectionHeader {
                name: section.name,
                virtual_size: section.virtual_size.into(),
                virtual_address: section.virtual_address.into(),
                size_of_raw_data: narrow(raw)?.into(),
                pointer_to_raw_data: narrow(at)?.into(),
                relocations_and_lines: [U32::ZERO; 2],
                number_of_relocations_and_lines: [U16::ZERO; 2],
                characteristics: section.characteristics.into(),
            });
            at += raw;
        }
        let end = sections
            .last()
            .map_or(0, |last| u64::from(last.virtual_address) + u64::from(last.virtual_size));
        let mut optional = self.optional_header;
        optional.major_linker_version = 0;
        optional.minor_linker_version = 0;
        optional.size_of_code = narrow(code)?.into();
        optional.size_of_initialized_data = narrow(data)?.into();
        optional.size_of_image = narrow(align_up(end, self.section_alignment()))?.into();
        optional.size_of_headers = narrow(size_of_headers)?.into();
        optional.check_sum = U32::ZERO;
        optional.data_directories[CERTIFICATES] = [U32::ZERO; 2];
        let file = FileHeader {
            number_of_sections: u16::try_from(count).map_err(|_| PeError::TooLarge)?.into(),
            time_date_stamp: epoch.into(),
            ..self.file_header
        };
        let bytes = self.header_bytes(&file, &optional, &table);
        Ok(Headers { bytes, size_of_headers: narrow(size_of_headers)? })
    }

    fn header_bytes(
        &self,
        file: &FileHeader,
        optional: &OptionalHeader,
        table: &[SectionHeader],
    ) -> Vec<u8> {
        let mut bytes = self.dos_header[..0x3c].to_vec();
        bytes.extend(PE_OFFSET.to_le_bytes());
        bytes.resize(PE_OFFSET as usize, 0);
        bytes.extend(b"PE\0\0");
        bytes.extend(file.as_bytes());
        bytes.extend(optional.as_bytes());
        table.iter().for_each(|header| bytes.extend(header.as_bytes()));
        bytes
    }
}

struct Headers {
    bytes: Vec<u8>,
    size_of_headers: u32,
}

fn narrow(n: u64) -> Result<u32, PeError> {
    u32::try_from(n).map_err(|_| PeError::TooLarge)
}

fn read<T: FromBytes>(file: &Blob, at: u64, missing: &'static str) -> Result<T, PeError> {
    let range = at..at.saturating_add(size_of::<T>() as u64);
    let bytes = file.get(range).ok_or(PeError::Foreign(missing))?.to_vec()?;
    Ok(T::read_from_bytes(&bytes).expect("as many bytes as the type has were read"))
}

fn check_file_header(header: &FileHeader) -> Result<(), PeError> {
    match header {
        h if h.pointer_to_symbol_table.get() != 0 || h.number_of_symbols.get() != 0 => {
            Err(PeError::Foreign("it has COFF symbols; strip it"))
        }
        h if h.number_of_sections.get() == 0 || h.number_of_sections.get() > MAX_SECTIONS => {
            Err(PeError::Foreign("it has no sections, or too many"))
        }
        h if h.size_of_optional_header.get() != 240 => {
            Err(PeError::Foreign("its optional header is not of 240 bytes"))
        }
        _ => Ok(()),
    }
}

fn check_optional_header(header: &OptionalHeader) -> Result<(), PeError> {
    let power = |n: U32| n.get().is_power_of_two() && (8..=1 << 16).contains(&n.get());
    if header.magic.get() != 0x20b {
        return Err(PeError::Foreign("its optional header is not of PE32+"));
    }
    if !power(header.file_alignment) || !power(header.section_alignment) {
        return Err(PeError::Foreign("its alignments are not powers of two"));
    }
    Ok(())
}

fn section(file: &Blob, at: u64) -> Result<Section, PeError> {
    let header: SectionHeader = read(file, at, "its section table is cut short")?;
    let from = u64::from(header.pointer_to_raw_data.get());
    let to = from + u64::from(header.size_of_raw_data.get());
    let raw = file.get(from..to).ok_or(PeError::Truncated(header.name))?;
    Ok(Section {
        name: header.name,
        virtual_size: header.virtual_size.get(),
        virtual_address: header.virtual_address.get(),
        raw: raw.labelled(header.name.to_string()),
        characteristics: header.characteristics.get(),
    })
}

/// Writes an image that carries sections and runs nothing: a systemd-stub addon.
///
/// # Errors
///
/// [`PeError::TooLarge`] where it would pass 4 GiB.
pub fn addon(
    machine: Machine,
    sections: &[(SectionName, Blob)],
    epoch: u32,
) -> Result<Blob, PeError> {
    let code = Section {
        name: SectionName::new(".text"),
        virtual_size: u32::try_from(machine.refusal().len()).map_err(|_| PeError::TooLarge)?,
        virtual_address: 0x1000,
        raw: Blob::from_bytes(".text", machine.refusal()),
        characteristics: CODE,
    };
    let mut dos_header = [0; 0x40];
    dos_header[..2].copy_from_slice(b"MZ");
    let image = Image {
        machine,
        sections: vec![code],
        dos_header,
        file_header: FileHeader {
            machine: machine.code().into(),
            number_of_sections: U16::ZERO,
            time_date_stamp: U32::ZERO,
            pointer_to_symbol_table: U32::ZERO,
            number_of_symbols: U32::ZERO,
            size_of_optional_header: U16::new(240),
            // "Characteristics": executable image | large address aware | no line numbers.
            characteristics: U16::new(0x0002 | 0x0020 | 0x0004),
        },
        optional_header: addon_header(),
    };
    image.append(sections, epoch)
}

/// An EFI application at no fixed address, its code at 0x1000, pages of 4096 bytes.
fn addon_header() -> OptionalHeader {
    OptionalHeader {
        magic: U16::new(0x20b),
        address_of_entry_point: U32::new(0x1000),
        base_of_code: U32::new(0x1000),
        section_alignment: U32::new(0x1000),
        file_alignment: U32::new(0x200),
        subsystem: U16::new(10),
        // "DLL Characteristics": no execution of data.
        dll_characteristics: U16::new(0x0100),
        number_of_rva_and_sizes: U32::new(16),
        ..FromBytes::read_from_bytes(&[0; size_of::<OptionalHeader>()])
            .expect("zeros are a header without values")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> SectionName {
        SectionName::new(text)
    }

    fn bytes(content: &[u8]) -> Blob {
        Blob::from_bytes("test", content)
    }

    #[test]
    fn an_addon_is_laid_out_so() {
        let sections = [(name(".uname"), bytes(b"6.18.0")), (name(".initrd"), bytes(&[7; 3000]))];
        let addon = addon(Machine::Amd64, &sections, 1).unwrap();
        insta::assert_snapshot!(format!("{addon:?}"), @r"
        0x0000000000        512 bytes pe headers
        0x0000000200         11 bytes .text
        0x000000020b        501 zeros gap
        0x0000000400          6 bytes .uname
        0x0000000406        506 zeros gap
        0x0000000600       3000 bytes .initrd
        0x00000011b8         72 zeros gap
        ");
    }

    #[test]
    fn a_uki_gives_back_its_stub_and_its_sections() {
        let stub = addon(Machine::Arm64, &[(name(".sbat"), bytes(b"sbat,1"))], 5).unwrap();
        let first = [(name(".osrel"), bytes(b"ID=talos")), (name(".linux"), bytes(&[1; 5000]))];
        let uki = Image::read(&stub).unwrap().append(&first, 5).unwrap();

        let image = Image::read(&uki).unwrap();
        let linux = image.section(name(".linux")).unwrap().data();
        assert_eq!(linux.to_vec().unwrap(), [1; 5000]);
        let again = image.before(name(".osrel")).append(&first, 5).unwrap();
        assert_eq!(again.to_vec().unwrap(), uki.to_vec().unwrap());
        assert_eq!(image.machine, Machine::Arm64);
    }

    /// Talos' own `AssembleNative` (v1.15.0-alpha, commit ad8823176) gave this digest for the same
    /// stub, sections and `SOURCE_DATE_EPOCH`.
    #[test]
    fn an_assembled_image_equals_that_of_talos() {
        let stub = addon(Machine::Amd64, &[(name(".sbat"), bytes(b"sbat,1,test\n"))], 7).unwrap();
        let sections: Vec<_> = [".osrel", ".cmdline", ".uname", ".linux", ".initrd", ".profile"]
            .iter()
            .zip(b'a'..)
            .enumerate()
            .map(|(i, (text, byte))| (name(text), bytes(&vec![byte; 1 + i * 1237])))
            .collect();
        let image = Image::read(&stub).unwrap().append(&sections, 1_700_000_000).unwrap();
        let digest = crate::digest::Digest::of_blob(&image).unwrap().to_string();
        assert_eq!(digest, "5cd6b9d13401a93960c8e8b660f2aaff7c1ab785f7143df7a15e6d255fbbf841");
    }

    proptest! {
        /// A damaged image is refused or read, never a panic; what is read can be written.
        #[test]
        fn a_damaged_image_does_no_harm(
            flips in prop::collection::vec((0usize..1600, any::<u8>()), 1..8), cut in 0usize..1600,
        ) {
            let good = addon(Machine::Amd64, &[(name(".initrd"), bytes(&[3; 900]))], 0).unwrap();
            let mut damaged = good.to_vec().unwrap();
            damaged.truncate(cut.max(64));
            for (at, value) in flips {
                if let Some(byte) = damaged.get_mut(at % cut.max(64)) { *byte = value; }
            }
            if let Ok(image) = Image::read(&bytes(&damaged)) {
                let _ = image.append(&[(name(".x"), bytes(b"x"))], 0);
            }
        }
    }
}
