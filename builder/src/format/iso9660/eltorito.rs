//! El Torito: the boot catalog, and what BIOS boot images are told of themselves.
//!
//! In: places of boot images. Out: the catalog's block, patched boot images.
//!
//! Source: El Torito Bootable CD-ROM Format Specification 1.0, chapter 2; UEFI Specification 2.10,
//! 13.3.2 ("ISO-9660 and El Torito"),
//! <https://uefi.org/specs/UEFI/2.10/13_Protocols_Media_Access.html>; for the boot images the manual
//! page of `xorrisofs`, options `-boot-info-table` and `--grub2-boot-info`.
//!
//! Not here: the descriptor that points to the catalog (`volume`).

use std::ops::Range;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

use super::record::BLOCK_BYTES_USIZE;
use super::{Block, PRIMARY};

/// The platform of machines that boot by BIOS.
const X86: u8 = 0;
/// The platform of machines that boot by UEFI.
const EFI: u8 = 0xef;

/// The sectors of 512 bytes that a BIOS loads of GRUB's image; GRUB loads the rest itself.
const BIOS_SECTORS: u16 = 4;

/// El Torito, figure 2: "Validation Entry".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ValidationEntry {
    header_id: u8,
    platform: u8,
    reserved: [u8; 2],
    id: [u8; 24],
    checksum: U16,
    key: [u8; 2],
}
const _: () = assert!(size_of::<ValidationEntry>() == 32);

/// El Torito, figures 3 and 5: "Initial/Default Entry" and "Section Entry".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Entry {
    boot_indicator: u8,
    media_type: u8,
    load_segment: U16,
    system_type: u8,
    unused_5: u8,
    sector_count: U16,
    load_rba: U32,
    selection_criteria: [u8; 20],
}
const _: () = assert!(size_of::<Entry>() == 32);

/// El Torito, figure 4: "Section Header".
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct SectionHeader {
    header_indicator: u8,
    platform: u8,
    entries: U16,
    id: [u8; 28],
}
const _: () = assert!(size_of::<SectionHeader>() == 32);

/// The boot catalog, one block: the BIOS image first where there is one, then the ESP.
pub(super) fn catalog(bios: Option<Block>, esp: &Range<Block>) -> Vec<u8> {
    let esp_entry = entry(esp.start, esp_sectors(esp));
    let mut out = Vec::with_capacity(BLOCK_BYTES_USIZE);
    match bios {
        None => {
            out.extend_from_slice(validation(EFI).as_bytes());
            out.extend_from_slice(esp_entry.as_bytes());
        }
        Some(image) => {
            let last_header = 0x91;
            let header = SectionHeader {
                header_indicator: last_header,
                platform: EFI,
                entries: 1.into(),
                id: [0; 28],
            };
            out.extend_from_slice(validation(X86).as_bytes());
            out.extend_from_slice(entry(image, BIOS_SECTORS).as_bytes());
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(esp_entry.as_bytes());
        }
    }
    out.resize(BLOCK_BYTES_USIZE, 0);
    out
}

/// The sectors of the ESP, or 0, "up to the end of the medium", where the field cannot hold them.
fn esp_sectors(esp: &Range<Block>) -> u16 {
    u16::try_from(esp.end.sector() - esp.start.sector()).unwrap_or(0)
}

fn validation(platform: u8) -> ValidationEntry {
    // All words of the entry sum up to 0; those that are not 0 are the first and the key.
    let first = u16::from_le_bytes([1, platform]);
    let key = [0x55, 0xaa];
    let checksum = first.wrapping_add(u16::from_le_bytes(key)).wrapping_neg();
    ValidationEntry {
        header_id: 1,
        platform,
        reserved: [0; 2],
        id: [0; 24],
        checksum: checksum.into(),
        key,
    }
}

/// A bootable image without emulation.
fn entry(image: Block, sectors: u16) -> Entry {
    Entry {
        boot_indicator: 0x88,
        media_type: 0,
        load_segment: 0.into(),
        system_type: 0,
        unused_5: 0,
        sector_count: sectors.into(),
        load_rba: image.0.into(),
        selection_criteria: [0; 20],
    }
}

/// The boot information table, which lies at byte 8 of the image.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct BootInformation {
    primary_descriptor: U32,
    file_block: U32,
    file_length: U32,
    checksum: U32,
    reserved: [u8; 40],
}
const INFORMATION: Range<usize> = 8..64;
const _: () = assert!(size_of::<BootInformation>() == 56);

/// Where GRUB's image is told from which sector on to load the rest of itself: its sixth.
const GRUB_SECTOR: Range<usize> = 2548..2556;

/// The fewest bytes of a BIOS boot image: both places must lie in it.
pub(super) const LEAST_IMAGE_BYTES: usize = GRUB_SECTOR.end;

/// A BIOS boot image that knows where it lies.
///
/// # Panics
///
/// If it is shorter than [`LEAST_IMAGE_BYTES`].
pub(super) fn patched(image: &[u8], start: Block) -> Vec<u8> {
    let mut out = image.to_vec();
    let sector = u64::from(start.sector()) + 5;
    out[GRUB_SECTOR].copy_from_slice(&sector.to_le_bytes());
    // The checksum covers GRUB's place, so that comes first.
    let information = BootInformation {
        primary_descriptor: PRIMARY.0.into(),
        file_block: start.0.into(),
        file_length: u32::try_from(image.len()).expect("`place` has looked at the length").into(),
        checksum: checksum(&out[INFORMATION.end..]).into(),
        reserved: [0; 40],
    };
    out[INFORMATION].copy_from_slice(information.as_bytes());
    out
}

/// The sum of all little-endian words, the last one padded with zeros.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.chunks(4).fold(0, |sum: u32, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_le_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The catalog that xorriso 1.5.4 wrote for the same places.
    #[test]
    fn a_hybrid_catalog_is_as_xorriso_writes_it() {
        let catalog = catalog(Some(Block(598)), &(Block(2048)..Block(2048 + 1536)));
        let mut want = [0; 2048];
        want[..2].copy_from_slice(&[1, 0]);
        want[28..32].copy_from_slice(&[0xaa, 0x55, 0x55, 0xaa]);
        want[32..44].copy_from_slice(b"\x88\0\0\0\0\0\x04\0\x56\x02\0\0");
        want[64..68].copy_from_slice(&[0x91, 0xef, 1, 0]);
        want[96..108].copy_from_slice(b"\x88\0\0\0\0\0\0\x18\0\x08\0\0");
        assert_eq!(catalog, want);
    }

    #[test]
    fn an_efi_catalog_is_as_xorriso_writes_it() {
        let catalog = catalog(None, &(Block(512)..Block(512 + 634_880)));
        let mut want = [0; 2048];
        want[..2].copy_from_slice(&[1, 0xef]);
        want[28..32].copy_from_slice(&[0xaa, 0x66, 0x55, 0xaa]);
        want[32..44].copy_from_slice(b"\x88\0\0\0\0\0\0\0\0\x02\0\0");
        assert_eq!(catalog, want);
    }

    #[test]
    fn a_boot_image_is_told_where_it_lies() {
        let image = patched(&[0xff; 2561], Block(598));
        assert_eq!(image[..8], [0xff; 8]);
        assert_eq!(image[8..20], *b"\x10\0\0\0\x56\x02\0\0\x01\x0a\0\0");
        // 622 words of ones, two of GRUB's place (2397 and 0), and one of a single byte.
        let sum = 0u32.wrapping_sub(622).wrapping_add(2397).wrapping_add(0xff);
        assert_eq!(image[20..24], sum.to_le_bytes());
        assert_eq!(image[24..64], [0; 40]);
        assert_eq!(image[2548..2556], [0x5d, 0x09, 0, 0, 0, 0, 0, 0]);
    }
}
