//! Judges of a mesh: each runs it under one kind of stress and compares the outcome with a
//! ledger or with a real peer.

mod audit;
pub mod backends;
pub mod bench;
pub mod chaos;
mod comparable;
pub mod conformance;
pub mod cortex;
mod cpu;
pub mod load;
pub mod parity;
pub mod sender;
pub mod starvation;
