//! Turns at the processors: an emulated machine uses one whole.
//!
//! In: nothing. Out: a turn, over when dropped; numbers for machines.
//!
//! Source: none.
//!
//! Not here: machines of other processes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A number that no other machine of this process has.
pub(super) fn number() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A turn.
pub(super) struct Turn;

/// Waits for a turn.
pub(super) fn wait() -> Turn {
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    // A poisoned lock still counts right: nothing can panic between its changes.
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = ENDED.wait_while(running, |running| *running >= at_once);
    *wait.unwrap_or_else(PoisonError::into_inner) += 1;
    Turn
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
