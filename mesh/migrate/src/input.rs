//! Files that the user gave, and files that they name.

use std::{collections::BTreeMap, path::Path};

/// One file to translate.
#[derive(Clone, Debug)]
pub struct Input {
    /// Path, for messages.
    pub name: String,
    /// Contents.
    pub text: String,
}

/// Reads a file that stands beside an input, by the last part of its path.
pub type ReadBeside<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Files that an input names: entries of its ConfigMaps, other inputs, and files beside it.
pub(crate) struct Beside<'a> {
    pub(crate) entries: BTreeMap<String, String>,
    pub(crate) read: ReadBeside<'a>,
}

// === impl Beside ===

impl Beside<'_> {
    /// Reads the file at `path` of a container.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        let name = Path::new(path).file_name()?.to_str()?;
        self.entries
            .get(name)
            .cloned()
            .or_else(|| (self.read)(name))
    }
}
