//! Parts of every service's process: the admin port, reloads, and telemetry.

pub mod admin;
pub mod reload;
pub mod telemetry;
