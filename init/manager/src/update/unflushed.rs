//! How much was written to the slot and not flushed: a host that loses its power has to fetch that
//! again.

use std::sync::{Mutex, PoisonError};

/// So many compressed bytes are flushed. They may be fetched again once power goes, and with them
/// what was under way.
pub(super) const UNFLUSHED_MAX: u64 = 240 << 10;

/// Compressed bytes that were written since the last flush.
#[derive(Debug, Default)]
pub(super) struct Unflushed(Mutex<u64>);

impl Unflushed {
    /// Counts `bytes` that were written, and has `flush` make all lasting once they are many. Who
    /// has written more meanwhile waits: it would go on, and the more the slower the disk is.
    ///
    /// # Errors
    /// `flush`'s; the next one flushes again.
    pub(super) fn wrote<E>(
        &self,
        bytes: u64,
        flush: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut unflushed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *unflushed += bytes;
        if *unflushed >= UNFLUSHED_MAX {
            flush()?;
            *unflushed = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_slow_flush_lets_no_more_come_than_may_be_fetched_again() {
        const WORKERS: u64 = 6;
        const RUN: u64 = 128 << 10;
        let (unflushed, came, lasts) = (Unflushed::default(), AtomicU64::new(0), AtomicU64::new(0));
        let flush = || {
            let written = came.load(SeqCst);
            thread::sleep(Duration::from_millis(20));
            lasts.store(written, SeqCst);
            Ok::<(), ()>(())
        };
        let work = || {
            let mut most = 0;
            for _ in 0..20 {
                let now = came.fetch_add(RUN, SeqCst) + RUN;
                most = most.max(now.saturating_sub(lasts.load(SeqCst)));
                unflushed.wrote(RUN, flush).unwrap();
            }
            most
        };
        let most = thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            let most = workers.into_iter().map(|worker| worker.join().unwrap());
            most.max().unwrap()
        });
        assert!(most <= UNFLUSHED_MAX + WORKERS * RUN, "{most}");
    }

    #[test]
    fn a_flush_that_failed_is_made_again() {
        let unflushed = Unflushed::default();
        assert_eq!(unflushed.wrote(UNFLUSHED_MAX - 1, || Err(1)), Ok(()));
        assert_eq!(unflushed.wrote(1, || Err(2)), Err(2));
        assert_eq!(unflushed.wrote(1, || Err(3)), Err(3));
        assert_eq!(unflushed.wrote(1, || Ok::<(), i32>(())), Ok(()));
        assert_eq!(unflushed.wrote(1, || Err(4)), Ok(()));
    }
}
