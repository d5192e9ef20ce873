//! A blob's bytes into a file, by the cheapest way for each extent.
//!
//! In: a blob, an empty file of its length, perhaps an earlier image to share blocks with. Out: the
//! file filled; its zeros are holes.
//!
//! Source: the manual page copy_file_range(2). Its note that the kernel may fill holes holds where
//! nothing is shared; so only data are copied there.
//!
//! Not here: where the file lies (`folder`), syncing it (`file`), its digest (`digests`).

use std::collections::BTreeSet;
use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::Advice;
use rustix::io::{Errno, retry_on_intr};

use crate::blob::{Blob, Extent, Input, Source};
use crate::sink::donors::Gift;
use crate::sink::meter::{Halt, Meter};
use crate::units::{MIB, align_up};

/// The bytes that are gathered before a write, and read at once where the kernel cannot copy.
const ROOM: usize = 1 << 20;

/// The bytes that the kernel copies at once: progress is told, and an error of the other worker
/// seen, between two such pieces.
const PIECE: u64 = 16 * MIB;

/// The bytes whose blocks the kernel shares at once, which takes no longer than a few writes.
const SHARED_PIECE: u64 = 1024 * MIB;

/// Zeros shorter than this are written along with bytes before them, to save calls: they cannot
/// take a block that those bytes do not take, or touch.
const SHORT_GAP: u64 = 4096;

/// Copies blobs to one file system, several at once, and learns which inputs the kernel does not copy
/// to it.
#[derive(Debug, Default)]
pub(super) struct Copier {
    /// The file systems from which the kernel refuses to copy to ours.
    refusing: Mutex<BTreeSet<u64>>,
}

/// One file under way.
struct Writing<'a> {
    out: &'a File,
    meter: &'a Meter<'a>,
    /// Bytes gathered, to be written at `at`.
    room: Vec<u8>,
    at: u64,
}

impl Copier {
    /// Fills `out`, an empty file of the blob's length.
    pub(super) fn copy(
        &self,
        blob: &Blob,
        gift: Option<&Gift>,
        out: &File,
        meter: &Meter<'_>,
    ) -> Result<(), Halt> {
        let mut writing = Writing { out, meter, room: Vec::new(), at: 0 };
        let mut at = 0;
        for (file, range) in gift.iter().flat_map(|g| g.ranges.iter().map(|r| (&g.file, r))) {
            self.extents(&mut writing, blob, at..range.start)?;
            let whole = range.start..range.end;
            let taken = kernel_copies(&mut writing, file, whole, range.start, SHARED_PIECE)?;
            at = range.start + taken;
        }
        self.extents(&mut writing, blob, at..blob.len())
    }

    /// Copies a range of the blob, extent by extent.
    fn extents(
        &self,
        writing: &mut Writing<'_>,
        blob: &Blob,
        range: Range<u64>,
    ) -> Result<(), Halt> {
        let base = range.start;
        for extent in blob.slice(range).extents() {
            let at = base + extent.start;
            match &extent.source {
                Source::Zeros => writing.zeros(at, extent.len)?,
                Source::Bytes(bytes, from) => {
                    let len = usize::try_from(extent.len).expect("an extent's bytes fit in memory");
                    writing.bytes(at, &bytes[*from..*from + len])?;
                }
                Source::File(input, from) => {
                    self.input(writing, input, *from..*from + extent.len, at)?;
                }
            }
        }
        writing.flush()
    }

    fn input(
        &self,
        writing: &mut Writing<'_>,
        input: &Input,
        range: Range<u64>,
        at: u64,
    ) -> Result<(), Halt> {
        writing.flush()?;
        let device = input.file.metadata().map_err(|e| unreadable(input, e))?.dev();
        let mut done = 0;
        if !self.refusing().contains(&device) {
            done = kernel_copies(writing, &input.file, range.clone(), at, PIECE)
                .map_err(|halt| blame(halt, input, &range, &mut writing.room))?;
            // Where nothing was copied, nothing will be from there: no cause that passes is known.
            if done == 0 {
                self.refusing().insert(device);
            }
        }
        writing.by_hand(input, range.start + done..range.end, at + done)
    }

    fn refusing(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.refusing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `blob` takes on the disk, in bytes: its data in whole blocks, but for what is shared.
pub(super) fn needed(blob: &Blob, gift: Option<&Gift>, home: Home) -> u64 {
    let given: u64 = gift.map_or(0, |g| g.ranges.iter().map(|r| data_blocks(blob, r, home)).sum());
    data_blocks(blob, &(0..blob.len()), home).saturating_sub(given)
}

/// The file system that a blob goes to, as far as it matters to the room that the blob takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    /// Its number, where it shares blocks.
    pub(super) sharing_device: Option<u64>,
    /// Its block's size in bytes.
    pub(super) block: u64,
}

/// The bytes of the blocks that hold data of the range.
fn data_blocks(blob: &Blob, range: &Range<u64>, home: Home) -> u64 {
    let mut sum = 0_u64;
    let mut counted = range.start;
    let first = blob.extents().partition_point(|e| e.end() <= range.start);
    for extent in blob.extents()[first..].iter().take_while(|e| e.start < range.end) {
        if is_shared(extent, home) || matches!(extent.source, Source::Zeros) {
            continue;
        }
        let start = extent.start.max(range.start);
        let end = align_up(extent.end().min(range.end), home.block);
        sum += end.saturating_sub(counted.max(start - start % home.block));
        counted = counted.max(end);
    }
    sum
}

/// Whether the kernel will share the extent's blocks instead of copying them.
fn is_shared(extent: &Extent, home: Home) -> bool {
    let Source::File(input, from) = &extent.source else { return false };
    let is_aligned = from.is_multiple_of(home.block) && extent.start.is_multiple_of(home.block);
    is_aligned
        && home.sharing_device.is_some()
        && input.file.metadata().is_ok_and(|m| Some(m.dev()) == home.sharing_device)
}

impl Writing<'_> {
    fn bytes(&mut self, at: u64, bytes: &[u8]) -> Result<(), Halt> {
        let is_next = self.at + self.room.len() as u64 == at;
        if !is_next || self.room.len() + bytes.len() > ROOM {
            self.flush()?;
            self.at = at;
        }
        if bytes.len() <= ROOM {
            self.room.extend_from_slice(bytes);
            return Ok(());
        }
        self.write(at, bytes)?;
        self.at = at + bytes.len() as u64;
        Ok(())
    }

    fn zeros(&mut self, at: u64, len: u64) -> Result<(), Halt> {
        let used = self.room.len();
        let is_next = self.at + used as u64 == at;
        // Never the first in the room: alone they would be data where a hole will do.
        if used > 0 && is_next && len < SHORT_GAP && used as u64 + len <= ROOM as u64 {
            self.room.resize(used + usize::try_from(len).expect("a short gap"), 0);
            return Ok(());
        }
        self.meter.copied(len)
    }

    fn flush(&mut self) -> Result<(), Halt> {
        let room = std::mem::take(&mut self.room);
        self.write(self.at, &room)?;
        self.room = room;
        self.room.clear();
        Ok(())
    }

    /// Has the kernel begin to bring bytes to the disk, so that it does so beside the copying and
    /// little is left when the file is synced. It is no matter whether it does.
    ///
    /// Linux `mm/fadvise.c`: what is dirty is written, without waiting, and stays in memory meanwhile.
    fn hurry(&self, at: u64, len: u64) {
        if len >= ROOM as u64 {
            let _ = rustix::fs::fadvise(self.out, at, NonZeroU64::new(len), Advice::DontNeed);
        }
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Halt> {
        for (i, piece) in bytes.chunks(ROOM).enumerate() {
            let at = at + (i * ROOM) as u64;
            self.out.write_all_at(piece, at).map_err(Halt::Write)?;
            self.hurry(at, piece.len() as u64);
            self.meter.copied(piece.len() as u64)?;
        }
        Ok(())
    }

    /// Copies by reading and writing.
    fn by_hand(&mut self, input: &Input, range: Range<u64>, at: u64) -> Result<(), Halt> {
        let mut room = std::mem::take(&mut self.room);
        for (from, len) in pieces(&range) {
            room.resize(len, 0);
            input.file.read_exact_at(&mut room, from).map_err(|e| unreadable(input, e))?;
            self.write(at + (from - range.start), &room)?;
        }
        room.clear();
        self.room = room;
        Ok(())
    }
}

/// A range in pieces that fit into the room.
fn pieces(range: &Range<u64>) -> impl Iterator<Item = (u64, usize)> {
    let end = range.end;
    range
        .clone()
        .step_by(ROOM)
        .map(move |from| (from, usize::try_from(end - from).map_or(ROOM, |left| left.min(ROOM))))
}

/// Has the kernel copy a range, or share its blocks. Gives how much it did: less than all where it
/// does not do that between these files, or the input is shorter than it was.
fn kernel_copies(
    writing: &mut Writing<'_>,
    input: &File,
    range: Range<u64>,
    at: u64,
    piece: u64,
) -> Result<u64, Halt> {
    let len = range.end - range.start;
    let mut done = 0;
    while done < len {
        let (mut from, mut to) = (range.start + done, at + done);
        let next = usize::try_from(piece.min(len - done)).expect("a piece fits in memory");
        let copied = retry_on_intr(|| {
            rustix::fs::copy_file_range(input, Some(&mut from), writing.out, Some(&mut to), next)
        });
        match copied {
            Ok(0) => break,
            Ok(copied) => {
                writing.hurry(at + done, copied as u64);
                done += copied as u64;
                writing.meter.copied(copied as u64)?;
            }
            // Other file systems; none that can; no such call; a sandbox; not between such files.
            Err(
                Errno::XDEV
                | Errno::OPNOTSUPP
                | Errno::NOSYS
                | Errno::PERM
                | Errno::INVAL
                | Errno::TXTBSY,
            ) => break,
            Err(errno) => return Err(Halt::Write(errno.into())),
        }
    }
    Ok(done)
}

/// The kernel does not say which of the two files an error was on. Where the input cannot be read
/// either, it was that one.
fn blame(halt: Halt, input: &Input, range: &Range<u64>, room: &mut Vec<u8>) -> Halt {
    match &halt {
        Halt::Write(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {}
        _ => return halt,
    }
    for (from, len) in pieces(range) {
        room.resize(len, 0);
        if let Err(error) = input.file.read_exact_at(room, from) {
            return unreadable(input, error);
        }
    }
    halt
}

fn unreadable(input: &Input, source: std::io::Error) -> Halt {
    Halt::Read { name: input.name.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Builder;

    fn home(sharing_device: Option<u64>) -> Home {
        Home { sharing_device, block: 4096 }
    }

    #[test]
    fn only_blocks_with_data_are_needed() {
        let blob = Builder::default()
            .bytes("head", [1; 100])
            .zeros("gap", 300)
            .bytes("in the same block", [2; 100])
            .zeros("gap", 1 << 30)
            .bytes("over a border", vec![3; 4096])
            .finish();
        assert_eq!(needed(&blob, None, home(None)), 3 * 4096);
    }

    #[test]
    fn what_is_shared_is_not_needed() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let device = file.metadata().unwrap().dev();
        let asset = Blob::from_file("asset", file).unwrap();
        let blob = Builder::default().blob(&asset).bytes("config", [1; 10]).finish();
        assert_eq!(needed(&blob, None, home(None)), (1 << 20) + 4096);
        assert_eq!(needed(&blob, None, home(Some(device))), 4096);
        let askew = Builder::default().bytes("head", [1; 10]).blob(&asset).finish();
        assert_eq!(needed(&askew, None, home(Some(device))), (1 << 20) + 4096);
        let ranges = vec![0..4096, 8192..1 << 20];
        let gift = Gift {
            file: std::sync::Arc::new(tempfile::tempfile().unwrap()),
            written: Blob::default(),
            ranges,
            is_most: true,
        };
        assert_eq!(needed(&askew, Some(&gift), home(None)), 8192);
    }
}
