//! `conformance`: runs the test suites of other projects. Their data is in a folder beside
//! the checkout.
//!
//! A [`Suite`] is a set of cases of one kind. It runs the code under test on each case and
//! writes a [`Report`]. A case that promesh deliberately fails has an exemption, with the
//! reason, in the file of its suite. An exempt case that passes is a failure.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

pub use self::report::Report;

mod append;
mod bodies;
mod cases;
mod config;
mod entries;
mod go_regexp;
mod headers;
mod k8s_sd;
mod migrate;
mod openmetrics;
mod operator;
mod otlp_names;
mod otlp_prw;
mod populate_labels;
mod relabel;
mod report;
mod service_discovery;
mod textparse;

/// Flags of `conformance`.
#[derive(Args, Clone, Debug)]
pub struct ConformanceArgs {
    /// Folder of the suites.
    #[arg(default_value = "../shared/suites")]
    pub suites: PathBuf,
    /// Run only suites whose names begin with this text.
    #[arg(long)]
    pub only: Option<String>,
}

/// Test cases of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Name in the table.
    pub name: &'static str,
    /// Minimum number of cases, so that no missing case goes unnoticed.
    pub cases: usize,
    run: fn(&Path, &mut Report) -> anyhow::Result<()>,
}

/// All suites, in the order of the table.
pub const SUITES: &[Suite] = &[
    Suite::new("go_regexp", 1, go_regexp::run),
    Suite::new("relabel", 37, relabel::label_sets),
    Suite::new("relabel_validate", 10, relabel::validation),
    Suite::new("relabel_legacy_targets", 16, relabel::legacy_targets),
    Suite::new("relabel_yaml", 4, relabel::yaml),
    Suite::new("config", 217, config::files),
    Suite::new("config_effective", 60, config::effective),
    Suite::new("config_inline", 8, config::inline),
    Suite::new("config_env_expansion", 2, config::env_expansion),
    Suite::new("config_real", 36, config::real::run),
    Suite::new("sd_fixtures", 7, service_discovery::run),
    Suite::new("k8s_sd", 79, k8s_sd::timelines),
    Suite::new("k8s_sd_lists", 8, k8s_sd::lists),
    Suite::new("operator_cases", 378, operator::cases::run),
    Suite::new("operator_global", 378, operator::cases::global),
    Suite::new("operator_loads", 300, operator::cases::loads),
    Suite::new("operator_rejects", 130, operator::rejects::run),
    Suite::new("operator_selection", 10, operator::selection::run),
    Suite::new("migrate", 38, migrate::run),
    Suite::new("content_type", 20, headers::content_types),
    Suite::new("accept_header", 4, headers::accept_headers),
    Suite::new("max_schema", 14, headers::max_schemas),
    Suite::new("textparse_good", 35, textparse::good),
    Suite::new("textparse_bad", 101, textparse::bad),
    Suite::new("textparse_accepts", 10, textparse::accepts),
    Suite::new("textparse_bodies", 6, textparse::golden_bodies),
    Suite::new("openmetrics", 211, openmetrics::run),
    Suite::new("bodies", 60, bodies::parse),
    Suite::new("bodies_golden", 31, bodies::golden),
    Suite::new("populate_labels", 18, populate_labels::run),
    Suite::new("append_v1", 145, append::v1),
    Suite::new("append_v2", 167, append::v2),
    Suite::new("otlp_metric_names", 84, otlp_names::metrics),
    Suite::new("otlp_label_names", 80, otlp_names::labels),
    Suite::new("otlp_units", 33, otlp_names::units),
    Suite::new("otlp_types", 8, otlp_names::types),
    Suite::new("otlp_prometheus", 58, otlp_prw::prometheus::run),
    Suite::new("otlp_collector", 174, otlp_prw::collector::run),
    Suite::new("otlp_attributes", 22, otlp_prw::attributes::run),
    Suite::new("otlp_native_histograms", 7, otlp_prw::native::histograms),
    Suite::new("otlp_bucket_layout", 24, otlp_prw::native::bucket_layouts),
    Suite::new("otlp_nhcb_layout", 6, otlp_prw::native::custom_layouts),
];

/// Runs the suites and prints a line for each, followed by its failures.
///
/// # Errors
/// Returns an error if a case fails without an exemption.
pub fn run(args: &ConformanceArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.suites.is_dir(),
        "{} is not a folder; expected the folder of the suites",
        args.suites.display()
    );
    let mut failed = 0;
    let wanted = |suite: &&Suite| match &args.only {
        Some(start) => suite.name.starts_with(start.as_str()),
        None => true,
    };
    for suite in SUITES.iter().filter(wanted) {
        let report = suite.run(&args.suites);
        print!("{report}");
        failed += report.failed.len();
    }
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} cases fail"),
    }
}

// === impl Suite ===

impl Suite {
    const fn new(
        name: &'static str,
        cases: usize,
        run: fn(&Path, &mut Report) -> anyhow::Result<()>,
    ) -> Self {
        Self { name, cases, run }
    }

    /// Runs all cases. Missing cases, and an error that prevents the run, are failures.
    pub fn run(&self, suites: &Path) -> Report {
        let mut report = Report::new(self.name);
        if let Err(error) = (self.run)(suites, &mut report) {
            report
                .failed
                .push(("suite".to_owned(), format!("{error:#}")));
        }
        let total = report.total();
        if total < self.cases {
            let why = format!("{total} cases, expected at least {}", self.cases);
            report.failed.push(("suite".to_owned(), why));
        }
        report
    }
}
