//! The judge: what tests, demos and measurements of the mesh are held against.
//!
//! [`amp`] stands in for the backend and keeps a ledger of every arrival.

pub mod amp;
