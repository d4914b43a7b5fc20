//! The library's sources over locks with a planted bug: who holds one works on a copy, and excludes nobody.

mod sync {
    use std::ops::{Deref, DerefMut};
    pub(super) use std::sync::PoisonError;

    use shuttle::thread;

    #[derive(Debug)]
    pub(super) struct Mutex<T>(std::sync::Mutex<T>);

    #[derive(Debug)]
    pub(super) struct MutexGuard<'a, T: Clone> {
        of: &'a Mutex<T>,
        copy: T,
    }

    impl<T: Clone> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> Result<MutexGuard<'_, T>, PoisonError<MutexGuard<'_, T>>> {
            let copy = self.0.lock().unwrap().clone();
            thread::yield_now();
            Ok(MutexGuard { of: self, copy })
        }
    }

    impl<T: Clone> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.copy
        }
    }

    impl<T: Clone> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.copy
        }
    }

    impl<T: Clone> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            *self.of.0.lock().unwrap() = self.copy.clone();
        }
    }
}

pub use agentprovision_llm::limit::*;

#[path = "../../src/limit/bucket.rs"]
pub mod bucket;
#[path = "../../src/route/health.rs"]
pub mod health;
#[path = "../../src/limit/memory.rs"]
pub mod memory;
