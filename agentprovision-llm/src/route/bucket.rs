//! Limits on extra requests, so that an outage is not made worse by those who wait for its end.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one extra request takes.
const ONE: u64 = 1000;

/// A bucket that fills with successes: each adds a share of an extra request, each extra request takes a whole one.
#[derive(Debug)]
pub(crate) struct Bucket {
    thousandths: AtomicU64,
    share: AtomicU64,
    full: u64,
}

impl Bucket {
    /// A full bucket of `size` extra requests to which each success adds `per_cent` of one.
    pub(crate) fn new(size: u32, per_cent: u32) -> Self {
        let full = u64::from(size) * ONE;
        let bucket = Self { thousandths: AtomicU64::new(full), share: AtomicU64::new(0), full };
        bucket.set(per_cent);
        bucket
    }

    /// Each success adds `per_cent` of an extra request from now on.
    pub(crate) fn set(&self, per_cent: u32) {
        self.share.store(u64::from(per_cent) * ONE / 100, Ordering::Relaxed);
    }

    /// A request succeeded.
    pub(crate) fn success(&self) {
        let share = self.share.load(Ordering::Relaxed);
        let add = |held: u64| (held < self.full).then(|| (held + share).min(self.full));
        let _ = self.thousandths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes one extra request, if there is one.
    pub(crate) fn take(&self) -> bool {
        let take = |held: u64| held.checked_sub(ONE);
        self.thousandths.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_requests_are_a_share_of_the_successes() {
        let bucket = Bucket::new(3, 10);
        assert_eq!((0..10).filter(|_| bucket.take()).count(), 3);
        (0..9).for_each(|_| bucket.success());
        assert!(!bucket.take());
        bucket.success();
        assert!(bucket.take() && !bucket.take());
        bucket.set(100);
        bucket.success();
        assert!(bucket.take() && !bucket.take(), "a whole one now");
        (0..1000).for_each(|_| bucket.success());
        assert_eq!((0..10).filter(|_| bucket.take()).count(), 3, "it never holds more than it did at first");
    }
}
