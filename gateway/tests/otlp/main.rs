//! End-to-end tests of the gateway through its ports.

mod bodies;
mod clients;
mod delta;
mod harness;
mod retry;
mod values;
