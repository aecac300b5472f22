//! Judges of a mesh: each runs it under one kind of stress and compares the outcome with a
//! ledger or with a real peer.

pub mod chaos;
pub mod conformance;
pub mod cortex;
pub mod load;
pub mod parity;
pub mod sender;
