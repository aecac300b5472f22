//! The cases of the remote-write sender suite, each held against its requirement.
//!
//! The published suite passes a sender that sends nothing. Here every case demands
//! what it is about: where it gives a body, that body's series; where it gives an
//! answer, what is sent after it.

mod answers;
mod bodies;
mod case;
mod checks;
mod process;
mod suite;
mod version_1;
