//! Work that may take long without waiting: files, compression. A thread of its own
//! does it, so that nothing else is late.
//!
//! How long that thread takes is the machine's affair. A simulation, which runs a
//! whole mesh in one thread and is to be repeated, has such work done on the spot.

use std::cell::Cell;

/// Work over as many bytes, such as compressing them, is worth a thread of its own; over
/// fewer it is done sooner than handed over.
pub const BLOCKING_BYTES: usize = 256 << 10;

thread_local! {
    static ON_THE_SPOT: Cell<bool> = const { Cell::new(false) };
}

/// Lets work that is begun in this thread be done in it at once.
pub fn on_the_spot() {
    ON_THE_SPOT.set(true);
}

/// Does work that may block, and returns what it comes to.
///
/// # Panics
/// Where the work does.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if ON_THE_SPOT.get() {
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
    async fn another_thread_works_unless_told_otherwise() {
        let here = thread::current().id();
        assert_ne!(run(|| thread::current().id()).await, here);
        on_the_spot();
        assert_eq!(run(|| thread::current().id()).await, here);
    }

    #[tokio::test]
    #[should_panic(expected = "no such file")]
    async fn a_panic_is_passed_on() {
        run(|| panic!("no such file")).await
    }
}
