//! Archives, images, volumes and tables, judged by the tools that others read them with.

#[cfg(test)]
mod at_hand {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use talforge::blob::{Blob, Source};

    /// Writes a blob as a sparse file.
    pub(crate) fn save(blob: &Blob, path: &Path) {
        let file = File::create(path).unwrap();
        file.set_len(blob.len()).unwrap();
        for extent in blob.extents().iter().filter(|e| !matches!(e.source, Source::Zeros)) {
            let bytes = blob.slice(extent.start..extent.end()).to_vec().unwrap();
            file.write_all_at(&bytes, extent.start).unwrap();
        }
    }

    /// `len` bytes that differ from seed to seed and do not compress.
    pub(crate) fn noise(seed: u32, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let step = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[1]
        };
        (0..len).map(step).collect()
    }
}

#[cfg(test)]
#[path = "formats/cpio.rs"]
mod cpio_archives;

#[cfg(test)]
#[path = "formats/squashfs.rs"]
mod squashfs_images;

#[cfg(test)]
#[path = "formats/fat.rs"]
mod fat_volumes;

#[cfg(test)]
#[path = "formats/gpt.rs"]
mod gpt_disks;
