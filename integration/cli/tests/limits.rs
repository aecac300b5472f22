//! Compares docs/limits.md with the flags and metrics of the services.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory};

/// A row of a table: the flag, its default and the metric, without backticks.
struct Row {
    flag: String,
    default: String,
    metric: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Rows of the tables below the headings for which `of` returns true.
fn rows(of: impl Fn(&str) -> bool) -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let mut is_wanted = false;
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            is_wanted = of(heading);
        }
        let cells: Vec<_> = line
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        let &[_, _, flag, default, metric, beyond, _, _] = &*cells else {
            continue;
        };
        if is_wanted && flag.starts_with("--") && flag.contains('.') {
            assert!(!beyond.is_empty(), "{line}");
            rows.push(Row {
                flag: flag.trim_start_matches('-').to_owned(),
                default: default.to_owned(),
                metric: metric.to_owned(),
            });
        }
    }
    rows
}

/// Flags of a service with their defaults.
fn flags(command: &Command) -> Vec<(String, String)> {
    let flags = command.get_arguments().filter_map(|argument| {
        let default = argument.get_default_values().first();
        let default = default.map(|default| default.to_string_lossy().into_owned());
        Some((argument.get_long()?.to_owned(), default.unwrap_or_default()))
    });
    flags.collect()
}

fn is_limit(flag: &str) -> bool {
    let words: Vec<_> = flag.split(['.', '-']).collect();
    ["max", "limit", "budget"]
        .iter()
        .any(|word| words.contains(word))
}

/// Contents of all source files below a folder.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn check(service: &str, command: &Command, has_outbox: bool) {
    let rows = rows(|heading| {
        heading == service
            || heading.starts_with("Admin port")
            || has_outbox && heading.starts_with("Outbox")
    });
    let flags = flags(command);
    let mut metrics = String::new();
    for folder in [&format!("{service}/src"), "mesh"] {
        sources(&root().join(folder), &mut metrics);
    }
    for Row {
        flag,
        default,
        metric,
    } in &rows
    {
        let found = flags.iter().find(|(name, _)| name == flag);
        let (_, actual) = found.unwrap_or_else(|| panic!("{service} has no flag --{flag}"));
        assert_eq!(actual, default, "default of --{flag} of {service}");
        // A unit is a suffix that the registry adds.
        let name = metric.strip_suffix("_bytes").unwrap_or(metric);
        let is_registered = |name: &str| metrics.contains(&format!("\"{name}\""));
        let is_known = metric.is_empty() || is_registered(metric) || is_registered(name);
        assert!(is_known, "{service} has no metric {metric}");
    }
    let listed: BTreeSet<_> = rows.iter().map(|row| &row.flag).collect();
    let missing = flags.iter().map(|(name, _)| name);
    let missing: Vec<_> = missing
        .filter(|name| is_limit(name) && !listed.contains(name))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/limits.md lacks flags of {service}: {missing:?}"
    );
    assert!(rows.len() > 10, "the table of {service} cannot be read");
}

#[test]
fn the_table_of_limits_agrees_with_the_code() {
    check("exporter-svc", &exporter_svc::Args::command(), false);
    check("gateway", &gateway::Args::command(), true);
    check("receiver-svc", &receiver_svc::Args::command(), true);
}
