//! `receiver-svc migrate`: configurations that people run, and what each translation holds.

mod expected;
mod jobs;

use std::{fs, path::Path};

use mesh_migrate::{Input, Migration, migrate};
use mesh_model::config::Config;
use serde_json::Value;

use super::{Report, cases};

/// Runs all cases.
pub(super) fn run(suites: &Path, report: &mut Report) -> anyhow::Result<()> {
    let folder = suites.join("migrate");
    for case in cases::rows(&folder.join("expectations.jsonl"))? {
        let file = cases::text(&case["file"]);
        report.case(file, || judge(&folder.join(file), &case));
    }
    Ok(())
}

fn judge(path: &Path, case: &Value) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let name = path.display().to_string();
    let beside = |name: &str| fs::read_to_string(path.parent()?.join(name)).ok();
    let outcome = cases::text(&case["outcome"]);
    let migration = migrate(&[Input { name, text }], &beside);
    let notes = match &migration {
        Ok(migration) => migration
            .notes
            .iter()
            .map(|note| format!("{note}\n"))
            .collect(),
        Err(error) => error.to_string(),
    };
    named(&case["must_note"], &notes)?;
    match (migration, outcome) {
        (Err(_), "refused" | "translated_or_refused") => Ok(()),
        (Err(error), _) => Err(format!("refused: {error}")),
        (Ok(_), "refused") => Err("translated, expected a refusal".to_owned()),
        (Ok(migration), _) => {
            loads(&migration)?;
            expected::judge(&migration.prometheus, &case["expect"], &notes)
        }
    }
}

/// Checks that each entry is in the notes, in any case. `|` separates alternatives.
fn named(expected: &Value, notes: &str) -> Result<(), String> {
    let notes = notes.to_lowercase();
    let missing = cases::texts(expected).into_iter().find(|words| {
        let mut words = words.split('|').map(str::to_lowercase);
        !words.any(|word| notes.contains(&word))
    });
    match missing {
        Some(words) => Err(format!("no note has {words:?}")),
        None => Ok(()),
    }
}

/// Checks that a receiver accepts the file.
fn loads(migration: &Migration) -> Result<(), String> {
    let path = Path::new("prometheus.yml");
    let config = Config::parse(&migration.prometheus, path, &|_| None);
    config
        .map(drop)
        .map_err(|error| format!("check refuses it: {error}"))
}
