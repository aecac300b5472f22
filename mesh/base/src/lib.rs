//! Small parts that every crate of the mesh builds on: time, randomness, shutdown, budgets.

pub mod backoff;
pub mod blocking;
pub mod budget;
pub mod clock;
pub mod random;
pub mod shutdown;
pub mod watched_file;
