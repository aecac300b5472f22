//! The gateway as its clients see it.

mod bodies;
mod clients;
mod delta;
mod harness;
mod retry;
mod values;
