//! Whether pieces from different places are of one release.
//!
//! In: the kernel and the initramfs that were chosen, and those of every place that gave something.
//! Out: nothing, if they go together.
//!
//! A kernel and its modules in the initramfs are built as one, so places of one release have one
//! kernel, to the byte. An initramfs may have more segments than a release's own, where it was
//! customised: then the shorter one is how the longer one starts.
//!
//! Source: Talos `pkg/imager/extensions/rebuild.go` for how an initramfs is customised.
//!
//! Not here: whether a release is the one that the site names.

use std::io::{self, Read};

use crate::asset::error::AssetError;
use crate::asset::program::Uki;
use crate::blob::Blob;

/// A piece and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Got<T> {
    /// The piece.
    pub(super) value: T,
    /// What messages call the place.
    pub(super) place: String,
}

/// A place that gave a piece, by what it has itself.
#[derive(Debug)]
pub(super) struct Witness {
    place: String,
    kernel: Blob,
    initramfs: Blob,
    uname: Option<String>,
    talos: Option<String>,
}

impl Witness {
    /// A UKI.
    pub(super) fn of(place: &str, uki: &Uki) -> Self {
        Self {
            place: place.to_owned(),
            kernel: uki.kernel.clone(),
            initramfs: uki.initramfs.clone(),
            uname: uki.uname.clone(),
            talos: uki.talos.clone(),
        }
    }

    /// The release that it says it is of: `v1.13.9`.
    pub(super) fn talos(&self) -> Option<&str> {
        self.talos.as_deref()
    }

    fn describe(&self) -> String {
        describe(&self.place, self.talos.as_deref(), self.uname.as_deref())
    }
}

/// A place, and what is known of its release.
fn describe(place: &str, talos: Option<&str>, uname: Option<&str>) -> String {
    let talos = talos.map(|talos| format!("Talos {talos}"));
    let linux = uname.map(|uname| format!("Linux {uname}"));
    let known: Vec<_> = talos.into_iter().chain(linux).collect();
    match known.is_empty() {
        true => format!("`{place}`"),
        false => format!("`{place}` ({})", known.join(", ")),
    }
}

/// Sees to it that all places go together; `told` is the release that the kernel says it is.
///
/// # Errors
///
/// The first two that do not.
pub(super) fn check(
    kernel: &Got<Blob>,
    initramfs: &Got<Blob>,
    told: Option<&str>,
    witnesses: &[Witness],
) -> Result<(), AssetError> {
    for pair in witnesses.windows(2) {
        if let (Some(a), Some(b)) = (&pair[0].talos, &pair[1].talos)
            && a != b
        {
            let (a, b) = (pair[0].describe(), pair[1].describe());
            return Err(AssetError::Mix { a, b, why: "their releases differ" });
        }
    }
    for witness in witnesses {
        let io = |error| AssetError::Io(witness.place.clone().into(), error);
        let mix = |a, why| Err(AssetError::Mix { a, b: witness.describe(), why });
        let is_same = kernel.value.len() == witness.kernel.len()
            && (kernel.place == witness.place
                || is_start(&kernel.value, &witness.kernel).map_err(io)?);
        if !is_same {
            return mix(describe(&kernel.place, None, told), "their kernels differ");
        }
        if initramfs.place != witness.place
            && !is_start(&initramfs.value, &witness.initramfs).map_err(io)?
        {
            return mix(
                describe(&initramfs.place, None, None),
                "their initramfs differ, and neither is the other with more behind it",
            );
        }
    }
    Ok(())
}

/// Whether the shorter one is how the longer one starts.
fn is_start(a: &Blob, b: &Blob) -> io::Result<bool> {
    let len = a.len().min(b.len());
    let (mut a, mut b) = (a.slice(0..len).reader(), b.slice(0..len).reader());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        // A blob's reader fills what it is given as far as there are bytes.
        let read = a.read(&mut left)?;
        b.read_exact(&mut right[..read])?;
        if left[..read] != right[..read] {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(bytes: &[u8]) -> Blob {
        Blob::from_bytes("bytes", bytes)
    }

    fn witness(place: &str, kernel: &[u8], initramfs: &[u8], talos: &str) -> Witness {
        Witness {
            place: place.into(),
            kernel: blob(kernel),
            initramfs: blob(initramfs),
            uname: None,
            talos: (!talos.is_empty()).then(|| talos.into()),
        }
    }

    fn said(witnesses: &[Witness]) -> String {
        let got = |value: &[u8], place: &str| Got { value: blob(value), place: place.into() };
        let (kernel, initramfs) = (got(b"kernel", "vmlinuz"), got(b"base", "initramfs.xz"));
        match check(&kernel, &initramfs, Some("6.18.45-talos"), witnesses) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn places_of_one_release_go_together() {
        let uki = witness("a-uki.efi", b"kernel", b"base", "v1.13.9");
        let customised = witness("a.iso", b"kernel", b"base and more", "v1.13.9");
        assert_eq!(said(&[uki, customised]), "");
        assert_eq!(said(&[witness("a.iso", b"kernel", b"ba", "")]), "");
    }

    #[test]
    fn places_of_two_releases_are_named() {
        insta::assert_snapshot!(said(&[witness("a.iso", b"kernfl", b"base", "v1.13.8")]), @"`vmlinuz` (Linux 6.18.45-talos) and `a.iso` (Talos v1.13.8) are not of one release: their kernels differ");
        insta::assert_snapshot!(said(&[witness("a.iso", b"kerne", b"base", "")]), @"`vmlinuz` (Linux 6.18.45-talos) and `a.iso` are not of one release: their kernels differ");
        insta::assert_snapshot!(said(&[witness("a.iso", b"kernel", b"bass", "")]), @"`initramfs.xz` and `a.iso` are not of one release: their initramfs differ, and neither is the other with more behind it");
        let two = [
            witness("a-uki.efi", b"kernel", b"base", "v1.13.9"),
            witness("a.iso", b"kernel", b"base", "v1.13.8"),
        ];
        insta::assert_snapshot!(said(&two), @"`a-uki.efi` (Talos v1.13.9) and `a.iso` (Talos v1.13.8) are not of one release: their releases differ");
    }
}
