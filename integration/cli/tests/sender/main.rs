//! Checks the requirement of each case in the remote-write sender suite.
//!
//! The published suite passes a sender that sends nothing. These tests are stricter. A case
//! with a body requires the series of that body. A case with a response checks the requests
//! that follow it.

mod answers;
mod bodies;
mod case;
mod checks;
mod process;
mod suite;
mod version_1;
