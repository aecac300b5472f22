//! Sets `cfg(suites)` where the peers' test cases lie beside the checkout, so
//! that tests over them are visibly ignored where they do not.

use std::path::Path;

fn main() {
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/suites");
    println!("cargo::rustc-check-cfg=cfg(suites)");
    println!("cargo::rerun-if-changed={}", suites.display());
    if suites.is_dir() {
        println!("cargo::rustc-cfg=suites");
    }
}
