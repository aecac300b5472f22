//! Objects that the Operator does not generate for.

use std::path::Path;

use mesh_monitors::{Kind, Monitor, generate};

use super::{Stored, files, rows, settings};
use crate::conformance::Report;

pub(crate) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for case in rows(suites, "rejects.jsonl")? {
        report.case(files::text(&case["name"]), || {
            let settings = settings(&case);
            if case["object"].is_null() {
                return match settings {
                    Ok(_) => Err(format!("accepted, expected {}", case["reason"])),
                    Err(_) => Ok(()),
                };
            }
            let kind = Kind::ALL.into_iter();
            let mut kinds = kind.filter(|kind| case["kind"] == kind.as_str());
            let kind = kinds.next().ok_or("unknown kind")?;
            let settings = settings?;
            let generated = Monitor::read(kind, &case["object"])
                .and_then(|monitor| generate(&monitor, &settings, &Stored::of(&case)));
            match generated {
                Ok(_) => Err(format!("accepted, expected {}", case["reason"])),
                Err(_) => Ok(()),
            }
        });
    }
    Ok(())
}
