//! The test cases of others: every suite at full marks, but for the cases that are
//! excused with a reason.

use std::path::Path;

use integration::conformance::SUITES;

#[test]
#[cfg_attr(not(suites), ignore = "../shared/suites is not beside this checkout")]
fn every_suite_is_met() {
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/suites");
    let reports = SUITES.iter().map(|suite| suite.run(&suites));
    let failing: Vec<_> = reports.filter(|report| !report.failed.is_empty()).collect();
    let tables: String = failing.iter().map(ToString::to_string).collect();
    assert!(failing.is_empty(), "{tables}");
}
