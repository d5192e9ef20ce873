//! Signals that ask a long command to end.
//!
//! In: SIGINT, SIGTERM. Out: a flag that work looks at, and the exit code.
//!
//! The first one asks; a second one ends the process at once, which leaves nothing half-done either.
//! A signal that the process was started to ignore, as shells do for what runs in the background, is
//! still ignored.
//!
//! Source: the manual pages signal(7), proc(5) (`SigIgn`); POSIX.1-2017, "Shell Command Language",
//! 2.8.2, for 128 and the signal's number.
//!
//! Not here: what ends, and what is said of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::verb::Cause;

/// Whether somebody has asked the process to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt {
    flag: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Has signals set the flag from now on.
    ///
    /// # Errors
    ///
    /// Where the system does not allow it.
    pub(super) fn catch() -> io::Result<Self> {
        let caught = Self::default();
        let ignored = ignored();
        for (signal, number) in [(SIGINT, 2_u32), (SIGTERM, 15)] {
            if ignored & 1 << (number - 1) != 0 {
                continue;
            }
            // Registered first, it runs first: the second signal finds the flag that the first set.
            flag::register_conditional_shutdown(signal, 128 + signal, caught.flag.clone())?;
            flag::register_usize(signal, caught.signal.clone(), number as usize)?;
            flag::register(signal, caught.flag.clone())?;
        }
        Ok(caught)
    }

    /// The flag.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        self.flag.clone()
    }

    /// Why the process is to end, if it is.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.flag.load(Ordering::Relaxed).then(|| match self.signal.load(Ordering::Relaxed) {
            15 => Cause::Terminated,
            _ => Cause::Interrupted,
        })
    }
}

/// The signals that are ignored, one a bit, the first being signal 1. None where that is not told.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
