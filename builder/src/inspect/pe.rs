//! PE32+ images, read as firmware loads them.
//!
//! In: an EFI program. Out: its machine, subsystem and sections, each with the bytes that it has
//! in memory.
//!
//! Source: Microsoft, "PE Format", <https://learn.microsoft.com/windows/win32/debug/pe-format>.
//!
//! Not here: signatures, relocations, and what the sections mean (`uki`).

use std::ops::Range;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::damage::Damage;
use super::field;
use crate::blob::{Blob, Builder};
use crate::talos::Arch;

/// The most sections that are read; a UKI has a few dozen.
const SECTIONS_LIMIT: u16 = 512;
/// The magic number of a PE32+ optional header.
const PE32_PLUS: u16 = 0x20b;
/// The subsystem of EFI applications.
const EFI_APPLICATION: u16 = 10;

/// An EFI program.
#[derive(Clone, Debug)]
pub struct Pe {
    /// The machine's number: 0x8664 for x86-64.
    pub machine: u16,
    /// The subsystem's number: 10 for an EFI application.
    pub subsystem: u16,
    /// The bytes that the program takes in memory.
    pub size_of_image: u32,
    /// Whether it carries a signature.
    pub is_signed: bool,
    /// The sections, in the table's order.
    pub sections: Vec<Section>,
}

/// A section of an EFI program.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name: `.initrd`.
    pub name: String,
    /// Its address, from the start of the image.
    pub address: u32,
    /// The bytes that it has in memory: cut to its size there, or filled up with zeros.
    pub data: Blob,
    /// Where its bytes start in the file.
    pub offset: u32,
    /// How many of its bytes the file has; the others are zeros.
    pub stored: u64,
}

/// PE Format, "COFF File Header", after the signature.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FileHeader {
    signature: [u8; 4],
    machine: U16,
    number_of_sections: U16,
    time_date_stamp: U32,
    pointer_to_symbol_table: U32,
    number_of_symbols: U32,
    size_of_optional_header: U16,
    characteristics: U16,
}
const _: () = assert!(size_of::<FileHeader>() == 24);

/// PE Format, "Optional Header" of PE32+, up to the data directories.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct OptionalHeader {
    magic: U16,
    linker_version: [u8; 2],
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
}
const _: () = assert!(size_of::<OptionalHeader>() == 112);

/// PE Format, "Section Table".
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SectionHeader {
    name: [u8; 8],
    virtual_size: U32,
    virtual_address: U32,
    size_of_raw_data: U32,
    pointer_to_raw_data: U32,
    pointer_to_relocations: U32,
    pointer_to_linenumbers: U32,
    number_of_relocations: U16,
    number_of_linenumbers: U16,
    characteristics: U32,
}
const _: () = assert!(size_of::<SectionHeader>() == 40);

/// Whether a blob starts as a PE image does.
pub fn is_pe(file: &Blob) -> bool {
    find(file).is_ok_and(|at| at.is_some())
}

/// The machine's number that programs of an architecture have.
pub const fn machine(arch: Arch) -> u16 {
    match arch {
        Arch::Amd64 => 0x8664,
        Arch::Arm64 => 0xaa64,
    }
}

/// Where the PE signature lies, or nothing where the file is no PE image.
fn find(file: &Blob) -> Result<Option<u64>, Damage> {
    let dos: [u8; 64] = field::load(file, "dos header", 0)?;
    let at = u64::from(u32::from_le_bytes([dos[60], dos[61], dos[62], dos[63]]));
    if dos[..2] != *b"MZ" {
        return Ok(None);
    }
    let signature: [u8; 4] = field::load(file, "pe header", at)?;
    Ok((signature == *b"PE\0\0").then_some(at))
}

impl Pe {
    /// Reads the headers; of the sections' bytes, none.
    ///
    /// # Errors
    ///
    /// [`Damage`] where the file is no PE32+ EFI application, or a section lies past the file,
    /// past the image, or over another.
    pub fn read(file: &Blob) -> Result<Self, Damage> {
        let missing = || Damage::new("dos header", 0, "it is no PE image").should("MZ and PE");
        let at = find(file)?.ok_or_else(missing)?;
        let header: FileHeader = field::load(file, "pe header", at)?;
        let optional_at = at + size_of::<FileHeader>() as u64;
        let optional: OptionalHeader = field::load(file, "pe optional header", optional_at)?;
        let damage = |wrong: String| Damage::new("pe optional header", optional_at, wrong);
        if optional.magic.get() != PE32_PLUS {
            let wrong = format!("its magic number is {:#x}", optional.magic.get());
            return Err(damage(wrong).should("0x20b (PE32+)"));
        }
        if optional.subsystem.get() != EFI_APPLICATION {
            let wrong = format!("its subsystem is {}", optional.subsystem.get());
            return Err(damage(wrong).should("10 (EFI application)"));
        }
        let count = header.number_of_sections.get();
        let optional_len = u64::from(header.size_of_optional_header.get());
        if count > SECTIONS_LIMIT || optional_len < size_of::<OptionalHeader>() as u64 {
            let wrong = format!("it has {count} sections after {optional_len} bytes of header");
            return Err(Damage::new("pe header", at, wrong));
        }
        let table = optional_at + optional_len;
        let headers = table + u64::from(count) * size_of::<SectionHeader>() as u64;
        if headers > u64::from(optional.size_of_headers.get()) {
            let wrong = format!("its headers are said to end at {}", optional.size_of_headers);
            return Err(damage(wrong).should(format!("{headers} or more")));
        }
        let mut pe = Self {
            machine: header.machine.get(),
            subsystem: optional.subsystem.get(),
            size_of_image: optional.size_of_image.get(),
            is_signed: has_certificates(file, &optional, optional_at)?,
            sections: Vec::new(),
        };
        pe.read_sections(file, table, count)?;
        Ok(pe)
    }

    /// The first section of a name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.name == name)
    }

    /// The architecture that the program is for.
    pub fn arch(&self) -> Option<Arch> {
        Arch::ALL.into_iter().find(|&arch| machine(arch) == self.machine)
    }

    fn read_sections(&mut self, file: &Blob, table: u64, count: u16) -> Result<(), Damage> {
        let at = |number: u64| table + number * size_of::<SectionHeader>() as u64;
        let headers: Vec<SectionHeader> = (0..u64::from(count))
            .map(|number| field::load(file, "pe section header", at(number)))
            .collect::<Result<_, _>>()?;
        for (number, header) in (0..).zip(&headers) {
            header.check(file.len(), table, self.size_of_image).map_err(|wrong| {
                let wrong = format!("`{}` {wrong}", field::text(&header.name));
                Damage::new("pe section header", at(number), wrong)
            })?;
        }
        check_apart(&headers, table, SectionHeader::in_file)?;
        check_apart(&headers, table, SectionHeader::in_memory)?;
        self.sections = headers.iter().map(|header| header.section(file)).collect();
        Ok(())
    }
}

/// Whether there are signatures. They must lie in the file.
fn has_certificates(
    file: &Blob,
    optional: &OptionalHeader,
    optional_at: u64,
) -> Result<bool, Damage> {
    const CERTIFICATES: u64 = 4;
    if u64::from(optional.number_of_rva_and_sizes.get()) <= CERTIFICATES {
        return Ok(false);
    }
    let at = optional_at + size_of::<OptionalHeader>() as u64 + CERTIFICATES * 8;
    let [offset, len]: [U32; 2] = field::load(file, "pe data directory", at)?;
    let end = u64::from(offset.get()) + u64::from(len.get());
    if end > file.len() {
        let wrong = format!("the signatures end at {end:#x} of {:#x} bytes", file.len());
        return Err(Damage::new("pe data directory", at, wrong));
    }
    Ok(len.get() != 0)
}

impl SectionHeader {
    /// The section's bytes in the file.
    fn in_file(&self) -> Range<u64> {
        let start = u64::from(self.pointer_to_raw_data.get());
        start..start + u64::from(self.size_of_raw_data.get())
    }

    /// The section's bytes in memory.
    fn in_memory(&self) -> Range<u64> {
        let start = u64::from(self.virtual_address.get());
        start..start + u64::from(self.virtual_size.get())
    }

    fn check(&self, file_len: u64, table: u64, image: u32) -> Result<(), &'static str> {
        let file = self.in_file();
        if self.in_memory().end > u64::from(image) {
            return Err("lies past SizeOfImage");
        }
        if file.end > file_len {
            return Err("lies past the file");
        }
        if !file.is_empty() && file.start < table {
            return Err("lies over the headers");
        }
        Ok(())
    }

    fn section(&self, file: &Blob) -> Section {
        let size = u64::from(self.virtual_size.get());
        let stored = self.in_file();
        let kept = file.slice(stored.start..stored.end.min(stored.start + size));
        let stored = kept.len();
        let data = Builder::default().blob(&kept).zeros("section's end", size - stored);
        Section {
            name: field::text(&self.name),
            address: self.virtual_address.get(),
            data: data.finish(),
            offset: self.pointer_to_raw_data.get(),
            stored,
        }
    }
}

/// No two sections share a byte.
fn check_apart(
    headers: &[SectionHeader],
    table: u64,
    range: impl Fn(&SectionHeader) -> Range<u64>,
) -> Result<(), Damage> {
    let mut sorted: Vec<_> = headers.iter().filter(|h| !range(h).is_empty()).collect();
    sorted.sort_by_key(|h| range(h).start);
    match sorted.windows(2).find(|pair| range(pair[1]).start < range(pair[0]).end) {
        Some(pair) => {
            let [a, b] = [pair[0], pair[1]].map(|h| field::text(&h.name));
            Err(Damage::new("pe section header", table, format!("`{a}` and `{b}` overlap")))
        }
        None => Ok(()),
    }
}
