//! The files that assets come from: opened, known by their digests, held to their lists.
//!
//! In: paths, or blobs that are open. Out: their bytes at once, and [`InputFile`]s at the end:
//! digests are worked out beside all else.
//!
//! Source: none.
//!
//! Not here: what the files mean (`gather`), and what lists look like (`sums`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crate::asset::InputFile;
use crate::asset::error::AssetError;
use crate::asset::sums::{Both, Listed, Lists, Sums};
use crate::blob::Blob;
use crate::digest::Digest;

/// The most names of a folder that are looked at.
const NAMES: usize = 1 << 16;

/// A file, open.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    /// What messages call it.
    pub(super) shown: String,
    /// Its bytes.
    pub(super) blob: Blob,
    /// Its number among the inputs.
    pub(super) input: usize,
}

/// A folder, with the lists of checksums in it.
#[derive(Debug)]
pub(super) struct Folder {
    /// Its path.
    pub(super) path: PathBuf,
    /// What its files' names start with among the inputs: nothing, or `amd64/`.
    prefix: String,
    lists: Lists,
}

impl Folder {
    /// A folder that is there.
    ///
    /// # Errors
    ///
    /// Where a list in it cannot be read.
    pub(super) fn open(path: PathBuf, prefix: &str) -> Result<Self, AssetError> {
        let lists = Lists::read(&path, prefix)?;
        Ok(Self { path, prefix: prefix.to_owned(), lists })
    }

    /// The names of its files, in order.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub(super) fn names(&self) -> Result<Vec<String>, AssetError> {
        let io = |error| unreadable(&self.path, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io)?.take(NAMES) {
            names.extend(entry.map_err(io)?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }
}

/// What a failed look at a path means.
pub(super) fn unreadable(path: &Path, error: io::Error) -> AssetError {
    match error.kind() {
        io::ErrorKind::NotFound => AssetError::Missing(path.to_owned()),
        _ => AssetError::Io(path.to_owned(), error),
    }
}

/// Opens a plain file; `name` is what messages call it.
///
/// # Errors
///
/// Where it is not there, no plain file, or cannot be read.
pub fn open_file(path: &Path, name: &str) -> Result<Blob, AssetError> {
    let io = |error| unreadable(path, error);
    // Asked before it is opened: opening a pipe waits for its other end.
    if !path.metadata().map_err(io)?.is_file() {
        return Err(io(io::Error::other("it is no plain file")));
    }
    Blob::from_file(name, File::open(path).map_err(io)?).map_err(io)
}

/// All files that were opened.
#[derive(Debug, Default)]
pub(super) struct Inputs(Vec<Input>);

#[derive(Debug)]
struct Input {
    name: String,
    shown: String,
    blob: Blob,
    listed: Vec<Listed>,
    sums: State,
}

#[derive(Debug)]
enum State {
    Known(Sums),
    Running(JoinHandle<io::Result<Sums>>),
    /// It was asked for, and could not be read.
    Failed,
}

impl Inputs {
    /// Opens a file of a folder, or nothing where it is not there.
    ///
    /// # Errors
    ///
    /// Where it is no plain file or cannot be read.
    pub(super) fn open(
        &mut self,
        folder: &mut Folder,
        file: &str,
    ) -> Result<Option<Opened>, AssetError> {
        let path = folder.path.join(file);
        let name = format!("{}{file}", folder.prefix);
        let blob = match open_file(&path, &name) {
            Err(AssetError::Missing(_)) => return Ok(None),
            other => other?,
        };
        for (list, bytes) in folder.lists.drain() {
            self.add(list.clone(), list, bytes, Vec::new());
        }
        let shown = path.display().to_string();
        Ok(Some(self.add(name, shown, blob, folder.lists.of(file))))
    }

    /// Takes a file that is open.
    pub(super) fn add(
        &mut self,
        name: String,
        shown: String,
        blob: Blob,
        listed: Vec<Listed>,
    ) -> Opened {
        let (whole, mut both) = (blob.clone(), Both::for_listed(&listed));
        let hash = move || {
            let mut reader = whole.reader();
            let mut buffer = vec![0; 1 << 20];
            loop {
                match reader.read(&mut buffer)? {
                    0 => return Ok(both.finish()),
                    len => both.update(&buffer[..len]),
                }
            }
        };
        self.push(Input { name, shown, blob, listed, sums: State::Running(thread::spawn(hash)) })
    }

    /// Takes a file whose digest is known.
    pub(super) fn add_known(&mut self, name: &str, blob: &Blob, digest: Digest) -> Opened {
        self.push(Input {
            name: name.to_owned(),
            shown: name.to_owned(),
            blob: blob.clone(),
            listed: Vec::new(),
            sums: State::Known(Sums::known(digest)),
        })
    }

    fn push(&mut self, input: Input) -> Opened {
        let opened =
            Opened { shown: input.shown.clone(), blob: input.blob.clone(), input: self.0.len() };
        self.0.push(input);
        opened
    }

    /// The digest of a file, waited for.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or is not the one in its list.
    pub(super) fn digest(&mut self, file: &Opened) -> Result<Digest, AssetError> {
        self.0[file.input].digest()
    }

    /// All files with their digests.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, or is not the one in its list.
    pub(super) fn finish(&mut self) -> Result<Vec<InputFile>, AssetError> {
        let finish = |input: &mut Input| {
            let digest = input.digest()?;
            let vouched_by = input.listed.iter().map(|listed| listed.list.clone()).collect();
            Ok(InputFile { name: input.name.clone(), blob: input.blob.clone(), digest, vouched_by })
        };
        self.0.iter_mut().map(finish).collect()
    }

    /// The first file that is not the one in its list. Files that no list has are not waited for.
    pub(super) fn mismatch(&mut self) -> Option<AssetError> {
        let listed = self.0.iter_mut().filter(|input| !input.listed.is_empty());
        let errors = listed.filter_map(|input| input.digest().err());
        errors.into_iter().find(|error| matches!(error, AssetError::Sum { .. }))
    }
}

impl Input {
    fn digest(&mut self) -> Result<Digest, AssetError> {
        let sums = match std::mem::replace(&mut self.sums, State::Failed) {
            State::Known(sums) => sums,
            State::Running(thread) => {
                let sums = thread.join().expect("hashing does not panic");
                sums.map_err(|error| AssetError::Io(self.shown.clone().into(), error))?
            }
            State::Failed => {
                let error = io::Error::other("it could not be read before");
                return Err(AssetError::Io(self.shown.clone().into(), error));
            }
        };
        for Listed { list, sum: wanted } in &self.listed {
            let found = sums.like(wanted);
            if found != *wanted {
                let (name, list) = (self.shown.clone(), list.clone());
                let (found, wanted) = (Box::new(found), Box::new(wanted.clone()));
                self.sums = State::Known(sums);
                return Err(AssetError::Sum { name, list, found, wanted });
            }
        }
        let digest = sums.digest;
        self.sums = State::Known(sums);
        Ok(digest)
    }
}
