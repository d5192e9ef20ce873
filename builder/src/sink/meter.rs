//! What the two workers on one file, the copier and the hasher, tell the user and each other.
//!
//! In: bytes done by each. Out: progress by the slower of the two, and an early end of one where the
//! other has met an error.
//!
//! Source: none.
//!
//! Not here: the work (`copy`, `digests`).

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::report::progress::Task;

/// Why a worker ended early.
#[derive(Debug)]
pub(super) enum Halt {
    /// The other one met an error.
    Stopped,
    /// The whole batch is to end.
    Interrupted,
    /// An input could not be read.
    Read {
        /// The input's name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The file could not be written.
    Write(io::Error),
}

/// The progress on one file.
#[derive(Debug)]
pub(super) struct Meter<'a> {
    task: Option<&'a Task>,
    copied: AtomicU64,
    hashed: AtomicU64,
    told: Mutex<u64>,
    stop: AtomicBool,
    end: Option<&'a AtomicBool>,
}

impl<'a> Meter<'a> {
    /// Nothing done so far.
    pub(super) fn new(task: &'a Task) -> Self {
        Self { task: Some(task), ..Self::silent() }
    }

    /// The same, of which nobody is told.
    pub(super) fn silent() -> Self {
        Self {
            task: None,
            copied: AtomicU64::new(0),
            hashed: AtomicU64::new(0),
            told: Mutex::new(0),
            stop: AtomicBool::new(false),
            end: None,
        }
    }

    /// The same; both workers end soon after `end` has become true.
    pub(super) fn until(self, end: &'a AtomicBool) -> Self {
        Self { end: Some(end), ..self }
    }

    /// Nothing done so far, by a copier beside whom nobody hashes.
    pub(super) fn of_copier(task: &'a Task) -> Self {
        Self { hashed: AtomicU64::new(u64::MAX), ..Self::new(task) }
    }

    /// Adds bytes that the copier did.
    pub(super) fn copied(&self, bytes: u64) -> Result<(), Halt> {
        self.copied.fetch_add(bytes, Ordering::Relaxed);
        self.tell()
    }

    /// Adds bytes that the hasher did.
    pub(super) fn hashed(&self, bytes: u64) -> Result<(), Halt> {
        self.hashed.fetch_add(bytes, Ordering::Relaxed);
        self.tell()
    }

    /// Ends the other worker where this one met an error.
    pub(super) fn watch<T>(&self, result: Result<T, Halt>) -> Result<T, Halt> {
        if result.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        result
    }

    fn tell(&self) -> Result<(), Halt> {
        let both = self.copied.load(Ordering::Relaxed).min(self.hashed.load(Ordering::Relaxed));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if both > *told {
            if let Some(task) = self.task {
                task.add(both - *told);
            }
            *told = both;
        }
        drop(told);
        if self.end.is_some_and(|end| end.load(Ordering::Relaxed)) {
            return Err(Halt::Interrupted);
        }
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Halt::Stopped),
            false => Ok(()),
        }
    }
}
