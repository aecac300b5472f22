//! Notes: parts of an input without an exact counterpart.

use std::fmt;

/// One thing that the user has to know or do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Part of the input, such as `processors.filter`.
    pub place: String,
    /// Effect, and what to do.
    pub text: String,
}

/// Notes in the order of the input, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes(Vec<Note>);

// === impl Note ===

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

// === impl Notes ===

impl Notes {
    pub(crate) fn add(&mut self, place: impl Into<String>, text: impl Into<String>) {
        let note = Note {
            place: place.into(),
            text: text.into(),
        };
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// Iterates over the notes.
    pub fn iter(&self) -> impl Iterator<Item = &Note> {
        self.0.iter()
    }
}
