//! Runs blocking work (file access, compression) on tokio's blocking threads, so that it
//! does not delay other tasks.
//!
//! The duration of such work differs from run to run. A simulation must be repeatable, so
//! it runs the work inline, on its only thread.

use std::cell::Cell;

/// Input size from which work such as compression is moved to a blocking thread: 256 KiB.
///
/// Below this size the work takes less time than the move.
pub const BLOCKING_BYTES: usize = 256 << 10;

thread_local! {
    static INLINE: Cell<bool> = const { Cell::new(false) };
}

/// Makes [`run`] execute all later work of this thread inline.
pub fn run_inline() {
    INLINE.set(true);
}

/// Runs work that may block and returns its result.
///
/// # Panics
/// Panics if `work` panics.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if INLINE.get() {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn uses_another_thread_unless_inline() {
        let here = thread::current().id();
        assert_ne!(run(|| thread::current().id()).await, here);
        run_inline();
        assert_eq!(run(|| thread::current().id()).await, here);
    }

    #[tokio::test]
    #[should_panic(expected = "no such file")]
    async fn propagates_a_panic() {
        run(|| panic!("no such file")).await
    }
}
