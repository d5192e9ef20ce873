//! Pieces of output that are made once, however many images have them.
//!
//! In: runs of a blob, and how to make something of one. Out: what was made, as a blob.
//!
//! What nodes have in common is compressed for the first of them, into a nameless file in the output
//! folder; the others take it from there, as extents. Two runs are one where their bytes come from
//! one place ([`crate::blob::Extent::is_same_run`]): nothing is read to find that out.
//!
//! Source: none.
//!
//! Not here: what is made (`zst`, `xz`, `gz`, `vmdk`, …).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::Blob;

/// How many pieces are kept: some for each profile and architecture. Each has a file open.
const PIECES: usize = 32;

/// Pieces of one kind, with what their maker needs to know of them again.
#[derive(Debug)]
pub struct Shelf<T> {
    folder: PathBuf,
    kept: Mutex<Vec<Arc<Slot<T>>>>,
}

#[derive(Debug)]
struct Slot<T> {
    source: Blob,
    /// Nothing until it was made. Who needs it meanwhile waits for the lock.
    piece: Mutex<Option<Piece<T>>>,
}

/// What was made of a run of bytes.
#[derive(Clone, Debug)]
pub struct Piece<T> {
    /// The bytes.
    pub blob: Blob,
    /// What their maker knows of them: checksums, lengths.
    pub facts: T,
}

impl<T: Clone> Shelf<T> {
    /// A shelf whose pieces are in nameless files of a folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), kept: Mutex::default() }
    }

    /// What `make` writes for `source`; it is called once for all runs that are the same.
    ///
    /// # Errors
    ///
    /// Where it cannot be made or written. The next who asks tries again.
    pub fn piece(
        &self,
        source: &Blob,
        make: impl FnOnce(&Blob, &mut dyn Write) -> io::Result<T>,
    ) -> io::Result<Piece<T>> {
        let slot = self.slot(source);
        let mut piece = lock(&slot.piece);
        if let Some(piece) = &*piece {
            return Ok(piece.clone());
        }
        let mut out = BufWriter::with_capacity(1 << 20, tempfile::tempfile_in(&self.folder)?);
        let facts = make(source, &mut out)?;
        let file: File = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let made = Piece { blob: Blob::from_file("compressed", file)?, facts };
        *piece = Some(made.clone());
        Ok(made)
    }

    fn slot(&self, source: &Blob) -> Arc<Slot<T>> {
        let mut kept = lock(&self.kept);
        let found = kept.iter().position(|slot| slot.source.is_same(source));
        let slot = match found {
            Some(at) => kept.remove(at),
            None => Arc::new(Slot { source: source.clone(), piece: Mutex::default() }),
        };
        if kept.len() == PIECES {
            kept.remove(0);
        }
        // The one used last is at the end.
        kept.push(slot.clone());
        slot
    }
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_made_once_for_runs_that_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path());
        let base = Blob::from_bytes("base", vec![1; 100]);
        let mut made = 0;
        for len in [40, 40, 60, 40] {
            let piece = shelf.piece(&base.slice(0..len), |source, out| {
                made += 1;
                out.write_all(&source.to_vec()?)?;
                Ok(source.len())
            });
            let piece = piece.unwrap();
            assert_eq!((piece.blob.to_vec().unwrap().len() as u64, piece.facts), (len, len));
        }
        assert_eq!(made, 2);
    }

    #[test]
    fn a_piece_that_could_not_be_made_is_made_by_the_next_who_asks() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path());
        let base = Blob::from_bytes("base", vec![1; 100]);
        assert!(
            shelf.piece(&base, |_, _| Err::<(), _>(io::ErrorKind::StorageFull.into())).is_err()
        );
        assert!(shelf.piece(&base, |_, out| out.write_all(b"made")).is_ok());
    }
}
