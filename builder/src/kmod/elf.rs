//! A module's ELF file, and the names in it.
//!
//! In: the bytes of an object file. Out: what it exports, what it needs, what it says of itself.
//!
//! | section | what is taken from it |
//! |---|---|
//! | `.modinfo` | `alias`, `softdep`, `weakdep` |
//! | `.symtab`, `.strtab` | exported symbols, as `__crc_<symbol>`; undefined ones are needed |
//! | `__ksymtab_strings` | exported symbols, where the kernel has no checksums |
//! | `__versions` | needed symbols that the table of symbols lacks |
//!
//! `__version_ext_names` (Linux 6.13) is not read, as kmod does not: it repeats undefined symbols.
//!
//! Source: System V ABI, "Object Files"; Linux `include/linux/export-internal.h`,
//! `include/linux/module.h` (`modversion_info`); kmod's `libkmod/libkmod-elf.c`.
//!
//! Not here: who exports what another needs (`graph`).

use std::io;

use super::names::Names;
use crate::blob::Blob;

/// The longest section that is read, in bytes. Those of the largest modules have 3 MB.
const MAX_SECTION: u64 = 16 << 20;
/// The longest `.modinfo`, in bytes. That of `amdgpu` has 80 kB.
const MAX_MODINFO: usize = 2 << 20;
/// The most that a module's names of one kind take, in bytes. A symbol has at most 512.
const MAX_NAMES: usize = 16 << 20;

/// An entry of `__versions`: a checksum and a name, in both classes as long together.
const VERSION_LEN: usize = 64;
/// The mark of an exported symbol's checksum.
const CHECKSUM: &[u8] = b"__crc_";
/// The index of no section: a symbol with it is undefined.
const SHN_UNDEF: u64 = 0;

/// The names that a module holds, each in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// What it answers to: `pci:v00008086d…`.
    pub(super) aliases: Names,
    /// What should be loaded before or after it: `pre: crc32c`.
    pub(super) softdeps: Names,
    /// What it may ask for.
    pub(super) weakdeps: Names,
    /// The symbols that it offers.
    pub(super) exports: Names,
    /// The symbols that it needs, the kernel's among them. One may stand twice.
    pub(super) needs: Names,
}

/// Why a file gives no names.
#[derive(Debug)]
pub(super) enum Fault {
    /// It cannot be read.
    Read(io::Error),
    /// It is no module; the text says why.
    Wrong(String),
}

impl From<io::Error> for Fault {
    fn from(cause: io::Error) -> Self {
        Self::Read(cause)
    }
}

fn wrong<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Wrong(text.into()))
}

/// Where the fields stand that the two classes place differently, in bytes: `(offset, length)`.
struct Class {
    header_len: usize,
    section_table: (usize, usize),
    /// `e_shentsize`; the number of sections and the index of their names follow, 2 bytes each.
    section_len_at: usize,
    section_len: usize,
    section_offset: (usize, usize),
    section_size: (usize, usize),
    symbol_len: usize,
    symbol_section: (usize, usize),
    checksum_len: usize,
}

/// `Elf32_Ehdr`, `Elf32_Shdr`, `Elf32_Sym`.
const CLASS32: Class = Class {
    header_len: 52,
    section_table: (32, 4),
    section_len_at: 46,
    section_len: 40,
    section_offset: (16, 4),
    section_size: (20, 4),
    symbol_len: 16,
    symbol_section: (14, 2),
    checksum_len: 4,
};

/// `Elf64_Ehdr`, `Elf64_Shdr`, `Elf64_Sym`.
const CLASS64: Class = Class {
    header_len: 64,
    section_table: (40, 8),
    section_len_at: 58,
    section_len: 64,
    section_offset: (24, 8),
    section_size: (32, 8),
    symbol_len: 24,
    symbol_section: (6, 2),
    checksum_len: 8,
};

/// The names of the module in `file`.
///
/// # Errors
///
/// Where it is no ELF file with little-endian numbers and a table of symbols, or a part lies
/// outside of it.
pub(super) fn read(file: &Blob) -> Result<Facts, Fault> {
    let elf = Elf::open(file)?;
    let mut facts = Facts::default();
    if let Some(info) = elf.section(".modinfo")? {
        read_modinfo(&info, &mut facts)?;
    }
    let (Some(symbols), Some(strings)) = (elf.section(".symtab")?, elf.section(".strtab")?) else {
        return wrong("it has no table of symbols");
    };
    elf.read_symbols(&symbols, &strings, &mut facts)?;
    if facts.exports.len() == 0
        && let Some(strings) = elf.section("__ksymtab_strings")?
    {
        read_exports(&strings, &mut facts)?;
    }
    if let Some(versions) = elf.section("__versions")? {
        elf.read_versions(&versions, &mut facts)?;
    }
    let Facts { aliases, softdeps, weakdeps, exports, needs } = facts;
    let [aliases, softdeps, weakdeps] = [aliases, softdeps, weakdeps].map(Names::shrunk);
    let [exports, needs] = [exports, needs].map(Names::shrunk);
    Ok(Facts { aliases, softdeps, weakdeps, exports, needs })
}

/// An ELF file with its table of sections at hand.
struct Elf<'a> {
    file: &'a Blob,
    class: &'static Class,
    sections: Vec<u8>,
    section_names: Vec<u8>,
}

impl<'a> Elf<'a> {
    fn open(file: &'a Blob) -> Result<Self, Fault> {
        let mut ident = [0; 6];
        if file.len() < 64 {
            return wrong("it is too short for an ELF file");
        }
        file.read_exact_at(&mut ident, 0)?;
        let class = match ident {
            [0x7f, b'E', b'L', b'F', 1, 1] => &CLASS32,
            [0x7f, b'E', b'L', b'F', 2, 1] => &CLASS64,
            [0x7f, b'E', b'L', b'F', _, 2] => return wrong("its numbers are big-endian"),
            [0x7f, b'E', b'L', b'F', ..] => return wrong("its ELF class is neither 32 nor 64 bit"),
            _ => return wrong("it is no ELF file"),
        };
        let mut header = [0; 64];
        let header = &mut header[..class.header_len];
        file.read_exact_at(header, 0)?;
        let at = class.section_len_at;
        let [entry_len, count, names] = [at, at + 2, at + 4].map(|at| number(header, (at, 2)));
        if entry_len != class.section_len as u64 {
            return wrong(format!("its section headers have {entry_len} bytes each"));
        }
        let from = number(header, class.section_table);
        let sections = part(file, "table of sections", from, count * entry_len)?;
        let elf = Self { file, class, sections, section_names: Vec::new() };
        let Some(header) = elf.headers().nth(usize::try_from(names).expect("2 bytes fit")) else {
            return wrong("its names of sections have no section");
        };
        let section_names = elf.bytes(header, "names of sections")?;
        match section_names.last() {
            Some(0) => Ok(Self { section_names, ..elf }),
            _ => wrong("its names of sections do not end"),
        }
    }

    fn headers(&self) -> impl Iterator<Item = &[u8]> {
        self.sections.chunks_exact(self.class.section_len)
    }

    /// The bytes of the first section of that name.
    fn section(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let has_name = |header: &&[u8]| {
            let at = usize::try_from(number(header, (0, 4))).expect("4 bytes fit");
            let rest = self.section_names.get(at..).unwrap_or_default();
            rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        };
        let header = self.headers().skip(1).find(has_name);
        header.map(|header| self.bytes(header, name)).transpose()
    }

    fn bytes(&self, header: &[u8], name: &str) -> Result<Vec<u8>, Fault> {
        let from = number(header, self.class.section_offset);
        part(self.file, name, from, number(header, self.class.section_size))
    }

    fn read_symbols(&self, table: &[u8], names: &[u8], out: &mut Facts) -> Result<(), Fault> {
        if !table.len().is_multiple_of(self.class.symbol_len) {
            return wrong("its table of symbols is cut");
        }
        for symbol in table.chunks_exact(self.class.symbol_len).skip(1) {
            let at = usize::try_from(number(symbol, (0, 4))).expect("4 bytes fit");
            let Some(rest) = names.get(at..).filter(|rest| !rest.is_empty()) else {
                return wrong(format!("a symbol has its name at {at}, outside of `.strtab`"));
            };
            let is_needed = number(symbol, self.class.symbol_section) == SHN_UNDEF;
            let is_offered = rest.starts_with(CHECKSUM);
            if !is_needed && !is_offered {
                continue;
            }
            let Some(name) = text(rest) else {
                return wrong(format!("a symbol's name at {at} does not end"));
            };
            if is_offered {
                add(&mut out.exports, &name[CHECKSUM.len()..])?;
            }
            if is_needed {
                add(&mut out.needs, name)?;
            }
        }
        Ok(())
    }

    fn read_versions(&self, table: &[u8], out: &mut Facts) -> Result<(), Fault> {
        if !table.len().is_multiple_of(VERSION_LEN) {
            return wrong("`__versions` is cut");
        }
        for version in table.chunks_exact(VERSION_LEN) {
            let Some(name) = text(&version[self.class.checksum_len..]) else {
                return wrong("a name in `__versions` does not end");
            };
            add(&mut out.needs, name)?;
        }
        Ok(())
    }
}

fn read_modinfo(section: &[u8], out: &mut Facts) -> Result<(), Fault> {
    if section.len() > MAX_MODINFO {
        return wrong(format!("its `.modinfo` has more than {} MiB", MAX_MODINFO >> 20));
    }
    for pair in strings(section) {
        let split = pair.iter().position(|byte| *byte == b'=');
        let (key, value) = split.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        let list = match key {
            b"alias" => &mut out.aliases,
            b"softdep" => &mut out.softdeps,
            b"weakdep" => &mut out.weakdeps,
            _ => continue,
        };
        list.push(value);
    }
    Ok(())
}

fn read_exports(section: &[u8], out: &mut Facts) -> Result<(), Fault> {
    if section.last().is_some_and(|byte| *byte != 0) {
        return wrong("`__ksymtab_strings` does not end");
    }
    strings(section).for_each(|name| out.exports.push(name));
    Ok(())
}

/// The strings of a section, between any number of NULs.
fn strings(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    section.split(|byte| *byte == 0).filter(|text| !text.is_empty())
}

/// Adds a symbol; one without a name is none.
fn add(names: &mut Names, name: &[u8]) -> Result<(), Fault> {
    if names.len() + name.len() > MAX_NAMES {
        return wrong(format!("its symbols' names take more than {} MiB", MAX_NAMES >> 20));
    }
    if !name.is_empty() {
        names.push(name);
    }
    Ok(())
}

/// The text up to the first NUL, or nothing where there is none.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().take(MAX_NAMES).position(|byte| *byte == 0)?;
    Some(&bytes[..end])
}

/// The number in a field of at most 8 bytes.
fn number(bytes: &[u8], (at, len): (usize, usize)) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn part(file: &Blob, name: &str, from: u64, len: u64) -> Result<Vec<u8>, Fault> {
    let Some(part) = from.checked_add(len).and_then(|end| file.get(from..end)) else {
        return wrong(format!("its `{name}` ends past the file"));
    };
    if len > MAX_SECTION {
        return wrong(format!("its `{name}` has more than {} MiB", MAX_SECTION >> 20));
    }
    Ok(part.to_vec()?)
}
