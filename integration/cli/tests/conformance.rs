//! Conformance suites of other projects. Each case must pass unless an exemption states the
//! reason.

use std::path::Path;

use judge::conformance::SUITES;

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn passes_every_suite() {
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/suites");
    let reports = SUITES.iter().map(|suite| suite.run(&suites));
    let failing: Vec<_> = reports.filter(|report| !report.failed.is_empty()).collect();
    let tables: String = failing.iter().map(ToString::to_string).collect();
    assert!(failing.is_empty(), "{tables}");
}
