//! Work on many items by several threads; what comes of it does not depend on how many.
//!
//! In: items, and what is done with each. Out: the results, in the order of the items.
//!
//! Source: none.
//!
//! Not here: work whose results are wanted before all is done.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The stack of a thread: as much as a program starts with, for those who read people's files.
const STACK: usize = 8 << 20;

/// The processors that there are.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// What `work` makes of each item, by so many threads at most.
///
/// # Panics
///
/// If `work` does.
pub fn in_order<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let Ok(made) =
        try_in_order(threads, items, |item| Ok::<R, std::convert::Infallible>(work(item)));
    made
}

/// The same, for work that can fail. After that no more items are taken, and the error is that of the
/// first item, in their order, of those that failed.
///
/// # Errors
///
/// Those of `work`.
///
/// # Panics
///
/// If `work` does.
pub fn try_in_order<T: Sync, R: Send, E: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let made: Mutex<BTreeMap<usize, Result<R, E>>> = Mutex::default();
    let run = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            made.lock().unwrap_or_else(PoisonError::into_inner).insert(at, result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            // Where there is no room for another thread there are fewer.
            let _ = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        }
        run();
    });
    made.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Threads change nothing: not the results, not their order, not that there is an error.
        #[test]
        fn results_are_those_of_one_thread(
            items in prop::collection::vec(0_u32..50, 0..60), threads in 0_usize..9,
        ) {
            let twice = |item: &u32| item * 2;
            let one: Vec<u32> = items.iter().map(twice).collect();
            prop_assert_eq!(in_order(threads, &items, twice), one);
            let work = |item: &u32| if *item == 7 { Err(()) } else { Ok(*item) };
            let one: Result<Vec<u32>, ()> = items.iter().map(work).collect();
            prop_assert_eq!(try_in_order(threads, &items, work), one);
        }
    }

    #[test]
    fn nothing_is_begun_after_an_error() {
        let begun = AtomicUsize::new(0);
        let failed = try_in_order(1, &[1, 2, 3], |item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 2 { Err(*item) } else { Ok(()) }
        });
        assert_eq!((failed, begun.into_inner()), (Err(2), 2));
    }
}
