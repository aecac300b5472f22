//! Upper and lower case, letter by letter.
//!
//! Go maps each letter to one letter; Rust's `str` methods follow Unicode's
//! special cases, which turn `ß` into `SS` and know a final sigma. A label must
//! come out the same as in Prometheus, so this is Go's mapping.

/// `text` in lower case.
pub(super) fn to_lower(text: &str) -> String {
    text.chars().map(lower).collect()
}

/// `text` in upper case.
pub(super) fn to_upper(text: &str) -> String {
    text.chars().map(upper).collect()
}

fn lower(c: char) -> char {
    // The one letter whose lower case is two: a dotted capital I, which becomes
    // the plain small one here.
    single(c.to_lowercase()).unwrap_or(if c == 'İ' { 'i' } else { c })
}

fn upper(c: char) -> char {
    single(c.to_uppercase()).unwrap_or_else(|| title(c))
}

/// The only letter of a mapping, or `None` where it has several.
fn single(mut mapping: impl ExactSizeIterator<Item = char>) -> Option<char> {
    if mapping.len() == 1 {
        mapping.next()
    } else {
        None
    }
}

/// The single upper-case letter of those whose full mapping has several. Only
/// Greek letters with an iota subscript have one; it is their title case.
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
    fn each_letter_has_one_counterpart() {
        assert_eq!(to_lower("İΑΣ ǅ ÀЖ"), "iασ ǆ àж");
        assert_eq!(to_upper("ßﬁŉǰΐ ᾳᾀᾐᾠῃῳ ᾈ ıſ"), "ßﬁŉǰΐ ᾼᾈᾘᾨῌῼ ᾈ IS");
    }

    #[test]
    fn all_else_stays() {
        let text = "1_-/ 😀語";
        assert_eq!(to_lower(text), text);
        assert_eq!(to_upper(text), text);
    }
}
