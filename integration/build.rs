//! Sets `cfg(suites)` if the test suites of other projects are beside the checkout, in
//! `../shared/suites`. Without them, the tests that run them are reported as ignored.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(suites)");
    let beside_checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .skip_while(|folder| !folder.join("Cargo.lock").is_file())
        .nth(1);
    if let Some(folder) = beside_checkout {
        let suites = folder.join("shared/suites");
        println!("cargo::rerun-if-changed={}", suites.display());
        if suites.is_dir() {
            println!("cargo::rustc-cfg=suites");
        }
    }
}
