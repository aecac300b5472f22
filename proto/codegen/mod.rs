//! Generates the Rust bindings from the `.proto` files.
//!
//! The `codegen` example writes them; a test compares them with the checked-in ones.

use std::path::{Path, PathBuf};

const SOURCES: [&str; 4] = [
    "prometheus/exposition.proto",
    "prometheus/remote_write_v1.proto",
    "prometheus/remote_write_v2.proto",
    "promesh/handover.proto",
];

/// Returns the directory of the checked-in bindings.
pub(crate) fn checked_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated")
}

/// Generates all bindings into `out`.
pub(crate) fn generate(out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let descriptors = protox::compile(SOURCES, [root])?;
    prost_build::Config::new()
        .out_dir(out)
        .btree_map([".promesh"])
        .compile_fds(descriptors)?;
    Ok(())
}
