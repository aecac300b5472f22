//! The files that a configuration file names, for a watch that does not load it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{document::matching, section::Context, text, yaml};

/// Patterns of `scrape_config_files` in a configuration file.
#[derive(Debug)]
pub struct ScrapeConfigFiles {
    folder: PathBuf,
    patterns: Vec<String>,
}

/// The key of a configuration file that names further files.
#[derive(Debug, Default, Deserialize)]
struct Patterns {
    scrape_config_files: Option<Vec<String>>,
}

const KEY: &str = "scrape_config_files";

// === impl ScrapeConfigFiles ===

impl ScrapeConfigFiles {
    /// Reads the patterns in the file at `path`: none if it cannot be read or is invalid.
    pub fn read(path: &Path) -> Self {
        let text = text::read(path).unwrap_or_default();
        // Parsing a large file takes a while, and most name no others.
        let patterns: Patterns = if text.contains(KEY) {
            yaml::parse(&text, path).unwrap_or_default()
        } else {
            Patterns::default()
        };
        Self {
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            patterns: patterns.scrape_config_files.unwrap_or_default(),
        }
    }

    /// Returns the files that match now. An invalid pattern matches none.
    pub fn matching(&self) -> Vec<PathBuf> {
        let context = Context {
            folder: &self.folder,
            variable: &|_| None,
        };
        let matching = self
            .patterns
            .iter()
            .map(|pattern| matching(&context, pattern));
        matching.flatten().flatten().collect()
    }
}
