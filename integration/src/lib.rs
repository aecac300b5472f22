//! The judge: what tests, demos and measurements of the mesh are held against.
//!
//! [`amp`] stands in for the backend and keeps a ledger of every arrival,
//! [`sample_app`] is scraped, [`otel`] pushes, and [`validator`] compares what was
//! stored. [`mesh`] builds the whole of it from processes ([`child`]), [`in_process`]
//! parts of it for tests, and [`demo`] shows it. [`chaos`] breaks its
//! parts one after the other, and [`arrivals`] reads from the ledger what that lost.
//! [`kube_api`] stands in for a
//! Kubernetes API server. [`sender`] is a receiver and an exporter for the suites of
//! others, [`sender_bench`] what ours runs it between. [`conformance`] runs the test
//! cases of others. [`cortex`] puts a real backend behind it. [`simulate`] runs the mesh in simulated time, [`load`] under load.

pub mod amp;
pub mod arrivals;
mod books;
pub mod chaos;
pub mod child;
pub mod conformance;
pub mod cortex;
pub mod demo;
pub mod files;
pub mod in_process;
pub mod kube_api;
pub mod load;
pub mod mesh;
pub mod otel;
pub mod parity;
pub mod ports;
pub mod prometheus;
pub mod sample_app;
pub mod sdks;
pub mod sender;
pub mod sender_bench;
pub mod simulate;
pub mod validator;
