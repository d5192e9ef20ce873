//! A firmware's variables with one more among them: systemd-boot's waiting time, set to none.
//!
//! In: the store of a new machine's firmware (`OVMF_VARS`, `AAVMF_VARS`). Out: its bytes with the
//! variable `LoaderConfigTimeout`, which systemd-boot takes before `loader.conf`. So a medium is
//! booted as it was built, without the ten seconds that Talos' menu waits for a person.
//!
//! Source: UEFI Platform Initialization Specification 1.8, volume 3, 3.2.1 ("Firmware Volume
//! Header"); EDK II, `MdeModulePkg/Include/Guid/VariableFormat.h`;
//! <https://systemd.io/BOOT_LOADER_INTERFACE>.
//!
//! Not here: deleting and replacing variables, which a new machine does not need.

use anyhow::{Context, Result, ensure};

/// `8be4df61…` and its like are stored with their first three fields little-endian: this is
/// `4a67b082-0a4c-41cf-b6c7-440b29bb8c4f`, the Boot Loader Interface's vendor GUID.
const BOOT_LOADER: [u8; 16] = [
    0x82, 0xb0, 0x67, 0x4a, 0x4c, 0x0a, 0xcf, 0x41, 0xb6, 0xc7, 0x44, 0x0b, 0x29, 0xbb, 0x8c, 0x4f,
];

/// `aaf32c78-947b-439a-a180-2e144ec37792`: a store whose variables have a time and a key.
const AUTHENTICATED_STORE: [u8; 16] = [
    0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92,
];

/// The bytes of the store's header, `VARIABLE_STORE_HEADER`.
const STORE_HEADER: usize = 28;
/// The store's format and state.
const FORMATTED_AND_HEALTHY: [u8; 2] = [0x5a, 0xfe];
/// The bytes before a variable's name, `AUTHENTICATED_VARIABLE_HEADER`.
const VARIABLE_HEADER: usize = 60;
/// What a variable starts with.
const VARIABLE_START: [u8; 2] = [0xaa, 0x55];
/// A variable whose header and data were both written.
const VARIABLE_ADDED: u8 = 0x3f;
/// Non-volatile, and seen by boot services and the running system.
const ATTRIBUTES: u32 = 7;

/// `fff12b8d-7696-4c8b-a985-2747075b4f50`: a volume that holds variables.
const SYSTEM_NV_DATA: [u8; 16] = [
    0x8d, 0x2b, 0xf1, 0xff, 0x96, 0x76, 0x8b, 0x4c, 0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50,
];
/// The bytes of a firmware volume's header with one run of blocks.
const VOLUME_HEADER: u16 = 72;
/// The bytes of an erase block of the flash of QEMU's arm64 board. Its firmware gives one to
/// variables and two to their replacement (`ArmVirtQemu.dsc`, `PcdFlashNvStorage*Size`).
const BLOCK: u32 = 0x4_0000;

/// Adds `LoaderConfigTimeout` = `0` to a store. Flash that was never written, as that of a new
/// machine of QEMU's arm64 board is, is formatted first.
///
/// # Errors
///
/// Where the bytes are no such store, or it is full.
pub fn without_menu(store: &[u8]) -> Result<Vec<u8>> {
    let name = "LoaderConfigTimeout";
    let is_blank = store.len() >= 3 * BLOCK as usize && store.iter().all(|byte| *byte == 0);
    if is_blank {
        add(&formatted(store.len()), name, &utf16("0"))
    } else {
        add(store, name, &utf16("0"))
    }
}

/// The flash of QEMU's arm64 board with an empty store, as its firmware would format it.
fn formatted(len: usize) -> Vec<u8> {
    let mut out = vec![0; 16];
    out.extend(SYSTEM_NV_DATA);
    out.extend(u64::from(3 * BLOCK).to_le_bytes());
    out.extend(b"_FVH");
    out.extend(0x0004_feff_u32.to_le_bytes()); // Attributes: all that such flash can do
    out.extend(VOLUME_HEADER.to_le_bytes());
    out.extend([0; 2 + 2 + 1]); // Checksum, below; ExtHeaderOffset; Reserved
    out.push(2); // Revision
    out.extend([3, BLOCK, 0, 0].map(u32::to_le_bytes).concat()); // BlockMap and its end
    let words = out.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let sum = words.fold(0u16, u16::wrapping_add);
    out[50..52].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    out.extend(AUTHENTICATED_STORE);
    out.extend((BLOCK - u32::from(VOLUME_HEADER)).to_le_bytes());
    out.extend(FORMATTED_AND_HEALTHY);
    out.extend([0; 2 + 4]);
    out.resize(3 * BLOCK as usize, 0xff);
    out.resize(len, 0);
    out
}

fn add(store: &[u8], name: &str, value: &[u8]) -> Result<Vec<u8>> {
    let (first, end) = room(store)?;
    let at = free(store, first, end)?;
    let variable = variable(&utf16(name), value)?;
    let mut out = store.to_owned();
    let place = out.get_mut(at..at + variable.len()).filter(|_| at + variable.len() <= end);
    let place = place.context("the variable store is full")?;
    ensure!(place.iter().all(|byte| *byte == 0xff), "the variable store's end is in use");
    place.copy_from_slice(&variable);
    Ok(out)
}

/// The bytes that variables may lie in.
fn room(store: &[u8]) -> Result<(usize, usize)> {
    ensure!(store.get(40..44) == Some(b"_FVH"), "no firmware volume");
    let start = usize::from(u16::from_le_bytes(field(store, 48)?));
    ensure!(field(store, start)? == AUTHENTICATED_STORE, "no store of authenticated variables");
    let size = length(store, start + 16)?;
    let state: [u8; 2] = field(store, start + 20)?;
    ensure!(state == FORMATTED_AND_HEALTHY, "the variable store is not formatted and healthy");
    ensure!(size <= store.len() - start, "the variable store is longer than its volume");
    Ok((start + STORE_HEADER, start + size))
}

/// Where the next variable goes: each starts at a multiple of 4 bytes.
fn free(store: &[u8], first: usize, end: usize) -> Result<usize> {
    let mut at = first.next_multiple_of(4);
    while at < end && field(store, at)? == VARIABLE_START {
        let size = length(store, at + 36)?.checked_add(length(store, at + 40)?);
        let next = size.and_then(|size| (at + VARIABLE_HEADER).checked_add(size));
        at = next.context("a variable ends nowhere")?.next_multiple_of(4);
    }
    Ok(at)
}

fn variable(name: &[u8], value: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    out.extend(VARIABLE_START);
    out.extend([VARIABLE_ADDED, 0]);
    out.extend(ATTRIBUTES.to_le_bytes());
    out.extend([0; 8 + 16 + 4]); // MonotonicCount, TimeStamp, PubKeyIndex: not signed
    out.extend(u32::try_from(name.len())?.to_le_bytes());
    out.extend(u32::try_from(value.len())?.to_le_bytes());
    out.extend(BOOT_LOADER);
    out.extend(name);
    out.extend(value);
    Ok(out)
}

/// A text as EFI has it: UTF-16, little-endian, with a NUL.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn length(store: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(u32::from_le_bytes(field(store, at)?))?)
}

fn field<const N: usize>(store: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at.checked_add(N).context("a field of the variable store lies nowhere")?;
    let bytes = store.get(at..end).context("the variable store is cut short")?;
    Ok(bytes.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn empty_store() -> Vec<u8> {
        let mut store = vec![0xff; 1024];
        store[40..44].copy_from_slice(b"_FVH");
        store[48..50].copy_from_slice(&72u16.to_le_bytes());
        store[72..88].copy_from_slice(&AUTHENTICATED_STORE);
        store[88..92].copy_from_slice(&500u32.to_le_bytes());
        store[92..94].copy_from_slice(&[0x5a, 0xfe]);
        store
    }

    #[test]
    fn variables_follow_each_other_until_the_store_is_full() {
        let one = without_menu(&empty_store()).unwrap();
        let two = without_menu(&one).unwrap();
        assert_eq!(one[100..104], [0xaa, 0x55, 0x3f, 0]);
        assert_eq!(one[160..164], *b"L\0o\0");
        // 60 bytes of header, 40 of name, 4 of value.
        assert_eq!(two[204..206], VARIABLE_START);
        assert_eq!(two[..204], one[..204]);
        let full = (0..5).try_fold(empty_store(), |store, _| without_menu(&store));
        assert_eq!(full.unwrap_err().to_string(), "the variable store is full");
    }

    #[test]
    fn flash_never_written_is_formatted() {
        let flash = without_menu(&vec![0; 1 << 20]).unwrap();
        assert_eq!(flash.len(), 1 << 20);
        let words = flash[..72].chunks_exact(2).map(|w| u16::from_le_bytes([w[0], w[1]]));
        assert_eq!(words.fold(0, u16::wrapping_add), 0);
        assert_eq!(flash[100..104], [0xaa, 0x55, 0x3f, 0]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_kept(at in 0usize..1024, byte: u8, cut in 0usize..1024) {
            let mut store = empty_store();
            store[at] = byte;
            store.truncate(cut);
            if let Ok(out) = without_menu(&store) { prop_assert_eq!(out.len(), store.len()); }
        }
    }
}
