//! A sparse device in memory, for crates that write to a device.
//!
//! In: writes at offsets. Out: the bytes that were written, as a [`Blob`], around contents that were
//! only laid out.
//!
//! A crate that lays out large contents is given [`payload`] to write. The device knows these bytes
//! by where they lie in memory: it notes where they would go and stores nothing, so that a file of
//! 200 MiB costs the room of its cluster chain.
//!
//! Source: none.
//!
//! Not here: what the bytes mean.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use crate::blob::{Blob, Builder};

/// The bytes in which the device is stored. One that was never written, or only with zeros, is not.
const PAGE: u64 = 4096;

/// What stands for contents. A static, so that no other bytes can lie at its address.
static PAYLOAD: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes to write in the place of contents that are only to be laid out.
pub fn payload() -> &'static [u8] {
    &PAYLOAD
}

/// A device of zeros that remembers what is written to it.
#[derive(Debug)]
pub struct Recorder {
    len: u64,
    at: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
    payload: Vec<Range<u64>>,
}

impl Recorder {
    /// A device of `len` bytes.
    pub fn new(len: u64) -> Self {
        Self { len, at: 0, pages: BTreeMap::new(), payload: Vec::new() }
    }

    /// Where payload was written since the last call, in the order of the writes; neighbours are one.
    pub fn take_payload(&mut self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.payload)
    }

    /// Reads from `offset` on; past the device's end there are zeros.
    pub fn read_at(&self, out: &mut [u8], offset: u64) {
        out.fill(0);
        for (page, within, range) in pieces(offset, out.len()) {
            if let Some(bytes) = self.pages.get(&page) {
                let len = range.len();
                out[range].copy_from_slice(&bytes[within..within + len]);
            }
        }
    }

    /// Writes from `offset` on.
    ///
    /// # Panics
    ///
    /// If the bytes end past the device.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) {
        let end = offset.checked_add(bytes.len() as u64);
        let lies_within = bytes.is_empty() || end.is_some_and(|end| end <= self.len);
        assert!(lies_within, "a write lies in the device");
        for (page, within, range) in pieces(offset, bytes.len()) {
            self.write_piece(page, within, &bytes[range]);
        }
    }

    fn write_piece(&mut self, page: u64, within: usize, bytes: &[u8]) {
        if let Some(stored) = self.pages.get_mut(&page) {
            stored[within..within + bytes.len()].copy_from_slice(bytes);
        } else if bytes.iter().any(|&byte| byte != 0) {
            let mut fresh = vec![0; 1 << PAGE.trailing_zeros()].into_boxed_slice();
            fresh[within..within + bytes.len()].copy_from_slice(bytes);
            self.pages.insert(page, fresh);
        }
    }

    fn note_payload(&mut self, start: u64, end: u64) {
        match self.payload.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.payload.push(start..end),
        }
    }

    /// The whole device: what was written, each run of pages under the label of its offset, and
    /// `contents` at their offsets.
    ///
    /// # Panics
    ///
    /// If contents overlap each other or a page that was written.
    pub fn into_blob(
        self,
        label: impl Fn(u64) -> &'static str,
        contents: impl IntoIterator<Item = (u64, Blob)>,
    ) -> Blob {
        let len = self.len;
        let mut parts: BTreeMap<u64, Blob> = self.runs(label).into_iter().collect();
        for (offset, content) in contents.into_iter().filter(|(_, content)| !content.is_empty()) {
            assert!(parts.insert(offset, content).is_none(), "one spot holds one thing");
        }
        let add = |blob: Builder, (offset, part): (u64, Blob)| blob.fill_to(offset).blob(&part);
        parts.into_iter().fold(Builder::default(), add).fill_to(len).finish()
    }

    /// Runs of neighbouring pages with one label, each with its offset.
    fn runs(self, label: impl Fn(u64) -> &'static str) -> Vec<(u64, Blob)> {
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for (page, bytes) in self.pages {
            let offset = page * PAGE;
            let left = usize::try_from(self.len - offset).unwrap_or(usize::MAX);
            let bytes = &bytes[..bytes.len().min(left)];
            match runs.last_mut() {
                Some((start, run))
                    if *start + run.len() as u64 == offset && label(*start) == label(offset) =>
                {
                    run.extend_from_slice(bytes);
                }
                _ => runs.push((offset, bytes.to_vec())),
            }
        }
        let blob = |(offset, run)| (offset, Blob::from_bytes(label(offset), run));
        runs.into_iter().map(blob).collect()
    }
}

/// The pages under a range: each page's number, where in it the piece starts, and which part of the
/// range it is.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE).expect("a page is small");
        let page_left = usize::try_from(PAGE).expect("a page is small") - within;
        let range = done..len.min(done + page_left);
        done = range.end;
        (!range.is_empty()).then_some((at / PAGE, within, range))
    })
}

impl Read for Recorder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at);
        let len = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
        self.read_at(&mut out[..len], self.at);
        self.at += len as u64;
        Ok(len)
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at);
        let len = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let end = self.at + len as u64;
        if PAYLOAD.as_ptr_range().contains(&bytes.as_ptr()) {
            self.note_payload(self.at, end);
        } else {
            self.write_at(&bytes[..len], self.at);
        }
        self.at = end;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Recorder {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn payload_is_laid_out_and_not_stored() {
        let mut device = Recorder::new(1 << 40);
        device.seek(SeekFrom::Start(8192)).unwrap();
        device.write_all(&payload()[..4096]).unwrap();
        device.write_all(&payload()[7..10]).unwrap();
        device.seek(SeekFrom::End(-3)).unwrap();
        device.write_all(&[1, 2, 3]).unwrap();
        assert_eq!(device.write(&[4]).unwrap(), 0);
        let places = device.take_payload();
        assert_eq!((places[0].clone(), places.len()), (8192..12291, 1));
        let content = Blob::from_bytes("content", vec![7; 4099]);
        let blob = device.into_blob(|_| "page", [(8192, content)]);
        insta::assert_snapshot!(format!("{blob:?}"), @r"
        0x0000000000       8192 zeros gap
        0x0000002000       4099 bytes content
        0x0000003003 1099511611389 zeros gap
        0xfffffff000       4096 bytes page
        ");
    }

    proptest! {
        /// The device holds what a plain array of bytes holds after the same writes.
        #[test]
        fn a_device_holds_what_was_written(
            len in 0_u64..20_000,
            writes in prop::collection::vec((0_u64..20_000, 0_usize..9000, any::<u8>()), 0..9),
        ) {
            let mut device = Recorder::new(len);
            let mut plain = io::Cursor::new(vec![0; usize::try_from(len).unwrap()]);
            for (at, count, byte) in writes {
                device.seek(SeekFrom::Start(at)).unwrap();
                plain.seek(SeekFrom::Start(at)).unwrap();
                let bytes = vec![byte; count];
                let left = usize::try_from(len.saturating_sub(at)).unwrap().min(count);
                prop_assert_eq!(device.write(&bytes).unwrap(), left);
                plain.get_mut().iter_mut().skip(usize::try_from(at).unwrap()).take(left).for_each(|b| *b = byte);
            }
            let plain = plain.into_inner();
            let mut out = vec![0xa5; plain.len()];
            device.rewind().unwrap();
            device.read_exact(&mut out).unwrap();
            prop_assert_eq!(&out, &plain);
            let blob = device.into_blob(|_| "page", []);
            prop_assert_eq!(blob.to_vec().unwrap(), plain);
        }
    }
}
