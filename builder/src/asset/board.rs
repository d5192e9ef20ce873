//! A board's files, opened and held to where they go.
//!
//! In: a [`catalog::board::Board`](crate::catalog::board::Board) and the files of its image. Out: a
//! [`Board`]: blobs for the disk itself, and files for its EFI partition.
//!
//! Source: the images of <https://github.com/siderolabs/overlays>, which have all that boards need
//! below `artifacts/`; UEFI Specification 2.10, chapter 5, for where a partition table lies.
//!
//! Not here: how the image is had, and how a disk is made (`layout`).

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;

use crate::blob::Blob;
use crate::catalog::board::{self, Esp, Raw};
use crate::format::fat::{File, Place};
use crate::format::gpt;
use crate::tree::{FollowError, Kind, Tree};
use crate::units::{SectorSize, Size};

/// The folder of an image in which the files of boards lie.
const FOLDER: &str = "artifacts";
/// The sectors of the disks that boards start from.
const SECTOR: SectorSize = SectorSize::B512;

/// What a disk has for its board.
#[derive(Clone, Debug)]
pub struct Board {
    /// Where the first partition starts, in bytes: whole MiB.
    pub first_partition: Size,
    /// What is written to the disk itself, each at its byte; none in the way of the partition table,
    /// of a partition or of another.
    pub raw: Vec<(u64, Blob)>,
    /// What the EFI partition has besides, in order; no two have one path.
    pub esp: Vec<File>,
}

/// Why a board cannot be had.
#[derive(Debug, Error)]
pub enum BoardError {
    /// The image lacks something.
    #[error("the image `{image}` has nothing for the board `{board}` at `{path}`: {why}")]
    Missing {
        /// The board.
        board: String,
        /// Its image.
        image: String,
        /// Where in the image it should be.
        path: String,
        /// What is wrong there.
        why: FollowError,
    },
    /// What the image has is something else.
    #[error("`{path}` in the image `{image}` is {is}, and the board `{board}` needs {want}")]
    Kind {
        /// The board.
        board: String,
        /// Its image.
        image: String,
        /// Where in the image it is.
        path: String,
        /// What it is.
        is: &'static str,
        /// What it should be.
        want: &'static str,
    },
    /// Something for the disk itself lies where something else does.
    #[error(
        "`{path}` of the board `{board}` takes bytes {} to {} of the disk, and {other} takes {} to {}",
        .at.start, .at.end, .taken.start, .taken.end
    )]
    Overlap {
        /// The board.
        board: String,
        /// The file.
        path: String,
        /// The bytes of the disk that it would take.
        at: Range<u64>,
        /// What is there.
        other: String,
        /// The bytes that that takes.
        taken: Range<u64>,
    },
}

impl BoardError {
    /// What a person does about it.
    pub const fn help(&self) -> &'static str {
        match self {
            Self::Missing { .. } | Self::Kind { .. } => {
                "take an image of Sidero's overlays that is for this release of Talos and has the \
                 board, or name another by `artifacts` in `boot`"
            }
            Self::Overlap { .. } => {
                "take the file that the overlay was written for, or mend `at` or `first_partition` \
                 in an overlay of your own"
            }
        }
    }
}

/// Opens a board's files in the tree of its image.
///
/// # Errors
///
/// What is missing or something else, and what lies in the way of something, see [`BoardError`].
pub fn open(needs: &board::Board, tree: &Tree) -> Result<Board, BoardError> {
    let image = Image { needs, tree };
    let raw = image.raw()?;
    let mut esp = Files::default();
    for item in &needs.esp {
        match item {
            Esp::File { from, to } => esp.add(to.clone(), image.file(from)?),
            Esp::Folder { from, to } => image.folder(from, to, &mut esp)?,
            Esp::Text { text, to } => {
                esp.add(to.clone(), Blob::from_bytes("text", text.clone().into_bytes()));
            }
        }
    }
    Ok(Board { first_partition: needs.first_partition, raw, esp: esp.files })
}

/// Files by their paths, where case does not count, as on FAT: a later one takes the place of an
/// earlier one.
#[derive(Default)]
struct Files {
    files: Vec<File>,
    known: BTreeMap<String, usize>,
}

impl Files {
    fn add(&mut self, path: String, content: Blob) {
        let next = self.files.len();
        let index = *self.known.entry(path.to_ascii_lowercase()).or_insert(next);
        match self.files.get_mut(index) {
            Some(file) => file.content = content,
            None => {
                self.files.push(File { path, content, read_only: false, place: Place::First });
            }
        }
    }
}

struct Image<'a> {
    needs: &'a board::Board,
    tree: &'a Tree,
}

impl Image<'_> {
    fn raw(&self) -> Result<Vec<(u64, Blob)>, BoardError> {
        let first = self.needs.first_partition.bytes();
        let entries = gpt::entry_bytes(SECTOR, gpt::entries_before(SECTOR, first));
        let mut taken = vec![
            (
                "the protective MBR and the table's header".to_owned(),
                0..gpt::ENTRIES.offset(SECTOR),
            ),
            ("the partition table".to_owned(), entries),
            ("the first partition".to_owned(), first..u64::MAX),
        ];
        let mut raw = Vec::new();
        for Raw { from, at } in &self.needs.raw {
            let blob = self.file(from)?;
            let at = at.bytes()..at.bytes().saturating_add(blob.len());
            if let Some((other, there)) =
                taken.iter().find(|(_, there)| at.start < there.end && there.start < at.end)
            {
                let (board, path) = (self.needs.name.clone(), from.clone());
                let (other, taken) = (other.clone(), there.clone());
                return Err(BoardError::Overlap { board, path, at, other, taken });
            }
            raw.push((at.start, blob));
            taken.push((format!("`{from}`"), at));
        }
        Ok(raw)
    }

    /// What is at a path below `artifacts`, links followed, and its own path.
    fn find(&self, path: &str) -> Result<(String, &Kind), BoardError> {
        let path = format!("{FOLDER}/{path}");
        let missing = |why| BoardError::Missing {
            board: self.needs.name.clone(),
            image: self.needs.artifacts.clone(),
            path: path.clone(),
            why,
        };
        let found = self.tree.follow(&path).map_err(missing)?;
        match self.tree.get(&found) {
            Some(entry) => Ok((found, &entry.kind)),
            None => Err(missing(FollowError::Nothing(path.clone()))),
        }
    }

    fn other(&self, path: &str, kind: &Kind, want: &'static str) -> BoardError {
        let is = match kind {
            Kind::Folder => "a folder",
            Kind::File(..) => "a file",
            Kind::Symlink(_) => "a link",
            Kind::Other(what) => what,
        };
        let (board, image) = (self.needs.name.clone(), self.needs.artifacts.clone());
        BoardError::Kind { board, image, path: format!("{FOLDER}/{path}"), is, want }
    }

    fn file(&self, path: &str) -> Result<Blob, BoardError> {
        match self.find(path)? {
            (_, Kind::File(blob, _)) => Ok(blob.clone()),
            (_, kind) => Err(self.other(path, kind, "a file")),
        }
    }

    /// All files of a folder, those that links lead to among them. A link to a folder is refused: FAT
    /// has no links, and it may lead to a folder that it lies in.
    fn folder(&self, from: &str, to: &str, esp: &mut Files) -> Result<(), BoardError> {
        let (folder, kind) = self.find(from)?;
        if !matches!(kind, Kind::Folder) {
            return Err(self.other(from, kind, "a folder"));
        }
        let folder = format!("{folder}/");
        let mut is_empty = true;
        for (path, entry) in self.tree.iter() {
            let Some(name) = path.strip_prefix(&folder) else { continue };
            let blob = match &entry.kind {
                Kind::Folder => continue,
                Kind::File(blob, _) => blob.clone(),
                Kind::Symlink(_) => self.file(&format!("{from}/{name}"))?,
                other @ Kind::Other(_) => {
                    return Err(self.other(&format!("{from}/{name}"), other, "a file"));
                }
            };
            is_empty = false;
            esp.add(if to.is_empty() { name.to_owned() } else { format!("{to}/{name}") }, blob);
        }
        if is_empty {
            return Err(self.other(from, &Kind::Other("an empty folder"), "its files"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
