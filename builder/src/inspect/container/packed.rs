//! Contents that must be decoded: compressed files, and disks with compressed clusters.
//!
//! In: a file, and what is known of it. Out: the contents, written front to back; zeros are left as
//! holes.
//!
//! Source: none.
//!
//! Not here: decoders (`stream`), which clusters there are (`qcow2`, `vmdk`).

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use super::map::{Map, Place};
use super::stream::Coding;
use crate::blob::Blob;
use crate::inspect::damage::Damage;
use crate::units::MIB;

/// What even the smallest file may unpack to, in bytes that are not zero.
const ALLOWANCE: u64 = 8 * MIB;
/// How many times its own length a file may unpack to, beyond that and beside zeros.
const RATIO: u64 = 256;
/// The bytes that are decoded or copied at a time.
const PIECE: usize = 1 << 18;
/// What is left out where it is zeros: the blocks of a file system.
const BLOCK: usize = 4096;

/// Contents that must be decoded.
#[derive(Clone, Debug)]
pub struct Packed(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Stream(Blob, Coding),
    Disk(Map),
}

/// Why contents could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The file is not as it must be.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// There are more bytes than were allowed, or bytes out of all proportion to the file.
    #[error("it unpacks to more than {limit} bytes{0}", limit = .1)]
    TooLong(&'static str, u64),
    /// The bytes cannot be written.
    #[error("the unpacked bytes cannot be written")]
    Write(#[source] io::Error),
}

impl Packed {
    /// A whole file.
    pub(super) fn stream(file: &Blob, coding: Coding) -> Self {
        Self(Kind::Stream(file.clone(), coding))
    }

    /// A disk with compressed clusters.
    pub(super) fn disk(map: Map) -> Self {
        Self(Kind::Disk(map))
    }

    /// How many bytes [`Self::unpack`] tells of: those of a compressed file, or those of a disk.
    pub fn work(&self) -> u64 {
        match &self.0 {
            Kind::Stream(file, _) => file.len(),
            Kind::Disk(map) => map.len(),
        }
    }

    /// Writes the contents to `out`, an empty file, and tells of bytes that are done with. What is zeros becomes a hole. Every checksum that the format has is compared.
    ///
    /// # Errors
    ///
    /// Where the file is damaged, the contents are longer than `limit` bytes, or hold more bytes
    /// other than zeros than 8 MiB and 256 times the file's length; and where `out` cannot be
    /// written. What it holds then is nothing to rely on.
    pub fn unpack(
        &self,
        out: &File,
        limit: u64,
        tell: &mut dyn FnMut(u64),
    ) -> Result<(), UnpackError> {
        let packed_len = match &self.0 {
            Kind::Stream(file, _) => file.len(),
            Kind::Disk(map) => map.files().iter().map(Blob::len).fold(0, u64::saturating_add),
        };
        let data = packed_len.saturating_mul(RATIO).saturating_add(ALLOWANCE);
        let mut sparse = Sparse { out, limit, data, data_left: data, end: 0, tell };
        match &self.0 {
            Kind::Stream(file, coding) => sparse.stream(file, *coding)?,
            Kind::Disk(map) => sparse.disk(map)?,
        }
        out.set_len(sparse.end).map_err(UnpackError::Write)
    }
}

/// A file under way.
struct Sparse<'a> {
    out: &'a File,
    limit: u64,
    data: u64,
    data_left: u64,
    end: u64,
    tell: &'a mut dyn FnMut(u64),
}

impl Sparse<'_> {
    fn stream(&mut self, file: &Blob, coding: Coding) -> Result<(), UnpackError> {
        let used = Rc::<Cell<u64>>::default();
        let mut decoder = coding.decoder(file, &used)?;
        let mut told = 0;
        self.copy(&mut decoder, &mut |e, at| coding.damage(e, at), &mut |sparse| {
            (sparse.tell)(used.get() - told);
            told = used.get();
        })
    }

    fn disk(&mut self, map: &Map) -> Result<(), UnpackError> {
        if map.len() > self.limit {
            return Err(UnpackError::TooLong("", self.limit));
        }
        for run in map.runs() {
            match run.place {
                // The disk's length has been compared with the limit.
                Place::Zeros => self.end += run.len,
                Place::Plain { file, at } => {
                    let mut part = map.part(file, at..at + run.len).reader();
                    self.copy(&mut part, &mut |e, _| Damage::read("cluster", at, e), &mut |_| ())?;
                }
                Place::Packed(packed) => {
                    let end = packed.at + u64::from(packed.len);
                    let bytes = map.part(packed.file, packed.at..end).to_vec();
                    let bytes = bytes.map_err(|e| Damage::read("cluster", packed.at, e))?;
                    let bytes = packed.coding.decode(&bytes, packed.unpacked_len, packed.at)?;
                    let from = usize::try_from(packed.skip).unwrap_or(usize::MAX);
                    let shown = bytes
                        .get(from..)
                        .and_then(|rest| rest.get(..usize::try_from(run.len).ok()?));
                    let short = || Damage::new("compressed cluster", packed.at, "it is too short");
                    self.write(shown.ok_or_else(short)?)?;
                }
            }
            (self.tell)(run.len);
        }
        Ok(())
    }

    /// Writes what a stream gives, `each` called after every piece.
    fn copy(
        &mut self,
        from: &mut dyn Read,
        damage: &mut dyn FnMut(io::Error, u64) -> Damage,
        each: &mut dyn FnMut(&mut Self),
    ) -> Result<(), UnpackError> {
        let mut piece = vec![0; PIECE];
        loop {
            // Whole pieces, so that blocks of zeros lie where the file system's do.
            let mut len = 0;
            while len < piece.len() {
                match from.read(&mut piece[len..]) {
                    Ok(0) => break,
                    Ok(more) => len += more,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(damage(e, self.end + len as u64).into()),
                }
            }
            self.write(&piece[..len])?;
            each(self);
            if len < piece.len() {
                return Ok(());
            }
        }
    }

    /// Writes what comes next, without its blocks of zeros.
    fn write(&mut self, bytes: &[u8]) -> Result<(), UnpackError> {
        let len = bytes.len() as u64;
        if self.limit - self.end < len {
            return Err(UnpackError::TooLong("", self.limit));
        }
        let is_zeros = |block: &[u8]| block.iter().all(|&byte| byte == 0);
        let mut at = 0;
        for run in
            bytes.chunks(BLOCK).collect::<Vec<_>>().chunk_by(|a, b| is_zeros(a) == is_zeros(b))
        {
            let run_len: usize = run.iter().map(|block| block.len()).sum();
            let part = &bytes[at..at + run_len];
            if !is_zeros(run[0]) {
                let refuse = || UnpackError::TooLong(" that are not zero", self.data);
                self.data_left = self.data_left.checked_sub(run_len as u64).ok_or_else(refuse)?;
                let written = self.out.write_all_at(part, self.end + at as u64);
                written.map_err(UnpackError::Write)?;
            }
            at += run_len;
        }
        self.end += len;
        Ok(())
    }
}
