//! The configuration file as it is written: one strict struct per section, in
//! which every key is optional, and what turns it into what it means.
//!
//! Unknown keys are refused by the structs, malformed values by the types in
//! [`scalar`], and what depends on several keys by the `build` functions, with the
//! place of the list entry that they build.

pub(super) mod discovery;
pub(super) mod file;
pub(super) mod http;
pub(super) mod relabel;
pub(super) mod remote_write;
pub(super) mod scalar;
pub(super) mod scrape;
pub(super) mod target_groups;

use std::{
    fmt::Display,
    path::{Component, Path, PathBuf},
};

use serde_saphyr::{Location, Spanned};

/// Entries of a list, with their places. Go reads `null` as an entry; Prometheus
/// refuses it, and so do we.
pub(super) type List<T> = Option<Vec<Spanned<Option<T>>>>;

/// What is wrong, and where it is as far as it is known.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) location: Option<Location>,
    pub(super) message: String,
}

/// What a section needs to know of the file it is in.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Relative paths are relative to this folder.
    pub(super) folder: &'a Path,
    /// Environment variables.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Builds every entry of a list.
pub(super) fn build_all<T, U>(
    list: List<T>,
    what: &str,
    mut build: impl FnMut(T) -> Result<U, Problem>,
) -> Result<Vec<U>, Problem> {
    let entries = list.unwrap_or_default().into_iter();
    let built = entries.map(|entry| {
        let location = entry.referenced;
        match entry.value {
            Some(value) => build(value),
            None => Err(Problem::new(format!("empty or null {what}"))),
        }
        .map_err(|problem| problem.at(location))
    });
    built.collect()
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(message: impl Display) -> Self {
        Self {
            location: None,
            message: message.to_string(),
        }
    }

    /// Places the problem, unless it has a closer place already.
    fn at(mut self, location: Location) -> Self {
        self.location.get_or_insert(location);
        self
    }
}

// === impl Context ===

impl Context<'_> {
    /// A path of the file, relative to the file's folder. As in Go it has no `.`
    /// and `..` on its way, which shows in `__meta_filepath`.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        if path.is_absolute() {
            return path.to_owned();
        }
        let mut clean = PathBuf::new();
        for part in self.folder.join(path).components() {
            match (part, clean.components().next_back()) {
                (Component::CurDir, _) => {}
                (Component::ParentDir, Some(Component::Normal(_))) => {
                    clean.pop();
                }
                (Component::ParentDir, Some(Component::RootDir)) => {}
                (part, _) => clean.push(part),
            }
        }
        clean
    }
}
