//! Fuzz targets as plain functions that panic on a bug.
//!
//! libFuzzer calls them through the binaries in `fuzz_targets/`. The integration
//! tests include this file as a module, to replay the checked-in corpora without
//! libFuzzer.

pub mod config;
pub mod exposition;
pub mod go_regexp;
pub mod otlp_json;
pub mod relabel;
pub mod round_trip;
pub mod transcode;

/// Function that runs a target on one input.
pub type Target = fn(&[u8]);

/// All targets by name. The corpus of a target is in `corpus/NAME/`.
pub const ALL: &[(&str, Target)] = &[
    ("config", config::run),
    ("exposition_openmetrics", exposition::openmetrics),
    ("exposition_protobuf", exposition::protobuf),
    ("exposition_text", exposition::text),
    ("go_regexp", go_regexp::run),
    ("otlp_json", otlp_json::run),
    ("relabel", relabel::run),
    ("round_trip", round_trip::run),
    ("transcode", transcode::run),
];
