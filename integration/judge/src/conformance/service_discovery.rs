//! Prometheus's files and HTTP responses with target groups.

use std::{fs, path::Path};

use mesh_model::config_file::parse_target_groups;

use super::{Report, cases};

/// Parses the files. Those named `invalid…` are rejected, all others contain targets.
pub(super) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    for mechanism in ["file", "http"] {
        let folder = suites.join("config/sd_fixtures").join(mechanism);
        for name in cases::folder(&folder)? {
            let path = folder.join(&name);
            let text = fs::read_to_string(&path)?;
            report.case(&name, || {
                let groups = parse_target_groups(&text, &path);
                match (groups, name.starts_with("invalid")) {
                    (Err(_), true) => Ok(()),
                    (Err(error), false) => Err(error.to_string()),
                    (Ok(groups), false) if groups.iter().any(|g| !g.targets.is_empty()) => Ok(()),
                    (Ok(groups), _) => Err(format!("{groups:?}")),
                }
            });
        }
    }
    Ok(())
}
