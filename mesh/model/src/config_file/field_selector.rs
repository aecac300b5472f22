//! The field selectors of Kubernetes, such as `status.phase=Running,spec.nodeName!=a`.
//!
//! Accepts exactly the texts that `fields.ParseSelector` of Kubernetes accepts. An API server
//! refuses all others, long after the file was loaded.

use super::scalar::FromText;

/// A valid field selector, as written. Empty selects all objects.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldSelector(pub(super) String);

impl FromText for FieldSelector {
    fn from_text(text: &str) -> Result<Self, String> {
        for term in terms(text).filter(|term| !term.is_empty()) {
            check_term(term)
                .map_err(|error| format!("{text:?} is not a field selector: {error}"))?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// Checks a field selector.
///
/// # Errors
/// Returns a message for the user if Kubernetes refuses the selector.
pub fn check_field_selector(text: &str) -> Result<(), String> {
    FieldSelector::from_text(text).map(drop)
}

/// Splits a selector at its commas. A comma after a backslash belongs to a value.
fn terms(text: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    text.split(move |c| {
        let is_end = c == ',' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    })
}

fn check_term(term: &str) -> Result<(), String> {
    let Some((_, value)) = term.split_once('=') else {
        return Err(format!(
            "{term:?} has no operator, expected FIELD=VALUE, FIELD==VALUE or FIELD!=VALUE"
        ));
    };
    // The second character of `==`. In `!==` it belongs to the value.
    let is_unequal = term[..term.len() - value.len()].ends_with("!=");
    let value = match value.strip_prefix('=') {
        Some(value) if !is_unequal => value,
        _ => value,
    };
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some('\\' | ',' | '=') => {}
                Some(other) => {
                    return Err(format!(
                        r"the escape \{other} of {term:?} is unknown, expected \\, \, or \="
                    ));
                }
                None => return Err(format!(r"{term:?} ends in a backslash, expected \\")),
            },
            '=' => return Err(format!(r"the value of {term:?} contains '=', expected \=")),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_kubernetes_accepts() {
        for text in [
            "",
            ",",
            "a=b",
            "a==b",
            "a!=b",
            "a=",
            "=b",
            "a=b,",
            ",a=b,,c!=d",
            r"a=b\,c",
            r"a=b\=c,d=e",
            r"a=b\\,c=d",
            " a = b c ",
            "a.b/c=(d)",
        ] {
            assert!(FieldSelector::from_text(text).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn rejects_what_kubernetes_rejects() {
        for text in [
            "a", "a=b,c", "a=b=c", "a===b", "a!==b", r"a=b\c", r"a=b\", r"a=b\\,c", r"a\,b", " ",
        ] {
            assert!(FieldSelector::from_text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn says_how_to_escape() {
        assert_eq!(
            FieldSelector::from_text("a=b=c").unwrap_err(),
            r#""a=b=c" is not a field selector: the value of "a=b=c" contains '=', expected \="#
        );
    }
}
