//! What a kernel file says of itself.
//!
//! In: a bzImage or an arm64 EFI image. Out: its machine, release and least length.
//!
//! Source: Linux "Documentation/arch/x86/boot.rst" (the real-mode kernel header),
//! "Documentation/arch/arm64/booting.rst", `drivers/firmware/efi/libstub/zboot-header.S`; Talos
//! `internal/pkg/uki/kernel.go#DiscoverKernelVersion`.
//!
//! Not here: reading it as a program.

use std::io;

use thiserror::Error;

use crate::blob::Blob;
use crate::talos::Arch;

/// Bytes that hold all headers asked for here.
const HEAD: u64 = 4096;

/// A kernel's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The processor that it is for.
    pub arch: Arch,
    /// Its release, `6.18.45-talos`, where its format tells it.
    pub release: Option<String>,
}

/// Why a file is no kernel that firmware can start.
#[derive(Debug, Error)]
pub enum KernelError {
    /// Neither of the two formats.
    #[error("not a Linux kernel with an EFI stub (a bzImage, or an arm64 Image or zboot image)")]
    Foreign,
    /// Shorter than its header says.
    #[error("cut short: it has {len} bytes, its header says at least {needed}")]
    Truncated {
        /// The file's length in bytes.
        len: u64,
        /// What the header tells.
        needed: u64,
    },
    /// The file cannot be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
}

/// Reads a kernel's headers.
///
/// # Errors
///
/// Where it is none, or cut short.
pub fn read(file: &Blob) -> Result<Kernel, KernelError> {
    let head = file.slice(0..HEAD.min(file.len())).to_vec()?;
    if !head.starts_with(b"MZ") {
        return Err(KernelError::Foreign);
    }
    let (kernel, needed) = match (head.get(0x202..0x206), head.get(4..8), head.get(0x38..0x3c)) {
        (Some(b"HdrS"), ..) => bz_image(file, &head)?,
        (_, Some(b"zimg"), _) => (plain_arm64(), zboot_len(&head)),
        (.., Some(b"ARM\x64")) => (plain_arm64(), HEAD),
        _ => return Err(KernelError::Foreign),
    };
    match file.len() {
        len if len < needed => Err(KernelError::Truncated { len, needed }),
        _ => Ok(kernel),
    }
}

fn plain_arm64() -> Kernel {
    Kernel { arch: Arch::Arm64, release: None }
}

fn u16_at(head: &[u8], at: usize) -> u64 {
    head.get(at..at + 2).map_or(0, |b| u64::from(b[0]) | u64::from(b[1]) << 8)
}

fn u32_at(head: &[u8], at: usize) -> u64 {
    u16_at(head, at) | u16_at(head, at + 2) << 16
}

/// "payload offset" and "payload size" at 8 and 12.
fn zboot_len(head: &[u8]) -> u64 {
    u32_at(head, 8) + u32_at(head, 12)
}

/// `setup_sects` sectors and the boot sector, then `syssize` paragraphs of 16 bytes.
fn bz_image(file: &Blob, head: &[u8]) -> Result<(Kernel, u64), KernelError> {
    let setup = match head[0x1f1] {
        // "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
        0 => 4,
        sectors => u64::from(sectors),
    } * 512;
    let needed = 512 + setup + u32_at(head, 0x1f4) * 16;
    let at = u16_at(head, 0x20e);
    let is_set = at != 0 && at <= setup;
    let release = if is_set { release(file, at + 512)? } else { None };
    Ok((Kernel { arch: Arch::Amd64, release }, needed))
}

/// The first word of the version text at `at`.
fn release(file: &Blob, at: u64) -> Result<Option<String>, KernelError> {
    let end = file.len().min(at + 256);
    let Some(text) = file.get(at..end) else { return Ok(None) };
    let text = text.to_vec()?;
    let word = text.split(|b| [0, b' '].contains(b)).next().unwrap_or_default();
    let is_word = !word.is_empty() && word.len() < 256 && word.iter().all(u8::is_ascii_graphic);
    Ok(is_word.then(|| word.iter().copied().map(char::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bz(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[0x1f1] = 8;
        bytes[0x1f4] = 16;
        bytes[0x202..0x206].copy_from_slice(b"HdrS");
        bytes[0x20e..0x210].copy_from_slice(&[0, 2]);
        bytes[0x400..0x416].copy_from_slice(b"6.18.45-talos (x@y) #1");
        bytes
    }

    fn read_bytes(bytes: Vec<u8>) -> Result<Kernel, KernelError> {
        read(&Blob::from_bytes("kernel", bytes))
    }

    #[test]
    fn a_bz_image_tells_its_release() {
        let kernel = read_bytes(bz(4864)).unwrap();
        let want = Kernel { arch: Arch::Amd64, release: Some("6.18.45-talos".into()) };
        assert_eq!(kernel, want);
    }

    #[test]
    fn a_short_or_foreign_file_is_refused() {
        let error = read_bytes(bz(4863)).unwrap_err();
        assert!(matches!(error, KernelError::Truncated { len: 4863, needed: 4864 }));
        assert!(matches!(read_bytes(vec![]), Err(KernelError::Foreign)));
        assert!(matches!(read_bytes(b"\x7fELF".to_vec()), Err(KernelError::Foreign)));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(
            len in 0usize..6000, flips in prop::collection::vec((0usize..0x300, any::<u8>()), 0..20),
        ) {
            let mut bytes = bz(6000);
            bytes.truncate(len);
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            }
            let _ = read_bytes(bytes);
        }
    }
}
