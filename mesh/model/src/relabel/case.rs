//! Converts text to upper or lower case as Go does.
//!
//! Go maps each letter to exactly one letter. Rust's `str` methods follow Unicode's special
//! cases, such as `ß` to `SS` and the final sigma. Label values must be identical to those of
//! Prometheus, so this module implements Go's mapping.

/// Converts `text` to lower case.
pub(super) fn to_lower(text: &str) -> String {
    text.chars().map(lower).collect()
}

/// Converts `text` to upper case.
pub(super) fn to_upper(text: &str) -> String {
    text.chars().map(upper).collect()
}

fn lower(c: char) -> char {
    // The dotted capital I is the only letter whose lower case has two characters. Go maps
    // it to a plain i.
    single(c.to_lowercase()).unwrap_or(if c == 'İ' { 'i' } else { c })
}

fn upper(c: char) -> char {
    single(c.to_uppercase()).unwrap_or_else(|| title(c))
}

/// Returns the letter of a mapping, or `None` if it has several letters.
fn single(mut mapping: impl ExactSizeIterator<Item = char>) -> Option<char> {
    if mapping.len() == 1 {
        mapping.next()
    } else {
        None
    }
}

/// Returns the single upper-case letter of a letter whose full mapping has several letters.
/// Only Greek letters with an iota subscript have one: their title case.
fn title(c: char) -> char {
    let offset = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(u32::from(c) + offset).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_each_letter_to_one_letter() {
        assert_eq!(to_lower("İΑΣ ǅ ÀЖ"), "iασ ǆ àж");
        assert_eq!(to_upper("ßﬁŉǰΐ ᾳᾀᾐᾠῃῳ ᾈ ıſ"), "ßﬁŉǰΐ ᾼᾈᾘᾨῌῼ ᾈ IS");
    }

    #[test]
    fn leaves_other_characters_unchanged() {
        let text = "1_-/ 😀語";
        assert_eq!(to_lower(text), text);
        assert_eq!(to_upper(text), text);
    }
}
